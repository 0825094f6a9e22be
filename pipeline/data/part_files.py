"""Judged rows into the files that stages read: for SFT, for its evaluation, to ask people about, for RL, to test on.

Prompts come out of conversations as `data.prompts` says; rows of one conversation, and what is like them, are in one
part. A part whose share is 0 has SFT's own rows (its first, for evaluation; all its prompts, to ask about and for RL).
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
    Judged,
    copies,
    names_of,
)
from pipeline.data.deduplication.minhash import Indexes
from pipeline.data.faults import BadRow
from pipeline.data.ledger import Step
from pipeline.data.pipeline import Gathered, Source, kept_rows
from pipeline.data.prompts.turns import Choice, prompts_of
from pipeline.data.rows import Demonstration, prompt_id
from pipeline.data.splits import split_groups
from pipeline.data.writing import line_writer

PARTS = ("sft", "dev", "test", "preference", "rl")
REASONS = {
    DUPLICATE: "duplicate",
    NEAR: "near-duplicate",
    OVERLAP: "too close to a row of the test data",
    CONFLICT: "another answer to the same prompt",
}

Seen = Callable[[Demonstration, str, int], None]
"""Told of every row that is kept: the row, its source, its tokens."""


@dataclass
class Written:
    """How many rows each file has."""

    rows: Counter[str] = field(default_factory=Counter)
    prompts: dict[str, set[int]] = field(default_factory=dict)  # of files of prompts: which are there already


def distribute(
    gathered: Gathered,
    judged: Judged,
    folder: Path,
    *,
    shares: Mapping[str, float],
    prompts: Choice,
    seed: int,
    seen: Seen = lambda row, source, tokens: None,
) -> dict[str, int]:
    """Write PARTS as `<part>.jsonl` into the folder, and enter what is left out; returns the rows of each file.

    `shares` are those of the rows that no source has set apart for testing; what is left is for SFT.
    Raises RequestError if there are too few prompts for the parts.
    """
    part_of, drawn = _parts(gathered, judged, shares, seed)
    tokens, written = gathered.scratch.column("tokens"), Written()
    source_of = gathered.scratch.column("source")
    with ExitStack() as stack:
        files = {name: stack.enter_context(line_writer(folder / f"{name}.jsonl")) for name in PARTS}

        def write(part: str, row: Mapping[str, Any]) -> None:
            files[part](json.dumps(row, ensure_ascii=False))
            written.rows[part] += 1

        for number, (row, item) in enumerate(kept_rows(gathered.scratch)):
            source = gathered.sources[int(source_of[number])]
            if judged.fate[number] != KEPT or not drawn[number]:
                _leave_out(number, item, row, source, gathered, judged)
                continue
            seen(row, source.name, int(tokens[number]))
            named = {**row, "source": source.name}
            for part in _files_of(PARTS[part_of[number]], shares, written):
                if part in ("sft", "dev"):
                    for _ in range(drawn[number] if part == "sft" else 1):
                        write(part, named)
                else:
                    _write_prompts(part, named, prompts, seed, written, write)
    return {part: written.rows[part] for part in PARTS}


def _parts(gathered: Gathered, judged: Judged, shares: Mapping[str, float], seed: int) -> tuple[Indexes, Indexes]:
    """For each row the index of its part, and how often it is drawn."""
    source_of, content = gathered.scratch.column("source"), gathered.scratch.column("content")[:]
    tested = np.array([source.tested for source in gathered.sources])[source_of]
    weights = np.array([1.0 if source.tested else source.weight for source in gathered.sources])[source_of]
    drawn = copies(content, weights, seed)
    part_of = np.full(len(tested), PARTS.index("test"), dtype=np.int64)
    own = (judged.fate == KEPT) & ~tested & (drawn > 0)
    group, names = names_of(judged.group[own], content[own])
    fractions = {part: shares.get(part, 0.0) for part in PARTS}
    if tested.any():
        fractions["test"] = 0.0
    fractions["sft"] = 1 - sum(share for part, share in fractions.items() if part != "sft")
    part_of[own] = split_groups(group, names, fractions, seed)
    return part_of, drawn


def _files_of(part: str, shares: Mapping[str, float], written: Written) -> list[str]:
    """The files that a row of a part goes to."""
    if part != "sft":
        return [part]
    borrowed = [other for other in ("preference", "rl") if not shares.get(other)]
    return ["sft", *(["dev"] if not shares.get("dev") and not written.rows["dev"] else []), *borrowed]


def _write_prompts(
    part: str, row: Mapping[str, Any], choice: Choice, seed: int, written: Written, write: Callable[[str, Any], None]
) -> None:
    """A conversation's prompts, each once; with the answer that was given where policies are tested on them."""
    there = written.prompts.setdefault(part, set())
    for prompt, reference in prompts_of(row["messages"], choice, seed):
        identity = int(prompt_id(prompt), 16)
        if identity not in there:
            there.add(identity)
            answered = {"reference": reference} if part == "test" else {}
            write(part, {"prompt": prompt, **answered, "source": row["source"]})


def _leave_out(
    number: int, item: int | str | None, row: Demonstration, source: Source, gathered: Gathered, judged: Judged
) -> None:
    place, fate = gathered.place(number, item), int(judged.fate[number])
    step: Step = STEP_OF.get(fate, "weight")
    reason = REASONS.get(fate, f"not drawn at weight {source.weight:g}")
    like = int(judged.like[number])
    kept = gathered.place(like) if fate in (DUPLICATE, NEAR) else None
    gathered.ledger.drop(place, BadRow(None, None, reason), row["messages"], step, source=source.name, like=kept)
