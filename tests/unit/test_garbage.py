"""The search for garbage is off while libraries are imported, and finds what is made afterwards."""

import gc
import weakref
from typing import Any

import pytest

from pipeline.garbage import kept_imports


class Node:
    own: Any


def test_what_is_made_inside_is_not_searched_and_what_is_made_later_is() -> None:
    before = gc.get_freeze_count()
    with kept_imports():
        assert not gc.isenabled()
        kept = [Node() for _ in range(1000)]
    assert gc.isenabled()
    assert gc.get_freeze_count() >= before + len(kept)
    node = Node()
    node.own = node
    found = weakref.ref(node)
    del node
    gc.collect()
    assert found() is None


def test_an_import_that_fails_leaves_the_search_on() -> None:
    with pytest.raises(ImportError), kept_imports():
        raise ImportError
    assert gc.isenabled()


def test_where_it_was_off_it_stays_off() -> None:
    gc.disable()
    try:
        with kept_imports():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
