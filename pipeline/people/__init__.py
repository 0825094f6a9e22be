"""Annotators, the rounds of tasks that they get, and their answers."""
