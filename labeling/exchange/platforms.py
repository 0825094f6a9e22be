"""Converts exports of MTurk, Potato and Argilla to plain rows. Pure functions.

MTurk    see `mturk`; `AssignmentStatus` marks rejected rows. Potato   columns `schema:::label`, where the chosen label
has a value; or these two levels nested. Argilla  `question.responses`, `….users` and `….status` with an entry per
annotator, records with `fields` and `responses`, or (version 1) a column for each question with its answers. A ranking
question is read if it has ranks; the client of version 2 writes only the options.
"""

from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any

from labeling.exchange.cells import is_absent
from labeling.exchange.columns import numbered_responses, plain
from labeling.exchange.mturk import choose, is_batch, plain_batch_row
from labeling.exchange.reading import Reading, Row, Rows
from labeling.exchange.uncounted import status_columns, uncounted

_POTATO = ":::"
_VALUES = ("selection", "text_box", "slider", "number", "value", "rating", "free_response", "scale_value")
_ORDER = "rank_order"  # best to worst: B,D=A,C
_RESPONSES = ".responses"


def plain_rows(rows: Rows, reading: Reading) -> Rows:
    """The plain rows; rejected, discarded and unsubmitted ones are recorded as left out."""
    kept: list[tuple[object, Row]] = []
    for place, raw in rows:
        for row in unfolded(raw):
            if left_out := uncounted(row):
                reading.leave_out(place, *left_out, raw)
            else:
                kept.append((place, row))
    reading.note("states", *dict.fromkeys(name for _, row in kept for name in status_columns(row)))
    return kept


def unfolded(row: Row) -> list[Row]:
    """The plain rows of one row: usually one, for Argilla's records one per annotator."""
    if _are_plain(tuple(row)):
        return [row]
    if is_batch(row):
        return [plain_batch_row(row)]
    if isinstance(row.get("label_annotations"), Mapping) or any(_POTATO in name for name in row):
        return [_of_potato(row)]
    if isinstance(row.get("fields"), Mapping) and isinstance(row.get("responses"), Mapping):
        return list(_of_argilla(_flat_record(row)))
    if any(name.endswith(_RESPONSES) and isinstance(value, list) for name, value in row.items()):
        return list(_of_argilla(row))
    questions = {name: value for name, value in row.items() if _are_answers(value)}
    if questions:
        fields = {name: value for name, value in row.items() if name not in questions}
        return list(_of_argilla(_flat_record({**row, "fields": fields, "responses": questions})))
    return [row]


@lru_cache(maxsize=256)
def _are_plain(names: tuple[str, ...]) -> bool:
    """Whether no name belongs to a platform, as in most tables."""
    marks = (_POTATO, _RESPONSES, ".", "label_annotations", "fields", "-suggestion")
    return not any(mark in name for name in names for mark in marks)


def has_lost_ranks(row: Row) -> bool:
    """Whether the row is an Argilla record with an answer that lists options without ranks."""
    if unfolded(row) == [row]:
        return False
    answers = [value for plain_row in unfolded(row) for value in plain_row.values() if isinstance(value, list)]
    return any(all(isinstance(option, str) for option in value) for value in answers)


def _of_potato(row: Row) -> Row:
    nested = row.get("label_annotations")
    cells = {name: value for name, value in row.items() if name != "label_annotations"}
    for schema, labels in nested.items() if isinstance(nested, Mapping) else ():
        for label, value in labels.items() if isinstance(labels, Mapping) else ():
            cells[f"{schema}{_POTATO}{label}"] = value
    found: dict[str, Any] = {}
    for name, value in cells.items():
        schema, separator, label = name.partition(_POTATO)
        if plain(label) == _ORDER and isinstance(value, str):
            found[schema] = value.replace(",", " > ")
        elif not separator or plain(label) in _VALUES:
            found[schema] = value
        else:
            choose(found, schema, label, not is_absent(value) and str(value).strip().lower() != "false")
    return found


def _flat_record(record: Row) -> Row:
    """A nested record as a flat one."""
    flat: dict[str, Any] = {"id": record.get("external_id") or record.get("id"), **record["fields"]}
    for question, answers in record["responses"].items():
        given = [answer for answer in _entries(answers) if isinstance(answer, Mapping)]
        flat[f"{question}{_RESPONSES}"] = [answer.get("value") for answer in given]
        flat[f"{question}{_RESPONSES}.users"] = [answer.get("user_id", answer.get("user")) for answer in given]
        flat[f"{question}{_RESPONSES}.status"] = [answer.get("status") for answer in given]
    return flat


def _of_argilla(row: Row) -> Iterator[Row]:
    questions = [name.removesuffix(_RESPONSES) for name in row if name.endswith(_RESPONSES)]
    shared = {name: value for name, value in row.items() if _RESPONSES not in name}
    people: dict[object, dict[str, Any]] = {}
    for question in questions:
        answers, users, statuses = (_entries(row.get(f"{question}{_RESPONSES}{part}")) for part in _PARTS)
        for number, answer in enumerate(answers):
            user = users[number] if number < len(users) else None
            given = people.setdefault(number if user is None else str(user), {**shared, "annotator": user})
            given.update(_answered(question, answer))
            if number < len(statuses) and statuses[number]:
                given["response_status"] = statuses[number]
    yield from people.values() or [shared]


_PARTS = ("", ".users", ".status")


def _entries(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _are_answers(value: object) -> bool:
    """Whether a cell holds answers to a question: a list of objects with annotator, value and status."""
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(answer, Mapping) and answer.keys() >= {"user_id", "value", "status"} for answer in value)
    )


def _options(answer: object) -> object:
    """The ranked options as a list, also if the export has separate lists of ranks and options."""
    if not isinstance(answer, Mapping) or not answer.keys() >= {"rank", "value"}:
        return answer
    ranks, options = _entries(answer["rank"]), _entries(answer["value"])
    return [{"value": option, "rank": rank} for option, rank in zip(options, ranks, strict=False)]


def _answered(question: str, answer: object) -> Iterable[tuple[str, Any]]:
    """(column, value) of an answer: `rank_1` and so on for a ranking, else one column with the question's name."""
    answer = _options(answer)
    if not isinstance(answer, list) or not answer or not all(_has_rank(option) for option in answer):
        return [(question, answer)]
    slots = {option["value"]: next(iter(numbered_responses([option["value"]])), None) for option in answer}
    return [(f"rank_{slots[option['value']] or option['value']}", option["rank"]) for option in answer]


def _has_rank(option: object) -> bool:
    return isinstance(option, Mapping) and isinstance(option.get("value"), str) and option.get("rank") is not None
