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
def unpacked(file: Path) -> Iterator[BinaryIO]:
    """The bytes of a file, unpacked while read; several members or frames are read as one.

    Raises RequestError if the file is missing or unreadable, or if it is compressed and damaged or cut off.
    """
    try:
        with file.open("rb") as stream:
            kind = _compression(stream)
            yield stream if kind is None else _unpacking(stream, kind)
    except OSError as error:
        if error.errno is None:  # not the system's, so the decompressor's
            raise _damaged(file, error) from None
        refuse_file(file, error)


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
