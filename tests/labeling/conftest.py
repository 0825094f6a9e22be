"""A real Argilla server for the tests, with a new home."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from labeling.server import Connection, serving


@pytest.fixture(scope="session")
def argilla_home(argilla_environment: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home of the session's server."""
    return tmp_path_factory.mktemp("argilla") / "home"


@pytest.fixture(scope="session")
def argilla_server(argilla_home: Path) -> Iterator[Connection]:
    """The session's server, with its owner's key."""
    with serving(argilla_home, say=print) as connection:
        yield connection


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark these tests, which take minutes together: `make test` leaves them out; tests/stages/test_people.py stays."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.slow)
