"""Verdicts on two responses in a coded column, settled over the whole file. Pure."""

from collections import Counter
from collections.abc import Iterable, Mapping

from labeling.codes import CHOICES, Choice, UnsettledCodes, canonical, settle_choices
from labeling.exchange.columns import Columns
from labeling.exchange.reading import refuse

RANKS_OF: Mapping[str, list[int]] = {"first": [1, 2], "second": [2, 1], "tie": [1, 1]}


def verdict_word(value: object) -> str:
    """A verdict as it is compared: of a list of choices the only one, of text its canonical form; blank is ""."""
    if isinstance(value, Mapping):
        value = value.get("choices", value.get("selected", value.get("label")))
    if isinstance(value, list | tuple):
        value = " and ".join(sorted(str(one) for one in value))
    return canonical(value)


def settled(words: Iterable[str], columns: Columns, field: str) -> dict[str, Choice]:
    """What each verdict means. Raises LabelingError with the values seen and the option that settles them."""
    given = {canonical(value): meaning for value, meaning in columns.codes.items()}
    if columns.tie is not None:
        given[canonical(columns.tie)] = "tie"
    seen = Counter(word for word in words if word)
    try:
        return settle_choices(seen, given)
    except UnsettledCodes as error:
        refuse(
            f"`{field}`: {error.reason}: {error.values()}. Give what they mean: {_line(error, columns.options.codes)}"
        )


def _line(error: UnsettledCodes, option: str) -> str:
    """The option or the key that settles the verdicts, as a shell takes it."""
    if not option.startswith("--"):
        return error.line(option)
    return f"{option} '{','.join(f'{value}=…' for value in error.unsettled)}', each one of {', '.join(CHOICES)}"
