"""Columns of codes: collected over all rows first, then settled as a whole.

A format names its coded cells (`Coded`). `Codes` counts and settles them. `with_meanings` puts the meanings into a row,
as `Choice` and `Mark`. Formats read only these meanings.
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

MAX_ODD_SHARE = 0.2
"""The share of a column's values that may be odd. Rows with odd values are malformed."""

MAX_ODD_VALUE_SHARE = 0.02
"""The share that one odd value may have. A more frequent value is a code, perhaps for a tie."""


class Choice(str):
    """A code's meaning for two answers: first, second, tie or none."""


class Mark(float):
    """A code's meaning for one answer: the higher the better; NaN if the code has no judgement."""


@dataclass(frozen=True)
class Coded:
    """A cell with a code. `about` names the column, or all columns with the same codes; `known` are published codes.

    `path` holds the nested keys that lead to the cell.
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
    """Collects codes, then settles their meanings. `option` is the config key for given meanings."""

    given: Mapping[str, str] = field(default_factory=dict)
    option: str = "labeling.codes"
    seen: dict[tuple[Kind, str], Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    known: dict[tuple[Kind, str], Mapping[str, str]] = field(default_factory=dict)

    def add(self, rows: Iterable[Row], codes_of: CodesOf) -> None:
        """Count the codes of rows; a malformed row is skipped here and reported when it is read."""
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
        """The meanings of all codes. Raises RequestError with the observed values and the option that settles them.

        `where` names the files; `otherwise` is a hint for a column without judgements.
        """
        return {key: self._settled(*key, where, otherwise) for key in self.seen}

    def unused(self) -> list[str]:
        """The given codes that occur in no column."""
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
                f"Give the meaning of each ({', '.join(fault.meanings)}), for example: "
                f"{fault.line(self.option)}.{otherwise}"
            ) from None


def _settled(seen: Mapping[str, int], kind: Kind, given: Mapping[str, str]) -> Mapping[str, str | float]:
    if kind == "choice":
        return codes.settle_choices(seen, given)
    return codes.settle_marks(seen, given, scores=kind == "score")


def check_meanings(given: Mapping[str, str], option: str) -> None:
    """Raise RequestError for an unknown meaning, with the nearest known one."""
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
    """The row with meanings in place of its codes; the same row if it has no codes. Raises BadRow."""
    cells = codes_of(row)
    for cell in cells:
        row = _with_value(row, cell.path, _meaning(cell, meanings))
    return row


def marked_good(row: Row, codes_of: CodesOf) -> Row:
    """The row with all marks set to good, for callers that need only its prompt. Raises BadRow."""
    for cell in codes_of(row):
        row = _with_value(row, cell.path, Mark(1.0))
    return row


def choice_in(row: Row, column: str) -> str | None:
    """The column's verdict on two answers, or None without a verdict. Raises BadRow."""
    value = row.get(column)
    if not isinstance(value, Choice):
        raise BadRow(column, None, f"a verdict on the two answers is expected, found {name_of(value)}")
    return None if value == "none" else str(value)


def mark_in(row: Mapping[str, Any], column: str) -> float | None:
    """The column's mark of the answer, or None without a mark. Raises BadRow."""
    value = row.get(column)
    if not isinstance(value, Mark):
        raise BadRow(column, None, f"a mark is expected, found {name_of(value)}")
    return None if value != value else float(value)


def _without_odd_values(seen: Counter[str], kind: Kind, given: Mapping[str, str]) -> Counter[str]:
    """The values without unexplained ones, if these are few: then only their rows are malformed, not the file.

    In a column of words a number is odd, too. Among numbers no value is odd, since each may change the others' meaning.
    """
    explain = codes.choice_of_word if kind == "choice" else codes.mark_of_word
    clear = {value for value in seen if value in given or explain(value) is not None}
    of_words = sum(seen[value] for value in clear) >= (1 - MAX_ODD_SHARE) * seen.total()
    odd = {value for value in seen if value not in clear and (of_words or not codes.is_number(value))}
    rare = all(seen[value] <= max(1, MAX_ODD_VALUE_SHARE * seen.total()) for value in odd)
    few = rare and sum(seen[value] for value in odd) <= MAX_ODD_SHARE * seen.total()
    return Counter({value: count for value, count in seen.items() if not (few and value in odd)})


def _meaning(cell: Coded, meanings: Meanings) -> object:
    """A choice or a mark; a blank cell has no judgement, and a value that is not a code stays."""
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
    """A copy of the row with a value at the end of the path; all other objects are shared."""
    key, *rest = path
    return {**row, key: _with_value(row[key], rest, value) if rest else value}
