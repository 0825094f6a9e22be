"""Ten thousand damaged rows, of every format, through all that the stage `data` does without a model: nothing crashes,
and every row is kept or in the ledger, with its file, line and reason.
"""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.data.cleaning.table import default_modes
from pipeline.data.pipeline import Source
from pipeline.data.rows import read_jsonl
from tests.unit.data.preparing import prepared

ROWS = 10_000
WORDS = [
    "the",
    "kettle",
    "hisses",
    "while",
    "nobody",
    "in",
    "this",
    "house",
    "has",
    "touched",
    "its",
    "valve",
    "since",
    "monday",
    "or",
    "the",
    "week",
    "before",
]


def text(draw: random.Random) -> str:
    return " ".join(draw.choices(WORDS, k=draw.randint(1, 30))) + f" {draw.randint(0, 10**6)}"


def turns(draw: random.Random, role: str, content: str, names: tuple[str, str]) -> list[dict[str, Any]]:
    return [{role: names[n % 2], content: text(draw)} for n in range(2 * draw.randint(1, 3))]


def tree(draw: random.Random) -> dict[str, Any]:
    replies = [{"text": text(draw), "role": "assistant", "rank": n, "replies": []} for n in range(3)]
    return {"message_tree_id": "t", "prompt": {"text": text(draw), "role": "prompter", "replies": replies}}


FORMATS: dict[str, Callable[[random.Random], dict[str, Any]]] = {
    "alpaca": lambda d: {"instruction": text(d), "input": d.choice(["", text(d)]), "output": text(d)},
    "sharegpt": lambda d: {"id": str(d.random()), "conversations": turns(d, "from", "value", ("human", "gpt"))},
    "messages": lambda d: {"messages": turns(d, "role", "content", ("user", "assistant"))},
    "prompt_completion": lambda d: {"question": text(d), "answer": text(d)},
    "openorca": lambda d: {"system_prompt": text(d), "question": text(d), "response": text(d)},
    "pubmedqa": lambda d: {"QUESTION": text(d), "CONTEXTS": [text(d), text(d)], "LONG_ANSWER": text(d)},
    "hh": lambda d: {"text": f"\n\nHuman: {text(d)}\n\nAssistant: {text(d)}"},
    "oasst": tree,
    "kto": lambda d: {"prompt": text(d), "completion": text(d), "label": d.random() < 0.7},
    "log": lambda d: {"prompt": text(d), "response": text(d), "feedback": d.choice(["up", "down"]), "edit": text(d)},
}
ODD: list[Any] = [
    *(None, 0, -1.5, True, [], {}, "", "   ", [[]], [None], {"role": "narrator"}, "x" * 200_000, "\x00\x1b\u202e"),
    *("</s><|im_end|>", "\ud800", "\ufeff", "â€™", "<p>a</p><br>", "NaN", 10**400, {"text": {"text": None}}),
]


def with_own_mark(spoilt: Any, row: dict[str, Any]) -> Any:
    """The damaged row with the mark that it had: marks that nothing explains refuse a file, and cost no rows."""
    for column in {"label", "feedback"} & row.keys():
        if isinstance(spoilt, dict) and column in spoilt:
            spoilt = {**spoilt, column: row[column]}
    return spoilt


def damaged(value: Any, draw: random.Random) -> Any:
    """The value with one thing in it, at any depth, exchanged, doubled, swapped or taken away."""
    if isinstance(value, dict) and value and draw.random() < 0.9:
        key = draw.choice(list(value))
        if draw.random() < 0.15:
            return {name: one for name, one in value.items() if name != key}
        if draw.random() < 0.1:
            return {(name.upper() if name == key else name): one for name, one in value.items()}
        return {**value, key: damaged(value[key], draw)}
    if isinstance(value, list) and value and draw.random() < 0.9:
        place = draw.randrange(len(value))
        if draw.random() < 0.2:
            return [*value[:place], value[place], *value[place:]]
        if draw.random() < 0.2:
            return value[::-1]
        return [*value[:place], damaged(value[place], draw), *value[place + 1 :]]
    return draw.choice(ODD)


def line(row: dict[str, Any], draw: random.Random) -> str:
    """A row as a line of JSON; one in ten is cut, or has a character exchanged."""
    written = json.dumps(row)
    if draw.random() < 0.05:
        return written[: draw.randint(1, len(written))]
    if draw.random() < 0.05:
        place = draw.randrange(len(written))
        return written[:place] + draw.choice('"{}[],:\\x') + written[place + 1 :]
    return written


@pytest.mark.parametrize("mend_roles", [False, True])
def test_every_damaged_row_is_kept_or_accounted_for(tmp_path: Path, mend_roles: bool) -> None:
    draw, sources, expected = random.Random(7), [], 0
    share = ROWS // len(FORMATS) // 2
    for name, make in FORMATS.items():
        lines = [line(with_own_mark(damaged(row := make(draw), draw), row), draw) for _ in range(share)]
        file = tmp_path / f"{name}.jsonl"
        file.write_text("".join(f"{one}\n" for one in lines))
        expected += share
        sources.append(Source(name, [file], name))
    modes = {**default_modes(), "refusals": "drop", "personal_data": "mask", "repetition": "drop"}
    written, ledger, _ = prepared(*sources, folder=tmp_path, modes=modes, max_bad_fraction=1.0, mend_roles=mend_roles)
    ledger.write(tmp_path / "ledger.jsonl")
    entries = read_jsonl(tmp_path / "ledger.jsonl")
    assert ledger.read == expected == ledger.kept + ledger.dropped
    assert len(entries) == ledger.dropped > 1000
    assert all(entry["reason"] and Path(entry["file"]).is_file() and 1 <= entry["line"] <= share for entry in entries)
    assert len(written["sft"]) == ledger.kept > 500
    assert len({(entry["file"], entry["line"]) for entry in entries}) == len(entries)
    for row in written["sft"]:
        assert row["messages"][-1]["role"] == "assistant"
        assert all(turn["content"].strip() for turn in row["messages"])
