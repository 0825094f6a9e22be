"""The search for garbage is off while libraries are imported, and finds what is made afterwards."""

import gc
import sys
import weakref
from pathlib import Path
from typing import Any

import pytest

from pipeline.garbage import import_for_good

LIBRARY = """
import gc
searched = gc.isenabled()
made = [[] for _ in range(1000)]
"""


class Node:
    own: Any


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "large_library.py").write_text(LIBRARY)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "large_library", raising=False)
    return "large_library"


def test_what_an_import_makes_is_not_searched_and_what_is_made_later_is(library: str) -> None:
    before = gc.get_freeze_count()
    import_for_good(library)
    assert not sys.modules[library].searched
    assert gc.isenabled()
    assert gc.get_freeze_count() >= before + 1000
    node = Node()
    node.own = node
    found = weakref.ref(node)
    del node
    gc.collect()
    assert found() is None


def test_garbage_from_before_the_import_is_not_kept(library: str) -> None:
    gc.disable()
    try:
        node = Node()
        node.own = node
        found = weakref.ref(node)
        del node
        import_for_good(library)
        assert found() is None
    finally:
        gc.enable()


def test_what_is_imported_already_keeps_nothing(library: str) -> None:
    import_for_good(library)
    gc.unfreeze()  # what other tests froze may be freed meanwhile, by a thread of theirs: from 0 the count cannot fall
    try:
        import_for_good(library)
        assert gc.get_freeze_count() == 0
    finally:
        gc.freeze()


def test_an_import_that_fails_leaves_the_search_on() -> None:
    with pytest.raises(ImportError):
        import_for_good("no_such_library")
    assert gc.isenabled()


def test_where_it_was_off_it_stays_off(library: str) -> None:
    gc.disable()
    try:
        import_for_good(library)
        assert not gc.isenabled()
    finally:
        gc.enable()
