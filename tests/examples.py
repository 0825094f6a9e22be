"""How many examples a property is tried on: few by default, so that the tests stay quick, and all in `deep`."""

from typing import Any

from hypothesis import settings

FEW, DEEP = 30, 2000  # make test-all ARGS="--hypothesis-profile=deep"


def at_most(count: int, **options: Any) -> settings:
    """Return settings for a property with slow examples, or with so many cases that it needs more than `FEW`."""
    return settings(max_examples=max(count, DEEP) if is_deep() else count, **options)


def is_deep() -> bool:
    """Return whether the profile `deep` was asked for, which leaves nothing out."""
    return settings.default is not None and settings.default.max_examples == DEEP
