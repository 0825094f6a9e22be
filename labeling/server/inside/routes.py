"""Finds Argilla's endpoints by method and path."""

from typing import Any


def route(app: Any, method: str, path: str) -> Any:
    """Return one route of a FastAPI app. Raises `LookupError` if it is missing (`interface.check` runs before)."""
    for each in app.routes:
        if getattr(each, "path", None) == path and method in (getattr(each, "methods", None) or ()):
            return each
    raise LookupError(f"no endpoint {method} {path}")


def has_route(app: Any, method: str, path: str) -> bool:
    try:
        return callable(route(app, method, path).dependant.call)
    except (LookupError, AttributeError):
        return False
