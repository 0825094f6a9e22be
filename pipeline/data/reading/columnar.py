"""Reads rows of parquet and Arrow files (feather, and the files of `Dataset.save_to_disk`)."""

import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

from labeling.signatures import ARROW, PARQUET
from pipeline.data.faults import Place
from pipeline.data.reading.compression import unpacked
from pipeline.data.reading.raw import RawRow
from pipeline.errors import RequestError

_BATCH = 512


def columnar_rows(file: Path) -> Iterator[RawRow]:
    """All rows of a parquet or an Arrow file, a batch at a time. The line of a row is its number, from 1.

    Lists become lists, structs and maps become dicts; bytes and times stay.
    Raises RequestError if the file is damaged, has no rows, or has one column name twice.
    """
    import pyarrow as pa

    with unpacked(file) as stream, _seekable(stream) as source:
        kind = "parquet" if source.read(len(PARQUET)) == PARQUET else "Arrow"
        source.seek(0)
        try:
            names, batches = _parquet(source) if kind == "parquet" else _arrow(source)
            _check(file, names)
            line = 0
            for row in (row for batch in batches for row in batch.to_pylist(maps_as_pydicts="strict")):
                line += 1
                yield RawRow(Place(file, line), row)
        except (pa.ArrowException, OSError, ValueError, OverflowError, KeyError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise  # the disk's fault, not the file's
            raise RequestError(
                f"{file} is {kind}, but damaged, cut off or with values that Python cannot hold: {error}. "
                "Copy or write it again."
            ) from None
        if not line:
            raise RequestError(f"{file} holds no rows. Give a file with at least one row.")


def _parquet(source: BinaryIO) -> tuple[list[str], Iterator[Any]]:
    import pyarrow.parquet as pq

    table = pq.ParquetFile(source)
    return table.schema_arrow.names, table.iter_batches(batch_size=_BATCH)


def _arrow(source: BinaryIO) -> tuple[list[str], Iterator[Any]]:
    """(column names, batches) of Arrow data, a file with an index of its batches or a stream of batches."""
    from pyarrow import ipc

    indexed = source.read(len(ARROW)) == ARROW
    source.seek(0)
    if not indexed:
        stream = ipc.open_stream(source)
        return stream.schema.names, _sliced(iter(stream))
    table = ipc.open_file(source)
    return table.schema.names, _sliced(table.get_batch(number) for number in range(table.num_record_batches))


def _sliced(batches: Iterator[Any]) -> Iterator[Any]:
    return (batch.slice(start, _BATCH) for batch in batches for start in range(0, batch.num_rows, _BATCH))


@contextmanager
def _seekable(stream: BinaryIO) -> Iterator[BinaryIO]:
    """A seekable stream: parquet is read from its end, so a compressed file is first unpacked into a temporary file."""
    if stream.seekable():
        yield stream
        return
    with tempfile.TemporaryFile() as whole:
        shutil.copyfileobj(stream, whole)
        whole.seek(0)
        yield cast(BinaryIO, whole)


def _check(file: Path, names: list[str]) -> None:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise RequestError(f"{file}: two columns are named {twice[0]!r}. Rename one of them.")
