"""The formats that are understood, one line each, and which of them a file is in."""

import difflib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from pipeline.data import comparisons, demonstrations
from pipeline.data.demonstrations import PROMPT_COLUMNS, is_transcript
from pipeline.data.rows import Demonstration, Preference, Ranking
from pipeline.errors import RequestError

Row = dict[str, Any]
T_co = TypeVar("T_co", covariant=True)

AUTO = "auto"


@dataclass(frozen=True)
class Format(Generic[T_co]):
    """A format: its name, what its rows become, the sets of columns of which it needs one, how to tell it."""

    name: str
    kind: str
    columns: tuple[tuple[str, ...], ...]
    matches: Callable[[Row], bool]
    convert: Callable[[Row], T_co]

    @property
    def needs(self) -> str:
        """The columns in words."""
        return " or ".join(" + ".join(columns) for columns in self.columns)


def _has(*columns: str) -> Callable[[Row], bool]:
    return lambda row: row.keys() >= set(columns)


def _has_turns(columns: Sequence[str], key: str) -> Callable[[Row], bool]:
    def matches(row: Row) -> bool:
        lists = [row[column] for column in columns if isinstance(row.get(column), list)]
        return any(isinstance(turn, dict) and key in turn for turns in lists for turn in turns)

    return matches


def _has_prompt_and_answer(row: Row) -> bool:
    return any(row.keys() >= set(pair) for pair in PROMPT_COLUMNS)


def _has_transcript(row: Row) -> bool:
    return is_transcript(row.get("text")) or is_transcript(row.get("chosen"))


def _has_two_transcripts(row: Row) -> bool:
    return is_transcript(row.get("chosen")) and is_transcript(row.get("rejected"))


def _has_pair(row: Row) -> bool:
    return row.keys() >= {"chosen", "rejected"} and not _has_two_transcripts(row)


DEMONSTRATIONS: tuple[Format[Demonstration], ...] = (
    Format(
        "alpaca",
        "demonstrations",
        (("instruction", "output"),),
        _has("instruction", "output"),
        demonstrations.alpaca,
    ),
    Format(
        "sharegpt",
        "demonstrations",
        (("conversations",),),
        _has_turns(("conversations",), "from"),
        demonstrations.sharegpt,
    ),
    Format(
        "messages",
        "demonstrations",
        (("messages",),),
        _has_turns(("messages", "conversations"), "role"),
        demonstrations.messages,
    ),
    Format(
        "prompt_completion",
        "demonstrations",
        PROMPT_COLUMNS,
        _has_prompt_and_answer,
        demonstrations.prompt_completion,
    ),
    Format("hh", "demonstrations", (("text",), ("chosen",)), _has_transcript, demonstrations.hh),
)

RANKINGS: tuple[Format[Ranking], ...] = (
    Format(
        "rankings",
        "rankings",
        (("prompt", "responses", "rankings"),),
        _has("responses", "rankings"),
        comparisons.ranking,
    ),
)

PREFERENCES: tuple[Format[Preference], ...] = (
    Format("preferences", "preferences", (("prompt", "chosen", "rejected"),), _has_pair, comparisons.preference),
    Format("hh", "preferences", (("chosen", "rejected"),), _has_two_transcripts, comparisons.hh_pair),
)


def format_named(name: str, formats: Sequence[Format[T_co]]) -> Format[T_co]:
    """The format of that name. Raises RequestError with the nearest name, or with what the format is for."""
    for candidate in formats:
        if candidate.name == name:
            return candidate
    for other in (*DEMONSTRATIONS, *RANKINGS, *PREFERENCES):
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
    for other in (*RANKINGS, *PREFERENCES, *DEMONSTRATIONS):
        if any(other.matches(row) for row in rows):
            return RequestError(
                f"{start} It holds {other.kind} ({other.name}), not {_kinds(formats)}. Name another file."
            )
    nearest = max(formats, key=lambda one: _likeness(one, rows))
    return RequestError(
        f"{start} Keys found: {_keys(rows)}. Nearest format: {nearest.name}, which needs {nearest.needs}. "
        f"Rename the keys, or name the format by hand: format={_names(formats)}."
    )


def _likeness(candidate: Format[object], rows: Sequence[Row]) -> float:
    """How near the keys of the rows come to what the format needs, from 0 to 1."""
    keys = {key.lower() for row in rows for key in row}

    def nearness(column: str) -> float:
        return max((difflib.SequenceMatcher(None, column, key).ratio() for key in keys), default=0.0)

    return max(sum(map(nearness, columns)) / len(columns) for columns in candidate.columns)


def _keys(rows: Sequence[Row]) -> str:
    keys = list(dict.fromkeys(key for row in rows for key in row))
    more = f" and {len(keys) - 20} more" if len(keys) > 20 else ""
    return (", ".join(keys[:20]) or "none") + more


def _kinds(formats: Sequence[Format[object]]) -> str:
    return " or ".join(dict.fromkeys(one.kind for one in formats))


def _names(formats: Sequence[Format[object]]) -> str:
    return "|".join((AUTO, *dict.fromkeys(one.name for one in formats)))
