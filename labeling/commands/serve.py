"""The command `serve`: runs Argilla on this machine, in the foreground or detached."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from rich.markup import escape

from labeling.backend import LabelingError
from labeling.commands import command, console
from labeling.server import DEFAULT_HOME, DEFAULT_PORT, Connection, Tls, address, detach, running, supervisor
from labeling.server.home import Home

ABOUT = """\
A real Argilla, with its pages, on SQLite: no Docker, no Elasticsearch, no Redis. Its environment is built on first
use (about a minute, needs the network once). It runs until Ctrl-C, or, with --detach, until `serve --stop`; after a
crash it is started again. Data, log and generated secrets lie in --home, which only you can read. It keeps its port;
where that is taken, the invitations say the new address. Annotators see their own answers alone.

By default only this machine can reach it. For a team on one network: --host 0.0.0.0 with --tls-cert and --tls-key,
since passwords would travel in the open without. From elsewhere: ssh -L 6900:127.0.0.1:6900 THIS_MACHINE.
"""


def serve(arguments: Sequence[str]) -> int:
    options = _options(arguments)
    home: Path = options.home
    if options.stop:
        return _stop(home)
    tls = _tls(options)
    _refuse_second(home, options)
    if tls is None and options.host not in ("127.0.0.1", "localhost", "::1"):
        console.print(f"[yellow]Without TLS, passwords and answers cross the network in the open[/] ({options.host}).")
    if options.detach:
        connection = detach(home, say=_say, host=options.host, port=options.port, tls=tls)
        _show(home, connection)
        console.print(f"Stop        python -m labeling serve --stop{_home_option(home)}")
        return 0
    try:
        supervisor.supervise(
            Home(home), options.host, options.port, tls, _say, up=lambda connection: _show(home, connection)
        )
    except KeyboardInterrupt:  # the normal way to stop it
        console.print("Stopped.")
    return 0


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = command("serve", ABOUT)
    parser.add_argument("--home", type=Path, default=DEFAULT_HOME, help="its folder (%(default)s)")
    parser.add_argument("--port", type=int, help=f"exactly this port (a free one from {DEFAULT_PORT} on)")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s: this machine alone)")
    parser.add_argument("--tls-cert", type=Path, metavar="FILE", help="certificate, PEM")
    parser.add_argument("--tls-key", type=Path, metavar="FILE", help="its private key, PEM")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--detach", action="store_true", help="go on after this command has ended")
    how.add_argument("--stop", action="store_true", help="stop a detached server")
    options = parser.parse_args(arguments)
    if options.port is not None and not 1 <= options.port <= 65535:
        parser.error(f"--port must be from 1 to 65535, but is {options.port}")
    if (options.tls_cert is None) != (options.tls_key is None):
        parser.error("--tls-cert and --tls-key go together")
    return options


def _tls(options: argparse.Namespace) -> Tls | None:
    if options.tls_cert is None:
        return None
    tls = Tls(options.tls_cert, options.tls_key)
    tls.check()
    return tls


def _refuse_second(home: Path, options: argparse.Namespace) -> None:
    """Raise `LabelingError` if a server runs for this home, except for `--detach` without other options."""
    connection, state = running(home), Home(home).state()
    if connection is None or state is None:
        return
    as_it_is = options.port is None and options.host == "127.0.0.1" and options.tls_cert is None
    if options.detach and as_it_is:
        return
    raise LabelingError(
        f"{home} is served already, at {connection.url}, by process {state.pid} since {state.since}. "
        f"Stop it first (python -m labeling serve --stop{_home_option(home)}), or choose another --home.",
        fault="request",
    )


def _stop(home: Path) -> int:
    if supervisor.stop(Home(home)):
        console.print("Stopped.")
        return 0
    if (connection := running(home)) is not None:
        state = Home(home).state()
        raise LabelingError(
            f"The server at {connection.url} (process {state.pid if state else '?'}) belongs to a command that still "
            "runs and will stop it; end that one instead.",
            fault="request",
        )
    console.print(f"No server serves {escape(str(home))}.")
    return 0


def _show(home: Path, connection: Connection) -> None:
    console.print(f"Argilla     {address(home, connection)}")
    console.print(f"Owner       name and password: {escape(str(Home(home).path / 'secrets.json'))}")
    console.print(f"Annotators  python -m labeling users add NAME …{_home_option(home)}")


def _say(message: str) -> None:
    console.print(escape(message))


def _home_option(home: Path) -> str:
    return "" if home == DEFAULT_HOME else f" --home {home}"
