"""A real Argilla server for the tests, with a new home."""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from labeling.server import Connection, serving
from labeling.server.home import Home


class SessionServer:
    """The session's server. A test can restart it: its port and keys stay, so connections to it are as good after."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.highest = 0.0  # MB that its processes before a restart have taken
        self._serving: AbstractContextManager[Connection]
        self._start()

    def _start(self) -> None:
        self._serving = serving(self.home, say=print)
        self.connection = self._serving.__enter__()

    @property
    def pid(self) -> int:
        state = Home(self.home).state()
        assert state is not None
        return state.pid

    @property
    def peak(self) -> float:
        """Return the most memory in MB that the server has taken; a killed process tells none."""
        status = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return max([self.highest, *(int(line.split()[1]) / 1024 for line in status if line.startswith("VmHWM"))])

    def stop(self) -> None:
        self._serving.__exit__(None, None, None)

    def restart(self) -> None:
        """Stop the server, unless it was killed, and start it again."""
        before, self.highest = self.connection, self.peak
        self.stop()
        self._start()
        assert self.connection == before


@pytest.fixture(scope="session")
def argilla_home(argilla_environment: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home of the session's server."""
    return tmp_path_factory.mktemp("argilla") / "home"


@pytest.fixture(scope="session")
def argilla(argilla_home: Path) -> Iterator[SessionServer]:
    """The session's server, for tests that restart it."""
    server = SessionServer(argilla_home)
    yield server
    server.stop()


@pytest.fixture(scope="session")
def argilla_server(argilla: SessionServer) -> Connection:
    """A connection to the session's server, with its owner's key."""
    return argilla.connection


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark these tests, which take minutes together: `make test` leaves them out; tests/stages/test_people.py stays."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.slow)
