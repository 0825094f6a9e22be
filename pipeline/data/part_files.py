"""Writes rows into the files that stages read: SFT, its evaluation, prompts for annotators, prompts for RL, test.

`data.prompts` sets which turns become prompts. Rows of one conversation, and similar rows, are in one part. A part with
share 0 borrows SFT's rows: the first one for evaluation, all prompts for annotators and RL.
"""

import json
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.data.deduplication.decisions import (
    CONFLICT,
    DUPLICATE,
    KEPT,
    NEAR,
    OVERLAP,
    STEP_OF,
    Decisions,
    draw_counts,
    stable_group_names,
)
from pipeline.data.deduplication.minhash import Indexes
from pipeline.data.faults import BadRow
from pipeline.data.ledger import Step
from pipeline.data.pipeline import Gathered, Source, kept_rows
from pipeline.data.prompts.turns import Choice, prompts_of
from pipeline.data.rows import Demonstration, prompt_id
from pipeline.data.splits import split_groups
from pipeline.data.writing import line_writer

DATA_PARTS = ("sft", "dev", "test", "preference", "rl")
_REASONS = {
    DUPLICATE: "duplicate",
    NEAR: "near-duplicate",
    OVERLAP: "too close to a row of the test data",
    CONFLICT: "another answer to the same prompt",
}

OnKeptRow = Callable[[Demonstration, str, int], None]
"""Called with every kept row: the row, its source, its number of tokens."""


@dataclass
class RowCounts:
    """Rows per file, and the prompts already in each file."""

    rows: Counter[str] = field(default_factory=Counter)
    prompts: dict[str, set[int]] = field(default_factory=dict)  # file of prompts -> hashes of its prompts


def write_parts(
    gathered: Gathered,
    decisions: Decisions,
    folder: Path,
    *,
    shares: Mapping[str, float],
    prompts: Choice,
    seed: int,
    on_kept: OnKeptRow = lambda row, source, tokens: None,
) -> dict[str, int]:
    """Write DATA_PARTS as `<part>.jsonl` into the folder and record dropped rows; returns the number of rows per file.

    `shares` are shares of the rows outside test sources; the rest is for SFT.
    Raises RequestError if there are too few prompts for the parts.
    """
    part_of, drawn = _assign_parts(gathered, decisions, shares, seed)
    tokens, written = gathered.scratch.column("tokens"), RowCounts()
    source_of = gathered.scratch.column("source")
    with ExitStack() as stack:
        files = {name: stack.enter_context(line_writer(folder / f"{name}.jsonl")) for name in DATA_PARTS}

        def write(part: str, row: Mapping[str, Any]) -> None:
            files[part](json.dumps(row, ensure_ascii=False))
            written.rows[part] += 1

        for number, (row, item) in enumerate(kept_rows(gathered.scratch)):
            source = gathered.sources[int(source_of[number])]
            if decisions.outcome[number] != KEPT or not drawn[number]:
                _record_dropped(number, item, row, source, gathered, decisions)
                continue
            on_kept(row, source.name, int(tokens[number]))
            named = {**row, "source": source.name}
            for part in _files_of(DATA_PARTS[part_of[number]], shares, written):
                if part in ("sft", "dev"):
                    for _ in range(drawn[number] if part == "sft" else 1):
                        write(part, named)
                else:
                    _write_prompts(part, named, prompts, seed, written, write)
    return {part: written.rows[part] for part in DATA_PARTS}


def _assign_parts(
    gathered: Gathered, decisions: Decisions, shares: Mapping[str, float], seed: int
) -> tuple[Indexes, Indexes]:
    """(the index of each row's part [rows], how often each row is drawn [rows])."""
    source_of, content = gathered.scratch.column("source"), gathered.scratch.column("content")[:]
    tested = np.array([source.tested for source in gathered.sources])[source_of]
    weights = np.array([1.0 if source.tested else source.weight for source in gathered.sources])[source_of]
    drawn = draw_counts(content, weights, seed)
    part_of = np.full(len(tested), DATA_PARTS.index("test"), dtype=np.int64)
    own = (decisions.outcome == KEPT) & ~tested & (drawn > 0)
    group, names = stable_group_names(decisions.group[own], content[own])
    fractions = {part: shares.get(part, 0.0) for part in DATA_PARTS}
    if tested.any():
        fractions["test"] = 0.0
    fractions["sft"] = 1 - sum(share for part, share in fractions.items() if part != "sft")
    part_of[own] = split_groups(group, names, fractions, seed)
    return part_of, drawn


def _files_of(part: str, shares: Mapping[str, float], written: RowCounts) -> list[str]:
    """The files that receive the rows of a part."""
    if part != "sft":
        return [part]
    borrowed = [other for other in ("preference", "rl") if not shares.get(other)]
    return ["sft", *(["dev"] if not shares.get("dev") and not written.rows["dev"] else []), *borrowed]


def _write_prompts(
    part: str, row: Mapping[str, Any], choice: Choice, seed: int, written: RowCounts, write: Callable[[str, Any], None]
) -> None:
    """Write a conversation's prompts, each once; test prompts with their reference answer."""
    there = written.prompts.setdefault(part, set())
    for prompt, reference in prompts_of(row["messages"], choice, seed):
        identity = int(prompt_id(prompt), 16)
        if identity not in there:
            there.add(identity)
            answered = {"reference": reference} if part == "test" else {}
            write(part, {"prompt": prompt, **answered, "source": row["source"]})


def _record_dropped(
    number: int, item: int | str | None, row: Demonstration, source: Source, gathered: Gathered, decisions: Decisions
) -> None:
    place, outcome = gathered.place(number, item), int(decisions.outcome[number])
    step: Step = STEP_OF.get(outcome, "weight")
    reason = _REASONS.get(outcome, f"not drawn at weight {source.weight:g}")
    kept_instead = int(decisions.kept_instead[number])
    like = gathered.place(kept_instead) if outcome in (DUPLICATE, NEAR) else None
    gathered.ledger.drop(place, BadRow(None, None, reason), row["messages"], step, source=source.name, like=like)
