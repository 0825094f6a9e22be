"""Everything that is wrong with a file, said at once."""

from labeling.backend import LabelingError

SHOWN = 100


class Faults:
    """Collects faults while a source is read; each names row, field and reason."""

    def __init__(self, source: str) -> None:
        self.source = source
        self._lines: list[str] = []

    def add(self, place: str, field: str, reason: str) -> None:
        self._lines.append(f"{self.source}, {place}, {field}: {reason}")

    def __len__(self) -> int:
        return len(self._lines)

    def raise_any(self) -> None:
        """Raise one `LabelingError` (request) with all faults, if there are any."""
        if not self._lines:
            return
        count = len(self._lines)
        more = [f"… and {count - SHOWN:,} more"] if count > SHOWN else []
        head = f"{self.source} has {count:,} {'fault' if count == 1 else 'faults'}; nothing was written."
        raise LabelingError("\n".join([head, *self._lines[:SHOWN], *more]), fault="request")
