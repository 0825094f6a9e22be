"""Which format a file is in, by its content or by its name."""

import difflib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from pipeline.data.formats.conversations import Row
from pipeline.data.formats.table import DEMONSTRATIONS, JUDGEMENTS, MESSAGES, PROMPTS, TEXTS, Format
from pipeline.errors import RequestError

T_co = TypeVar("T_co", covariant=True)

AUTO = "auto"

_NAMEABLE: tuple[Format[object], ...] = (*JUDGEMENTS, *DEMONSTRATIONS, *PROMPTS, *TEXTS)


def format_named(name: str, formats: Sequence[Format[T_co]]) -> Format[T_co]:
    """The format of that name. Raises RequestError with the nearest name, or with what the format is for."""
    for candidate in formats:
        if candidate.name == name:
            return candidate
    for other in _NAMEABLE:
        if other.name == name:
            raise RequestError(
                f"format={name} is for {other.kind}; here {_kinds(formats)} are wanted. Use format={_names(formats)}."
            )
    nearest = difflib.get_close_matches(name, [candidate.name for candidate in formats], n=1)
    hint = f" Did you mean {nearest[0]}?" if nearest else ""
    raise RequestError(f"There is no format {name!r}.{hint} Use format={_names(formats)}.")


def detect(rows: Sequence[Row], formats: Sequence[Format[T_co]], file: Path) -> Format[T_co]:
    """The format that most of a file's first rows are in.

    Raises RequestError if none of them is in any, or if another format has at least half as many votes.
    """
    votes = Counter(index for row in rows for index, one in enumerate(formats) if one.matches(row))
    if not votes:
        raise _unknown(rows, formats, file)
    (first, most), *others = votes.most_common()
    rivals = [index for index, count in others if 2 * count >= most]
    if rivals:
        found = ", ".join(f"{formats[index].name} ({votes[index]} rows)" for index in (first, *rivals))
        raise RequestError(
            f"{file} may be of several formats, going by its first {len(rows)} rows: {found}. "
            f"Keys found: {_keys(rows)}. Name the right one by hand: format={formats[first].name}."
        )
    return formats[first]


def _unknown(rows: Sequence[Row], formats: Sequence[Format[object]], file: Path) -> RequestError:
    start = f"The format of {file} was not recognised."
    if not rows:
        return RequestError(f"{start} None of its first rows is a JSON object. Write one row as {{...}}.")
    for other in (*MESSAGES, *_NAMEABLE):
        if any(other.matches(row) for row in rows):
            return RequestError(f"{start} It holds {other.kind} ({other.name}), not {_kinds(formats)}. {other.advice}")
    nearest = max(formats, key=lambda one: _likeness(one, rows))
    return RequestError(
        f"{start} Keys found: {_keys(rows)}. Nearest format: {nearest.name}, which needs {nearest.needs}. "
        f"Rename the keys{_mapping(formats, rows)}, or name the format by hand: format={_names(formats)}."
    )


def _mapping(formats: Sequence[Format[object]], rows: Sequence[Row]) -> str:
    """How to say which columns are meant, where that can be said."""
    keys = list(dict.fromkeys(key for row in rows for key in row))
    if len(keys) < 2 or not any(one.kind == "demonstrations" for one in formats):
        return ""
    return f", map them (data.columns.prompt={keys[0]} data.columns.completion={keys[1]})"


def _likeness(candidate: Format[object], rows: Sequence[Row]) -> float:
    """How near the keys of the rows come to what the format needs, from 0 to 1."""
    keys = {key.lower() for row in rows for key in row}

    def nearness(column: str) -> float:
        return max((difflib.SequenceMatcher(None, column.lower(), key).ratio() for key in keys), default=0.0)

    return max(sum(map(nearness, columns)) / len(columns) for columns in candidate.columns)


def _keys(rows: Sequence[Row]) -> str:
    keys = list(dict.fromkeys(key for row in rows for key in row))
    more = f" and {len(keys) - 20} more" if len(keys) > 20 else ""
    return (", ".join(keys[:20]) or "none") + more


def _kinds(formats: Sequence[Format[object]]) -> str:
    return " or ".join(dict.fromkeys(one.kind for one in formats))


def _names(formats: Sequence[Format[object]]) -> str:
    return "|".join((AUTO, *dict.fromkeys(one.name for one in formats)))
