"""Reads which turns are learned: flags on turns, and lists with one value per turn (loss masks)."""

from collections.abc import Mapping
from functools import cache
from typing import Any

from labeling.exchange.columns import plain
from labeling.flags import FALSE, TRUE
from pipeline.data.faults import BadRow, LeftOut
from pipeline.data.formats.fields import list_in
from pipeline.data.formats.watching import note, peek

_LEARNED = frozenset(
    (
        *("train", "training", "trained", "trainable", "supervise", "supervised", "learn", "learned", "learnable"),
        *("loss", "weight", "weights"),
    )
)
_NOT = frozenset(("no", "not", "non", "skip", "skipped", "ignore", "ignored", "exclude", "excluded", "mask", "masked"))
_BESIDE = frozenset(
    (
        *("is", "do", "does", "has", "have", "be", "to", "on", "in", "for", "from", "with", "the", "this", "turn"),
        *("use", "used", "should", "compute", "computed", "calculate", "require", "requires", "include", "included"),
        *("scale", "detail"),
    )
)
_MASK = ("mask", "masks")

ROW_FLAGS = frozenset(("weight", "sample_weight", "loss_weight", "train", "trainable", "supervised"))
"""Columns that may hold such a flag for the whole row."""

UNLEARNED = "no answer of the conversation is marked to be learned"


@cache
def learns(name: str) -> bool | None:
    """The meaning of a true flag of that name: True if the turn is learned, False if not, None if it is not a flag.

    Decided by its words: `weight`, `compute_loss`, `lossMask` mean learned; `masked`, `no_loss`, `exclude_from_loss`
    mean not learned.
    """
    words = [word for word in plain(name).split("_") if word not in _BESIDE]
    if len(words) > 1 and words[-1] in _MASK:  # a loss mask has 1 where there is loss
        words.pop()
    others = [word for word in words if word not in _NOT]
    if not words or not _LEARNED.issuperset(others):
        return None
    return len(others) == len(words)


def is_loss_mask(name: str) -> bool:
    """Whether a column of that name may hold a list of flags, one for each turn, true where the turn is learned."""
    return plain(name) == "turn_mask" or learns(name) is True


def learning_flag(turn: Mapping[str, Any], field: str, written: str | None = None) -> bool | None:
    """Whether a turn's flags mark it as learned; None without flags, which means learned.

    Raises BadRow for a value that is neither true nor false, and for flags that disagree.
    """
    by_key: dict[str, bool] = {}
    for key, value in turn.items():
        if value is not None and (learned := learns(key)) is not None:
            by_key[key] = flag_in(value, f"{field}.{key}", written) == learned
    if len(set(by_key.values())) > 1:
        raise BadRow(f"{field}.{' + '.join(by_key)}", written, "the flags disagree on whether the turn is learned")
    return next(iter(by_key.values()), None)


def flag_in(value: object, field: str, written: str | None) -> bool:
    """The flag as true or false. Raises BadRow for anything else."""
    word = str(value).strip().lower() if isinstance(value, str | int | float) else ""
    if word in TRUE or word in FALSE:
        return word in TRUE
    raise BadRow(
        field, written, "only 1 or 0, true or false mark a turn as learned or not; other weights are not supported"
    )


def check_row_flags(row: dict[str, Any]) -> None:
    """Raise LeftOut if a flag of the whole row marks it as not to be learned.

    Values other than true and false, such as a weight of 0.5, are ignored.
    """
    if ROW_FLAGS.isdisjoint(map(str.lower, row)):
        return
    for key in [key for key in row if key.lower() in ROW_FLAGS]:
        word = str(peek(row, key)).strip().lower()
        if word in (*TRUE, *FALSE) and not flag_in(row[key], key, None):
            raise LeftOut(key, None, "the row is marked as not to be learned")


def marked_turns(row: dict[str, Any], field: str) -> object:
    """The turns in a column, each with its flag if the row has a loss mask; otherwise the unchanged value.

    Raises BadRow if the numbers of flags and turns differ.
    """
    turns = row.get(field)
    masks = [key for key in row if is_loss_mask(key) and isinstance(peek(row, key), list) and peek(row, key)]
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
    if learning_flag(turn, field) not in (None, flag):
        raise BadRow(field, None, "the turn's own flag and the loss mask disagree")
    own = {key: value for key, value in turn.items() if learns(key) is None}
    return {**own, "train": flag}
