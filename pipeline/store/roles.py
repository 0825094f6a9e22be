"""Roles of a stage's inputs, by which other rooms find its models."""

from collections.abc import Mapping
from typing import TypeVar

InputT = TypeVar("InputT")

TRAINED_FROM = ("policy", "base")  # the model that a stage trains
WRITERS = (*TRAINED_FROM, "writer")  # models that write answers


def trained_from(inputs: Mapping[str, InputT]) -> InputT | None:
    """Return the input that a policy was trained from; None if there was none, or if it no longer exists."""
    return next((inputs[role] for role in TRAINED_FROM if role in inputs), None)


def gives_rewards(role: str) -> bool:
    """Return whether an input is a reward model that a policy learns from: `reward`, `reward2`, …"""
    return role.startswith("reward")


def gives_scores(role: str) -> bool:
    """Return whether an input is a model that gives answers a score: a reward model, or the judge."""
    return gives_rewards(role) or role == "judge"
