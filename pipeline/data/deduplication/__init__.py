"""Compares rows with each other: exact copies, near-duplicates, overlap with test rows."""
