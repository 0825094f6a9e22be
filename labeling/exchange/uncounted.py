"""Detects rows that are marked as not counting: rejected, skipped, spam, drafts. Pure functions."""

from collections.abc import Collection, Iterable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from labeling.exchange.columns import plain
from labeling.flags import FALSE, TRUE

REJECTED = "rejected"

_STATES = {
    REJECTED: "the assignment was rejected",
    "discarded": "the annotator discarded the record",
    "draft": "the answer is a draft",
    **dict.fromkeys(("in_progress", "incomplete", "unfinished", "not_submitted"), "the answer is not finished"),
    **dict.fromkeys(("skipped", "skip", "ignored", "ignore"), "the annotator skipped it"),
    **dict.fromkeys(("cancelled", "canceled", "returned", "timed_out", "expired"), "the answer was not submitted"),
    **dict.fromkeys(("fail", "failed"), "the annotator failed a check"),
    **dict.fromkeys(("spam", "spammer"), "it is marked as spam"),
    **dict.fromkeys(("invalid", "excluded", "deleted", "removed"), "it is marked as not to be used"),
}
"""Status of a row that does not count -> reason."""

_OF = ("assignment", "response", "annotation", "submission", "record", "review", "judgement", "judgment", "vote")
_STATUS = {"status", "state", *(f"{thing}_{word}" for thing in _OF for word in ("status", "state"))}
_CHECKS = {"attention_check", "quality_check", "quality_control", "qc", "qa"}
_UNLESS_TRUE = {
    *("valid", "is_valid", "usable", "is_usable", "include", "included", "is_included", "passed", "is_submitted"),
    *("passed_attention_check", "attention_check_passed", "passed_check", "passed_quality_check", "passed_qc"),
}
_IF_TRUE = {
    **{prefix + word: word for word in _STATES if word != REJECTED for prefix in ("", "is_", "was_")},
    **dict.fromkeys(("exclude", "is_excluded", "discard"), "excluded"),
    **dict.fromkeys(("failed_attention_check", "attention_check_failed", "failed_check"), "failed"),
}
_REVIEWS = {"approved": "no", "is_approved": "no", "accepted": "no", "is_accepted": "no"} | {
    "rejected": "yes",
    "is_rejected": "yes",
}
"""A review's column -> its word for a rejected judgement; only words count, since a number may be an answer's."""


class Uncounted(NamedTuple):
    """The column that marks the row, and the reason."""

    field: str
    reason: str


def uncounted(row: Mapping[str, Any], but: Collection[str] = ()) -> Uncounted | None:
    """The mark by which the row does not count, or None; `but` are states with another meaning here."""
    for field in status_columns(row):
        state = _state(plain(field), str(row[field]))
        if state and state not in but:
            return Uncounted(field, _STATES[state])
    return None


def status_columns(names: Iterable[str]) -> tuple[str, ...]:
    """The columns that can mark a row as not counting."""
    return _telling(tuple(names))


@lru_cache(maxsize=1024)
def _telling(names: tuple[str, ...]) -> tuple[str, ...]:
    known = {*_STATUS, *_CHECKS, *_UNLESS_TRUE, *_IF_TRUE, *_REVIEWS}
    return tuple(name for name in names if plain(name) in known)


def _state(name: str, cell: str) -> str | None:
    """The row's state by one column, if the row does not count by it; else None."""
    text, word = cell.strip().lower(), plain(cell)
    if name in _REVIEWS:
        rejects = TRUE if _REVIEWS[name] == "yes" else FALSE
        return REJECTED if text in rejects and text[0].isalpha() else None
    if name in _IF_TRUE and text in TRUE:
        return _IF_TRUE[name]
    if name in _UNLESS_TRUE and text in FALSE:
        return "invalid"
    if name in _CHECKS and word not in ("fail", "failed"):
        return None
    return word if name in _STATUS | _CHECKS and word in _STATES else None
