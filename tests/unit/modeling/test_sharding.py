"""Rows are shared out among processes: each row in one of them, and in the same step as with one process."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.lazily import lazily

with lazily():
    import torch

    from pipeline.modeling.sharding import SharedBatches, is_filler, with_fillers, without_marker


def parts(monkeypatch: pytest.MonkeyPatch, count: int, order: list[int], size: int, whole: int, drop: bool) -> list:
    """Return the batches of each of `count` processes."""
    from pipeline.modeling import processes

    monkeypatch.setattr(processes, "count", lambda: count)
    found = []
    for rank in range(count):
        monkeypatch.setattr(processes, "rank", lambda rank=rank: rank)
        batches = SharedBatches(order, size, whole, drop_last=drop)
        found.append(list(batches))
        assert len(found[-1]) == len(batches)
    return found


@given(
    rows=st.integers(1, 60),
    count=st.integers(1, 4),
    micro=st.integers(1, 4),
    accumulated=st.integers(1, 3),
    drop=st.booleans(),
)
def test_a_step_has_the_rows_of_one_process(rows: int, count: int, micro: int, accumulated: int, drop: bool) -> None:
    """No row twice, none left out but after the last whole step with `drop`; no process more than a micro batch."""
    order, size = list(range(rows))[::-1], micro * count
    whole = size * accumulated
    with pytest.MonkeyPatch.context() as monkeypatch:
        found = parts(monkeypatch, count, order, size, whole, drop)
    assert len({len(batches) for batches in found}) == 1
    assert all(len(batch) <= micro for batches in found for batch in batches)
    passes = [sorted(row for part in together for row in part) for together in zip(*found, strict=True)]
    used = order[: rows - rows % whole] if drop else order
    assert passes == [sorted(used[start : start + size]) for start in range(0, len(used), size)]


def test_a_batch_without_rows_becomes_a_filler() -> None:
    collate = with_fillers(lambda rows: {"input_ids": torch.tensor(list(rows))}, [1, 2])
    assert not is_filler(collate([[3, 4], [5, 6]]))
    filler = collate([])
    assert is_filler(filler)
    assert without_marker(filler).keys() == {"input_ids"}
    assert filler["input_ids"].tolist() == [[1, 2]]
