"""A server's home: its data, its secrets, who serves it and who needs it, in one folder that only its owner can read.

    argilla.db      what people answered       secrets.json     generated; owner-only
    server.log      bounded                    server.json      where the server is, while it runs
    serving.lock    held while it runs         in_use.lock      shared by everybody who needs it
    invitations/    one file per annotator     supervisor.lock  held by what restarts a detached one
    address         where it was last

Locks are the kernel's (flock): they end with the processes that hold them, however these end, so none goes stale.
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
    """What is generated at a home's first start. Nothing of it shows in a repr."""

    auth: str = field(repr=False)  # signs the sessions of people who have logged in
    password: str = field(repr=False)  # the owner's
    api_key: str = field(repr=False)  # the owner's
    username: str = OWNER


@dataclass(frozen=True)
class State:
    """Where a running server is."""

    url: str  # on this machine
    address: str  # for people, who may sit elsewhere
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
        """Create the folder, or close it to others if it is open to them."""
        self.path.mkdir(parents=True, exist_ok=True)
        self.path.chmod(0o700)

    def state(self) -> State | None:
        """What the last server to start here said of itself; it may have been killed since."""
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
        """Where people found the last server of this home, running or not."""
        try:
            return (self.path / "address").read_text()
        except OSError:
            return None

    def ready(self, pid: int) -> bool:
        """Whether the server with this process id has said that it has started."""
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
        """The secrets of this home, generated on the first call. To be called by the holder of `serving.lock`."""
        if (there := self.secrets()) is not None:
            return there
        made = Secrets(secrets.token_urlsafe(48), secrets.token_urlsafe(18), secrets.token_urlsafe(48))
        write_private(self.path / "secrets.json", json.dumps(asdict(made)))
        return made

    def lock(self, name: str) -> "Lock":
        return Lock(self.path / f"{name}.lock")


class Lock:
    """One open lock file. A process that inherits the descriptor holds the lock, too."""

    def __init__(self, path: Path) -> None:
        self.descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def acquire(self, *, shared: bool = False, wait: float = 0.0) -> bool:
        """Whether the lock is ours now, or within `wait` seconds. A held one changes between shared and exclusive."""
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
        """Let go of our descriptor; the lock stays with other processes that inherited it."""
        os.close(self.descriptor)

    def release(self) -> None:
        """Give the lock up for everybody who inherited it, forked workers included."""
        fcntl.flock(self.descriptor, fcntl.LOCK_UN)
        self.close()


def write_private(path: Path, text: str) -> None:
    """Write an owner-only file, whole or not at all."""
    with open_atomically(path, owner_only=True) as stream:
        stream.write(text.encode())
