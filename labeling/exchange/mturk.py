"""Results of a batch on Amazon Mechanical Turk, with `Input.…` and `Answer.…` under short names. Pure."""

import re
from typing import Any

from labeling.exchange.reading import Row

_PREFIX = re.compile(r"(?:Input|Answer)\.", re.IGNORECASE)
_LABEL = re.compile(r"\.(?:label|answer|value)$", re.IGNORECASE)
_OPTION = re.compile(r"Answer\.(?P<question>.+)\.(?P<option>[^.]+)$", re.IGNORECASE)


def is_batch(row: Row) -> bool:
    """Whether a row is one of a batch's results."""
    return any(_PREFIX.match(name) for name in row)


def plain_batch_row(row: Row) -> Row:
    """A result under short names; of radio buttons (`Answer.q.a`: true, `Answer.q.b`: false) the option that is on."""
    found: dict[str, Any] = {}
    for name, value in row.items():
        option, word = _OPTION.match(name), str(value).strip().lower()
        if option and word in ("true", "false"):
            choose(found, option["question"], option["option"], word == "true")
        else:
            found[_LABEL.sub("", _PREFIX.sub("", name)) if _PREFIX.match(name) else name] = value
    return found


def choose(found: dict[str, Any], question: str, option: str, chosen: bool) -> None:
    """Add an option to those that were chosen, if it was."""
    before = found.setdefault(question, None)
    if chosen:
        found[question] = option if before is None else f"{before} and {option}"
