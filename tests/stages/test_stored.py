"""Tokenized rows on disk: training on them is training on the same rows in memory, and memory does not grow."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.config.nodes.learning import DpoConfig, RewardConfig
from pipeline.config.nodes.models import SftConfig
from pipeline.data.rows import jsonl_rows
from pipeline.errors import RequestError
from pipeline.lengths.fitting import fitting_rows
from tests.lazily import lazily
from tests.stages import tiny

with lazily():
    import torch

    from pipeline.modeling import training, tuning
    from pipeline.modeling.chat.rendering import ChatFormat, Rendered
    from pipeline.modeling.preferences.pairs import RENDERED_PAIRS, RenderedPair, Sides
    from pipeline.modeling.rewards.training import PAIRS, Pair, reward_trainer
    from pipeline.modeling.scoring import AnsweredPrompt
    from pipeline.modeling.stored import Picked, stored_rows
    from pipeline.modeling.tuning import LABELLED
    from tests.stages.test_figures import classifier

pytestmark = pytest.mark.slow

COUNTS = {"train": 21, "test": 6}
OPTIONS: dict[str, Any] = {
    **{"seed": 0, "epochs": 2, "batch_size": 4, "learning_rate": 1e-3, "evaluations": 2},
    "trainer": {"logging_steps": 1},
}


def conversations(part: str) -> list[Any]:
    return [Rendered(a.prompt + a.answer, [0, 0] + [1] * len(a.answer)) for a in tiny.answers(COUNTS[part], len(part))]


def pairs(part: str) -> list[Any]:
    """Every third pair comes twice, so answers are shared."""
    found = [RenderedPair(*sides, 0.1 * (i % 4)) for i, sides in enumerate(tiny.pairs(COUNTS[part], len(part)))]
    return [*found, *found[::3]]


def judged(part: str) -> list[Any]:
    """Rankings of two and three answers; the pairs of one ranking do not follow each other."""
    found = [Pair(*sides, 0.5, f"r{i}") for i, sides in enumerate(tiny.pairs(COUNTS[part], len(part)))]
    third = AnsweredPrompt(found[0].chosen.prompt, [5, 6, 2])
    return [*found, Pair(found[0].chosen, third, 1.0, "r0"), Pair(found[0].chosen, third, 1.0, "other")]


SPEED = ("eval_runtime", "eval_samples_per_second", "eval_steps_per_second")
STAGES: dict[str, Any] = {"sft": conversations, "dpo": pairs, "reward": judged}


def trained(stage: str, folder: Path, *, stored: bool) -> tuple[list[dict[str, float]], dict[str, Any]]:
    """Return the history and the weights of a run on rows in memory, or on the same rows in files."""
    context = tiny.context(folder)
    kind = {"sft": LABELLED, "dpo": RENDERED_PAIRS, "reward": PAIRS}[stage]
    rows = {part: STAGES[stage](part) for part in COUNTS}
    if stored:
        rows = {part: stored_rows(part, kind, context, lambda own=own: own) for part, own in rows.items()}
    made = tiny.in_training(classifier() if stage == "reward" else tiny.model("llama"))
    make, config = {
        "sft": (tuning.sft_trainer, SftConfig(**OPTIONS)),
        "dpo": (tuning.dpo_trainer, DpoConfig(**OPTIONS, label_noise=True)),
        "reward": (reward_trainer, RewardConfig(**OPTIONS)),
    }[stage]
    trainer = make(made, rows["train"], rows["test"], config, context)
    history = training.train(trainer, context, stage, 2)
    losses = [{name: row[name] for name in row if name not in SPEED} for row in history]
    return losses, dict(made.model.named_parameters())


@pytest.mark.parametrize("stage", STAGES)
def test_rows_on_disk_give_bitwise_the_losses_and_weights_of_rows_in_memory(stage: str, tmp_path: Path) -> None:
    (before, weights), (after, others) = (
        trained(stage, tmp_path / str(stored), stored=stored) for stored in (False, True)
    )
    assert before == after
    assert all(torch.equal(weights[name], others[name]) for name in weights)


@pytest.mark.parametrize("stage", STAGES)
def test_rows_come_back_as_they_were(stage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.modeling.stored.AT_ONCE", 4)
    kind = {"sft": LABELLED, "dpo": RENDERED_PAIRS, "reward": PAIRS}[stage]
    rows = STAGES[stage]("train")
    found = stored_rows("train", kind, tiny.context(tmp_path), lambda: iter(rows))
    assert [*found] == [found[i] for i in range(len(found))] == found[:] == rows
    assert [*Picked(found, [0, 3, 20])] == [rows[0], rows[3], rows[20]]
    if stage != "sft":
        sides = Sides(found, rows[:2])
        assert (
            [*sides] == [sides[i] for i in range(len(sides))] == [one for row in (*rows, *rows[:2]) for one in row[:2]]
        )


def test_a_resumed_run_finds_its_rows_and_a_failed_one_leaves_none(tmp_path: Path) -> None:
    context, rows = tiny.context(tmp_path), conversations("test")

    def broken() -> Iterator[Any]:
        yield rows[0]
        raise RequestError("line 2 is damaged")

    def unasked() -> Iterator[Any]:
        raise AssertionError("these rows are on disk")

    with pytest.raises(RequestError, match="line 2"):
        stored_rows("train", LABELLED, context, broken)
    assert not [*tmp_path.rglob("*.arrow"), *tmp_path.rglob("*.tmp")]
    assert [*stored_rows("train", LABELLED, context, lambda: rows)] == rows
    assert [*stored_rows("train", LABELLED, context, unasked)] == rows


def test_memory_does_not_grow_with_the_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From a file of text to tokenized rows that are read once: four times the rows, and the same peak."""
    monkeypatch.setattr("pipeline.modeling.stored.AT_ONCE", 100)
    chat, peaks = ChatFormat(tiny.tokenizer()), []
    turns = [{"role": "user", "content": "w1 w2 w3"}, {"role": "assistant", "content": ("w4 w5 " * 20).strip()}]
    for count in (500, 500, 2000):  # the first run fills caches
        file, context = tmp_path / "rows.jsonl", tiny.context(tmp_path / f"{len(peaks)}")
        file.write_text((json.dumps({"messages": turns}) + "\n") * count)

        def rows(file: Path = file, context: Any = context) -> Iterator[Rendered]:
            kept = fitting_rows(jsonl_rows(file), lambda row: chat.rows(row["messages"]), len, 99, file, context)
            return (row for several in kept for row in several)

        tracemalloc.start()
        found = stored_rows("train", LABELLED, context, rows)
        assert sum(len(row.ids) for row in found) == count * len(found[0].ids)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[2] < 1.2 * peaks[1]
