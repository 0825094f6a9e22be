"""Reads orders of numbered responses in one cell, best first: `B > A = C`. Pure functions."""

import re
from collections.abc import Iterable, Sequence

from labeling.exchange.columns import numbered_responses, plain
from labeling.exchange.reading import Unusable

ORDERS = ("ranking", "rank", "order", "rank_order", "preference", "ordering")

_ORDER = re.compile(r"[^<>]*>[^<>]*(?:>+[^<>]*)*")


def is_order(cell: object) -> bool:
    """Whether a cell holds an order."""
    return isinstance(cell, str) and _ORDER.fullmatch(cell) is not None


def ranks_in_order(cell: object, slots: Sequence[str], field: str) -> list[int | None]:
    """The rank of each slot's response; None if the order omits it. Raises Unusable."""
    ranks: dict[str, int] = {}
    for group in re.split(r">+", str(cell)):
        rank, slot_names = len(ranks) + 1, [_slot(name, slots) for name in re.split(r"[=~≈]+", group)]
        for slot in slot_names:
            if slot is None or slot in ranks:
                raise Unusable(field, "the order must name each response once, by its number or letter", cell)
            ranks[slot] = rank
    return [ranks.get(slot) for slot in slots]


def order_column(row_names: Iterable[str], cells: Sequence[object]) -> str | None:
    """The first column under a usual name that holds an order."""
    found = [name for name, cell in zip(row_names, cells, strict=True) if plain(name) in ORDERS and is_order(cell)]
    return found[0] if found else None


def _slot(name: str, slots: Sequence[str]) -> str | None:
    """The slot of a name: `B`, `2`, `response_b`, `Model 2`."""
    word = plain(name)
    slot = next(iter(numbered_responses([word])), word.rpartition("_")[2])
    if slot in slots:
        return slot
    return _other_kind(slot, slots)


def _other_kind(slot: str, slots: Sequence[str]) -> str | None:
    """The slot of a letter among numbered responses, or of a number among lettered ones."""
    letters = "abcdefgh"
    if slot in letters and slot and slots == [str(number + 1) for number in range(len(slots))]:
        place = letters.index(slot)
    elif slot.isdecimal() and slots == list(letters[: len(slots)]):
        place = int(slot) - 1
    else:
        return None
    return slots[place] if 0 <= place < len(slots) else None
