"""Collects rankings of answers from people or simulated annotators, and measures their agreement.

Imports neither ``pipeline`` nor torch, so that it can be installed and used on its own.
"""
