"""Tables with a row per prompt, annotator and response: `response`, and `rank` or `score`. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import zip_longest
from typing import Any, NamedTuple

from labeling.exchange.cells import is_absent
from labeling.exchange.columns import Columns, first_of, scale_of
from labeling.exchange.frame import Frame, check_names, frame_of, note_unread
from labeling.exchange.reading import Reading, Row, Rows, Unusable, names_in, refuse
from labeling.exchange.unread_votes import UnreadVote, add_all_bad, add_votes
from labeling.votes import normalized_text, prompt_key

RESPONSES = ("response", "answer", "output", "completion", "candidate", "generation", "reply")
ROW_NUMBERS = "The values of `{}` number rows instead of prompts: prompts are identified by their texts"


class _Line(NamedTuple):
    """One row: its key among the responses to one prompt, its index and its place."""

    key: tuple[str, str]
    number: int
    place: object
    row: Row


def is_long(row: Mapping[str, Any]) -> bool:
    """Whether a row has one response and its rank or score."""
    return first_of(row, RESPONSES) is not None and _rank_column(row) is not None


def read_long(rows: Rows, columns: Columns, reading: Reading) -> None:
    """Add the votes of a long table. Raises LabelingError if its columns are ambiguous.

    The rows of one annotator on one prompt are a vote. A repeated response starts another vote, and so does another
    file if annotators are unnamed. Without the column `slot` a response is identified by its text.
    """
    names = names_in(rows)
    response = (*columns.responses, first_of(names, RESPONSES))[0]
    rank = (*columns.ranks, _rank_column(names))[0]
    check_names(names, {columns.options.responses: (response,), columns.options.ranks: (rank,)})
    if response is None or rank is None:
        refuse(
            "There is no column for the response, or none for its rank. Name them: "
            f"{columns.options.responses}, {columns.options.ranks}. The columns are {', '.join(names)}."
        )
    reading.note("responses", response)
    frame = frame_of(rows, columns, reading)
    slot = first_of(names, ("slot",))
    reading.note("slots", slot)
    judged: list[UnreadVote] = []
    for lines in _groups(rows, frame, response, slot, reading):
        passes = _passes(lines, frame)
        unnamed = frame.annotator is None or is_absent(lines[0].row.get(frame.annotator))
        by_file = _by_file(lines) if unnamed and len(passes) > 1 else []
        uneven = len({frozenset(line.key for line in one) for one in passes}) > 1
        if not by_file and (uneven or (len(passes) > 1 and (unnamed or len(passes[0]) < 2))):
            rows_of_it = [(line.place, line.row) for line in lines]
            add_all_bad(rows_of_it, _repeated_response(response, slot, unnamed), reading)
        else:
            judged += [_judged(one, response, rank, slot) for one in by_file or passes]
    add_votes(judged, (rank,), frame, columns, reading)
    note_unread(reading, names, frame)


def _groups(rows: Rows, frame: Frame, response: str, slot: str | None, reading: Reading) -> Iterable[Sequence[_Line]]:
    """The rows of one annotator on one prompt, together."""
    lines: list[tuple[_Line, str]] = []
    for index, (place, row) in enumerate(rows):
        try:
            prompt, text = prompt_key(frame.prompt_of(row)), row.get(response)
            number = _slot_in(row, slot)
        except Unusable as fault:
            reading.rows += 1
            reading.add_bad(place, fault, row)
            continue
        key = (number, normalized_text(text) if isinstance(text, str) else str(text))
        lines.append((_Line(key, index, place, row), prompt))
    ids = [(_file_of(line.place), frame.id_of(line.row)) for line, _ in lines]
    numbered = _number_rows(ids, [prompt for _, prompt in lines])
    if numbered:
        reading.tallies[ROW_NUMBERS.replace("{}", str(frame.id))] += 1
    groups: dict[tuple[str | None, str, str], list[_Line]] = {}
    for (line, prompt), (_, name) in zip(lines, ids, strict=True):
        annotator = normalized_text(str(line.row.get(frame.annotator) or "")) if frame.annotator else ""
        groups.setdefault((None if numbered else name, prompt, annotator), []).append(line)
    return groups.values()


def _number_rows(ids: Sequence[tuple[object, str | None]], prompts: Sequence[str]) -> bool:
    """Whether the ids number the rows of each file or of each prompt, so that they do not identify prompts."""
    if len(ids) < 2 or None in {name for _, name in ids}:
        return False
    return len(set(ids)) == len(ids) or len(set(ids)) < len(set(zip(ids, prompts, strict=True)))


def _file_of(place: object) -> object:
    return getattr(place, "file", None)


def _passes(lines: Sequence[_Line], frame: Frame) -> list[list[_Line]]:
    """The rows of one group in passes, each with every response once, the earliest first."""
    ordered = sorted(lines, key=lambda line: frame.times[line.number]) if frame.times else lines
    by_key: dict[tuple[str, str], list[_Line]] = {}
    for line in ordered:
        by_key.setdefault(line.key, []).append(line)
    return [[line for line in one if line is not None] for one in zip_longest(*by_key.values())]


def _by_file(lines: Sequence[_Line]) -> list[list[_Line]]:
    """The rows of one group by file, if each of several files has every response once; else empty."""
    files: dict[object, list[_Line]] = {}
    for line in lines:
        files.setdefault(_file_of(line.place), []).append(line)
    once = all(len({line.key for line in own}) == len(own) for own in files.values())
    return list(files.values()) if once and len(files) > 1 else []


def _judged(lines: Sequence[_Line], response: str, rank: str, slot: str | None) -> UnreadVote:
    ordered = sorted(lines, key=lambda line: int(line.key[0])) if slot else lines
    first = lines[0]
    return UnreadVote(
        first.number,
        first.place,
        first.row,
        [(response, line.row.get(response)) for line in ordered],
        [(rank, line.row.get(rank)) for line in ordered],
        [(line.place, line.row) for line in lines[1:]],
    )


def _slot_in(row: Row, slot: str | None) -> str:
    if slot is None:
        return ""
    number = str(row.get(slot) or "").strip().removesuffix(".0")
    if not number.isdecimal():
        raise Unusable(slot, "must be a whole number from 1", row.get(slot))
    return number


def _repeated_response(response: str, slot: str | None, unnamed: bool) -> Unusable:
    if unnamed:
        return Unusable(response, "occurs several times for one prompt: a column with the annotator is needed")
    more = "" if slot else ": add a column `slot` if two responses are equal"
    return Unusable(response, f"some responses occur more often than others for one annotator and prompt{more}")


def _rank_column(names: Iterable[str]) -> str | None:
    """The column `rank`, or else the only column named like a score."""
    found = [name for name in names if scale_of(name)]
    return first_of(found, ("rank",)) or (found[0] if len(found) == 1 else None)
