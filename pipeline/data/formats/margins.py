"""The margin of a pair: a tie, scores of both answers, a verdict beside them, or a margin column."""

from collections.abc import Collection, Iterator
from functools import lru_cache

from labeling.codes import canonical, choice_of_word
from labeling.exchange.columns import plain, scale_of
from labeling.flags import TRUE
from pipeline.data.faults import BadRow
from pipeline.data.formats.coded import Choice, Coded
from pipeline.data.formats.columns import is_blank
from pipeline.data.formats.conversations import Row
from pipeline.data.formats.judgement import number_in
from pipeline.data.formats.watching import note, peek

_TWINS = {"chosen": "rejected", "preferred": "dispreferred", "accepted": "rejected", "better": "worse", "w": "l"}
_TIES = ("is_tie", "tie", "tied")
_STRENGTHS = ("preference_strength", "strength", "degree", "preference_degree", "intensity")
_VERDICTS = (
    "label",
    "winner",
    "preference",
    "overall_preference",
    "verdict",
    "judgement",
    "judgment",
    "choice",
    "vote",
)
_STATES = ("status", "outcome")
_FLAGS = ("0", "1", "-1", "true", "false")
_KNOWN = (("1", "first"), ("true", "first"))


def margin_of(row: Row, sides: tuple[str, str]) -> float | None:
    """The margin of the chosen answer, or None; 0 for a tie by its mark, by a verdict or by scores.

    Raises BadRow, also if the rejected answer has the better scores.
    """
    if _is_tie(row, sides):
        return 0.0
    leads = dict(_leads(row))
    note(row, "judgement", *leads)
    reversed_ = next((key for key, lead in leads.items() if lead < 0), None)
    if reversed_:
        better = "better rank" if "rank" in plain(reversed_) else "higher score"
        raise BadRow(reversed_, None, f"the rejected answer has the {better}")
    if leads and not any(leads.values()):
        return 0.0
    if is_blank(row.get("margin")):
        return None
    try:
        margin = number_in(row["margin"], "margin")
    except BadRow:
        margin = -1.0
    if margin is not None and not 0 <= margin <= 1:
        raise BadRow("margin", None, "the margin must be a number from 0 to 1")
    note(row, "judgement", "margin")
    return margin


def is_turned(row: Row, sides: tuple[str, str]) -> bool:
    """Whether a verdict beside the pair prefers the second answer."""
    return any(peek(row, key) == "second" for key in _verdicts(row, sides) if isinstance(peek(row, key), Choice))


def codes_beside(row: Row, sides: tuple[str, str]) -> list[Coded]:
    """Flags beside a pair that may reverse it; 1 and true certainly do not."""
    cells = ((key, row[key]) for key in _verdicts(row, sides))
    return [Coded((key,), value, "choice", key, _KNOWN) for key, value in cells if _is_flag(value)]


def _is_flag(value: object) -> bool:
    return isinstance(value, str | int | float) and canonical(value) in _FLAGS


def _verdicts(row: Row, sides: tuple[str, str]) -> list[str]:
    return [key for key in _called(tuple(row), _VERDICTS) if key not in sides]


@lru_cache(maxsize=4096)  # the same few columns, for every row
def _called(names: tuple[str, ...], wanted: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name for name in names if plain(name) in wanted)


def tie_marks(row: Row, beside: Collection[str]) -> list[str]:
    """The columns that mark a tie, by a flag, a status or a strength."""
    marks = _called(tuple(row), (*_TIES, *_STRENGTHS, *_STATES))
    return [key for key in marks if key not in beside and _marks_tie(plain(key), peek(row, key))]


def _is_tie(row: Row, sides: tuple[str, str]) -> bool:
    verdicts = [key for key in _verdicts(row, sides) if _word(peek(row, key)) and _is_tie_word(_word(peek(row, key)))]
    found = [*tie_marks(row, sides), *verdicts]
    note(row, "judgement", *(key for key in _verdicts(row, sides) if isinstance(peek(row, key), Choice)), *found)
    return any(row[key] is not None for key in found)


def _marks_tie(name: str, value: object) -> bool:
    word = _word(value)
    if name in _TIES:
        return word in (*TRUE, "tie", "tied")
    if name in _STRENGTHS:
        return word == "0" or _is_tie_word(word)
    return name in _STATES and word in ("tie", "tied")


def _word(value: object) -> str:
    return canonical(value) if isinstance(value, str | int | float) else ""


def _is_tie_word(word: str) -> bool:
    return choice_of_word(word) == "tie"


def _leads(row: Row) -> Iterator[tuple[str, float]]:
    """(the rejected answer's column, the lead of the chosen answer), per pair of columns with scores or ranks."""
    for key, other, scale in _twins(tuple(row)):
        better, worse = number_in(row[key], key), number_in(row[other], other)
        if better is not None and worse is not None:
            note(row, "judgement", key)
            yield other, worse - better if scale == "ranks" else better - worse


@lru_cache(maxsize=4096)
def _twins(names: tuple[str, ...]) -> tuple[tuple[str, str, str], ...]:
    """(column of the chosen answer, column of the rejected one, "ranks" or "scores"), for all such columns."""
    spelled = {plain(key): key for key in names}
    found = []
    for name, key in spelled.items():
        words = name.split("_")
        twin = any(word in _TWINS for word in words)
        other = spelled.get("_".join(_TWINS.get(word, word) for word in words)) if twin else None
        scale = _scale_of([word for word in words if word not in _TWINS])
        if other is not None and other != key and scale is not None:
            found.append((key, other, scale))
    return tuple(found)


def _scale_of(words: list[str]) -> str | None:
    known = [word.removesuffix("s") for word in words if word != "rm"]
    return "scores" if known == ["vote"] else scale_of("_".join(known))
