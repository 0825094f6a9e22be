"""Settles verdicts on two responses in a coded column, over the whole file. Pure functions."""

from collections import Counter
from collections.abc import Iterable, Mapping

from labeling.codes import CHOICES, Choice, UnsettledCodes, canonical, settle_choices
from labeling.exchange.columns import Columns
from labeling.exchange.reading import refuse

RANKS_OF: Mapping[str, list[int]] = {"first": [1, 2], "second": [2, 1], "tie": [1, 1]}


def verdict_word(value: object) -> str:
    """A verdict in the form used for comparison: the choices of a list, the canonical form of text; blank is ""."""
    if isinstance(value, Mapping):
        value = value.get("choices", value.get("selected", value.get("label")))
    if isinstance(value, list | tuple):
        value = " and ".join(sorted(str(one) for one in value))
    return canonical(value)


def settle_verdicts(words: Iterable[str], columns: Columns, field: str) -> dict[str, Choice]:
    """Verdict -> meaning. Raises LabelingError with the observed values and the option that settles them."""
    given = {canonical(value): meaning for value, meaning in columns.codes.items()}
    if columns.tie is not None:
        given[canonical(columns.tie)] = "tie"
    seen = Counter(word for word in words if word)
    try:
        return settle_choices(seen, given)
    except UnsettledCodes as error:
        refuse(
            f"`{field}`: {error.reason}: {error.values()}. Give their meanings: {_line(error, columns.options.codes)}"
        )


def _line(error: UnsettledCodes, option: str) -> str:
    """The option or config key that settles the verdicts, quoted for a shell."""
    if not option.startswith("--"):
        return error.line(option)
    return f"{option} '{','.join(f'{value}=…' for value in error.unsettled)}', each one of {', '.join(CHOICES)}"
