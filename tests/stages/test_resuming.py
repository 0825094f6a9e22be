"""kill -9 at any point loses nothing: the same command goes on, and ends with the weights of an unbroken run."""

import json
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.artifacts import MANIFEST, Artifact
from pipeline.files import file_hash
from tests.stages.conftest import Chain

SLOWER = {
    "base": "base.steps=60",
    "sft": "sft.epochs=20",
    "dpo": "dpo.epochs=12",
}


def weights_hash(artifact: Artifact) -> str:
    return file_hash(artifact.path / "model" / "model.safetensors")


def kill_when(chain: Chain, overrides: tuple[str, ...], there: Callable[[], bool]) -> None:
    """Start the command, and kill it with SIGKILL once `there` holds."""
    process = subprocess.Popen(chain.command(*overrides), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not there():
        assert process.poll() is None, "the command ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["base", "sft", "dpo"])
def test_a_killed_training_ends_with_the_same_weights(chain: Chain, new_chain: Callable[[], Chain], stage: str) -> None:
    """Killed after a whole checkpoint, and again in the middle of writing the next."""
    longer = tuple(SLOWER.values())
    unbroken = chain.make(stage, *longer)
    broken = new_chain()
    if stage != "base":
        assert broken.run(f"stage={'sft' if stage == 'dpo' else 'data'}", *longer) == 0
        if stage == "dpo":
            assert broken.run("stage=preferences", *longer) == 0
    folder = broken.store.directory(stage, unbroken.version)
    checkpoints = folder / "checkpoints"
    request = (f"stage={stage}", *longer)
    kill_when(broken, request, lambda: any(checkpoints.glob("checkpoint-*/whole")))
    assert not (folder / MANIFEST).exists()
    marked = len(list(checkpoints.glob("checkpoint-*")))
    kill_when(broken, request, lambda: len(list(checkpoints.glob("checkpoint-*"))) > marked or marked > 1)
    assert not (folder / MANIFEST).exists()
    resumed = broken.make(stage, *longer)
    assert "resumed from step" in resumed.file("log.txt").read_text()
    assert weights_hash(resumed) == weights_hash(unbroken)
    assert resumed.metrics == unbroken.metrics
    assert not (folder / "checkpoints").exists()


def test_a_checkpoint_that_was_cut_off_is_not_used(tmp_path: Path) -> None:
    from pipeline.modeling.training import WHOLE, last_whole_checkpoint

    for step in (5, 10, 15):
        (tmp_path / f"checkpoint-{step}").mkdir()
    (tmp_path / "checkpoint-5" / WHOLE).touch()
    (tmp_path / "checkpoint-10" / WHOLE).touch()
    assert last_whole_checkpoint(tmp_path) == tmp_path / "checkpoint-10"
    assert not (tmp_path / "checkpoint-15").exists()


def test_sampling_goes_on_after_a_cut_off_line(chain: Chain, new_chain: Callable[[], Chain]) -> None:
    """Answers of whole batches are kept; the batch whose line was cut off is drawn again, the same."""
    small = ("sample.decoding.batch_size=8",)
    whole = chain.make("sample", *small)
    partial = next(whole.path.glob("*.partial"))
    broken = new_chain()
    assert broken.run("stage=sft") == 0
    folder = broken.store.directory("sample", whole.version)
    folder.mkdir(parents=True)
    lines = partial.read_text().splitlines(keepends=True)
    (folder / partial.name).write_text(lines[0] + lines[1][: len(lines[1]) // 2])
    resumed = broken.make("sample", *small)
    assert resumed.file("answers.jsonl").read_bytes() == whole.file("answers.jsonl").read_bytes()


def test_batches_already_drawn_are_taken_as_they_are(chain: Chain, new_chain: Callable[[], Chain]) -> None:
    """The kept batches are really used: one that was exchanged shows in the result."""
    small = ("sample.decoding.batch_size=8", "sample.seed=3")
    whole = chain.make("sample", *small)
    partial = next(whole.path.glob("*.partial"))
    broken = new_chain()
    assert broken.run("stage=sft") == 0
    folder = broken.store.directory("sample", whole.version)
    folder.mkdir(parents=True)
    exchanged = [[[10, 11, 12], True] for _ in json.loads(partial.read_text().splitlines()[0])]
    (folder / partial.name).write_text(json.dumps(exchanged) + "\n")
    resumed = broken.make("sample", *small)
    assert resumed.file("answers.jsonl").read_bytes() != whole.file("answers.jsonl").read_bytes()
