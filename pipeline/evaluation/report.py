from pathlib import Path
from typing import Any
from pipeline.artifacts import Artifact


def write_report(path: Path, evaluation: Artifact, rows: list[dict[str, Any]], examples: int) -> None:
    path.write_text("x")
