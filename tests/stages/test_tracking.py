"""W&B offline: the content of a run, read with wandb's own reader; a missing service does not stop the work."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.store.artifact import Artifact
from tests.stages.conftest import Chain

pytestmark = pytest.mark.slow


def records(outputs: Path, artifact: Artifact) -> list[dict[str, Any]]:
    """Return every record of the offline run of one version, read with `wandb leet inspect`."""
    (file,) = outputs.glob(f".tracking/wandb/offline-run-*-{artifact.stage}-{artifact.version}/*.wandb")
    asked = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(file)]
    printed = subprocess.run(asked, capture_output=True, text=True, check=True, timeout=60).stdout
    return [json.loads(line) for line in printed.splitlines()]


def of_type(found: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [record[kind] for record in found if record["type"] == kind]


@pytest.fixture
def offline(chain: Chain, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Chain:
    """A new project with data and a base model, on a machine without a W&B key."""
    new = chain.beside(tmp_path / "outputs", *chain.make("sft").inputs.values())
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    monkeypatch.setenv("HOME", str(tmp_path))
    return new


def test_an_offline_run_mirrors_the_manifest(offline: Chain) -> None:
    """Group, job type, configuration with lineage, the training history, the manifest's metrics, the artifact."""
    made = offline.make("sft", "tracking=auto")
    found = records(offline.outputs, made)
    (run,) = of_type(found, "run")
    config = run["config"]["update"]
    assert (run["run_group"], run["job_type"]) == ("playground", "sft")
    assert config["inputs"] == {role: given.reference for role, given in made.inputs.items()}
    assert config["learning_rate"] == made.manifest["config"]["learning_rate"]
    history = [row["item"] for row in of_type(found, "history")]
    assert sum("eval_loss" in row for row in history) == 4
    summary = {key: value for row in of_type(found, "summary") for key, value in row["update"].items()}
    for name, value in made.metrics.items():
        assert summary[name] == pytest.approx(value)
    (logged,) = of_type(found, "artifact")
    assert logged["type"] == "sft"
    assert json.loads(logged["metadata"])["inputs"] == config["inputs"]
    assert {content["ref"] for content in logged["manifest"]["contents"]} >= {
        (made.path.absolute() / name).as_uri() for name in made.manifest["files"]
    }


def test_both_arms_lie_in_one_group_and_count_their_steps_alike(offline: Chain, tmp_path: Path) -> None:
    """Every training stage: the same group, its own job type, and tokens seen in training as the step."""
    (tmp_path / "long.py").write_text("def reward(prompts, answers):\n    return [len(answer) for answer in answers]\n")
    reward = f"ppo.rewards=[{{source:{tmp_path / 'long.py'}:reward}}]"
    for stage in ("sft", "dpo", "reward", "ppo"):
        found = records(offline.outputs, offline.make(stage, reward, "tracking=offline"))
        (run,) = of_type(found, "run")
        assert (run["run_group"], run["job_type"]) == ("playground", stage)
        rows = [row["item"] for row in of_type(found, "history")]
        seen = [row["tokens"] for row in rows if "loss" in row or "policy_loss" in row]
        assert seen == sorted(seen)
        assert seen[0] > 0
        (defined,) = of_type(found, "metric")
        assert (defined["glob_name"], defined["step_metric"]) == ("*", "tokens")


def test_a_tracking_service_out_of_reach_does_not_end_the_work(
    new_chain: Callable[[], Chain], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Online with a key that every server refuses: the stage still succeeds, and the log reports it."""
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("WANDB_INIT_TIMEOUT", "5")
    made = new_chain().make("data", "tracking=online")
    assert made.metrics["read"] > 0
