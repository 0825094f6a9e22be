"""Batches of rows of similar length: each row once, the order of results that of the rows."""

from hypothesis import given
from hypothesis import strategies as st

from pipeline.batches import batches_by_length
from tests.lazily import lazily

with lazily():
    from pipeline.modeling.processes import computed_by_length

LENGTHS = st.lists(st.integers(0, 9), max_size=30)


@given(LENGTHS, st.integers(1, 9))
def test_every_row_is_in_one_batch_the_shortest_first(lengths: list[int], size: int) -> None:
    found = batches_by_length(lengths, size)
    flat = [place for batch in found for place in batch]
    assert sorted(flat) == [*range(len(lengths))]
    assert [lengths[place] for place in flat] == sorted(lengths)
    assert [len(batch) for batch in found[:-1]] == [size] * (len(found) - 1)
    assert all(0 < len(batch) <= size for batch in found)
    same = [place for place in flat if lengths[place] == 3]
    assert same == sorted(same)


@given(LENGTHS, st.integers(1, 9), st.data())
def test_only_the_rows_that_are_wanted_are_batched(lengths: list[int], size: int, data: st.DataObject) -> None:
    """In whatever order they are named."""
    wanted = data.draw(st.permutations(range(len(lengths))))[: len(lengths) // 2]
    found = batches_by_length(lengths, size, wanted)
    assert sorted(place for batch in found for place in batch) == sorted(wanted)
    assert found == batches_by_length(lengths, size, sorted(wanted))


@given(LENGTHS, st.integers(1, 9))
def test_values_stand_where_their_rows_do(lengths: list[int], size: int) -> None:
    done: list[int] = []
    assert computed_by_length(lambda places: [10 * i for i in places], lengths, size, done.append) == [
        10 * i for i in range(len(lengths))
    ]
    assert sum(done) == len(lengths)


@given(LENGTHS, st.integers(1, 30), st.integers(1, 31))
def test_a_batch_has_no_more_tokens_than_the_budget_unless_it_is_one_row(
    lengths: list[int], budget: int, size: int
) -> None:
    """Padding counts; and no batch could take the first row of the next one."""
    found = batches_by_length(lengths, size, tokens=budget)
    assert [row for batch in found for row in batch] == [row for (row,) in batches_by_length(lengths, 1)]
    for batch, following in zip(found, [*found[1:], None], strict=False):
        assert len(batch) == 1 or len(batch) * max(lengths[row] for row in batch) <= budget
        assert len(batch) <= size
        if following:
            assert (len(batch) + 1) * lengths[following[0]] > budget or len(batch) == size
