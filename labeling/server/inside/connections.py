"""SQLite's statements run on the event loop itself, and what a request has written is on the disk before its answer.

*Statements.* Argilla hands every statement to a thread of its connection (aiosqlite). The statements of a labeling
server take some 50 microseconds, and handing them over takes many times that. Here they run where they are asked for.
Nothing waits for anything else between the first write of a transaction and its commit, so there is one writer at a
time, and no request waits for another one's connection: the pool has no limit.

*Writes.* `synchronous = NORMAL` does not wait for the disk at a commit. `flushed` does, once for all requests that
have written meanwhile: an answer that was taken survives a power cut, and twenty at once cost one wait.
"""

import asyncio
import os
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from .known import changes_what_is_known, known

STATEMENTS = 512  # prepared ones that a connection keeps


class Cursor:
    """What SQLAlchemy asks of a cursor of aiosqlite, at once."""

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
    """What SQLAlchemy asks of a connection of aiosqlite, at once."""

    def __init__(self, connection: sqlite3.Connection, writes: "Writes") -> None:
        self._conn = connection
        self._tx = self  # SQLAlchemy puts what is to run between statements into aiosqlite's queue
        self._writes = writes
        self._changes = 0
        self._outdates = False  # whether this transaction changes what is known

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
    """How many transactions have written, and how many of them are on the disk."""

    def __init__(self) -> None:
        self.count = 0
        self._flushed = 0
        self._log: Path | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="flush")
        self._flushing: asyncio.Future[int] | None = None

    def watch(self, database: Path) -> None:
        self._log = database.with_name(f"{database.name}-wal")

    async def flushed(self) -> None:
        """Wait until all that has been committed by now is on the disk."""
        wanted = self.count
        while self._flushed < wanted:
            if self._flushing is None or self._flushing.done():
                loop = asyncio.get_running_loop()
                self._flushing = loop.run_in_executor(self._thread, self._flush, self.count)
            self._flushed = max(self._flushed, await asyncio.shield(self._flushing))

    def _flush(self, count: int) -> int:
        """Everything committed is in the write-ahead log, or SQLite has put it from there into the database itself."""
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
    """Let Argilla's engine, which does not exist yet, open its connections here, as many as are asked for."""
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
