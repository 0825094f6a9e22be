"""Files opened as what they hold, whether compressed with gzip, with zstd or not at all."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from pipeline.data.reading.textfiles import refuse_file
from pipeline.errors import RequestError

_SIGNATURES = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}


@contextmanager
def unpacked(file: Path) -> Iterator[BinaryIO]:
    """The bytes of a file, unpacked while they are read; several members or frames are read as one.

    Raises RequestError if the file is missing, may not be read, or is compressed and damaged or cut off.
    """
    try:
        with file.open("rb") as stream:
            kind = _compression(stream)
            yield stream if kind is None else _unpacking(stream, kind)
    except OSError as error:
        if error.errno is None:  # not the system's, so the decompressor's
            raise _damaged(file, error) from None
        refuse_file(file, error)


def _compression(stream: io.BufferedReader) -> str | None:
    head = stream.peek(4)
    return next((kind for signature, kind in _SIGNATURES.items() if head.startswith(signature)), None)


def _unpacking(stream: io.BufferedReader, kind: str) -> BinaryIO:
    import pyarrow as pa  # unlike zstandard's own reader, it notices that a frame is cut off

    return io.BufferedReader(cast(io.RawIOBase, pa.CompressedInputStream(stream, kind)), 1 << 17)


def _damaged(file: Path, error: OSError) -> RequestError:
    return RequestError(
        f"{file} is compressed, and damaged or cut off: {error}. Copy or download it again; "
        "`gzip -t` or `zstd -t` says whether it is whole."
    )
