"""Label Studio's JSON-MIN and CSV exports of a Ranker: a flat row per annotation, as tasks. Pure."""

from collections.abc import Mapping
from typing import Any

from labeling.exchange.cells import opened
from labeling.exchange.columns import Columns, annotator_columns
from labeling.exchange.label_studio import is_flat, read_label_studio
from labeling.exchange.reading import Reading, Row, Rows


def is_flat_ranker(row: Mapping[str, Any]) -> bool:
    """Whether a row of a flat export holds the result of a Ranker."""
    return is_flat(row) and any(_is_order(opened(value)) for value in row.values())


def read_flat_rankers(rows: Rows, columns: Columns, reading: Reading) -> None:
    """Enter the votes of a flat export with a Ranker's results. Raises LabelingError as `read_label_studio` does."""
    read_label_studio([(place, _as_task(row)) for place, row in rows], columns, reading)


def _as_task(row: Row) -> dict[str, Any]:
    """The row as a task with one annotation; each column with an order is the result of a tag."""
    data = {name: opened(value) for name, value in row.items()}
    annotation = {name: row.get(name) for name in ("created_at", "updated_at")}
    annotation["completed_by"] = row.get(next(iter(annotator_columns(row)), "annotator"))
    annotation["result"] = [
        {"type": "ranker", "from_name": name, "value": value} for name, value in data.items() if _is_order(value)
    ]
    return {"id": row.get("id"), "data": data, "annotations": [annotation]}


def _is_order(value: object) -> bool:
    """Whether a value is a Ranker's: lists of ids under the names of buckets."""
    if not isinstance(value, Mapping) or not value:
        return False
    buckets = value.get("ranker", value)
    return isinstance(buckets, Mapping) and all(isinstance(ids, list) for ids in buckets.values())
