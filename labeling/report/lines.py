"""The table of annotators as a few lines for the terminal. Pure functions."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from labeling.suspects import MIN_TASKS, REASONS
from labeling.trust import Table

SHOWN = 6  # most annotators; with the head and the line about the others there are eight lines
_LONGEST_NAME = 24


def annotator_lines(table: Table, title: str) -> list[str]:
    """The table: suspects first, then by name; measures that no annotator has are left out. At most eight lines."""
    names = sorted(table, key=lambda name: ("suspect" not in table[name], name))
    shown = [table[name] for name in names[:SHOWN]]
    columns = [(head, cell) for head, cell in _COLUMNS.items() if any(cell(about) for about in shown)]
    rows = [[title, *(head for head, _ in columns)]]
    rows += [
        [_short(name), *(cell(about) or "—" for _, cell in columns)]
        for name, about in zip(names[:SHOWN], shown, strict=True)
    ]
    more = len(names) - SHOWN
    return [*_aligned(rows), *([f"and {more:,} more, in annotators.json"] if more > 0 else [])]


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _short(name: str) -> str:
    plain = " ".join(name.split())
    return plain if len(plain) <= _LONGEST_NAME else f"{plain[: _LONGEST_NAME - 1]}…"


def _answers(about: Mapping[str, Any]) -> str:
    count = about.get("submitted", about.get("rankings"))
    return "" if count is None else f"{count:,}"


def _reliability(about: Mapping[str, Any]) -> str:
    one = about.get("reliability")
    if one is None or one["tasks"] < MIN_TASKS:
        return ""
    return f"{one['value']:z.2f} [{max(-1.0, one['low']):z.2f}, {min(1.0, one['high']):z.2f}]"


def _agreement(about: Mapping[str, Any]) -> str:
    one = about.get("against_chance", about)
    return f"{one['agreement']:.2f} ({one['chance']:.2f})" if "chance" in one else ""


def _share(key: str) -> Callable[[Mapping[str, Any]], str]:
    return lambda about: f"{about[key]['share']:.2f}" if key in about else ""


def _seconds(about: Mapping[str, Any]) -> str:
    return f"{about['seconds']['value']:.0f}" if "seconds" in about else ""


def _reason(about: Mapping[str, Any]) -> str:
    return ", ".join(REASONS[one["reason"]] for one in about.get("suspect", ()))


_COLUMNS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "answers": _answers,
    "reliability": _reliability,
    "agree (chance)": _agreement,
    "repeats": _share("consistency"),
    "gold": _share("accuracy"),
    "first shown": _share("first"),
    "s per prompt": _seconds,
    "": _reason,
}
