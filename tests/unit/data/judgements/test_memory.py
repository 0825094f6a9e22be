"""Pooling a million pairs holds no copies of their texts: not as keys, not in the ledger."""

import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.data.faults import Place
from pipeline.data.formats.judgement import Pair
from pipeline.data.judgements.account import Account
from pipeline.data.judgements.pairs import as_preference, latest_pairs, pair_key
from pipeline.data.judgements.pooling import preferences_from_pairs, split_preferences
from pipeline.data.reading.raw import RawRow

COUNT, TEXT = 50, "word " * 1000
BYTES = 3 * COUNT * len(TEXT)


def pairs(annotator: str | None) -> list[Pair]:
    return [
        Pair(
            [{"role": "user", "content": f"{n} {TEXT}"}],
            *([{"role": "assistant", "content": f"{name} {n} {TEXT}"}] for name in ("good", "bad")),
            annotator=annotator,
        )
        for n in range(COUNT)
    ]


def count_rows() -> Account:
    """An account of rows whose texts nothing else holds."""
    account = Account("drop")
    for n in range(COUNT):
        account.count_read(RawRow(Place(Path("rows.jsonl"), n), {"prompt": f"{n} {TEXT}" * 3}))
    return account


WORK: dict[str, Callable[[list[Pair]], Any]] = {
    "latest": lambda given: latest_pairs([(n, pair) for n, pair in enumerate(given)]),
    "repeated": lambda given: {pair_key(pair) for pair in given},
    "pooled": lambda given: preferences_from_pairs(map(as_preference, given)),
    "split": lambda given: split_preferences([as_preference(pair) for pair in given], 0.1, 0, judge_share=0.1),
    "read": lambda given: count_rows(),
}


@pytest.mark.parametrize("name", WORK)
@pytest.mark.parametrize("annotator", [None, "ann"])
def test_no_texts_are_copied(name: str, annotator: str | None) -> None:
    given = pairs(annotator)
    WORK[name](given[:2])  # fills caches
    tracemalloc.start()
    WORK[name](given)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 0.2 * BYTES, peak / BYTES
