"""Runs inside Argilla's own environment, on Argilla's own modules; imports nothing of the rest."""
