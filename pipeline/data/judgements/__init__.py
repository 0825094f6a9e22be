"""Reads users' judgements and pools them into preference pairs."""
