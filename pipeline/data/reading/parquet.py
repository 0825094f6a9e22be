"""Rows of parquet files."""

import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

from pipeline.data.faults import Place
from pipeline.data.reading.compression import unpacked
from pipeline.data.reading.raw import RawRow
from pipeline.errors import RequestError

_BATCH = 512


def parquet_rows(file: Path) -> Iterator[RawRow]:
    """All rows of a parquet file, a batch at a time; the line of a row is its number, from 1.

    Lists and structs are Python's lists and dicts; bytes and times stay what they are.
    Raises RequestError if the file is damaged, has no rows, or has one column name twice.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    with unpacked(file) as stream, _seekable(stream) as source:
        try:
            table = pq.ParquetFile(source)
            _check(file, table)
            batches = table.iter_batches(batch_size=_BATCH)
            for line, fields in enumerate((row for batch in batches for row in batch.to_pylist()), start=1):
                yield RawRow(Place(file, line), fields)
        except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise  # the disk's fault, not the file's
            raise RequestError(
                f"{file} is parquet, but damaged, cut off or with values that Python cannot hold: {error}. "
                "Copy or write it again."
            ) from None


@contextmanager
def _seekable(stream: BinaryIO) -> Iterator[BinaryIO]:
    """Parquet is read from its end: what is compressed on top of it is unpacked into a temporary file first."""
    if stream.seekable():
        yield stream
        return
    with tempfile.TemporaryFile() as whole:
        shutil.copyfileobj(stream, whole)
        yield cast(BinaryIO, whole)


def _check(file: Path, table: Any) -> None:
    twice = [name for name, count in Counter(table.schema_arrow.names).items() if count > 1]
    if twice:
        raise RequestError(f"{file}: two columns are named {twice[0]!r}. Rename one of them.")
    if table.metadata.num_rows == 0:
        raise RequestError(f"{file} holds no rows. Give a file with at least one row.")
