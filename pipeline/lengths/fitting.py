"""Rows as token ids that fit into a model's context; the others are said and entered in the stage's own ledger."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pipeline.data.faults import BadRow
from pipeline.data.ledger import ledger_of_lengths
from pipeline.errors import RequestError, Unrenderable
from pipeline.stage import StageContext
from pipeline.store.artifacts import Artifact

RowT = TypeVar("RowT")
IdsT = TypeVar("IdsT")


def fitting(
    rows: Sequence[RowT],
    render: Callable[[RowT], IdsT],
    length: Callable[[IdsT], int],
    limit: int,
    file: Path,
    context: StageContext,
    most: int | None = None,
) -> list[IdsT]:
    """Each row as `render` makes it, where that has at most `limit` tokens; of many, the first `most` of these.

    A row that the chat template refuses is left out as one that is too long is. Raises `RequestError` where none is
    left, with what stood in the way of the first.
    """
    kept: list[IdsT] = []
    lengths: list[int | BadRow] = []
    refused: list[Unrenderable] = []
    for row in rows:
        if len(kept) == most:
            break
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
    ledger = ledger_of_lengths(rows[: len(lengths)], lengths, limit, file)
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


def answerable(
    rows: Sequence[Mapping[str, Any]],
    policies: Sequence[Artifact],
    limit: int,
    file: Path,
    context: StageContext,
    most: int | None = None,
) -> list[Mapping[str, Any]]:
    """The rows whose prompts leave every policy room for an answer: `limit` tokens, or half its context if that is
    less; and for the answer that was given, where a row has one as its `reference`.

    Raises `RequestError` as `fitting` does.
    """
    from pipeline.modeling.chat.rendering import ChatFormat
    from pipeline.modeling.policy import context_in_config, source_of, tokenizer_of

    sources = [source_of(policy) for policy in policies]
    chats = [ChatFormat(tokenizer_of(source)[0]) for source in sources]
    room = min(map(context_in_config, sources))
    least = min(limit, room // 2)

    def needed(row: Mapping[str, Any]) -> tuple[Mapping[str, Any], int]:
        prompt, given = row["prompt"], row.get("reference")
        tokens = (len(c.prompt(prompt)) + max(least, len(c.answer(prompt, given)) if given else 0) for c in chats)
        return row, max(tokens)

    return [row for row, _ in fitting(rows, needed, lambda one: one[1], room, file, context, most)]
