"""The table of formats of judgements: the test and the reader of each. Pure functions.

Readers take parsed rows, from any kind of file.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from labeling.exchange import jsonlines, label_studio, label_studio_flat, long, pairs, wide
from labeling.exchange.columns import UNMAPPED, Columns
from labeling.exchange.platforms import plain_rows, unfolded
from labeling.exchange.reading import Reading, Rows


class Form(NamedTuple):
    """A format: its test for a row, and its reader, which adds the rows' votes to a reading."""

    matches: Callable[[Mapping[str, Any]], bool]
    read: Callable[[Rows, Columns, Reading], None]


FORMS: Mapping[str, Form] = {
    "rankings": Form(jsonlines.is_ranking, jsonlines.read_rankings),
    "label-studio": Form(label_studio.is_task, label_studio.read_label_studio),
    "label-studio-flat": Form(label_studio_flat.is_flat_ranker, label_studio_flat.read_flat_rankers),
    "wide": Form(lambda row: wide.is_wide(row) and not pairs.has_clear_verdict(row), wide.read_wide),
    "order": Form(wide.has_order, wide.read_orders),
    "lists": Form(wide.has_lists, wide.read_lists),
    "pairs": Form(pairs.is_pair, pairs.read_pairs),
    "long": Form(long.is_long, long.read_long),
}
"""Name -> form, in the order of detection."""


def form_of(row: Mapping[str, Any]) -> str | None:
    """The format of a row, or None."""
    plain = unfolded(row)[0]
    return next((name for name, form in FORMS.items() if form.matches(plain)), None)


def read_rows(rows: Rows, form: str, columns: Columns = UNMAPPED) -> Reading:
    """The votes in rows of one format, with the unusable rows.

    Cells may be texts, numbers or null. Raises LabelingError (request) if the columns are ambiguous.
    """
    reading = Reading(form)
    plain = plain_rows(rows, reading)
    if plain:
        FORMS[form].read(plain, columns, reading)
    return reading
