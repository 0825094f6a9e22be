"""Runs SQLite's statements on the event loop, and makes writes durable on disk before the response is sent.

*Statements.* Argilla passes every statement to a thread of its connection (aiosqlite). The statements of a labeling
server take about 50 microseconds, and passing them to a thread takes many times as long. Here they run directly. A
transaction does not await other work between its first write and its commit, so there is one writer at a time, and no
request waits for another's connection: the pool has no limit.

*Writes.* `synchronous = NORMAL` does not wait for the disk at a commit. `flushed` does, once for all requests that
have written meanwhile: an accepted answer survives a power failure, and twenty at once cost one wait.
"""

import asyncio
import os
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from .known import changes_what_is_known, known

STATEMENTS = 512  # prepared statements that a connection caches


class Cursor:
    """The methods of aiosqlite's cursor that SQLAlchemy uses, run at once."""

    __slots__ = ("_connection", "_cursor")

    def __init__(self, cursor: sqlite3.Cursor, connection: "Connection") -> None:
        self._cursor = cursor
        self._connection = connection

    @property
    def description(self) -> Any:
        return self._cursor.description

    @property
    def rowcount(self) -> int:
        return self._cursor.rowcount

    @property
    def lastrowid(self) -> int | None:
        return self._cursor.lastrowid

    async def execute(self, statement: str, parameters: Any = ()) -> None:
        self._cursor.execute(statement, parameters)
        self._connection.ran(statement)

    async def executemany(self, statement: str, parameters: Any) -> None:
        self._cursor.executemany(statement, parameters)
        self._connection.ran(statement)

    async def fetchall(self) -> list[Any]:
        return self._cursor.fetchall()

    async def fetchmany(self, size: int) -> list[Any]:
        return self._cursor.fetchmany(size)

    async def fetchone(self) -> Any:
        return self._cursor.fetchone()

    async def close(self) -> None:
        self._cursor.close()


class Connection:
    """The methods of aiosqlite's connection that SQLAlchemy uses, run at once."""

    def __init__(self, connection: sqlite3.Connection, writes: "Writes") -> None:
        self._conn = connection
        self._tx = self  # SQLAlchemy puts functions to run between statements into aiosqlite's queue
        self._writes = writes
        self._changes = 0
        self._outdates = False  # whether this transaction invalidates the cache `known`

    @property
    def isolation_level(self) -> str | None:
        return self._conn.isolation_level

    def put_nowait(self, item: tuple["asyncio.Future[Any]", Any]) -> None:
        future, function = item
        future.set_result(function())

    async def cursor(self) -> Cursor:
        return Cursor(self._conn.cursor(), self)

    async def execute(self, statement: str, parameters: Any = ()) -> Cursor:
        cursor = Cursor(self._conn.cursor(), self)
        await cursor.execute(statement, parameters)
        return cursor

    def ran(self, statement: str) -> None:
        self._outdates = self._outdates or changes_what_is_known(statement)

    async def create_function(self, *arguments: Any, **options: Any) -> None:
        self._conn.create_function(*arguments, **options)

    async def commit(self) -> None:
        self._conn.commit()
        if self._conn.total_changes != self._changes:
            self._changes = self._conn.total_changes
            self._writes.count += 1
        self._settle()

    async def rollback(self) -> None:
        self._conn.rollback()
        self._settle()

    def _settle(self) -> None:
        if self._outdates:
            self._outdates = False
            known.forget()

    async def close(self) -> None:
        self._conn.close()

    def stop(self) -> None:
        self._conn.close()


class Writes:
    """Counts transactions with writes, and those of them that are on disk."""

    def __init__(self) -> None:
        self.count = 0
        self._flushed = 0
        self._log: Path | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="flush")
        self._flushing: asyncio.Future[int] | None = None

    def watch(self, database: Path) -> None:
        self._log = database.with_name(f"{database.name}-wal")

    async def flushed(self) -> None:
        """Wait until all commits so far are on disk."""
        wanted = self.count
        while self._flushed < wanted:
            if self._flushing is None or self._flushing.done():
                loop = asyncio.get_running_loop()
                self._flushing = loop.run_in_executor(self._thread, self._flush, self.count)
            self._flushed = max(self._flushed, await asyncio.shield(self._flushing))

    def _flush(self, count: int) -> int:
        """Flush the write-ahead log to disk; return `count`.

        Every commit is in that log, or SQLite has moved it to the database and flushed it.
        """
        assert self._log is not None
        try:
            descriptor = os.open(self._log, os.O_RDONLY)
        except FileNotFoundError:  # the last connection has been closed, which flushes the database
            return count
        try:
            os.fdatasync(descriptor)
        finally:
            os.close(descriptor)
        return count


writes = Writes()


def without_threads(home: Path) -> None:
    """Make Argilla's engine open connections of this module, without a limit; call it before the engine exists."""
    from argilla_server.settings import Settings

    stock = Settings.database_engine_args.fget
    Settings.database_engine_args = property(lambda self: {**stock(self), "max_overflow": -1})
    from argilla_server.database import async_engine
    from sqlalchemy import event

    writes.watch(home / "argilla.db")

    async def connect(*arguments: Any, **options: Any) -> Connection:
        return Connection(sqlite3.connect(*arguments, **options, cached_statements=STATEMENTS), writes)

    @event.listens_for(async_engine.sync_engine, "do_connect")
    def creator(dialect: Any, record: Any, arguments: Any, options: dict[str, Any]) -> None:
        options["async_creator_fn"] = connect
