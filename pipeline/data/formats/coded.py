"""Columns whose values are codes: collected over all rows first, and read by what they mean in the whole.

A format names its coded cells (`Coded`); `Codes` counts them and settles them; `with_meanings` puts the meanings into a
row, as `Choice` and `Mark`. Formats read these, and never a code itself.
"""

import difflib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from labeling import codes
from labeling.codes import UnsettledCodes, canonical
from pipeline.data.faults import BadRow
from pipeline.data.formats.conversations import Row
from pipeline.data.formats.fields import name_of
from pipeline.errors import RequestError

Kind = Literal["choice", "thumb", "score"]

ODD = 0.2
"""The share of a column's values that may be odd: their rows are malformed, and too many of these refuse a file."""

RARE = 0.02
"""The share of values that one odd value may have: a word that comes again and again is a code, a tie perhaps."""


class Choice(str):
    """What a code says about two answers: first, second, tie or none."""


class Mark(float):
    """How good a code says that an answer is; NaN where it says nothing."""


@dataclass(frozen=True)
class Coded:
    """A cell with a code. `about` names the column, or all columns that share its codes; `known` are published codes.

    `path` leads to the cell: keys, one inside the other.
    """

    path: tuple[str, ...]
    value: object
    kind: Kind
    about: str
    known: tuple[tuple[str, str], ...] = ()


CodesOf = Callable[[Row], Sequence[Coded]]
Meanings = Mapping[tuple[Kind, str], Mapping[str, str | float]]
"""(kind, column) -> canonical value -> meaning."""


def no_codes(row: Row) -> Sequence[Coded]:
    """For formats without codes."""
    return ()


@dataclass
class Codes:
    """Grows by rows; then says what each code means. `option` is the key by which a person gives meanings."""

    given: Mapping[str, str] = field(default_factory=dict)
    option: str = "labeling.codes"
    seen: dict[tuple[Kind, str], Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    known: dict[tuple[Kind, str], Mapping[str, str]] = field(default_factory=dict)

    def add(self, rows: Iterable[Row], codes_of: CodesOf) -> None:
        """Count the codes of rows; those of a row that cannot be used are left to its reading."""
        for row in rows:
            try:
                found = codes_of(row)
            except BadRow:
                continue
            for cell in found:
                if isinstance(cell.value, str | int | float) and (value := canonical(cell.value)):
                    self.seen[cell.kind, cell.about][value] += 1
                    self.known[cell.kind, cell.about] = dict(cell.known)

    def settle(self, where: object, otherwise: str = "") -> Meanings:
        """The meaning of all codes. Raises RequestError with the values seen and the line that settles them.

        `where` names the files; `otherwise` is a way out for a column that is no judgement.
        """
        return {key: self._settled(*key, where, otherwise) for key in self.seen}

    def unused(self) -> list[str]:
        """The given codes that no column has."""
        seen = {value for counts in self.seen.values() for value in counts}
        return [value for value in self._given() if value not in seen]

    def _given(self) -> dict[str, str]:
        return {canonical(value): str(meaning) for value, meaning in self.given.items()}

    def _settled(self, kind: Kind, about: str, where: object, otherwise: str) -> Mapping[str, str | float]:
        given = {**self.known[kind, about], **self._given()}
        seen = self.seen[kind, about]
        try:
            return _settled(seen, kind, given)
        except UnsettledCodes as error:
            fault = error
        try:
            return _settled(_without_odd_values(seen, kind, given), kind, given)
        except UnsettledCodes:
            raise RequestError(
                f"{where}: column {about} has the values {fault.values()}, and {fault.reason}. "
                f"Say what each means ({', '.join(fault.meanings)}), for example: {fault.line(self.option)}.{otherwise}"
            ) from None


def _settled(seen: Mapping[str, int], kind: Kind, given: Mapping[str, str]) -> Mapping[str, str | float]:
    if kind == "choice":
        return codes.settle_choices(seen, given)
    return codes.settle_marks(seen, given, scores=kind == "score")


def check_meanings(given: Mapping[str, str], option: str) -> None:
    """Raise RequestError for a meaning that is none, with the nearest one."""
    known = (*codes.CHOICES, *codes.MARKS)
    for value, meaning in given.items():
        word = str(meaning).strip().lower()
        if word not in known and not codes.is_number(word):
            near = difflib.get_close_matches(word, known, n=1)
            hint = f" Did you mean {near[0]}?" if near else ""
            raise RequestError(
                f"{option}: {value!r} cannot mean {meaning!r}.{hint} Use first, second, tie or none for two answers, "
                "and good, bad, none or a number for one."
            )


def with_meanings(row: Row, codes_of: CodesOf, meanings: Meanings) -> Row:
    """The row with the meanings of its codes in their place; the same row where it has none. Raises BadRow."""
    cells = codes_of(row)
    for cell in cells:
        row = _with_value(row, cell.path, _meaning(cell, meanings))
    return row


def marked_good(row: Row, codes_of: CodesOf) -> Row:
    """The row as if its answers were marked as good: for those who want its prompt alone. Raises BadRow."""
    for cell in codes_of(row):
        row = _with_value(row, cell.path, Mark(1.0))
    return row


def choice_in(row: Row, column: str) -> str | None:
    """What the column says about two answers, or None where it says nothing. Raises BadRow."""
    value = row.get(column)
    if not isinstance(value, Choice):
        raise BadRow(column, None, f"a value that says which answer is better is expected, found {name_of(value)}")
    return None if value == "none" else str(value)


def mark_in(row: Mapping[str, Any], column: str) -> float | None:
    """How good the column says that the answer is, or None where it says nothing. Raises BadRow."""
    value = row.get(column)
    if not isinstance(value, Mark):
        raise BadRow(column, None, f"a mark is expected, found {name_of(value)}")
    return None if value != value else float(value)


def _without_odd_values(seen: Counter[str], kind: Kind, given: Mapping[str, str]) -> Counter[str]:
    """The values without those that nothing explains, where these are few: they cost their rows, not the file.

    In a column of words a number is odd, too; among numbers none is, since each can change what the others mean.
    """
    explain = codes.choice_of_word if kind == "choice" else codes.mark_of_word
    clear = {value for value in seen if value in given or explain(value) is not None}
    of_words = sum(seen[value] for value in clear) >= (1 - ODD) * seen.total()
    odd = {value for value in seen if value not in clear and (of_words or not codes.is_number(value))}
    rare = all(seen[value] <= max(1, RARE * seen.total()) for value in odd)
    few = rare and sum(seen[value] for value in odd) <= ODD * seen.total()
    return Counter({value: count for value, count in seen.items() if not (few and value in odd)})


def _meaning(cell: Coded, meanings: Meanings) -> object:
    """A choice or a mark; blank cells say nothing, and what is no code stays as it is."""
    if cell.value is not None and not isinstance(cell.value, str | int | float):
        return cell.value
    value = canonical(cell.value)
    meaning = meanings.get((cell.kind, cell.about), {}).get(value) if value else None
    if value and meaning is None:
        return cell.value
    if cell.kind == "choice":
        return Choice(meaning or "none")
    return Mark(codes.NO_MARK if meaning is None else meaning)


def _with_value(row: Row, path: Sequence[str], value: object) -> Row:
    """A copy of the row with a value at the end of the path; what lies beside it is the same object."""
    key, *rest = path
    return {**row, key: _with_value(row[key], rest, value) if rest else value}
