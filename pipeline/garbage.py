"""Python's search for garbage, which is of no use among what the libraries make when they are imported."""

import gc
import sys
from importlib import import_module


def import_for_good(*modules: str) -> None:
    """Import modules; look for no garbage meanwhile, and later never among what their import made.

    torch, transformers and peft make half a million objects that stay. To search these takes a quarter of the time of
    the import, and half a second whenever it is repeated. Modules that are there already change nothing: between steps
    there can be garbage, such as a model, which would be kept.
    """
    if all(module in sys.modules for module in modules):
        return
    searched = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        for module in modules:
            import_module(module)
        gc.freeze()
    finally:
        if searched:
            gc.enable()
