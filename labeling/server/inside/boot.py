"""Runs Argilla's unmodified server with SQLite, our search engine and our jobs: one process, until it is unused.

Called by `labeling.server.launch` with HOME LISTENER LOCK [CERTIFICATE KEY], where LISTENER and LOCK are inherited
descriptors. The secrets come from an owner-only file in the home; they never appear in arguments, and in the
environment only while Argilla's settings are read.
"""

import asyncio
import fcntl
import gc
import json
import logging
import os
import shutil
import socket
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

POLL_SECONDS = 0.5
TOKEN_SECONDS = 12 * 60 * 60  # a working day; afterwards people sign in again


def main() -> None:
    """Run the server until SIGTERM, or until no process holds `in_use.lock`."""
    home = Path(sys.argv[1])
    listener = socket.socket(fileno=int(sys.argv[2]))
    os.umask(0o077)
    secrets = json.loads((home / "secrets.json").read_text())
    _settings(home, secrets["auth"])
    from . import connections

    connections.without_threads(home)
    from . import answers, database, events, interface, jobs, logins, logs, queues, shortcuts, views
    from .leases import leases
    from .search import SqlSearchEngine

    try:
        interface.check(SqlSearchEngine)
    except interface.Mismatch as error:
        sys.exit(str(error))
    database.prepare()
    logs.configure(home / "server.log")
    answers.take_in_one_transaction()
    events.only_if_heard()
    shortcuts.remembered_people()
    shortcuts.remembered_schemas()
    shortcuts.credentials_read_once()
    shortcuts.no_thread_for_telemetry()
    jobs.replace_redis()
    views.show_only_own_answers()
    queues.one_for_each_project()
    logins.guard()
    leases.keep_in(home / "pages.jsonl", answered=asyncio.run(database.settle(secrets)))
    _serve(home, listener, *sys.argv[4:6])


def _settings(home: Path, auth: str) -> None:
    """Set Argilla's settings in the environment, where Argilla reads them at import."""
    os.environ |= {
        "ARGILLA_HOME_PATH": str(home),
        "ARGILLA_SEARCH_ENGINE": "sql",
        "ARGILLA_DATABASE_SQLITE_TIMEOUT": "15",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "ARGILLA_AUTH_SECRET_KEY": auth,
        "ARGILLA_AUTH_TOKEN_EXPIRATION": str(TOKEN_SECONDS),
    }
    scratch = home / "tmp"  # Argilla copies its pages to a new temporary folder at each start and never removes it
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    tempfile.tempdir = str(scratch)
    from . import late

    gc.disable()  # the import makes a third of a million objects that stay: to search them takes a tenth of the start
    with late.imports():  # of the whole of Argilla
        import argilla_server.security.authentication.jwt  # noqa: F401  (keeps the secret)
    gc.freeze()
    gc.enable()

    del os.environ["ARGILLA_AUTH_SECRET_KEY"]


def _serve(home: Path, listener: socket.socket, certificate: str | None = None, key: str | None = None) -> None:
    import uvicorn
    from argilla_server import app
    from argilla_server.api.routes import api_v1

    from . import database, front

    class Announced(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            if self.started:
                (home / "ready").write_text(str(os.getpid()))
                logging.getLogger("labeling").warning("started")

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            await super().shutdown(sockets)
            await database.close()
            logging.getLogger("labeling").warning("stopped")

    config = uvicorn.Config(
        front.before(app, api_v1),
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # otherwise a client on this machine could claim another address
        timeout_graceful_shutdown=5,
        ssl_certfile=certificate,
        ssl_keyfile=key,
    )
    server = Announced(config)
    threading.Thread(target=_stop_when_unused, args=(home, server), daemon=True).start()
    server.run(sockets=[listener])
    if not server.started:
        sys.exit(1)


def _stop_when_unused(home: Path, server: Any) -> None:
    """End the server when no process shares `in_use.lock`; it then stays locked, so that new users wait for the end.

    Also end it when its folder is gone or is another one: answers would be accepted into deleted files.
    """
    descriptor = os.open(home / "in_use.lock", os.O_RDWR)
    while True:
        time.sleep(POLL_SECONDS)
        try:
            if not os.path.samestat(os.fstat(descriptor), os.stat(home / "in_use.lock")):
                raise FileNotFoundError
        except FileNotFoundError:
            server.should_exit = True
            return
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
        server.should_exit = True
        return
