"""Paths of the project's files, and of real data that may be next to the project."""

from pathlib import Path

ROOT = Path(__file__).parents[1]
REAL = ROOT.parent / "shared" / "data"  # published files; without them, the tests that need them are skipped
