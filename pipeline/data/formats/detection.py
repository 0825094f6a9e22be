"""Detects the format of a file by its content, or finds a format by name."""

import difflib
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeVar, cast

from pipeline.data.faults import BadRow
from pipeline.data.formats.coded import no_codes
from pipeline.data.formats.conversations import Row, Turns
from pipeline.data.formats.hints import labels_among, likely_columns, odd_conversation, path_of_turns
from pipeline.data.formats.table import DEMONSTRATIONS, JUDGEMENTS, MESSAGES, PROMPTS, TEXTS, Format
from pipeline.errors import RequestError

T_co = TypeVar("T_co", covariant=True)

AUTO = "auto"
_MIN_LIKENESS = 0.6  # of keys, for naming the nearest format
_ANSWERED = {("demonstrations", name) for name in ("prompt_completion", "alpaca", "openorca")}

_JUDGED = (
    "Name another file; or where a column judges the answers, name it: labeling.columns.label=COLUMN for good and bad, "
    "labeling.columns.score=COLUMN for scores (the highest is best), labeling.columns.rank=COLUMN for ranks."
)
_NAMEABLE: tuple[Format[object], ...] = (*JUDGEMENTS, *DEMONSTRATIONS, *PROMPTS, *TEXTS)


def format_named(name: str, formats: Sequence[Format[T_co]]) -> Format[T_co]:
    """The format of that name. Raises RequestError with the nearest name, or with the kind of another format."""
    for candidate in formats:
        if candidate.name == name:
            return candidate
    option = _option(formats) or "format"
    for other in _NAMEABLE:
        if other.name == name:
            raise RequestError(
                f"{option}={name} is for {other.kind}; here {_kinds(formats)} are wanted. "
                f"Use {option}={_names(formats)}."
            )
    nearest = difflib.get_close_matches(name, [candidate.name for candidate in formats], n=1)
    hint = f" Did you mean {nearest[0]}?" if nearest else ""
    raise RequestError(f"There is no format {name!r}.{hint} Use {option}={_names(formats)}.")


def detect(rows: Sequence[Row], formats: Sequence[Format[T_co]], file: Path, mapped: bool = False) -> Format[T_co]:
    """The format that most of a file's first rows match.

    Raises RequestError if no row matches, if another format matches at least half as many rows or marks single answers,
    or if the answers look like labels, unless the user `mapped` the columns.
    """
    votes = Counter(index for row in rows for index, one in enumerate(formats) if one.matches(row))
    if not votes:
        raise _unknown(rows, formats, file)
    (first, most), *others = votes.most_common()
    rivals = [index for index, count in others if 2 * count >= most]
    if rivals:
        found = ", ".join(f"{formats[index].name} ({votes[index]} rows)" for index in (first, *rivals))
        raise RequestError(
            f"{file} may be in several formats, judging by its first {len(rows)} rows: {found}. "
            f"Keys found: {_keys(rows)}.{_by_hand(formats, formats[first].name)}"
        )
    if marked := [index for index, _ in others if _marks_answers(formats[index])]:
        few, name = votes[marked[0]], formats[marked[0]].name
        raise RequestError(
            f"{file}: {few} of its first {len(rows)} rows mark their answers as good or bad, the others do not. "
            f"Keys found: {_keys(rows)}. With data.format={name} only answers that are marked as good are learned, "
            f"with data.format={formats[first].name} all of them, the bad ones, too."
        )
    if not mapped:
        _check_answers(rows, formats[first], file)
    return formats[first]


def _marks_answers(one: Format[object]) -> bool:
    """Whether the format reads marks of single answers: a few marked rows may be bad answers."""
    return one.kind == "demonstrations" and one.codes_of is not no_codes


def _check_answers(rows: Sequence[Row], chosen: Format[T_co], file: Path) -> None:
    """Raise RequestError if the answers of a file are a few values that look like labels."""
    if (chosen.kind, chosen.name) not in _ANSWERED:
        return
    answers: dict[str, list[str]] = {}
    for row in rows:
        with suppress(BadRow):
            for turns in cast(Format[Turns], chosen).convert(row):
                answers.setdefault(turns.field.split(" + ")[-1], []).append(turns.messages[-1]["content"])
    for column, texts in answers.items():
        if values := labels_among(texts):
            raise RequestError(
                f"{file}: `{column}` would be the answer, but its values look like labels: {', '.join(values)}. "
                "Name the column with the answers: data.columns.completion=COLUMN; "
                f"if it is this one, data.columns.completion={column}."
            )


def _unknown(rows: Sequence[Row], formats: Sequence[Format[object]], file: Path) -> RequestError:
    start = f"The format of {file} was not recognised."
    if not rows:
        return RequestError(f"{start} None of its first rows is a JSON object. Write one row as {{...}}.")
    if _option(formats) == "data.format" and (path := path_of_turns(rows)):
        return RequestError(
            f"{start} Keys found: {_keys(rows)}. Turns are in `{path}`: map them with data.columns.messages={path}."
        )
    for other in (*MESSAGES, *_NAMEABLE):
        if any(other.matches(row) for row in rows):
            judged = _JUDGED if other.kind == "demonstrations" and _option(formats) == "labeling.format" else ""
            advice = judged or other.advice
            return RequestError(f"{start} It holds {other.kind} ({other.name}), not {_kinds(formats)}. {advice}")
    if _option(formats) == "data.format" and (odd := odd_conversation(rows)):
        return RequestError(f"{start}{odd} Keys found: {_keys(rows)}.")
    nearest = max(formats, key=lambda one: _likeness(one, rows))
    near = _likeness(nearest, rows) >= _MIN_LIKENESS
    hint = f" Nearest format: {nearest.name}, which needs {nearest.needs}." if near else ""
    return RequestError(f"{start} Keys found: {_keys(rows)}.{hint}{_mapping(formats, rows)}{_by_hand(formats)}")


def _mapping(formats: Sequence[Format[object]], rows: Sequence[Row]) -> str:
    """A hint how to map the columns, with their names if their contents show them."""
    if _option(formats) == "labeling.format":
        return " Rename the keys, or map them: labeling.columns.prompt=… labeling.columns.response_a=… and so on."
    if _option(formats) != "data.format":
        return " Rename the keys."
    likely = likely_columns(rows)
    if likely is None:
        return " Rename the keys, or map those of prompt and answer: data.columns.prompt=… data.columns.completion=…."
    asked, answer = likely
    return f" Rename the keys, or map them: data.columns.prompt={asked} data.columns.completion={answer}."


def _by_hand(formats: Sequence[Format[object]], name: str = "") -> str:
    """A hint how to name the format, if there is a config key for it."""
    option = _option(formats)
    return f" Name the right one by hand: {option}={name or _names(formats)}." if option else ""


def _option(formats: Sequence[Format[object]]) -> str:
    """The config key for naming one of these formats; empty for a file of prompts."""
    kinds = {one.kind for one in formats}
    if "prompts" in kinds:
        return ""
    return "data.format" if "demonstrations" in kinds else "labeling.format"


def _likeness(candidate: Format[object], rows: Sequence[Row]) -> float:
    """The similarity of the rows' keys to the columns that the format needs, from 0 to 1."""
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
