"""Batches of rows of similar length: each row once, the order of results that of the rows."""

import random
from itertools import pairwise, product

from hypothesis import given
from hypothesis import strategies as st

from pipeline.batches import batches_by_length, cheapest_batches
from tests.lazily import lazily

with lazily():
    from pipeline.modeling.processes import computed

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
    found = cheapest_batches(lengths, size, 9, wanted)
    assert sorted(place for batch in found for place in batch) == sorted(wanted)
    assert found == cheapest_batches(lengths, size, 9, sorted(wanted))


@given(st.lists(st.integers(1, 9), max_size=9), st.integers(1, 9), st.integers(0, 30))
def test_the_cheapest_batches_cost_least(lengths: list[int], size: int, pass_cost: int) -> None:
    """Of all divisions of the sorted rows; compared with each of them."""
    found = cheapest_batches(lengths, size, pass_cost)
    order = [place for batch in found for place in batch]
    assert order == [place for batch in batches_by_length(lengths, 1) for place in batch]
    assert all(0 < len(batch) <= size for batch in found)

    def cost(batches: list[list[int]]) -> int:
        return sum(pass_cost + len(batch) * max(lengths[place] for place in batch) for batch in batches)

    for cuts in product((False, True), repeat=max(len(order) - 1, 0)):
        ends = [i + 1 for i, cut in enumerate(cuts) if cut]
        other = [order[a:b] for a, b in pairwise([0, *ends, len(order)])] if order else []
        if all(len(batch) <= size for batch in other):
            assert cost(found) <= cost(other)


def test_little_padding_is_computed_where_lengths_differ() -> None:
    """A tenth at most, for answers that end at random and a pass that costs as much as 32 tokens (issue 16)."""
    draw = random.Random(0)
    lengths = [24 + min(64, 1 + int(draw.expovariate(1 / 24))) for _ in range(32)]
    found = cheapest_batches(lengths, 32, 32)
    assert sum(len(batch) * max(lengths[place] for place in batch) for batch in found) < 1.1 * sum(lengths)
    assert cheapest_batches([88] * 32, 32, 32) == [[*range(32)]]


@given(LENGTHS, st.integers(1, 9))
def test_values_stand_where_their_rows_do(lengths: list[int], size: int) -> None:
    done: list[int] = []
    batches = batches_by_length(lengths, size)
    assert computed(lambda places: [10 * i for i in places], batches, done.append) == [
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
