"""Batches of Amazon Mechanical Turk: columns `Input.…` and `Answer.…`, and assignments that were rejected. Pure."""

import re
from collections.abc import Mapping
from typing import Any

from labeling.exchange.columns import first_of, plain
from labeling.exchange.reading import Reading, Rows

_PREFIX = re.compile(r"(?:Input|Answer)\.", re.IGNORECASE)
_LABEL = re.compile(r"\.(?:label|answer|value)$", re.IGNORECASE)
_OPTION = re.compile(r"Answer\.(?P<question>.+)\.(?P<option>[^.]+)$", re.IGNORECASE)
_REJECTED = "the assignment was rejected"


def is_batch(row: Mapping[str, Any]) -> bool:
    """Whether a row is one of a batch's results."""
    return any(_PREFIX.match(name) for name in row)


def short_name(name: str) -> str:
    """`Input.prompt` -> `prompt`, `Answer.preference.label` -> `preference`."""
    return _LABEL.sub("", _PREFIX.sub("", name)) if _PREFIX.match(name) else name


def plain_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """A result under short names; of radio buttons (`Answer.q.a`: true, `Answer.q.b`: false) the one that is on."""
    found: dict[str, Any] = {}
    for name, value in row.items():
        option = _OPTION.match(name)
        if option and str(value).strip().lower() in ("true", "false"):
            if str(value).strip().lower() == "true":
                before = found.get(option["question"])
                found[option["question"]] = f"{before} and {option['option']}" if before else option["option"]
            else:
                found.setdefault(option["question"], None)
        else:
            found[short_name(name)] = value
    return found


def accepted(rows: Rows, reading: Reading) -> Rows:
    """The rows without rejected assignments, which are entered as left out."""
    kept = []
    for place, row in rows:
        status = first_of(row, ("assignment_status",))
        if status and plain(str(row[status])) == "rejected":
            reading.leave_out(place, status, _REJECTED, row)
        else:
            kept.append((place, row))
    return kept
