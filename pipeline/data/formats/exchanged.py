"""Formats that `labeling import` reads: tables of ranks and scores, orders, and exports of annotation platforms.

A file is read as a whole, since only all of its rows settle their meaning.
"""

import json
from collections.abc import Sequence
from dataclasses import replace

from labeling.backend import LabelingError
from labeling.exchange.columns import Columns, Options, first_of, scale_of
from labeling.exchange.forms import form_of, read_rows
from labeling.exchange.label_studio import is_flat
from labeling.exchange.platforms import unfolded
from labeling.exchange.reading import Reading, Unusable
from labeling.votes import Vote
from pipeline.data.faults import BadRow
from pipeline.data.formats.conversations import Row, in_order
from pipeline.data.formats.fields import HALF_PAIR
from pipeline.data.formats.transcripts import prompt_turns
from pipeline.data.rows import Message
from pipeline.errors import RequestError

FORMS = ("wide", "long", "lists", "order", "label-studio", "label-studio-flat", "pairs")

_TRANSCRIPTS = "Prompts written as transcripts, read as turns: {}"
_IMPORT = "python -m labeling import FILE --to r.jsonl"
_OPTIONS = Options(
    id="labeling.columns.id",
    prompt="labeling.columns.prompt",
    responses="labeling.columns.response_1, labeling.columns.response_2, …",
    ranks="labeling.columns.rank_1, labeling.columns.rank_2, … for ranks, labeling.columns.score_1, … for scores",
    scale="labeling.columns.rank_1, … for ranks or labeling.columns.score_1, … for scores",
    annotator="labeling.columns.annotator",
    comment="labeling.columns.comment",
    choice="labeling.columns.preference",
    codes="labeling.codes",
    buckets=f"{_IMPORT} --buckets",
    tie="labeling.codes",
)


def exchanged_form(row: Row) -> str | None:
    """The row's form among these, or None; rows that other formats read are excluded."""
    form = form_of(row)
    if form == "pairs" and not (unfolded(row) != [row] or is_flat(row)):  # a platform's export
        return None
    if form == "long" and not any(scale_of(key) == "ranks" for key in row):  # one score a row: marks
        return None
    if form == "lists" and first_of(row, ("ranks", "rank")) is None:  # a list of scores
        return None
    return form if form in FORMS else None


def read_exchanged(rows: Sequence[tuple[object, Row]], form: str, codes: dict[str, str], where: object) -> Reading:
    """The votes in all rows of one form. Raises RequestError if the columns are ambiguous."""
    columns = [_half_pair_in(row) for _, row in rows]
    whole = [one for one, column in zip(rows, columns, strict=True) if column is None]
    try:
        reading = read_rows(whole, form, Columns(codes=codes, options=_OPTIONS))
    except LabelingError as error:
        raise RequestError(f"{where}: {error}") from None
    reading.rows += len(rows) - len(whole)
    for (place, row), column in zip(rows, columns, strict=True):
        if column is not None:
            reading.add_bad(place, Unusable(column, HALF_PAIR), row)
    reading.votes = [replace(vote, prompt=_in_turns(vote.prompt, reading)) for vote in reading.votes]
    return reading


def _half_pair_in(row: Row) -> str | None:
    """The first column with text that UTF-8 cannot hold, at any depth; None if there is none."""
    return next((key for key, value in row.items() if not _is_utf8(value)), None)


def _is_utf8(value: object) -> bool:
    try:
        json.dumps(value, ensure_ascii=False, default=str).encode()
    except UnicodeEncodeError:
        return False
    return True


def _in_turns(prompt: str | list[Message], reading: Reading) -> str | list[Message]:
    """A transcript prompt as its turns; any other prompt unchanged."""
    try:
        turns = prompt_turns(prompt, "prompt") if isinstance(prompt, str) else None
        found = in_order(turns, "prompt", last="user") if turns else None
    except BadRow:
        return prompt
    if found is None:
        return prompt
    reading.tallies[_TRANSCRIPTS] += 1
    return found


def votes_of_one(row: Row, form: str) -> list[Vote]:
    """The votes of a file of one row. Raises BadRow."""
    try:
        reading = read_exchanged([(None, row)], form, {}, "the row")
    except RequestError as error:
        raise BadRow(None, None, str(error)) from None
    for fault in (*reading.bad, *reading.left_out):
        raise BadRow(fault.field, None, fault.reason)
    if not reading.votes:
        raise BadRow(None, None, "the row holds no vote")
    return reading.votes
