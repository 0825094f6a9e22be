"""Which turns are learned: flags on turns, and lists with one value for each turn (loss masks)."""

from collections.abc import Mapping
from typing import Any

from pipeline.data.faults import BadRow, LeftOut
from pipeline.data.formats.fields import list_in
from pipeline.data.formats.watching import note, peek

LEARNED = frozenset(
    (
        *("weight", "loss", "loss_weight", "loss_scale", "loss_mask", "supervised", "supervise", "learn"),
        *("train", "training", "trainable", "trained", "train_on_turn", "train_detail", "training_detail"),
    )
)
"""Flags by which a turn is learned if they are true."""

MASKED = frozenset(("mask", "masked", "is_masked", "mask_loss", "no_loss", "ignore", "ignored", "ignore_loss"))
"""Flags by which a turn is not learned if they are true."""

LOSS_MASKS = ("loss_mask", "loss_masks", "train_mask", "turn_mask", "turn_weights", "loss_weights", "weights")
"""Columns that may hold a list of flags, one for each turn: true if the turn is learned."""

ROW_FLAGS = frozenset(("weight", "sample_weight", "loss_weight", "train", "trainable", "supervised"))
"""Columns that may hold such a flag for the whole row."""

UNLEARNED = "no answer of the conversation is marked to be learned"

_TRUE, _FALSE = ("1", "1.0", "true", "yes"), ("0", "0.0", "false", "no")


def is_learned(turn: Mapping[str, Any], field: str, written: str | None = None) -> bool | None:
    """Whether a turn's flags let it be learned; None where it has none, so that it is.

    Raises BadRow for a value that is neither true nor false, and for flags that disagree.
    """
    said: dict[str, bool] = {}
    for key, value in turn.items():
        name = key.lower()
        if value is not None and (name in LEARNED or name in MASKED):
            said[key] = flag_in(value, f"{field}.{key}", written) == (name in LEARNED)
    if len(set(said.values())) > 1:
        raise BadRow(f"{field}.{' + '.join(said)}", written, "the flags disagree on whether the turn is learned")
    return next(iter(said.values()), None)


def flag_in(value: object, field: str, written: str | None) -> bool:
    """The flag as true or false. Raises BadRow for anything else."""
    word = str(value).strip().lower() if isinstance(value, str | int | float) else ""
    if word in _TRUE or word in _FALSE:
        return word in _TRUE
    raise BadRow(field, written, "a turn is learned or not: use 1 or 0, true or false; other weights are not supported")


def check_row_flags(row: dict[str, Any]) -> None:
    """Raise LeftOut if a flag of the whole row says that it is not to be learned.

    A value that is neither true nor false, such as a weight of 0.5, is not read.
    """
    if ROW_FLAGS.isdisjoint(map(str.lower, row)):
        return
    for key in [key for key in row if key.lower() in ROW_FLAGS]:
        word = str(peek(row, key)).strip().lower()
        if word in (*_TRUE, *_FALSE) and not flag_in(row[key], key, None):
            raise LeftOut(key, None, "the row says that it is not to be learned")


def marked_turns(row: dict[str, Any], field: str) -> object:
    """The turns in that column, each with its flag where the row has a loss mask; the value as it is where not.

    Raises BadRow if there are not as many flags as turns.
    """
    turns = row.get(field)
    masks = [key for key in row if key.lower() in LOSS_MASKS and isinstance(peek(row, key), list) and peek(row, key)]
    if not masks or not isinstance(turns, list):
        return turns
    note(row, "other", *masks)
    if len(masks) > 1:
        raise BadRow(" or ".join(masks), None, "several columns could be the loss mask: keep one of them")
    flags = [
        flag_in(value, f"{masks[0]}[{index}]", None) for index, value in enumerate(list_in(row[masks[0]], masks[0]))
    ]
    if len(flags) != len(turns):
        raise BadRow(masks[0], None, "a loss mask must have as many values as there are turns")
    return [
        _marked(turn, flag, f"{field}[{index}]") for index, (turn, flag) in enumerate(zip(turns, flags, strict=True))
    ]


def _marked(turn: object, flag: bool, field: str) -> object:
    if not isinstance(turn, dict):
        return turn
    if is_learned(turn, field) not in (None, flag):
        raise BadRow(field, None, "the turn's own flag and the loss mask disagree")
    own = {key: value for key, value in turn.items() if key.lower() not in LEARNED | MASKED}
    return {**own, "train": flag}
