"""The formats of judgements: how a row shows its format, and the reader of each. Pure.

The readers take rows that are parsed already, from any kind of file.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from labeling.exchange import jsonlines, label_studio, label_studio_flat, long, pairs, wide
from labeling.exchange.columns import AS_THEY_ARE, Columns
from labeling.exchange.platforms import plain_rows, unfolded
from labeling.exchange.reading import Reading, Rows


class Form(NamedTuple):
    """A format: whether a row is in it, and what enters such rows' votes into a reading."""

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
"""By name, in the order in which they are tried."""


def form_of(row: Mapping[str, Any]) -> str | None:
    """The format that a row shows, or None."""
    plain = unfolded(row)[0]
    return next((name for name, form in FORMS.items() if form.matches(plain)), None)


def read_rows(rows: Rows, form: str, columns: Columns = AS_THEY_ARE) -> Reading:
    """The votes in rows of one format, with the rows that cannot be used.

    Cells may be texts, numbers or null. Raises LabelingError (request) if the columns do not settle what is what.
    """
    reading = Reading(form)
    plain = plain_rows(rows, reading)
    if plain:
        FORMS[form].read(plain, columns, reading)
    return reading
