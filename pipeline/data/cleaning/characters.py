"""Corrects wrongly decoded characters and removes invisible ones."""

import re
from collections.abc import Iterable

from ftfy import fix_encoding
from ftfy.badness import is_bad
from ftfy.chardata import CHARMAP_ENCODINGS


def mend_encoding(text: str) -> str:
    """The text with mojibake decoded as intended and CRLF as a newline.

    Changes only encoding mistakes: quotes, ligatures, width and normal form stay.
    """
    if "\r\n" in text:
        text = re.sub(r"\r+\n", "\n", text)
    if text.isascii() or not _SUSPECT.search(text):
        return text
    # Line by line, as ftfy does: a correct line must not prevent the correction of its neighbour.
    return "\n".join(fix_encoding(line) if _is_misdecoded(line) else line for line in text.split("\n"))


def _is_misdecoded(line: str) -> bool:
    """Whether ftfy's own test, which is slow, finds mojibake near a suspect character."""
    places = (found.start() for found in _SUSPECT.finditer(line))
    return any(is_bad(line[max(0, place - _NEAR) : place + _NEAR]) for place in places)


_NEAR = 8  # characters; the test's patterns have at most seven


def _characters_shown(numbers: Iterable[int], encoding: str) -> str:
    """The non-ASCII characters that these bytes decode to, escaped for a character set in a pattern."""
    shown = bytes(numbers).decode(encoding, "replace")
    return "".join(sorted({re.escape(character) for character in shown if not character.isascii()}))


def _suspect_pattern() -> re.Pattern[str]:
    """A pattern for UTF-8 decoded as another encoding: a character's first byte, then a continuation byte.

    Byte A0 often becomes a space, and a lost byte U+001A or U+FFFD. This pattern is many times faster than ftfy's own
    test.
    """
    first = {name: _characters_shown(range(0xC2, 0xF5), name) for name in CHARMAP_ENCODINGS}
    pairs = [
        rf"(?<=[{first[name]}])[{_characters_shown(range(0x80, 0xC0), name)}\x1a\ufffd]"
        rf"|(?<=[{_characters_shown((0xC2, 0xC3, 0xC5, 0xCE, 0xD0, 0xD9), name)}])[ ]"
        for name in CHARMAP_ENCODINGS
    ]
    return re.compile(rf"[{''.join(first.values())}\x80-\x9f](?:{'|'.join(pairs)}|(?<=[\x80-\x9f]))")


_SUSPECT = _suspect_pattern()

_LINE_BREAKS = re.compile(r"\r\n?|[\x0b\x0c\x85\u2028\u2029]")

# Where a joiner has a meaning: scripts whose letters join, and emoji that consist of several characters.
_JOINING = (
    r"\u0620-\u064a\u066e-\u06d3\u06d5\u06fa-\u06ff\u0710-\u07ea\u08a0-\u08c7\u0900-\u109f\u1780-\u17b3\u17b6-\u17d3"
    r"\u1820-\u18aa\u1b00-\u1b7f\ufb50-\ufdff\ufe70-\ufefc"
)
_VIRAMAS = r"\u094d\u09cd\u0a4d\u0acd\u0b4d\u0bcd\u0c4d\u0ccd\u0d4d\u0dca"
_EMOJI = r"\u2190-\u2bff\ufe0f\U0001f000-\U0001faff"
_JOINED = (
    rf"(?<=[{_JOINING}])[\u200c\u200d](?=[{_JOINING}])"
    rf"|(?<=[{_VIRAMAS}])\u200d"
    rf"|(?<=[{_EMOJI}])\u200d(?=[{_EMOJI}])"
)
_FLAG = "\U0001f3f4[\U000e0030-\U000e0039\U000e0061-\U000e007a]{3,6}\U000e007f"  # of Scotland, Texas, ...
_UNSEEN = (
    r"\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\xad\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b-\u200f\u202a-\u202e"
    r"\u2060-\u206f\u3164\ufeff\uffa0\ufff9-\ufffc\U000e0000-\U000e007f"
)
_PERHAPS_UNSEEN = re.compile(rf"[{_UNSEEN}\u200c\u200d\x0b-\r\x85\u2028\u2029]")
_MEANT_OR_UNSEEN = re.compile(f"({_JOINED}|{_FLAG})|[{_UNSEEN}]")


def mend_invisible(text: str) -> str:
    """The text without invisible characters: control characters, zero widths, direction marks, soft hyphens, tags.

    Joiners stay inside emoji and between letters of scripts that use them, tags stay in flags, and variation selectors
    stay. Every kind of line break becomes a newline.
    """
    if not _PERHAPS_UNSEEN.search(text):
        return text
    return _MEANT_OR_UNSEEN.sub(r"\1", _LINE_BREAKS.sub("\n", text))
