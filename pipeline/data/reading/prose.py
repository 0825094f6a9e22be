"""Reads rows of plain text: one per paragraph, or one per transcript of a user and an assistant."""

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from pipeline.data.faults import Place
from pipeline.data.reading.encodings import damage, opened_text, readable
from pipeline.data.reading.raw import BrokenRow, RawRow

_SPEAKER = re.compile(r"\s*(Human|User|Assistant):")
_RULE = re.compile(r"\s*(-{3,}|\*{3,}|={3,})\s*")


def prose_rows(file: Path, encoding: str, head: Sequence[str]) -> Iterator[RawRow | BrokenRow]:
    """Rows `{"text": ...}` of a file that begins with these lines, one at a time.

    Blank lines separate paragraphs. If `Human:` or `User:` and `Assistant:` begin lines, the file is one transcript, or
    several separated by lines of only dashes, asterisks or equals signs.
    """
    is_separator = _is_rule if _has_speakers(head) else _is_blank
    with opened_text(file, encoding) as stream:
        for line, text in _blocks(stream, is_separator):
            fault = damage(text, encoding)
            place = Place(file, line)
            yield RawRow(place, {"text": text}) if fault is None else BrokenRow(place, readable(text), fault)


def _has_speakers(head: Sequence[str]) -> bool:
    speakers = {match[1] for match in map(_SPEAKER.match, head) if match}
    return "Assistant" in speakers and len(speakers) > 1


def _is_rule(line: str) -> bool:
    return _RULE.fullmatch(line) is not None


def _is_blank(line: str) -> bool:
    return not line.strip()


def _blocks(lines: Iterator[str], is_separator: Callable[[str], bool]) -> Iterator[tuple[int, str]]:
    """(number of the first line, text) of the non-blank blocks between separator lines."""
    block: list[str] = []
    start = 1
    for number, line in enumerate(lines, start=1):
        if is_separator(line):
            yield from _block(start, block)
            block = []
        elif block or line.strip():
            start = start if block else number
            block.append(line)
    yield from _block(start, block)


def _block(start: int, lines: Sequence[str]) -> Iterator[tuple[int, str]]:
    text = "".join(lines).strip()
    if text:
        yield start, text
