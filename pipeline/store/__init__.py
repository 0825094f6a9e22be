"""Versioned artifacts: their files, the hashes that are their versions, their lineage, and pruning."""
