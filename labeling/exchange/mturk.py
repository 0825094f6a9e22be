"""Shortens the column names of Amazon Mechanical Turk's batches: `Input.…` and `Answer.…`. Pure functions."""

import re
from collections.abc import Mapping
from typing import Any

from labeling.exchange.cells import opened
from labeling.exchange.reading import Row

_TASK_ANSWERS = "Answer.taskAnswers"
_PREFIX = re.compile(r"(?:Input|Answer)\.", re.IGNORECASE)
_LABEL = re.compile(r"\.(?:label|answer|value)$", re.IGNORECASE)
_OPTION = re.compile(r"Answer\.(?P<question>.+)\.(?P<option>[^.]+)$", re.IGNORECASE)


def is_batch(row: Row) -> bool:
    """Whether a row is one of a batch's results."""
    return any(_PREFIX.match(name) for name in row)


def plain_batch_row(row: Row) -> Row:
    """A result under short names; radio buttons (`Answer.q.a`: true, `Answer.q.b`: false) become the option chosen."""
    found: dict[str, Any] = {}
    for name, value in _with_task_answers(row).items():
        option, word = _OPTION.match(name), str(value).strip().lower()
        if option and word in ("true", "false"):
            choose(found, option["question"], option["option"], word == "true")
        else:
            found[_LABEL.sub("", _PREFIX.sub("", name)) if _PREFIX.match(name) else name] = value
    return found


def _with_task_answers(row: Row) -> dict[str, Any]:
    """The row with the answers from the one cell that crowd forms write: [{"question": {"option": true}}]."""
    cells = dict(row)
    forms = opened(cells.pop(_TASK_ANSWERS)) if _TASK_ANSWERS in cells else None
    for form in forms if isinstance(forms, list) else ():
        for question, answer in form.items() if isinstance(form, Mapping) else ():
            options = answer if isinstance(answer, Mapping) else {"value": answer}
            cells |= {f"Answer.{question}.{option}": value for option, value in options.items()}
    return cells


def choose(found: dict[str, Any], question: str, option: str, chosen: bool) -> None:
    """Add an option to the chosen ones, if it was chosen."""
    before = found.setdefault(question, None)
    if chosen:
        found[question] = option if before is None else f"{before} and {option}"
