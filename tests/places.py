"""Where tests find files of the project, and real data that may lie beside it."""

from pathlib import Path

ROOT = Path(__file__).parents[1]
REAL = ROOT.parent / "shared" / "data"  # other people's files; tests that need them are skipped where they are absent
