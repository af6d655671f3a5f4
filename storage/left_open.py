"""Transactions that their client has left open, and that others need not wait for.

An owner that is stopped or cut off between the bytes of its statement and those that commit it
leaves a transaction with all its locks, the fence's among them. No timeout of Postgres or of a
healthy client ends it: to Postgres it is busy, and its client is silent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import asyncpg
import structlog

from storage.sql import load

PATIENCE_S = 1.0
"""A turn takes milliseconds. Nobody waits longer than this for one that goes no further."""
_SQL = load("left_open")
_log = structlog.get_logger(__name__)
T = TypeVar("T")


async def passing(pool: asyncpg.Pool, work: Callable[[Any], Awaitable[T]]) -> T:
    """The result of `work`, which gets a connection of its own.

    Who keeps it waiting for PATIENCE_S seconds or more, and itself waits for nothing but its
    silent client, is disconnected: that transaction is rolled back, and nobody was told of it.
    One that is still being worked on is waited for. What `work` raises passes through.
    """
    async with pool.acquire() as connection:
        cutting = asyncio.create_task(_cut_off(pool, connection.get_server_pid()))
        try:
            return await work(connection)
        finally:
            cutting.cancel()
            await asyncio.wait({cutting})


async def _cut_off(pool: asyncpg.Pool, waiting_pid: int) -> None:
    """Again and again, for as long as the backend waits."""
    while True:
        await asyncio.sleep(PATIENCE_S)
        try:
            cut = await pool.fetch(_SQL["cut_off"], waiting_pid)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
            _log.warning("left_open_not_seen", reason=repr(error))
            continue
        for row in cut:
            _log.warning("left_open_cut_off", backend=row["pid"], waiting=waiting_pid)
