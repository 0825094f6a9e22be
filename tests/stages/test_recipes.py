"""Every recipe in `conf/experiment` runs the whole chain as it is written, on the CPU with a tiny model and few steps.

A recipe for several cards runs in two processes, which share the model as its cards would. Three recipes are QLoRA on
one card, and differ in sizes alone: one of them runs here, all with `--hypothesis-profile=deep`.
"""

from pathlib import Path

import pytest

from pipeline.__main__ import main
from pipeline.config import compose
from pipeline.config.names import CONF
from pipeline.store.artifacts import Store
from tests.examples import is_deep
from tests.stages.architectures import build
from tests.stages.small import TINY
from tests.stages.test_own_files import asked, rows, write

pytestmark = pytest.mark.slow

ALIKE = {"gpu_8gb", "gpu_24gb"}  # as qlora_7b
RECIPES = sorted(file.stem for file in (CONF / "experiment").glob("*.yaml"))
RECIPES = [name for name in RECIPES if name not in ALIKE or is_deep()]
FEW = (
    *("sft.epochs=1", "dpo.epochs=1", "reward.epochs=1", "judge.epochs=1", "ppo.iterations=1", "ppo.max_new_tokens=6"),
    *("ppo.rollouts=16", "ppo.batch_size=8"),
    *("ppo.stop.distinct=0", "ppo.stop.stopped=0", "evaluate.decoding.max_new_tokens=6", "tracking=off", "gates=off"),
)


def files(folder: Path) -> list[str]:
    """Demonstrations, pairs and a model of the user's own."""
    pairs = [{"prompt": asked(n), "chosen": f"It is {n} of them.", "rejected": f"No {n * 3}."} for n in range(24)]
    build("llama", folder / "model")
    demonstrations, judged = write(folder / "rows.jsonl", rows(24)), write(folder / "pairs.jsonl", pairs)
    return ["model=hub", f"model.path={folder / 'model'}", f"data.path={demonstrations}", f"labeling.path={judged}"]


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_runs_from_its_files_to_its_report(tmp_path: Path, name: str) -> None:
    recipe = f"experiment={name}"
    if name == "frontier":  # on the playground
        own = [one for one in TINY if not one.startswith(("sft.", "ppo.", "dpo.", "reward.", "labeling=", "evaluate."))]
    else:
        own = [*files(tmp_path), "launch.device=cpu"]
        several = compose.load([recipe, *own]).launch.processes > 1
        own += ["launch.processes=2"] if several else ["launch.parallel=1"]
    config = compose.load([recipe, *own, *FEW])
    assert main([recipe, f"outputs={tmp_path / 'outputs'}", *own, *FEW]) == 0
    store = Store(tmp_path / "outputs", name)
    for stage in ("sft", "dpo", "reward", "ppo"):
        manifest = store.read_manifest(*store.resolve(stage))
        assert manifest["config"]["peft"]["method"] == getattr(config, stage).peft.method
        assert manifest["runtime"]["shard"] == config.launch.shard
    metrics = store.read_manifest(*store.resolve("evaluate"))["metrics"]
    assert {"dpo/win_rate", "ppo/win_rate"} <= metrics.keys()
