"""Columns that mark a whole row as not to be used: `deleted`, `rejected`, `valid: false`.

Marks of answers (`label`, `accepted`, a thumb) are read by `labels` and `logs`.
"""

from functools import cache
from typing import Any

from labeling.exchange.columns import plain
from labeling.flags import FALSE, TRUE
from pipeline.data.faults import LeftOut
from pipeline.data.formats.flags import flag_in
from pipeline.data.formats.watching import note, peek

_AGAINST = frozenset(
    (
        *("deleted", "rejected", "discarded", "discard", "excluded", "exclude", "skipped", "skip", "ignored", "ignore"),
        *("dropped", "drop", "removed", "remove", "invalid", "spam", "bad", "incorrect", "wrong"),
    )
)
_FOR = frozenset(
    ("keep", "kept", "include", "included", "valid", "usable", "use", "used", "good", "correct", "acceptable")
)
_BESIDE = frozenset(("is", "was", "be", "to", "should", "for", "in", "from", "train", "training"))


def check_verdicts(row: dict[str, Any]) -> None:
    """Raise LeftOut if a column marks the row as not to be used; values other than yes and no are ignored."""
    for key in [key for key in row if _is_for(key) is not None]:
        value = peek(row, key)
        word = str(value).strip().lower() if type(value) in (bool, int, float, str) else ""
        if word in TRUE or word in FALSE:
            note(row, "judgement", key)
            if flag_in(row[key], key, None) != _is_for(key):
                raise LeftOut(key, None, "the row is marked as not to be used")


def is_verdict(name: str) -> bool:
    """Whether a column or a key of that name may hold such a verdict."""
    return _is_for(name) is not None


@cache
def _is_for(name: str) -> bool | None:
    """Whether true in a column of that name speaks for using the row; None for other columns."""
    words = [word for word in plain(name).split("_") if word not in _BESIDE]
    if len(words) != 1 or not words[0]:
        return None
    return True if words[0] in _FOR else False if words[0] in _AGAINST else None
