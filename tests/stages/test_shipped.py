"""Promises of the README with the shipped defaults: the demo's result, and users' data."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.__main__ import main
from pipeline.store.artifacts import Store
from tests.places import ROOT

pytestmark = pytest.mark.slow

SHARED = ROOT.parent / "shared" / "data"


def test_both_arms_beat_sft_on_held_out_prompts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The whole chain runs; then nothing is left to run, and a changed beta runs DPO and the stages after it.

    DEMO_OUTPUTS names the outputs of a finished `make demo`, which are used again.
    """
    outputs = Path(os.environ.get("DEMO_OUTPUTS", tmp_path))
    request = [f"outputs={outputs}", "tracking=off"]
    assert main(request) == 0
    store = Store(outputs, "playground")
    metrics = store.open(*store.resolve("evaluate")).metrics
    assert metrics["sft/perfect"] <= 0.2
    for arm in ("ppo", "dpo"):
        assert metrics[f"{arm}/win_rate"] >= 0.8
        assert metrics[f"{arm}/win_rate_low"] > 0.75
        assert metrics[f"{arm}/kl"] < 10
    capsys.readouterr()
    assert main(request) == 0
    assert "nothing to run" in capsys.readouterr().out
    assert main([*request, "stage=evaluate", "dpo.beta=0.1", "plan=true"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines if " run " in line] == ["dpo", "evaluate"]
    assert "dpo.beta 0.3 -> 0.1" in "\n".join(lines) or "beta 0.3 -> 0.1" in "\n".join(lines)


@pytest.mark.skipif(not SHARED.is_dir(), reason=f"other people's data is not here ({SHARED})")
def test_other_peoples_data(tmp_path: Path) -> None:
    """Alpaca and ShareGPT files for SFT, three files of judgements for DPO, with a model that has no pad token."""
    script = [sys.executable, str(ROOT / "benchmarks" / "real_input.py"), str(SHARED), "--arms", "dpo"]
    few = ("sft.epochs=0.1", "dpo.epochs=0.05", "dpo.batch_size=8", "sft.evaluations=1", "dpo.evaluations=1")
    subprocess.run([*script, f"--outputs={tmp_path}", *few, "launch.parallel=1"], check=True, cwd=ROOT)
    store = Store(tmp_path, "real_input")
    assert len(store.versions("sft")) == 2
    assert len(store.versions("dpo")) == 3
    for version in store.versions("sft"):
        data = store.open("sft", version).inputs["data"].metrics
        assert data["read"] == data["kept"] + data["dropped"]
        assert data["read"] in (175, 500)
