"""Argilla on this machine: for people a server that outlives the command, otherwise one that ends with it."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from labeling.argilla.backend import ArgillaBackend
from labeling.backend import Backend
from labeling.backends import Place
from labeling.server import detach, ensure_environment, serving


@contextmanager
def open_backend(place: Place) -> Iterator[Backend]:
    """See `labeling.backends.BackendModule`."""
    if place.lasting:
        yield ArgillaBackend(detach(place.home, say=place.say, port=place.port), place.say, place.home, place.copies)
    else:
        with serving(place.home, say=place.say, port=place.port) as connection:
            yield ArgillaBackend(connection, place.say, place.home, place.copies)


def prepare(place: Place, stop: threading.Event) -> None:
    """Build the environment of the server, once per machine."""
    ensure_environment(place.say, stop)
