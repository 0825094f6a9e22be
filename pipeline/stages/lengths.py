"""Rows as token ids that fit into a model's context; the others are said and entered in the stage's own ledger."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from pipeline.data.faults import BadRow
from pipeline.data.ledger import leave_out
from pipeline.errors import RequestError, Unrenderable
from pipeline.stage import StageContext

RowT = TypeVar("RowT")
IdsT = TypeVar("IdsT")


def fitting(
    rows: Sequence[RowT],
    render: Callable[[RowT], IdsT],
    length: Callable[[IdsT], int],
    limit: int,
    file: Path,
    context: StageContext,
) -> list[IdsT]:
    """Each row as `render` makes it, where that has at most `limit` tokens.

    A row that the chat template refuses is left out as one that is too long is. Raises `RequestError` where none is
    left, with what stood in the way of the first.
    """
    kept: list[IdsT] = []
    lengths: list[int | BadRow] = []
    refused: list[Unrenderable] = []
    for row in rows:
        try:
            rendered = render(row)
        except Unrenderable as error:
            refused.append(error)
            lengths.append(BadRow(None, None, error.reason))
            continue
        tokens = length(rendered)
        lengths.append(tokens)
        if tokens <= limit:
            kept.append(rendered)
    ledger = leave_out(rows, lengths, limit, file)
    if ledger.dropped:
        ledger.write(context.output_dir / f"ledger.{file.name}")
        for reason, count in ledger.reasons().items():
            context.say(f"{file.name}: {count:,} of {ledger.read:,} rows are left out: {reason}")
        context.say(f"each is in ledger.{file.name}")
    if not kept and refused:
        raise RequestError(f"{file}: no row can be used. The first: {refused[0]}")
    if not kept:
        raise RequestError(f"{file}: no row fits into {limit} tokens: a model with a longer context is needed.")
    return kept
