"""Selects rows that fit into a model's context. The others are reported and listed in the stage's ledger."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pipeline.data.faults import BadRow, Place
from pipeline.data.ledger import Ledger
from pipeline.errors import RequestError, Unrenderable
from pipeline.stage import StageContext
from pipeline.store.artifact import Artifact

RowT = TypeVar("RowT")
IdsT = TypeVar("IdsT")


def fitting_rows(
    rows: Iterable[RowT],
    render: Callable[[RowT], IdsT],
    length: Callable[[IdsT], int],
    limit: int,
    file: Path,
    context: StageContext,
    most: int | None = None,
) -> Iterator[IdsT]:
    """Yield each rendered row with at most `limit` tokens; only the first `most` of these if it is given.

    Rows that the chat template refuses are left out like rows that are too long; after the last row they are reported.
    Raises `RequestError` if no row is left, with the reason of the first refused one.
    """
    kept, ledger = 0, Ledger()
    first_refused: Unrenderable | None = None
    for line, row in enumerate(rows, start=1):
        if kept == most:
            break
        ledger.count_read()
        try:
            rendered = render(row)
        except Unrenderable as error:
            first_refused = first_refused or error
            ledger.drop(Place(file, line), BadRow(None, None, error.reason), row, "template")
            continue
        tokens = length(rendered)
        if tokens <= limit:
            kept += 1
            yield rendered
        else:
            too_long = BadRow(None, None, f"longer than {limit} tokens")
            ledger.drop(Place(file, line), too_long, f"{tokens} tokens", "length")
    _report_left_out(ledger, file, context)
    if not kept and first_refused:
        raise RequestError(f"{file}: no row can be used. The first: {first_refused}")
    if not kept:
        raise RequestError(f"{file}: no row fits into {limit} tokens: a model with a longer context is needed.")


def _report_left_out(ledger: Ledger, file: Path, context: StageContext) -> None:
    """Remark on rows that are left out, with the reasons, and write the ledger; nothing if all rows are used."""
    if ledger.dropped and context.is_main:
        ledger.write(context.output_dir / f"ledger.{file.name}")
        for reason, count in ledger.reasons().items():
            context.say(f"{file.name}: {count:,} of {ledger.read:,} rows are left out: {reason}")
        context.say(f"each is in ledger.{file.name}")


def answerable_rows(
    rows: Sequence[Mapping[str, Any]],
    policies: Sequence[Artifact],
    limit: int,
    file: Path,
    context: StageContext,
    most: int | None = None,
) -> list[Mapping[str, Any]]:
    """Return the rows with prompts that leave space for an answer in the context of every policy.

    The space is `limit` tokens, or half the smallest context if that is less; and at least the length of the row's
    `reference` answer, if it has one. Raises `RequestError` as `fitting_rows` does.
    """
    from pipeline.modeling.chat.rendering import ChatFormat
    from pipeline.modeling.sources import context_length_in_config, source_of, tokenizer_of

    sources = [source_of(policy) for policy in policies]
    chats = [ChatFormat(tokenizer_of(source)[0]) for source in sources]
    context_length = min(map(context_length_in_config, sources))
    least = min(limit, context_length // 2)

    def needed(row: Mapping[str, Any]) -> tuple[Mapping[str, Any], int]:
        prompt, given = row["prompt"], row.get("reference")
        tokens = (len(c.prompt(prompt)) + max(least, len(c.answer(prompt, given)) if given else 0) for c in chats)
        return row, max(tokens)

    return [row for row, _ in fitting_rows(rows, needed, lambda one: one[1], context_length, file, context, most)]
