"""Keeps a server running after the command that started it has ended, restarts it after a crash, takes snapshots.

The snapshots of people's answers are taken here and not in the server, whose end, by `kill -9` too, must not end them.

It runs as a separate process, `python -m labeling.server.supervisor HOME …`, or in the foreground of `labeling serve`.
If another process already serves the home, it keeps that server running, and takes over when that server ends.
"""

import argparse
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from labeling.backend import LabelingError
from labeling.server.connection import Connection
from labeling.server.environment import ensure_environment
from labeling.server.home import Home, write_private
from labeling.server.launch import STOP_SECONDS, Say, Server, Tls, last_port, listen
from labeling.server.snapshots import Snapshots

PAUSES = (0.0, 1.0, 5.0, 15.0, 60.0)  # seconds before the first, second, … restart after a crash
STAMP = len("2026-01-31 12:00:00 ")
STEADY = 300.0  # seconds after which a server counts as stable, and its earlier crashes no longer count


def supervise(
    place: Home,
    host: str,
    port: int | None,
    tls: Tls | None,
    say: Say,
    *,
    up: Callable[[Connection], None],
    held: Callable[[], None] = lambda: None,
    patient: bool = False,
) -> None:
    """Serve the home until `KeyboardInterrupt`; `up` is called after each start, when the server answers.

    `held` is called as soon as a server of this home can no longer end with the command that started it. If another
    process serves the home, `patient` waits for the end of that server, and keeps it running meanwhile.
    Raises `LabelingError` if the server cannot be started, and after too many crashes in a row.
    """
    place.make()
    ensure_environment(say)
    in_use, serving = place.lock("in_use"), place.lock("serving")
    try:
        if not in_use.acquire(shared=True, wait=STOP_SECONDS):
            raise LabelingError(f"A server of {place.path} is stopping, but does not end. Try again.")
        held()
        if not serving.acquire(wait=math.inf if patient else 0.0):
            raise LabelingError(f"Another process is just starting a server on {place.path}.", fault="request")
        with listen(host, port, last_port(place)) as listener, Snapshots(place, say) as snapshots:
            crashes = 0
            while True:
                began = time.monotonic()
                status = _run_once(Server(place, serving, listener, tls, say), up, snapshots)
                crashes = 1 if time.monotonic() - began > STEADY else crashes + 1
                if crashes > len(PAUSES):
                    raise LabelingError(f"Argilla crashed {crashes} times in a row; its log is {place.log}.")
                say(f"Argilla ended with status {status}; starting it again")
                time.sleep(PAUSES[crashes - 1])
    finally:
        serving.close()
        in_use.release()


def _run_once(server: Server, up: Callable[[Connection], None], snapshots: Snapshots) -> int:
    """Wait for the end of a started server and return its exit status.

    If this process is interrupted, take a last snapshot and stop the server.
    """
    try:
        up(server.wait())
        return server.process.wait()
    except KeyboardInterrupt:
        snapshots.take()
        raise
    finally:
        server.stop()


@contextmanager
def starting(place: Home, host: str, port: int | None, tls: Tls | None) -> "Iterator[subprocess.Popen[bytes] | None]":
    """Start a supervisor in a new session and yield it; None if one exists already. It is ended if the block fails."""
    if exists(place):
        yield None
        return
    command = [sys.executable, "-m", "labeling.server.supervisor", str(place.path), host]
    command += ["--port", str(port)] if port is not None else []
    command += ["--tls", str(tls.certificate.absolute()), str(tls.key.absolute())] if tls else []
    (place.path / "supervisor.log").unlink(missing_ok=True)
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
    )
    try:
        yield process
    except BaseException:
        process.terminate()
        process.wait()
        raise


def exists(place: Home) -> bool:
    """Return whether a supervisor of this home runs, even if it does not hold a server yet."""
    if not place.path.exists():
        return False
    lock = place.lock("supervisor")
    try:
        return not lock.acquire()
    except OSError:
        return False
    finally:
        lock.close()


def supervisor(place: Home) -> int | None:
    """Return the process id of this home's supervisor; None if there is none that holds the server."""
    try:
        return int((place.path / "supervisor.pid").read_text()) if exists(place) else None
    except (OSError, ValueError):
        return None


def stop(place: Home) -> bool:
    """End the supervisor of this home and wait for its end; False if there is none.

    Raises `LabelingError` if it does not end in time.
    """
    pid = supervisor(place)
    if pid is None:
        return False
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + 2 * STOP_SECONDS
    while exists(place):
        if time.monotonic() > deadline:
            raise LabelingError(f"The server's supervisor, process {pid}, does not end.")
        time.sleep(0.05)
    return True


def last_words(place: Home) -> str:
    """Return the reason for the supervisor's end."""
    try:
        return (place.path / "supervisor.log").read_text().strip().splitlines()[-1][STAMP:]
    except (OSError, IndexError):
        return f"Argilla did not start; its log is {place.log}."


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("home", type=Path)
    parser.add_argument("host")
    parser.add_argument("--port", type=int)
    parser.add_argument("--tls", nargs=2, type=Path)
    arguments = parser.parse_args()
    place = Home(arguments.home)
    lock = place.lock("supervisor")
    if not lock.acquire():
        return 0
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    pid = place.path / "supervisor.pid"
    pid.unlink(missing_ok=True)
    words: list[str] = []

    def say(message: str) -> None:
        words.append(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {message}")
        write_private(place.path / "supervisor.log", "\n".join(words[-200:]) + "\n")

    try:
        tls = Tls(*arguments.tls) if arguments.tls else None
        supervise(
            place,
            arguments.host,
            arguments.port,
            tls,
            say,
            up=lambda found: say(f"Argilla answers at {found.url}"),
            held=lambda: write_private(pid, str(os.getpid())),
            patient=True,
        )
    except KeyboardInterrupt:
        say("stopped")
    except (LabelingError, OSError) as error:
        say(str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
