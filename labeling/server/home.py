"""A server's home: one folder with its data, secrets, state and locks that only its owner can read.

    argilla.db      annotators' answers        secrets.json     generated; owner-only
    server.log      bounded                    server.json      state of the running server
    serving.lock    held while it runs         in_use.lock      shared by all processes that need the server
    invitations/    one file per annotator     supervisor.lock  held by the supervisor of a detached server
    address         the last address           projects.json    where people's answers are copied to (`snapshots`)
    pages.jsonl     what people's pages hold

The kernel holds the locks (flock) and releases them when a process ends or is killed, so none becomes stale.
"""

import fcntl
import json
import os
import secrets
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

from labeling.files import open_atomically

OWNER = "owner"


@dataclass(frozen=True)
class Secrets:
    """The secrets that are generated at a home's first start. They never appear in a repr."""

    auth: str = field(repr=False)  # signs the tokens of people who have signed in
    password: str = field(repr=False)  # the owner's
    api_key: str = field(repr=False)  # the owner's
    username: str = OWNER


@dataclass(frozen=True)
class State:
    """The state of a running server."""

    url: str  # on this machine
    address: str  # for people on other machines
    pid: int
    since: str  # ISO time
    certificate: str | None = None


class Home:
    """The files of one server."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.log = self.path / "server.log"
        self.start_log = self.path / "start.log"
        self.invitations = self.path / "invitations"

    def make(self) -> None:
        """Create the folder if needed, readable by its owner only."""
        self.path.mkdir(parents=True, exist_ok=True)
        self.path.chmod(0o700)

    def state(self) -> State | None:
        """Return the state that the last server wrote, or None; that server may have been killed since."""
        try:
            return State(**json.loads((self.path / "server.json").read_text()))
        except (OSError, ValueError, TypeError):
            return None

    def write_state(self, state: State | None) -> None:
        if state is None:
            (self.path / "server.json").unlink(missing_ok=True)
        else:
            write_private(self.path / "server.json", json.dumps(asdict(state)))
            write_private(self.path / "address", state.address)

    def last_address(self) -> str | None:
        """Return the address of the last server of this home, running or not; None before the first start."""
        try:
            return (self.path / "address").read_text()
        except OSError:
            return None

    def ready(self, pid: int) -> bool:
        """Return whether the server with this process id has reported its start."""
        try:
            return (self.path / "ready").read_text() == str(pid)
        except OSError:
            return False

    def secrets(self) -> Secrets | None:
        try:
            return Secrets(**json.loads((self.path / "secrets.json").read_text()))
        except (OSError, ValueError, TypeError):
            return None

    def ensure_secrets(self) -> Secrets:
        """Return the secrets of this home, generated on the first call. The caller must hold `serving.lock`."""
        if (there := self.secrets()) is not None:
            return there
        made = Secrets(secrets.token_urlsafe(48), secrets.token_urlsafe(18), secrets.token_urlsafe(48))
        write_private(self.path / "secrets.json", json.dumps(asdict(made)))
        return made

    def lock(self, name: str) -> "Lock":
        return Lock(self.path / f"{name}.lock")


class Lock:
    """One open lock file. A process that inherits the descriptor also holds the lock."""

    def __init__(self, path: Path) -> None:
        self.descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def acquire(self, *, shared: bool = False, wait: float = 0.0) -> bool:
        """Acquire the lock within `wait` seconds; return success. A held lock changes between shared and exclusive."""
        deadline = time.monotonic() + wait
        while True:
            try:
                fcntl.flock(self.descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
                return True
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    return False
                time.sleep(0.05)

    def close(self) -> None:
        """Close our descriptor; other processes that inherited it keep the lock."""
        os.close(self.descriptor)

    def release(self) -> None:
        """Release the lock for all processes that inherited it, including forked workers."""
        fcntl.flock(self.descriptor, fcntl.LOCK_UN)
        self.close()


def write_private(path: Path, text: str) -> None:
    """Write an owner-only file atomically."""
    with open_atomically(path, owner_only=True) as stream:
        stream.write(text.encode())
