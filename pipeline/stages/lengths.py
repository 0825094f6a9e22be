"""Rows that fit into a model's context; the others are said and entered in the stage's own ledger."""

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from pipeline.data.ledger import leave_out_long
from pipeline.errors import RequestError
from pipeline.stage import StageContext

RowT = TypeVar("RowT")


def fitting(rows: Sequence[RowT], lengths: Sequence[int], limit: int, file: Path, context: StageContext) -> list[RowT]:
    """The rows of `limit` tokens or fewer. Raises `RequestError` where none is left."""
    kept, ledger = leave_out_long(rows, lengths, limit, file)
    if ledger.dropped:
        ledger.write(context.output_dir / f"ledger.{file.name}")
        context.say(
            f"{file.name}: {ledger.dropped} of {ledger.read} rows exceed {limit} tokens and are left out "
            f"(each is in ledger.{file.name})"
        )
    if not kept:
        raise RequestError(f"{file}: no row fits into {limit} tokens: a model with a longer context is needed.")
    return kept
