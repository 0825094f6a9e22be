"""Starts a server and keeps it running while it is needed.

A server runs while a process holds `in_use.lock` (shared): `serving` holds it for its block, the supervisor until it is
stopped. The server itself checks the lock, so it ends after the last of these processes, also if they are killed.
"""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

from labeling.backend import LabelingError
from labeling.server.connection import Connection, running
from labeling.server.environment import ensure_environment
from labeling.server.home import Home, Lock, State
from labeling.server.invitations import readdress

DEFAULT_HOME = Path("outputs/.argilla")
DEFAULT_PORT = 6900
PORTS = 100  # ports to try from the default one on, if none was requested
START_SECONDS = 120.0  # enough for a busy machine; usually a few seconds
STOP_SECONDS = 15.0

Say = Callable[[str], None]


@dataclass(frozen=True)
class Tls:
    """A TLS certificate and its key, as PEM files."""

    certificate: Path
    key: Path

    def check(self) -> None:
        """Raise `LabelingError` (request) unless both files are readable."""
        for file in (self.certificate, self.key):
            if not os.access(file, os.R_OK):
                raise LabelingError(f"The TLS file {file} cannot be read.", fault="request")


@contextmanager
def serving(
    home: Path, *, say: Say, port: int | None = None, host: str = "127.0.0.1", tls: Tls | None = None
) -> Iterator[Connection]:
    """Yield a connection to the running server of this home, or start one on `port` or a free one from 6900 on.

    The server runs until the end of the block, or longer if another process needs it. Raises `LabelingError` (service)
    if it cannot be started: port in use, no environment, the server's own error.
    """
    place = Home(home)
    place.make()
    in_use = place.lock("in_use")
    server = None
    try:
        if not in_use.acquire(shared=True, wait=STOP_SECONDS):
            raise LabelingError(f"A server of {home} is stopping, but does not end. Try again.")
        connection = running(home)
        if connection is None:
            connection, server = _start_or_join(place, say, port, host, tls)
        yield connection
    finally:
        if server is not None and in_use.acquire():  # no other process needs it
            server.stop()
        in_use.release()


def _start_or_join(
    place: Home, say: Say, port: int | None, host: str, tls: Tls | None
) -> "tuple[Connection, Server | None]":
    """Start the server, or wait for a process that is already starting it."""
    ensure_environment(say)  # before the deadline starts: it can take a while
    lock = place.lock("serving")
    deadline = time.monotonic() + START_SECONDS
    while not lock.acquire():
        if (connection := running(place.path)) is not None:
            lock.close()
            return connection, None
        if time.monotonic() > deadline:
            lock.close()
            state = place.state()
            who = f"Process {state.pid}" if state else "A process"
            raise LabelingError(f"{who} holds {place.path} and does not answer; its log is {place.log}. End it first.")
        time.sleep(0.2)
    try:
        place.write_state(None)
        with listen(host, port, last_port(place)) as listener:
            server = Server(place, lock, listener, tls, say)
            return server.wait(), server
    finally:
        lock.close()  # the server has inherited it


def last_port(place: Home) -> int | None:
    """Return the port of this home's last server, since people know its address; None if there was none."""
    try:
        return urlsplit(place.last_address() or "").port
    except ValueError:
        return None


def listen(host: str, port: int | None, last: int | None = None) -> socket.socket:
    """Return a listening socket on `port`; without `port` on `last`, or else on the first free one from 6900 on.

    It is bound before the server starts, so that two servers never use the same port. A supervisor keeps it open during
    a restart, so that clients wait and do not fail. Raises `LabelingError` (service) if the port is in use.
    """
    fault: OSError | None = None
    usual = [*([last] if last else []), *range(DEFAULT_PORT, DEFAULT_PORT + PORTS)]
    for candidate in [port] if port is not None else usual:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((host, candidate))
            listener.listen(1024)
            return listener
        except OSError as error:
            listener.close()
            fault = error
    where = f"port {port}" if port is not None else f"any port from {DEFAULT_PORT} to {DEFAULT_PORT + PORTS - 1}"
    raise LabelingError(f"The server cannot listen on {where} of {host}: {fault}. Choose another with --port.")


class Server:
    """A server process that this process has started."""

    def __init__(self, place: Home, lock: Lock, listener: socket.socket, tls: Tls | None, say: Say) -> None:
        """Start the process, which inherits lock and listener. Raises `LabelingError` without an environment."""
        if tls is not None:
            tls.check()
        python = ensure_environment(say)
        say("Starting Argilla")
        self.place = place
        self.tls = tls
        self._say = say
        self.url, self.address = addresses(listener, tls)
        self.secrets = place.ensure_secrets()
        here = Path(__file__).parent
        boot = f"import sys; sys.path.append({str(here)!r}); from inside.boot import main; main()"
        command = [str(python), "-I", "-c", boot, str(place.path), str(listener.fileno()), str(lock.descriptor)]
        if tls is not None:
            command += [str(tls.certificate.absolute()), str(tls.key.absolute())]
        words = os.open(place.start_log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            self.process = subprocess.Popen(
                command,
                cwd=place.path,  # Argilla reads .oauth.yaml from its working folder: not the user's project
                stdin=subprocess.DEVNULL,
                stdout=words,
                stderr=words,
                pass_fds=(listener.fileno(), lock.descriptor),
                env=_environment(),
                start_new_session=True,  # Ctrl-C reaches only this process, which then stops the server
            )
        finally:
            os.close(words)

    def wait(self) -> Connection:
        """Wait until it answers; return a connection. Raises `LabelingError` (service) with its last output."""
        connection = Connection(self.url, self.secrets.api_key, self.tls.certificate.absolute() if self.tls else None)
        deadline = time.monotonic() + START_SECONDS
        try:
            while not (self.place.ready(self.process.pid) and connection.answers()):
                if self.process.poll() is not None:
                    raise LabelingError(f"Argilla did not start: {self._last_words()}")
                if time.monotonic() > deadline:
                    raise LabelingError(
                        f"Argilla did not answer within {START_SECONDS:.0f} s; its log is {self.place.log}."
                    )
                time.sleep(0.05)
        except BaseException:
            self.stop()
            raise
        now = datetime.now(UTC).isoformat(timespec="seconds")
        certificate = str(connection.certificate) if connection.certificate else None
        before = self.place.last_address()
        self.place.write_state(State(self.url, self.address, self.process.pid, now, certificate))
        if changed := readdress(self.place.path, before, self.address):
            self._say(f"The address is {self.address} now, not {before}: {changed} invitations say so, tell the people")
        return connection

    def stop(self) -> None:
        """End the process after its current writes."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()  # SQLite's journal keeps the data consistent
                self.process.wait()
        self.place.write_state(None)

    def _last_words(self) -> str:
        words = self.place.start_log.read_text(errors="replace").strip().splitlines()
        return words[-1] if words else f"it ended with status {self.process.returncode}; its log is {self.place.log}"


def _environment() -> dict[str, str]:
    """Return this process's environment, without settings for another Argilla or its client."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("ARGILLA_")}
    return ours | {"MALLOC_ARENA_MAX": "2"}  # otherwise SQLite's many threads take one each: 30 MB


def addresses(listener: socket.socket, tls: Tls | None) -> tuple[str, str]:
    """Return the URL on this machine and the URL for people; they differ if the server listens on all addresses."""
    host, port = listener.getsockname()[:2]
    everywhere = host in ("0.0.0.0", "::")
    scheme = "https" if tls else "http"
    names = ("127.0.0.1", socket.gethostname()) if everywhere else (host, host)
    here, outside = (f"{scheme}://{f'[{name}]' if ':' in name else name}:{port}" for name in names)
    return here, outside


def detach(
    home: Path, *, say: Say, host: str = "127.0.0.1", port: int | None = None, tls: Tls | None = None
) -> Connection:
    """Return a connection to the running server, or start one that outlives this command and restarts after a crash.

    Raises `LabelingError` like `serving`.
    """
    from labeling.server import supervisor

    place = Home(home)
    place.make()
    if tls is not None:
        tls.check()
    ensure_environment(say)  # here, where the user sees the progress
    with supervisor.starting(place, host, port, tls) as process:
        if running(home) is None:
            say("Starting Argilla")
        deadline = time.monotonic() + START_SECONDS
        # a server that another command started ends with that command, unless the supervisor holds it by then
        while (connection := running(home)) is None or supervisor.supervisor(place) is None:
            if not supervisor.exists(place) and (process is None or process.poll() is not None):
                raise LabelingError(supervisor.last_words(place))
            if time.monotonic() > deadline:
                raise LabelingError(f"Argilla did not answer within {START_SECONDS:.0f} s; its log is {place.log}.")
            time.sleep(0.1)
        return connection
