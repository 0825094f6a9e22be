"""An order in one cell names each response once, by its number or letter; whatever else it holds is refused."""

import pytest

from labeling.exchange.orders import is_order, ranks_in_order
from labeling.exchange.reading import Unusable

NUMBERS, LETTERS = ["1", "2", "3"], ["a", "b", "c"]


@pytest.mark.parametrize(
    ("cell", "slots", "ranks"),
    [
        ("2 > 1 = 3", NUMBERS, [2, 1, 2]),
        ("B > A = C", LETTERS, [2, 1, 2]),
        ("B = A > C", LETTERS, [1, 1, 3]),
        ("C > A = B", NUMBERS, [2, 2, 1]),  # letters among numbered responses
        ("3>1>>2", LETTERS, [2, 3, 1]),  # and numbers among lettered ones
        ("response_b > response_a > response_c", LETTERS, [2, 1, 3]),
        ("Model 2 > Model 3 ~ Model 1", NUMBERS, [2, 1, 2]),
        ("3 > 1", NUMBERS, [2, None, 1]),  # 2 is not judged
    ],
)
def test_names_become_ranks_of_slots(cell: str, slots: list[str], ranks: list[int | None]) -> None:
    assert is_order(cell)
    assert ranks_in_order(cell, slots, "order") == ranks


@pytest.mark.parametrize("slots", [NUMBERS, LETTERS])
@pytest.mark.parametrize(
    "cell", ["A > A", "A > D", "0 > 1", "4 > 1", "A > 1", "A > the other", " > A", "2 > 1 > 2", "h > a"]
)
def test_an_order_that_names_a_response_twice_or_an_unknown_one_is_refused(cell: str, slots: list[str]) -> None:
    with pytest.raises(Unusable, match="each response once"):
        ranks_in_order(cell, slots, "order")
