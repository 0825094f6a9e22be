"""Prompts from a user's files: rows of prompts, plain text, or demonstrations, of which the first prompt is taken."""

from functools import partial

from pipeline.data.formats.coded import marked_good
from pipeline.data.formats.conversations import Row
from pipeline.data.formats.detection import AUTO
from pipeline.data.formats.prompts import prompt
from pipeline.data.formats.table import DEMONSTRATIONS, PROMPTS, TEXTS, Format, demonstrations_in
from pipeline.data.ledger import Ledger, check_bad_fraction
from pipeline.data.loading import converted, rows_with_format
from pipeline.data.reading.files import Paths, find_files
from pipeline.data.rows import Message, opening, spoken_alone

MOST_BAD = 0.2  # share of rows that may be malformed

_ANY: tuple[Format[object], ...] = (*PROMPTS, *TEXTS, *DEMONSTRATIONS)


def load_prompts(paths: Paths) -> tuple[list[list[Message]], Ledger]:
    """All prompts in these files, in their order, and the ledger of the rows that could not be used.

    Of plain text, each paragraph is a prompt. Raises RequestError if a file cannot be read, its format cannot be told,
    or too many rows are malformed.
    """
    ledger, prompts = Ledger(), list[list[Message]]()
    for file in find_files(paths):
        rows, chosen = rows_with_format(file, AUTO, _ANY)
        for raw in rows:
            prompts += converted(raw, partial(_prompts, chosen=chosen), ledger)
    check_bad_fraction(ledger, MOST_BAD, group="")
    return prompts, ledger


def _prompts(row: Row, chosen: Format[object]) -> list[list[Message]]:
    for form in DEMONSTRATIONS:
        if form is chosen:
            good = marked_good(row, form.codes_of)
            return [spoken_alone(opening(found["messages"])) for found, _ in demonstrations_in(good, form, mend=True)]
    return [found["prompt"] for found in prompt(row)]
