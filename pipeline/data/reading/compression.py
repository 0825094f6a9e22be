"""Opens files, unpacking gzip and zstd."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from labeling.signatures import GZIP, ZSTD
from pipeline.data.reading.textfiles import refuse_file
from pipeline.errors import RequestError

_KINDS = {GZIP: "gzip", ZSTD: "zstd"}
_CHUNK = 1 << 17
_WINDOW = 1 << 31  # bytes of a frame's window: the maximum of `zstd --long`


@contextmanager
def unpacked(file: Path, start: int = 0, end: int | None = None) -> Iterator[BinaryIO]:
    """The bytes of a file, unpacked while read; several members or frames are read as one.

    `start` and `end` are the bytes to read of a file that is not compressed.

    Raises RequestError if the file is missing or unreadable, or if it is compressed and damaged or cut off.
    """
    try:
        with file.open("rb") as stream:
            kind = _compression(stream)
            if kind is not None:
                yield _unpacking(stream, kind)
            else:
                stream.seek(start)
                yield stream if end is None else io.BufferedReader(_Window(stream, end - start), _CHUNK)
    except OSError as error:
        if error.errno is None:  # not the system's, so the decompressor's
            raise _damaged(file, error) from None
        refuse_file(file, error)


def is_compressed(file: Path) -> bool:
    """Whether the file is compressed with gzip or zstd. Raises RequestError if it is missing or unreadable."""
    try:
        with file.open("rb") as stream:
            return _compression(stream) is not None
    except OSError as error:
        refuse_file(file, error)


class _Window(io.RawIOBase):
    """The next `left` bytes of a stream."""

    def __init__(self, stream: BinaryIO, left: int) -> None:
        self._stream, self._left = stream, left

    def readable(self) -> bool:
        return True

    def readinto(self, target: memoryview) -> int:  # type: ignore[override]
        """Fill the target; returns the number of bytes, 0 at the end."""
        data = self._stream.read(min(len(target), self._left))
        target[: len(data)] = data
        self._left -= len(data)
        return len(data)


class _Frames(io.RawIOBase):
    """The content of zstd frames, one after the other. Raises OSError for one that is damaged or cut off."""

    def __init__(self, stream: BinaryIO) -> None:
        from zstandard import ZstdDecompressor  # pyarrow's takes no more than 128 MiB of window

        self._stream, self._frames = stream, ZstdDecompressor(max_window_size=_WINDOW)
        self._frame = self._frames.decompressobj()
        self._packed, self._ready, self._begun = b"", b"", False

    def readable(self) -> bool:
        return True

    def readinto(self, target: memoryview) -> int:  # type: ignore[override]
        """Fill the target with at most one piece of the stream; returns the number of bytes, 0 at the end."""
        while not self._ready and self._more():
            self._unpack()
        count = min(len(target), len(self._ready))
        target[:count], self._ready = self._ready[:count], self._ready[count:]
        return count

    def _more(self) -> bool:
        """Read more packed bytes if none are left; returns whether there are any."""
        self._packed = self._packed or self._stream.read(_CHUNK)
        if not self._packed and self._begun:
            raise OSError("the last frame is not complete")
        return bool(self._packed)

    def _unpack(self) -> None:
        from zstandard import ZstdError

        try:
            self._ready = self._frame.decompress(self._packed)
        except ZstdError as error:
            raise OSError(str(error)) from None
        self._packed, self._begun = self._frame.unused_data, not self._frame.eof
        if self._frame.eof:
            self._frame = self._frames.decompressobj()


def _compression(stream: io.BufferedReader) -> str | None:
    head = stream.peek(4)
    return next((kind for signature, kind in _KINDS.items() if head.startswith(signature)), None)


def _unpacking(stream: io.BufferedReader, kind: str) -> BinaryIO:
    import pyarrow as pa

    unpacking = _Frames(stream) if kind == "zstd" else pa.CompressedInputStream(stream, kind)
    return io.BufferedReader(cast(io.RawIOBase, unpacking), _CHUNK)


def _damaged(file: Path, error: OSError) -> RequestError:
    return RequestError(
        f"{file} is compressed, and damaged or cut off: {error}. Copy or download it again; "
        "check it with `gzip -t` or `zstd -t --long=31`."
    )
