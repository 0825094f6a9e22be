"""Reads tables with a row per prompt and annotator: `response_1`, `rank_1`, … or lists of these. Pure functions."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from labeling.exchange.cells import is_absent, opened
from labeling.exchange.columns import Columns, first_of, numbered_judgements, numbered_responses
from labeling.exchange.frame import check_names, frame_of, note_unread
from labeling.exchange.orders import order_column, ranks_in_order
from labeling.exchange.reading import Reading, Rows, Unusable, listed, names_in, refuse
from labeling.exchange.unread_votes import UnreadVote, add_votes

_RESPONSES = ("responses", "answers", "outputs", "completions", "candidates", "generations")
_JUDGEMENTS = ("ranks", "rank", "scores", "ratings")


class _Layout(NamedTuple):
    """The columns of the responses, and of their ranks or scores, slot by slot."""

    responses: tuple[str, ...]
    judgements: tuple[str, ...]


def is_wide(row: Mapping[str, Any]) -> bool:
    """Whether a row has numbered responses and numbered ranks or scores."""
    responses = numbered_responses(row)
    return len(responses) > 1 and any(slots.keys() & responses.keys() for slots in numbered_judgements(row).values())


def has_lists(row: Mapping[str, Any]) -> bool:
    """Whether a row has a list of responses and a list of ranks or scores."""
    found = first_of(row, _RESPONSES), first_of(row, _JUDGEMENTS)
    return all(name is not None and isinstance(opened(row[name]), list) for name in found)


def read_wide(rows: Rows, columns: Columns, reading: Reading) -> None:
    """Add the votes of a wide table. Raises LabelingError if its columns are ambiguous."""
    names = names_in(rows)
    layout = _layout(names, columns)
    check_names(names, {columns.options.responses: layout.responses, columns.options.ranks: layout.judgements})
    reading.note("responses", *layout.responses)
    frame = frame_of(rows, columns, reading)
    judged = [
        UnreadVote(
            index,
            place,
            row,
            [(name, row.get(name)) for name in layout.responses],
            [(name, row.get(name)) for name in layout.judgements],
        )
        for index, (place, row) in enumerate(rows)
    ]
    add_votes(judged, layout.judgements, frame, columns, reading)
    note_unread(reading, [name for name in names if name != "responses"], frame)


def has_order(row: Mapping[str, Any]) -> bool:
    """Whether a row has numbered responses and their order in one cell."""
    return len(numbered_responses(row)) > 2 and order_column(row, list(row.values())) is not None


def read_orders(rows: Rows, columns: Columns, reading: Reading) -> None:
    """Add the votes of rows with numbered responses and their order, `B > A = C`. Raises LabelingError."""
    names = names_in(rows)
    found = numbered_responses(names)
    order = next((name for _, row in rows if (name := order_column(row, list(row.values())))), None)
    if order is None or len(found) < 2:
        refuse(f"There are no numbered responses with an order such as B > A = C. The columns are {', '.join(names)}.")
    reading.note("responses", *found.values())
    reading.note("ranks", order)
    frame = frame_of(rows, columns, reading)
    judged = []
    for index, (place, row) in enumerate(rows):
        cells: list[tuple[str, object]] = [(order, None) for _ in found]
        try:
            if not is_absent(row.get(order)):
                cells = [(order, rank) for rank in ranks_in_order(row.get(order), list(found), order)]
        except Unusable as fault:
            reading.rows += 1
            reading.add_bad(place, fault, row)
            continue
        judged.append(UnreadVote(index, place, row, [(name, row.get(name)) for name in found.values()], cells))
    add_votes(judged, (order,), frame, replace(columns, scale="ranks"), reading)
    note_unread(reading, names, frame)


def read_lists(rows: Rows, columns: Columns, reading: Reading) -> None:
    """Add the votes of rows with a list of responses and a list of ranks or scores. Raises LabelingError."""
    names = names_in(rows)
    responses = (*columns.responses, first_of(names, _RESPONSES))[0]
    judgements = (*columns.ranks, first_of(names, _JUDGEMENTS))[0]
    if responses is None or judgements is None:
        refuse(f"There are no columns with a list of responses and one of ranks. The columns are {', '.join(names)}.")
    reading.note("responses", responses)
    frame = frame_of(rows, columns, reading)
    judged = []
    for index, (place, row) in enumerate(rows):
        texts, cells = opened(row.get(responses)), opened(row.get(judgements))
        if isinstance(texts, list) and isinstance(cells, list) and len(texts) == len(cells):
            both = [(responses, text) for text in texts], [(judgements, cell) for cell in cells]
            judged.append(UnreadVote(index, place, row, *both))
        else:
            reading.rows += 1
            fault = Unusable(judgements, f"must be a list as long as that of `{responses}`", row.get(judgements))
            reading.add_bad(place, fault, row)
    add_votes(judged, (judgements,), frame, columns, reading)
    note_unread(reading, names, frame)


def _layout(names: Iterable[str], columns: Columns) -> _Layout:
    found = numbered_responses(names)
    families = {word: slots for word, slots in numbered_judgements(names).items() if slots.keys() & found.keys()}
    responses = columns.responses or tuple(found.values())
    judgements = columns.ranks
    if not judgements:
        chosen = families.get("rank") or (next(iter(families.values())) if len(families) == 1 else None)
        if chosen is None and families:
            kinds = "; ".join(listed(tuple(slots.values())) for slots in families.values())
            refuse(f"Several columns stand beside each response: {kinds}. Name those to read: {columns.options.ranks}.")
        judgements = tuple((chosen or {})[slot] for slot in found if slot in (chosen or {}))
    if len(responses) != len(judgements) or len(responses) < 2:
        refuse(
            f"There are {len(responses)} columns of responses and {len(judgements)} of ranks or scores. Name one for "
            f"each response: {columns.options.responses}, {columns.options.ranks}. The columns are {', '.join(names)}."
        )
    return _Layout(responses, judgements)
