"""Tokenized rows in a file of the artifact, mapped into memory: only the rows in use take memory."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Generic, TypeVar, overload

import pyarrow as pa
from datasets import Dataset

from labeling.files import open_atomically
from pipeline.errors import PipelineError
from pipeline.modeling.processes import on_main
from pipeline.stage import StageContext

RowT = TypeVar("RowT")

IDS = pa.list_(pa.int32())  # the type of a column with token ids, or labels, in each row
FOLDER = "rows"  # in an artifact
AT_ONCE = 1000  # rows that are written at once


@dataclass(frozen=True)
class Kind(Generic[RowT]):
    """How rows of one type are kept in columns."""

    types: Mapping[str, pa.DataType]
    columns: Callable[[RowT], Mapping[str, Any]]
    row: Callable[[Mapping[str, Any]], RowT]  # the inverse of `columns`


class StoredRows(Sequence[RowT]):
    """The rows of a file; each is read when it is asked for."""

    def __init__(self, file: Path, kind: Kind[RowT]) -> None:
        self.file, self.kind, self.dataset = file, kind, Dataset.from_file(str(file))

    def __len__(self) -> int:
        return len(self.dataset)

    @overload
    def __getitem__(self, place: int) -> RowT: ...
    @overload
    def __getitem__(self, place: slice) -> list[RowT]: ...
    def __getitem__(self, place: int | slice) -> RowT | list[RowT]:
        if isinstance(place, slice):
            return [self[i] for i in range(*place.indices(len(self)))]
        return self.kind.row(self.dataset[place])

    def __iter__(self) -> Iterator[RowT]:
        return map(self.kind.row, self.dataset)


def stored_rows(
    name: str, kind: Kind[RowT], context: StageContext, rows: Callable[[], Iterable[RowT]]
) -> StoredRows[RowT]:
    """Return the rows that `rows` yields from a file of the stage's artifact; a resumed run finds them there.

    The main process writes the file, whole or not at all; the others wait for it. Raises `PipelineError` if it cannot
    be written.
    """
    file = context.output_dir / FOLDER / f"{name}.arrow"
    on_main(lambda: None if file.is_file() else _write(file, kind, rows()))
    return StoredRows(file, kind)


def _write(file: Path, kind: Kind[RowT], rows: Iterable[RowT]) -> None:
    schema, left = pa.schema(kind.types), map(kind.columns, rows)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with open_atomically(file) as stream, pa.ipc.new_stream(stream, schema) as writer:
            while several := [*islice(left, AT_ONCE)]:
                writer.write_batch(pa.RecordBatch.from_pylist(several, schema))
    except OSError as error:
        raise PipelineError(
            f"{file} could not be written: {error.strerror}. Check the free space and the permissions of {file.parent}."
        ) from error


def dataset_of(rows: Sequence[RowT], kind: Kind[RowT]) -> Dataset:
    """Return rows as a trainer takes them: those of a file are mapped into memory, others are held in it."""
    return (
        rows.dataset if isinstance(rows, StoredRows) else Dataset.from_list([dict(kind.columns(one)) for one in rows])
    )


class Picked(Sequence[RowT]):
    """Some of the rows: those at `places`, in ascending order."""

    def __init__(self, rows: Sequence[RowT], places: Sequence[int]) -> None:
        self.rows, self.places = rows, places

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, place: Any) -> Any:
        return self.rows[self.places[place]]

    def __iter__(self) -> Iterator[RowT]:
        """Read the rows in their order, which is much faster than one by one."""
        wanted = iter(self.places)
        following = next(wanted, None)
        for place, row in enumerate(self.rows):
            if place == following:
                yield row
                following = next(wanted, None)
