"""kill -9 at any point loses nothing: the same command resumes, and ends with the weights of an unbroken run."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.config.nodes.models import DecodingConfig
from pipeline.files import file_hash
from pipeline.store.artifact import Artifact
from pipeline.store.artifacts import MANIFEST
from tests.lazily import lazily
from tests.stages.conftest import Chain

with lazily():
    import torch

    from pipeline.modeling.chat.rendering import ChatFormat
    from pipeline.modeling.drawing import SampledAnswer
    from pipeline.modeling.generation import draw
    from pipeline.modeling.policy import load_policy
    from pipeline.modeling.sources import source_of, tokenizer_of

SLOWER = {
    "base": "base.steps=60",
    "sft": "sft.epochs=20",
    "dpo": "dpo.epochs=12",
}


def weights_hash(artifact: Artifact) -> str:
    return file_hash(artifact.path / "model" / "model.safetensors")


def results(artifact: Artifact) -> dict[str, float]:
    """Return all metrics except memory, which is measured and not computed."""
    return {name: value for name, value in artifact.metrics.items() if name != "peak_memory_mb"}


def kill_when(chain: Chain, overrides: tuple[str, ...], there: Callable[[], bool]) -> None:
    """Start the command, and kill it with SIGKILL when `there` is true."""
    process = chain.start(*overrides)
    deadline = time.monotonic() + 120
    while not there():
        assert process.is_alive(), "the command ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["base", "sft", "dpo"])
def test_a_killed_training_ends_with_the_same_weights(chain: Chain, tmp_path: Path, stage: str) -> None:
    """It is killed after a complete checkpoint, and again while it writes the next.

    DPO's are made after every step, because no time between them is too short: results do not depend on it.
    """
    longer = tuple(SLOWER.values())
    unbroken = chain.make(stage, *longer)
    broken = chain.beside(tmp_path, *unbroken.inputs.values())
    folder = broken.store.directory(stage, unbroken.version)
    checkpoints = folder / "checkpoints"
    often = ("launch.checkpoint_minutes=1e-9",) if stage == "dpo" else ()
    request = (f"stage={stage}", *longer, *often)
    kill_when(broken, request, lambda: any(checkpoints.glob("checkpoint-*/whole")))
    assert not (folder / MANIFEST).exists()
    marked = len(list(checkpoints.glob("checkpoint-*")))
    kill_when(broken, request, lambda: len(list(checkpoints.glob("checkpoint-*"))) > marked or marked > 1)
    assert not (folder / MANIFEST).exists()
    resumed = broken.make(stage, *longer)
    log = resumed.file("log.txt").read_text()
    assert "resumed from step" in log
    assert ("resumed from step 1\n" in log) == bool(often)
    assert weights_hash(resumed) == weights_hash(unbroken)
    assert results(resumed) == results(unbroken)
    assert not (folder / "checkpoints").exists()


def test_a_checkpoint_that_was_cut_off_is_not_used(tmp_path: Path) -> None:
    from pipeline.modeling.checkpoints import COMPLETE, last_complete_checkpoint

    for step in (5, 10, 15):
        (tmp_path / f"checkpoint-{step}").mkdir()
    (tmp_path / "checkpoint-5" / COMPLETE).touch()
    (tmp_path / "checkpoint-10" / COMPLETE).touch()
    assert last_complete_checkpoint(tmp_path) == tmp_path / "checkpoint-10"
    assert not (tmp_path / "checkpoint-15").exists()


def drawn(chain: Chain, partial: Path, size: int | None = 4) -> list[SampledAnswer]:
    """Draw answers of the tiny base model to ten prompts, in three batches by default."""
    source = source_of(chain.make("base"))
    tokenizer, _ = tokenizer_of(source)
    chat, model = ChatFormat(tokenizer), load_policy(source, tokenizer, torch.device("cpu"))
    prompts = [chat.prompt([{"role": "user", "content": "the " * n}]) for n in range(1, 11)]
    return draw(
        model, chat, prompts, DecodingConfig(1.0, 1.0, 12, size), 0, batch_tokens=10**6, own_cache=True, partial=partial
    )


def test_drawing_goes_on_after_a_cut_off_line(chain: Chain, tmp_path: Path) -> None:
    """Complete answers are kept; the others are drawn again, with the same result."""
    whole = drawn(chain, tmp_path / "whole")
    lines = (tmp_path / "whole").read_text().splitlines(keepends=True)
    (tmp_path / "cut").write_text("".join(lines[:5]) + lines[5][: len(lines[5]) // 2])
    assert drawn(chain, tmp_path / "cut") == whole
    assert (tmp_path / "cut").read_text() == (tmp_path / "whole").read_text()


def test_answers_already_drawn_are_taken_as_they_are(chain: Chain, tmp_path: Path) -> None:
    """The kept answers are really used: replaced ones appear in the result."""
    (tmp_path / "partial").write_text("".join(json.dumps([row, [10, 11, 12], True]) + "\n" for row in range(4)))
    assert drawn(chain, tmp_path / "partial").count(SampledAnswer([10, 11, 12], True)) == 4


def test_answers_already_drawn_stay_when_batches_are_divided_in_another_way(chain: Chain, tmp_path: Path) -> None:
    whole = drawn(chain, tmp_path / "whole")
    kept = (tmp_path / "whole").read_text().splitlines(keepends=True)[2:5]
    for size in (1, 3, None):
        (tmp_path / f"{size}").write_text("".join(kept))
        assert drawn(chain, tmp_path / f"{size}", size) == whole


def test_nothing_half_done_is_in_a_payload(chain: Chain) -> None:
    """Partial answers and checkpoints are removed at commit."""
    made = chain.make("sample")
    assert not [name for name in made.manifest["files"] if "partial" in name or "checkpoint" in name]
    assert sorted(made.manifest["files"]) == ["answers.jsonl", "log.txt"]
