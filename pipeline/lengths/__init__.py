"""Lengths in tokens: rows that fit into a model's context, and the limit on new tokens."""
