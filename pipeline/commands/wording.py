"""Formats sizes, ages and metrics for the commands."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from pipeline.stages import STAGES

AGES = ((86400, "days"), (3600, "h"), (60, "min"))


def size_text(size: float) -> str:
    """Format a size in bytes as `512 B` or `5.6 MB`, in powers of 1000."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def age_text(created: str, now: datetime | None = None) -> str:
    """Format the age of a manifest's time as `3 h ago`."""
    seconds = ((now or datetime.now(UTC)) - datetime.fromisoformat(created)).total_seconds()
    for length, unit in AGES:
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit} ago"
    return "just now" if seconds < 60 else "1 min ago"


def headline(manifest: Mapping[str, Any]) -> str:
    """Return the stage's summary of its metrics, or the first three metrics if it does not fit them."""
    stage = STAGES.get(manifest["stage"])
    try:
        return stage.summary(manifest["metrics"]) if stage else ""
    except KeyError:  # written by another version of the stage
        return ", ".join(f"{name} {value:.4g}" for name, value in list(manifest["metrics"].items())[:3])


def payload_size(manifest: Mapping[str, Any]) -> int:
    """Return the bytes of all files of an artifact."""
    return sum(int(file["bytes"]) for file in manifest["files"].values())
