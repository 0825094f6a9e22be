"""Numbers in cells: `labeling import` and the pipeline take the same ones, each with its own error for others."""

import math

import pytest

from labeling.exchange.cells import number_in, number_of
from labeling.exchange.reading import Unusable
from pipeline.data.faults import BadRow
from pipeline.data.formats import judgement

NUMBERS = [(2, 2.0), (2.5, 2.5), ("2", 2.0), (" -3e2 ", -300.0), ("1_000", 1000.0), (0, 0.0)]
OTHERS = [True, False, "true", "two", "inf", "-inf", float("inf"), 10**400, [1], {"n": 1}, "1,5"]


@pytest.mark.parametrize(("value", "number"), NUMBERS)
def test_a_number_is_read_alike(value: object, number: float) -> None:
    assert number_of(value) == number_in(value, "score") == judgement.number_in(value, "score") == number


@pytest.mark.parametrize("value", OTHERS)
def test_anything_else_is_refused_by_both(value: object) -> None:
    assert number_of(value) is None
    with pytest.raises(Unusable, match="is not a number"):
        number_in(value, "score")
    with pytest.raises(BadRow, match="a number is expected"):
        judgement.number_in(value, "score")


@pytest.mark.parametrize("value", [None, "", "  ", math.nan])
def test_an_empty_cell_holds_no_number(value: object) -> None:
    assert number_in(value, "score") is None
    assert judgement.number_in(value, "score") is None
