"""Checks a model's files without torch, so that an unusable model is refused before any work is done."""
