"""Converts times in files to texts that sort by time. Pure functions."""

import email.utils
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from labeling.exchange.cells import is_absent

_CLOCK = r"(?:[ ,T]+(\d{1,2}):(\d{2})(?::(\d{2}))?\s*([ap]m)?)?"
_DAY_AND_MONTH = re.compile(rf"(\d{{1,2}})([/.-])(\d{{1,2}})\2(\d{{4}}|\d{{2}}){_CLOCK}", re.IGNORECASE)
_YEAR_FIRST = re.compile(r"(\d{4})/(\d{1,2})/(\d{1,2})(?=\D|$)")
_MILLISECONDS = 1e11  # as seconds, this is the year 5138


def times_in(cells: Sequence[object]) -> list[str] | None:
    """One text per cell, empty for an empty cell; None unless one time format fits all cells.

    Formats: ISO, seconds or milliseconds since 1970, dates of mails and crowd platforms; 1/2/2026 only if other cells
    show whether the day or the month comes first.
    """
    texts = ["" if is_absent(cell) else str(cell).strip() for cell in cells]
    for read in (_iso, _epoch, _mail, *_slashed(texts)):
        try:
            return [read(text) if text else "" for text in texts]
        except (ValueError, OverflowError, OSError):
            continue
    return None


def _sortable(time: datetime) -> str:
    """The time in UTC; a time without a zone counts as UTC."""
    moment = time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    return moment.isoformat(timespec="microseconds")


def _iso(text: str) -> str:
    if text.isdecimal():  # 20260101 is a date, 1767261600 is not
        raise ValueError(text)
    written = _YEAR_FIRST.sub(lambda day: f"{day[1]}-{int(day[2]):02}-{int(day[3]):02}", text, count=1)
    return _sortable(datetime.fromisoformat(written.removesuffix(" UTC")))


def _epoch(text: str) -> str:
    seconds = float(text)
    if seconds < 1e8:  # before 1973: a duration or a number, not a time
        raise ValueError(text)
    return _sortable(datetime.fromtimestamp(seconds / 1000 if seconds > _MILLISECONDS else seconds, UTC))


def _mail(text: str) -> str:
    parts = email.utils.parsedate_tz(text)
    if parts is None:
        raise ValueError(text)
    return _sortable(datetime.fromtimestamp(email.utils.mktime_tz(parts), UTC))


def _slashed(texts: Sequence[str]) -> list[Callable[[str], str]]:
    """The only reader of 1/2/2026 that fits the values, or empty."""
    found = [match for match in map(_DAY_AND_MONTH.fullmatch, texts) if match]
    firsts, seconds = (max((int(match[part]) for match in found), default=0) for part in (1, 3))
    if (firsts > 12) == (seconds > 12):
        return []
    return [lambda text: _dated(text, day_first=firsts > 12)]


def _dated(text: str, day_first: bool) -> str:
    match = _DAY_AND_MONTH.fullmatch(text)
    if not match:
        raise ValueError(text)
    day, month = (int(match[1]), int(match[3])) if day_first else (int(match[3]), int(match[1]))
    year = int(match[4]) + (2000 if len(match[4]) == 2 else 0)
    hour, minute, second = (int(match[part] or 0) for part in (5, 6, 7))
    if match[8]:
        hour = hour % 12 + (12 if match[8].lower() == "pm" else 0)
    return _sortable(datetime(year, month, day, hour, minute, second))
