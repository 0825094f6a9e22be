"""Python's search for garbage, which is of no use among what the libraries make when they are imported."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def kept_imports() -> Iterator[None]:
    """Look for no garbage while modules are imported, and later never among what they made.

    torch, transformers and peft make half a million objects that stay. To search these takes a quarter of the time of
    the import, and half a second whenever it is repeated.
    """
    searched = gc.isenabled()
    gc.disable()
    try:
        yield
        gc.freeze()
    finally:
        if searched:
            gc.enable()
