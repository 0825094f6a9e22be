"""Records which columns of a row a format reads, and in which role, for the sentence on how a file was read."""

from typing import Any, Literal

Role = Literal["turns", "prompt", "answer", "judgement", "annotator", "other"]


class WatchedRow(dict[str, Any]):
    """A row that records which of its columns were read, and in which role."""

    def __init__(self, fields: dict[str, Any]) -> None:
        super().__init__(fields)
        self.read: set[str] = set()
        self.roles: dict[str, Role] = {}

    def __getitem__(self, key: str) -> Any:
        self.read.add(key)
        return super().__getitem__(key)

    def get(self, key: str, default: Any = None) -> Any:
        """The value under the key, which counts as read if it is there."""
        if key in self:
            self.read.add(key)
        return super().get(key, default)


def peek(row: dict[str, Any], key: str) -> Any:
    """The value under the key, or None, without marking the column as read."""
    return dict.get(row, key)


def note(row: dict[str, Any], role: Role, *columns: str) -> None:
    """Record the role of columns; has an effect on watched rows only."""
    if isinstance(row, WatchedRow):
        row.roles.update(dict.fromkeys(columns, role))
