"""Judgements out of users' files, and their way to preference pairs."""
