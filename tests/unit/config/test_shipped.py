"""Every file in conf/ composes."""

from pathlib import Path

import pytest
from hydra import compose as hydra_compose
from hydra import initialize_config_dir

from pipeline.config import compose

FILES = sorted(path.relative_to(compose.CONF) for path in compose.CONF.rglob("*.yaml"))
OWN = [file for file in FILES if len(file.parts) == 2]  # a launcher of sweeps is an option of Hydra's own group
NEEDED = {
    "model=hub": ("model.path=owner/name",),
    "model=small": ("model.path=owner/name",),
    "data=files": ("data.path=a.jsonl",),
    "labeling=file": ("labeling.path=b.jsonl",),
    "experiment=frontier": (),  # on the playground
}
EXPERIMENT = ("data.path=a.jsonl", "labeling.path=b.jsonl")  # an experiment names the model; the files are the user's


def test_options_were_found() -> None:
    assert {"config.yaml", "peft/lora.yaml", "labeling/file.yaml", "launch/local.yaml"} <= set(map(str, FILES))


@pytest.mark.parametrize("file", OWN, ids=str)
def test_every_option_composes(file: Path) -> None:
    choice = f"{file.parent}={file.stem}"
    needed = NEEDED.get(choice, EXPERIMENT if str(file.parent) == "experiment" else ())
    config = compose.load([choice, *needed])
    assert list(compose.check_values(config)) == []


@pytest.mark.parametrize("node", ["sft.peft", "dpo.peft"])
@pytest.mark.parametrize("option", ["full", "lora", "qlora"])
def test_every_way_of_tuning_for_one_stage(node: str, option: str) -> None:
    stage = node.partition(".")[0]
    assert getattr(compose.load([f"peft@{node}={option}"]), stage).peft.method == option


def test_hydra_leaves_no_files_about(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    compose.register_schema()
    with initialize_config_dir(str(compose.CONF), version_base="1.3"):
        whole = hydra_compose("config", return_hydra_config=True)
    assert whole.hydra.output_subdir is None
    assert whole.hydra.job_logging is None or "file" not in whole.hydra.job_logging.get("handlers", {})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("advantage", ["rloo", "grpo"])
@pytest.mark.parametrize("model", sorted(path.stem for path in FILES if str(path.parent) == "model"))
def test_every_model_goes_with_groups_of_answers(model: str, advantage: str) -> None:
    """A file sets no option of a value model where there is none, and gae keeps its own."""
    given = [f"model={model}", *NEEDED.get(f"model={model}", ())]
    assert compose.load([*given, f"ppo.advantage={advantage}", "ppo.group=4"]).ppo.value_learning_rate is None
    assert compose.load(["model=tiny"]).ppo.value_learning_rate == 1e-3
