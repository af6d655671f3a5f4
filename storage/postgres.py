"""Postgres: connection pools with bounds, and the migrations."""

from __future__ import annotations

import hashlib
from pathlib import Path

import asyncpg
import orjson

COMMAND_TIMEOUT_S = 10.0
CONNECT_TIMEOUT_S = 10
# Of a connection over TCP, for Postgres: a client that is gone without a word (its node is, or the
# network between) is noticed after some 10 s, not after two hours, and its locks are free.
_KEEPALIVE = {
    "tcp_keepalives_idle": "4",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "10000",
}
_MIGRATIONS = Path(__file__).parent / "migrations"
_MIGRATION_LOCK = 0x0D00B  # one migrator at a time, over all machines


class MigrationError(RuntimeError):
    """The database holds a migration that this version does not know, or another text of it."""


async def _prepare_connection(connection: asyncpg.Connection) -> None:
    await connection.set_type_codec(
        "jsonb",
        schema="pg_catalog",
        encoder=lambda v: orjson.dumps(v).decode(),
        decoder=orjson.loads,
    )


async def _leave_as_is(connection: asyncpg.Connection) -> None:
    """Nothing to undo: no statement of ours changes a session, takes session locks or listens.

    asyncpg's own reset is a second round trip after every statement.
    """
    del connection


async def open_pool(
    url: str,
    *,
    min_size: int = 1,
    max_size: int = 4,
    command_timeout_s: float = COMMAND_TIMEOUT_S,
    application: str = "doorbuster",
    by_key: bool = False,
) -> asyncpg.Pool:
    """A pool whose every statement and connection attempt ends in time.

    `by_key` is for those who only ever ask by key: a plan that is made while a table is still
    small, and kept, must not read all of it when it has grown (a sale begins with no
    reservations and has a million before the statistics notice).
    `jsonb` values are Python values on our side. Raises OSError or asyncpg errors when the
    database cannot be reached.
    """
    return await asyncpg.create_pool(
        url,
        min_size=min_size,
        max_size=max_size,
        command_timeout=command_timeout_s,
        timeout=CONNECT_TIMEOUT_S,
        init=_prepare_connection,
        reset=_leave_as_is,
        server_settings={
            "application_name": application,
            "timezone": "UTC",
            **_KEEPALIVE,
            # Our statements take arrays of any length; planning one anew each time costs more
            # than running it.
            "plan_cache_mode": "force_generic_plan",
            **({"enable_seqscan": "off"} if by_key else {}),
        },
    )


async def migrate(url: str) -> list[str]:
    """Apply the migrations that are missing, each in a transaction; their names.

    Running it again changes nothing. Raises MigrationError if an applied one was altered.
    """
    connection = await asyncpg.connect(url, timeout=CONNECT_TIMEOUT_S)
    try:
        await connection.execute("SELECT pg_advisory_lock($1)", _MIGRATION_LOCK)
        return await _apply_missing(connection)
    finally:
        await connection.close()


async def _apply_missing(connection: asyncpg.Connection) -> list[str]:
    await connection.execute(
        "CREATE TABLE IF NOT EXISTS migrations (name text PRIMARY KEY, sha256 text NOT NULL,"
        " applied_at timestamptz NOT NULL DEFAULT now())"
    )
    applied = {
        row["name"]: row["sha256"]
        for row in await connection.fetch("SELECT name, sha256 FROM migrations")
    }
    files = {path.stem: path.read_text() for path in sorted(_MIGRATIONS.glob("*.sql"))}
    if unknown := sorted(set(applied) - set(files)):
        raise MigrationError(
            f"the database was migrated by a newer version ({', '.join(unknown)}); upgrade Doorbuster"
        )
    fresh: list[str] = []
    for name, text in files.items():
        digest = hashlib.sha256(text.encode()).hexdigest()
        if name in applied:
            if applied[name] != digest:
                raise MigrationError(
                    f"migration {name} was altered after it was applied; restore it and add a new one"
                )
            continue
        async with connection.transaction():
            await connection.execute(text, timeout=600)
            await connection.execute(
                "INSERT INTO migrations (name, sha256) VALUES ($1, $2)", name, digest
            )
        fresh.append(name)
    return fresh
