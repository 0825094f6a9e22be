"""Detects the encoding of a text file and decodes its text while reading.

UTF-8 is the default: a few broken bytes among valid UTF-8 damage their rows; they do not show another encoding.
"""

import codecs
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple, TextIO

from pipeline.data.faults import BadRow
from pipeline.data.reading.compression import unpacked
from pipeline.data.reading.excel import is_excel
from pipeline.data.reading.signatures import HEAD_BYTES, is_columnar, refuse_binary, refuse_foreign
from pipeline.errors import RequestError

UTF8 = "utf-8"

_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",  # before UTF-16, whose mark is its prefix
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_CANDIDATES = [
    *("cp1252", "cp1250", "iso8859_2", "cp1251", "koi8_r", "cp1253", "cp1254", "cp1255", "cp1256"),
    *("gb18030", "big5", "cp932", "euc_jp", "cp949"),
]
_WESTERN = "cp1252"
_CHAOS_TOLERANCE = 0.07

_BROKEN = re.compile("[\ud800-\udfff]")
_CHUNK = 1 << 20
_SAMPLE = 1 << 16
_CERTAIN = 1000
_FEW_LINES = 20


def encoding_of(file: Path) -> str:
    """The Python name of the encoding of a file's text: `utf-8` unless there is evidence of another.

    Takes one pass over the bytes, which ends early once the answer is certain. Parquet, Arrow and Excel count as UTF-8.
    Raises RequestError if the file is missing or unreadable, holds no text, or is compressed and damaged.
    """
    with unpacked(file) as stream:
        head = stream.read(HEAD_BYTES)
        if is_columnar(head) or is_excel(file, head):
            return UTF8
        refuse_foreign(file, head)
        if wide := _marked(head) or _utf16_unmarked(head):
            return wide
        refuse_binary(file, head)
        return _unmarked(_tally(stream, head))


@contextmanager
def opened_text(
    file: Path, encoding: str, newline: str | None = None, start: int = 0, end: int | None = None
) -> Iterator[TextIO]:
    """The text of a file as from `open(newline=...)`, without a byte order mark; `start` and `end` as in `unpacked`.

    Invalid bytes become lone surrogates, which `damage` finds.
    Raises RequestError as `encoding_of` does, and if the rest of the file cannot be decoded.
    """
    wide = encoding.startswith(("utf-16", "utf-32"))
    codec = "utf-8-sig" if encoding == UTF8 else encoding
    with unpacked(file, start, end) as stream:
        try:
            yield io.TextIOWrapper(stream, codec, "surrogatepass" if wide else "surrogateescape", newline)
        except UnicodeError as error:
            raise RequestError(
                f"{file} begins as {encoding} but cannot be read so to its end ({error}). "
                "Is it cut off? Otherwise write it as UTF-8."
            ) from None


def damage(text: str, encoding: str) -> BadRow | None:
    """The fault of a text with bytes outside the encoding or with a NUL byte; None for an intact text."""
    if "\0" in text:
        return BadRow(f"column {_column(text, text.index(chr(0)))}", None, "a NUL byte in the text")
    if text.isascii():
        return None
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return BadRow(f"column {_column(text, error.start)}", None, f"not {encoding.upper()}")
    return None


def readable(text: str) -> str:
    """The text with a replacement character for each invalid byte."""
    return _BROKEN.sub("\ufffd", text)


class _Tally(NamedTuple):
    """Counts of non-ASCII characters in UTF-8, of invalid bytes and of lines, and the first invalid lines."""

    good: int
    broken: int
    lines: int
    sample: bytes


def _marked(head: bytes) -> str | None:
    return next((encoding for mark, encoding in _MARKS.items() if head.startswith(mark)), None)


def _utf16_unmarked(head: bytes) -> str | None:
    """UTF-16 without a mark, if the first two characters are ASCII and the whole sample decodes; else None."""
    zeros = [index for index, byte in enumerate(head[:4]) if byte == 0]
    encoding = "utf-16-le" if zeros == [1, 3] else "utf-16-be" if zeros == [0, 2] else None
    if encoding is None:
        return None
    try:
        codecs.getincrementaldecoder(encoding)().decode(head)
    except UnicodeDecodeError:
        return None
    return encoding


def _tally(stream: BinaryIO, head: bytes) -> _Tally:
    """Count until one kind is too frequent for chance, or to the end."""
    decoder = codecs.getincrementaldecoder(UTF8)("surrogateescape")
    good = broken = lines = 0
    sample = b""
    chunk = head + stream.readline(_CHUNK)
    while chunk and max(good, broken) < _CERTAIN:
        text = decoder.decode(chunk)
        lines += chunk.count(b"\n")
        if not text.isascii():
            escaped = len(text) - len(text.encode(UTF8, "ignore").decode(UTF8))
            good += len(text) - len(text.encode("ascii", "ignore")) - escaped
            broken += escaped
            sample = sample or (_foreign_lines(chunk) if escaped else b"")
        chunk = stream.read(_CHUNK) + stream.readline(_CHUNK)
    return _Tally(good, broken, lines, sample)


def _foreign_lines(chunk: bytes) -> bytes:
    """The non-ASCII lines, cut between characters."""
    sample = b"".join(line for line in chunk.splitlines(keepends=True) if not line.isascii())[:_SAMPLE]
    return sample[: 1 + max(sample.rfind(end) for end in (b"\n", b'"', b" "))] or sample


def _unmarked(tally: _Tally) -> str:
    damaged = tally.good >= tally.broken or (tally.broken == 1 and tally.lines > _FEW_LINES)
    return UTF8 if damaged else _guess(tally.sample)


def _guess(sample: bytes) -> str:
    """The most likely encoding; the Western one if it is about as plausible as the best."""
    from charset_normalizer import from_bytes

    matches = from_bytes(sample, cp_isolation=_CANDIDATES)
    best = matches.best()
    if best is None:
        return UTF8
    plausible = {
        name for one in matches if one.chaos <= best.chaos + _CHAOS_TOLERANCE for name in one.could_be_from_charset
    }
    return _WESTERN if _WESTERN in plausible else best.encoding


def _column(text: str, position: int) -> int:
    return position - text.rfind("\n", 0, position)
