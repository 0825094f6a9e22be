"""Shared by the tests: configurations from command lines, and artifacts that are made without running a stage."""

import gc
import os
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from labeling.backend import LabelingError
from labeling.server.environment import ensure_environment
from pipeline.config import compose
from pipeline.config.schema import PipelineConfig, content
from pipeline.engine.planner import Planner, Step
from pipeline.store.artifact import Artifact
from pipeline.store.artifacts import Store
from tests.examples import DEEP, FEW

os.environ["OMP_NUM_THREADS"] = "1"  # torch reads it at import; two workers have two cores
gc.set_threshold(50_000)  # of 700 new objects: a sixth of the time went into searches for garbage
signal.signal(signal.SIGINT, signal.default_int_handler)  # processes that a shell starts in the background ignore it

settings.register_profile("tests", deadline=None, max_examples=FEW)  # an example's time depends on the machine's load
settings.register_profile("deep", deadline=None, max_examples=DEEP)
settings.load_profile("tests")

LONGEST = (  # folders and files whose tests stay on one worker, by their CPU time: minutes each
    *("labeling", "test_architectures.py", "test_parallel.py", "test_ppo_resuming.py", "test_reward.py"),
    *("test_reward_refusals.py", "test_people.py", "test_shipped.py", "test_ppo.py"),
)

TOGETHER = dict.fromkeys(("test_export.py", "test_llm_judges.py", "test_served.py"), "others")
"""Files whose tests stay on one worker together: they ask one `transformers serve`, which takes seconds to start."""

METRICS = {  # enough for every stage's summary
    "base": {"parameters": 1e6, "last_loss": 2.5},
    "draft": {"read": 10, "kept": 9},
    "synthesize": {"accepted": 5, "corrected": 2, "unreviewed": 0, "rejected": 2, "complete": 1},
    "data": {"read": 10, "kept": 9, "test": 3},
    "sft": {"eval_loss": 1.25, "rows": 9, "answer_tokens": 40},
    "sample": {"answers": 8, "prompts": 2, "distinct": 1.0},
    "publish": {"tasks": 2},
    "collect": {"rankings": 6, "annotators": 3, "simulated": 1},
    "preferences": {"pairs": 12, "ties": 1, "alpha": 0.5},
    "dpo": {"accuracy": 0.75, "margin": 0.5, "pairs": 12},
    "kto": {"accuracy": 0.75, "answers": 12, "good": 7},
    "reward": {"accuracy": 0.75, "accuracy_longer": 0.5, "pairs": 12},
    "judge": {"accuracy": 0.75, "accuracy_longer": 0.5, "pairs": 3},
    "ppo": {"reward": 0.5, "kl": 2.0, "iterations": 3, "ended_early": 0},
    "evaluate": {"prompts": 3, "dpo/win_rate": 0.875},
    "llm_judges": {"judges": 1, "prompts": 3, "pairs": 3},
    "blind": {"tasks": 6, "prompts": 6, "pairs": 1, "equal": 0},
    "abtest": {"prompts": 6, "ppo/against/dpo/win_rate": 0.5, "complete": 1, "ended": 1},
    "compare": {"prompts": 3},
    "export": {"parameters": 1e6, "adapters": 0, "merged": 1},
}


def commit(
    store: Store,
    stage: str,
    version: str,
    *,
    files: Mapping[str, str] | None = None,
    inputs: Mapping[str, Any] | None = None,
    config: Mapping[str, Any] | None = None,
    metrics: Mapping[str, float] | None = None,
) -> Artifact:
    """Write a finished version like a stage does, and return it."""
    with store.writing(stage, version) as directory:
        for name, text in (files or {"payload.txt": f"{stage} {version}"}).items():
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            (directory / name).write_text(text)
        manifest = {
            "seconds": 1.5,
            "config": config or {},
            "inputs": inputs or {},
            "metrics": metrics or METRICS.get(stage, {}),
        }
        return store.commit(stage, version, manifest)


def finish(store: Store, step: Step) -> Artifact:
    """Write the finished version of a planned step, and return it."""
    inputs = {}
    for role, given in step.inputs.items():
        made_from = {"stage": given.name if isinstance(given, Step) else given.stage, "version": given.version}
        source = None if isinstance(given, Step) else given.manifest.get("source")
        inputs[role] = {**made_from, "source": source} if source else made_from
    config = content(step.config)
    return commit(store, step.name, step.version, inputs=inputs, config=config)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Keep the tests of the labeling server on one worker, and each file of tests of the tiny chain on one worker."""
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            folder, file = Path(nodeid.partition("::")[0]).parts[-2:]
            return {"labeling": folder, "stages": TOGETHER.get(file, file)}.get(folder, nodeid)

    return Scheduling(config, log)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run slow tests first, the longest files before others, so that none is begun when a worker has no more."""
    items.sort(key=lambda item: (item.get_closest_marker("slow") is None, _place(item)))


def _place(item: pytest.Item) -> int:
    name = next((name for name in LONGEST if name in item.path.parts), None)
    return len(LONGEST) if name is None else LONGEST.index(name)


def until(condition: Callable[[], object], what: str, *, seconds: float = 60.0) -> None:
    """Wait until a condition of another process is true; fail with `what` after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


@pytest.fixture(scope="session")
def argilla_environment() -> Path:
    """The interpreter of Argilla's environment, which is built if needed."""
    try:
        return ensure_environment(print)
    except LabelingError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"no Argilla here: {error}")


@pytest.fixture
def outputs(tmp_path: Path) -> Path:
    return tmp_path / "outputs"


@pytest.fixture
def store(outputs: Path) -> Store:
    return Store(outputs, "playground")


@pytest.fixture
def planned(outputs: Path) -> Callable[..., dict[str, Step]]:
    """Returns the steps that a command line requests, by name."""

    def plan(*overrides: str) -> dict[str, Step]:
        config = configured(outputs, *overrides)
        return {step.name: step for step in Planner(config, Store(outputs, config.project)).plan()}

    return plan


def configured(outputs: Path, *overrides: str) -> PipelineConfig:
    return compose.load([f"outputs={outputs}", *overrides])


@pytest.fixture
def finished(store: Store, planned: Callable[..., dict[str, Step]]) -> dict[str, Step]:
    """A project with the whole default chain finished: the steps by name."""
    steps = planned()
    for step in steps.values():
        finish(store, step)
    return steps
