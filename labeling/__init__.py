"""Asks people (or simulated annotators) to rank answers, and says how far they agree.

Imports neither ``pipeline`` nor torch, so that it can be installed and used on its own.
"""
