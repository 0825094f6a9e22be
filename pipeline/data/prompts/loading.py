"""Reads prompts from users' files: rows of prompts, plain text, or the first prompts of demonstrations."""

from functools import partial

from pipeline.data.formats.coded import marked_good
from pipeline.data.formats.conversations import Row
from pipeline.data.formats.detection import AUTO
from pipeline.data.formats.prompts import prompt
from pipeline.data.formats.table import DEMONSTRATIONS, PROMPTS, TEXTS, Format, demonstrations_in
from pipeline.data.ledger import Ledger, check_bad_fraction
from pipeline.data.loading import convert_row, rows_with_format
from pipeline.data.reading.files import Paths, find_files
from pipeline.data.rows import Message, opening, without_marks

MAX_BAD_FRACTION = 0.2  # of malformed rows

_ANY: tuple[Format[object], ...] = (*PROMPTS, *TEXTS, *DEMONSTRATIONS)


def load_prompts(paths: Paths) -> tuple[list[list[Message]], Ledger]:
    """(all prompts of the files in order, the ledger of unusable rows).

    In plain text each paragraph is a prompt. Raises RequestError if a file cannot be read, its format is unclear, or
    too many rows are malformed.
    """
    ledger, prompts = Ledger(), list[list[Message]]()
    for file in find_files(paths):
        rows, chosen = rows_with_format(file, AUTO, _ANY)
        for raw in rows:
            prompts += convert_row(raw, partial(_prompts, chosen=chosen), ledger)
    check_bad_fraction(ledger, MAX_BAD_FRACTION, group="")
    return prompts, ledger


def _prompts(row: Row, chosen: Format[object]) -> list[list[Message]]:
    for form in DEMONSTRATIONS:
        if form is chosen:
            good = marked_good(row, form.codes_of)
            return [without_marks(opening(found["messages"])) for found, _ in demonstrations_in(good, form, mend=True)]
    return [found["prompt"] for found in prompt(row)]
