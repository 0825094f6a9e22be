"""Rows compared with each other: exact copies, near-duplicates, overlap with rows that are tested on."""
