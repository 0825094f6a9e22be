"""Sets up Argilla's tables in SQLite: write-ahead log, migrations, the owner's account, repair after a kill.

Each record has its number of submitted answers in a column of ours, which the database counts itself. Together with an
index in the order of the pending queue, a page of the queue costs as much as the records that it returns, instead of
sorting all open ones by a count of their answers.
"""

import json
from collections import defaultdict
from pathlib import Path
from typing import Any
from uuid import UUID

from sqlalchemy import event, select, text
from sqlalchemy.engine import Engine

from .opinions import is_complete

STATISTICS = {  # index -> rows, and rows per value: typical of some thousand answers
    "ix_responses_status": "30000 10000",
    "ix_responses_user_id": "30000 3000",
    "ix_responses_record_id": "30000 3",
    "ix_records_status": "10000 5000",
    "ix_records_dataset_id": "10000 2000",
    "ix_records_external_id": "10000 1",
    "ix_records_order": "10000 2000 1000 300 1 1",
    "ix_responses_counted": "30000 3 2",
}
"""Without these, SQLite assumes few submitted answers, and reads them all for each new one."""

INDEXES = (
    "CREATE INDEX IF NOT EXISTS ix_records_order ON records (dataset_id, status DESC, submitted DESC, inserted_at, id)",
    "CREATE INDEX IF NOT EXISTS ix_responses_counted ON responses (record_id, status)",
)
"""Indexes for the pending queue, with all that it reads of the records, so that their texts are not read."""

COLUMN = "ALTER TABLE records ADD COLUMN submitted INTEGER NOT NULL DEFAULT 0"
TRIGGERS = (
    """CREATE TRIGGER IF NOT EXISTS answer_added AFTER INSERT ON responses WHEN NEW.status = 'submitted' BEGIN
    UPDATE records SET submitted = submitted + 1 WHERE id = NEW.record_id; END""",
    """CREATE TRIGGER IF NOT EXISTS answer_deleted AFTER DELETE ON responses WHEN OLD.status = 'submitted' BEGIN
    UPDATE records SET submitted = submitted - 1 WHERE id = OLD.record_id; END""",
    """CREATE TRIGGER IF NOT EXISTS answer_changed AFTER UPDATE OF status ON responses BEGIN
    UPDATE records SET submitted = submitted - (OLD.status = 'submitted') WHERE id = OLD.record_id;
    UPDATE records SET submitted = submitted + (NEW.status = 'submitted') WHERE id = NEW.record_id; END""",
)


def prepare() -> None:
    """Configure SQLite and migrate the tables to Argilla's newest version; the migration also changes logging."""
    event.listen(Engine, "connect", _pragmas)
    import alembic.command
    from alembic.config import Config
    from alembic.runtime.migration import MigrationContext
    from alembic.script import ScriptDirectory
    from argilla_server.database import ALEMBIC_CONFIG_FILE, sync_engine

    config = Config(ALEMBIC_CONFIG_FILE)
    config.set_main_option("script_location", str(Path(ALEMBIC_CONFIG_FILE).parent / "alembic"))
    with sync_engine.connect() as connection:
        current = MigrationContext.configure(connection).get_current_revision()
    if current != ScriptDirectory.from_config(config).get_current_head():
        alembic.command.upgrade(config, "head")
    with sync_engine.begin() as connection:
        if "submitted" not in {row.name for row in connection.execute(text("PRAGMA table_info(records)"))}:
            connection.execute(text(COLUMN))
        for statement in (*INDEXES, *TRIGGERS):
            connection.execute(text(statement))
    sync_engine.dispose()


def _pragmas(connection: Any, record: Any) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = NORMAL")  # `connections.Writes` waits for the disk
    cursor.close()


async def settle(secrets: dict[str, str]) -> set[tuple[UUID, UUID]]:
    """Set the owner's account from the secrets; count each record's answers and set its status; store statistics.

    Returns a person and a record for each answer.

    An answer and the status of its record can be written one after the other, and a job may be waiting, so a killed
    server can leave a record open that has all its answers.
    """
    from argilla_server.contexts import accounts
    from argilla_server.database import AsyncSessionLocal, async_engine
    from argilla_server.models import Response, User, UserRole

    async with AsyncSessionLocal() as session:
        owner = await accounts.get_user_by_username(session, secrets["username"])
        if owner is None:
            await User.create(
                session,
                first_name="Owner",
                username=secrets["username"],
                role=UserRole.owner,
                password_hash=accounts.hash_password(secrets["password"]),
                api_key=secrets["api_key"],
                workspaces=[],
            )
        elif owner.api_key != secrets["api_key"]:  # secrets.json was lost and generated again
            await accounts.update_user(session, owner, {"api_key": secrets["api_key"], "password": secrets["password"]})
        await session.execute(text(_SETTLE_COUNT))
        await session.execute(text(_SETTLE_STATUS))
        await _settle_by_opinions(session)
        await session.execute(text("ANALYZE users"))  # creates the table of statistics
        for index, statistics in STATISTICS.items():
            row = {"tbl": index.removeprefix("ix_").split("_")[0], "idx": index, "stat": statistics}
            await session.execute(text("DELETE FROM sqlite_stat1 WHERE idx = :idx"), row)
            await session.execute(text("INSERT INTO sqlite_stat1 VALUES (:tbl, :idx, :stat)"), row)
        await session.commit()
        answered = await session.execute(select(Response.user_id, Response.record_id))
        found = {(person, record) for person, record in answered}
    await async_engine.dispose()  # its connections belong to this event loop
    return found


async def _settle_by_opinions(session: Any) -> None:
    """Set the status of the records whose number of answers depends on how far annotators agree (`opinions`)."""
    answers: dict[Any, list[Any]] = defaultdict(list)
    for row in await session.execute(text(_OPINIONS)):
        answers[row.id, row.status, row.least, row.most].append(json.loads(row.values_) if row.values_ else None)
    for (record, before, least, most), given in answers.items():
        submitted = [values for values in given if values is not None]
        status = "completed" if is_complete(submitted, least, most) else "pending"
        if status != before:
            await session.execute(text(_SET_STATUS), {"new": status, "id": record})


async def close() -> None:
    """Close all connections, so that SQLite moves the write-ahead log into the database."""
    from argilla_server.database import async_engine

    await async_engine.dispose()


_SET_STATUS = "UPDATE records SET status = :new WHERE id = :id"
_OPINIONS = """
SELECT records.id, records.status, responses."values" AS values_,
    json_extract(datasets.distribution, '$.min_submitted') AS least,
    json_extract(datasets.metadata, '$.most_submitted') AS most
FROM records JOIN datasets ON datasets.id = records.dataset_id
    LEFT JOIN responses ON responses.record_id = records.id AND responses.status = 'submitted'
WHERE json_extract(datasets.metadata, '$.most_submitted') IS NOT NULL
"""
_SETTLE_COUNT = """
UPDATE records SET submitted = counted.number FROM (
    SELECT records.id, count(responses.id) AS number FROM records
    LEFT JOIN responses ON responses.record_id = records.id AND responses.status = 'submitted' GROUP BY records.id
) AS counted WHERE counted.id = records.id AND counted.number <> records.submitted
"""
_SETTLE_STATUS = """
WITH wanted AS (
    SELECT records.id, CASE WHEN records.submitted >= json_extract(datasets.distribution, '$.min_submitted')
        THEN 'completed' ELSE 'pending' END AS status
    FROM records JOIN datasets ON datasets.id = records.dataset_id
    WHERE json_extract(datasets.metadata, '$.most_submitted') IS NULL
)
UPDATE records SET status = wanted.status FROM wanted WHERE wanted.id = records.id AND wanted.status <> records.status
"""
