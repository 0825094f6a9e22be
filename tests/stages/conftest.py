"""A tiny chain that is really trained: two layers, a few steps. All stage tests start from the same artifacts."""

import gc
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from pipeline.__main__ import main
from pipeline.store.artifact import Artifact
from pipeline.store.artifacts import Store
from tests.serving import transformers_serve
from tests.stages.processes import ended, start
from tests.stages.small import TINY


class Chain:
    """Runs requests in one project and finds their artifacts."""

    def __init__(self, outputs: Path, project: str = "playground") -> None:
        self.outputs = outputs
        self.project = project
        self.store = Store(outputs, project)

    def arguments(self, *overrides: str) -> list[str]:
        named = [] if self.project == "playground" else [f"project={self.project}"]
        return [f"outputs={self.outputs}", *named, *TINY, *overrides]

    def run(self, *overrides: str) -> int:
        return main(self.arguments(*overrides))

    def start(self, *overrides: str, err: Path | str = os.devnull) -> BaseProcess:
        """Start the request in a separate process."""
        return start(self.arguments(*overrides), err=err)

    def ended(
        self, *overrides: str, cwd: Path | str = ".", largest_file: int | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run the request in a separate process to its end, which can write no file of more than these bytes."""
        return ended(self.arguments(*overrides), cwd, largest_file)

    def command(self, *overrides: str) -> list[str]:
        return [sys.executable, "-m", "pipeline", *self.arguments(*overrides)]

    def make(self, stage: str, *overrides: str) -> Artifact:
        assert self.run(f"stage={stage}", *overrides) == 0
        store = Store(self.outputs, self.project)
        return store.open(*store.resolve(stage))

    def beside(self, outputs: Path, *made: Artifact, project: str = "playground") -> "Chain":
        """Return a new project with copies of these artifacts and of all that they were made from."""
        new = Chain(outputs, project)
        for one in with_inputs(made):
            shutil.copytree(one.path, new.store.directory(one.stage, one.version), dirs_exist_ok=True)
        return new


def with_inputs(made: Iterable[Artifact]) -> Iterator[Artifact]:
    """Yield the artifacts of stages among these, and all that they were made from."""
    for one in made:
        if not one.is_external:
            yield one
            yield from with_inputs(one.inputs.values())


@pytest.fixture(scope="module", autouse=True)
def _imports_are_not_collected() -> Iterator[None]:
    """accelerate collects garbage after each training: among all imports, that takes longer than the training."""
    import_module("pipeline.modeling.tuning")
    import_module("pipeline.modeling.rewards.training")
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(scope="session")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    """One project that all stage tests of a worker share, so that the base model is trained once."""
    return Chain(tmp_path_factory.mktemp("outputs"))


@pytest.fixture
def new_chain(tmp_path: Path) -> Callable[[], Chain]:
    """Creates an empty project for one test."""
    return lambda: Chain(tmp_path / "outputs")


@pytest.fixture
def own_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests to this machine's servers are not refused, and one that failed is soon repeated."""
    monkeypatch.setattr("pipeline.services.endpoints.FIRST_PAUSE", 0.001)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)


@pytest.fixture(scope="session")
def served_by_others(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of `transformers serve`, which loads each model that it is asked for."""
    with transformers_serve(tmp_path_factory.mktemp("serve") / "serve.log") as url:
        yield url


@pytest.fixture(scope="session")
def rewarded(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """Returns `ppo.rewards=…` for a function with this body, which can use `prompts` and `answers`."""
    folder = tmp_path_factory.mktemp("rewards")

    def write(body: str, name: str = "own") -> str:
        (folder / f"{name}.py").write_text(f"def reward(prompts, answers):\n    {body}\n")
        return f"ppo.rewards=[{{source:{folder / name}.py:reward}}]"

    return write


@pytest.fixture(scope="session")
def vowels(rewarded: Callable[[str], str]) -> str:
    """A reward that every policy can learn: the share of e among the letters."""
    return rewarded("return [answer.count('e') / (len(answer) + 1) for answer in answers]", "vowels")
