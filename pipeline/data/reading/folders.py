"""Finds the data files in folders written by `save_to_disk` of the `datasets` library."""

import json
from pathlib import Path
from typing import Any

from pipeline.errors import RequestError

_SPLITS, _STATE = "dataset_dict.json", "state.json"


def saved_files(folder: Path) -> list[Path] | None:
    """The files of a saved dataset, in the order of its rows; None for another folder.

    Raises RequestError if it holds several splits, or if its description is damaged.
    """
    if (folder / _SPLITS).is_file():
        splits = _described(folder / _SPLITS).get("splits") or []
        if len(splits) == 1:
            return saved_files(folder / str(splits[0]))
        names = ", ".join(map(str, splits)) or "none"
        raise RequestError(
            f"{folder} is a dataset with several splits ({names}). Name one: {folder / str([*splits, 'SPLIT'][0])}."
        )
    if not (folder / _STATE).is_file():
        return None
    listed = _described(folder / _STATE).get("_data_files") or []
    return [folder / str(one["filename"]) for one in listed if isinstance(one, dict) and "filename" in one]


def _described(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RequestError(f"{file} describes a saved dataset, but cannot be read: {error}. Save it again.") from None
    return found if isinstance(found, dict) else {}
