"""One stock owner in a process of its own, without Ray: what tests kill, stop and cut off.

    python -m tests.fault.owner_process '{"database_url": "postgresql://…"}'

Its first line of output says where it listens and as which epoch. It ends itself as an owner on
Ray does (actors/ray_runtime.py), with a status that tells why, and when its input ends.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import orjson
import structlog
import uvloop

from actors.owner_stream import KEY_BYTES, OwnerServer
from actors.stock_owner import OwnerClocks, StockOwner
from domain.owners import Homes, pool_names
from domain.ports import StaleEpoch, StockJournal
from domain.stock import Closed
from domain.turns import Turn
from storage.postgres import COMMAND_TIMEOUT_S, open_pool
from storage.stock_journal import PostgresStockJournal

NAME = "pool-0"
KEY = b"k" * KEY_BYTES
STALE = 3
"""Exit status of an owner that found out that it has a successor."""
FAILED = 4
"""Exit status of an owner whose loop ended otherwise."""


def application(pid: int) -> str:
    """What Postgres calls the connections of an owner's process."""
    return f"owner {pid}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How the owner is run."""

    database_url: str
    command_timeout_s: float = COMMAND_TIMEOUT_S
    stop_before_write: int = 0
    """The process stops itself (SIGSTOP) when it has decided so manieth a turn, and not sent it."""
    stop_after_write: int = 0
    """The same when that turn is committed, and nobody has been told."""

    def packed(self) -> str:
        """As the command line takes it."""
        return orjson.dumps(asdict(self)).decode()


class _Nowhere:
    """Boards that nobody reads."""

    async def publish(self, *_: Any) -> None:
        """Dropped."""


class _StoppingJournal(PostgresStockJournal):
    """Stops the whole process around a turn's write."""

    def __init__(self, pool: Any, options: Options) -> None:
        super().__init__(pool)
        self._options = options
        self._turns = 0

    async def write_turn(self, turn: Turn) -> list[Closed]:
        self._turns += 1
        this = self._turns
        if this == self._options.stop_before_write:
            os.kill(os.getpid(), signal.SIGSTOP)
        closed = await super().write_turn(turn)
        if this == self._options.stop_after_write:
            os.kill(os.getpid(), signal.SIGSTOP)
        return closed


def _owner_over(journal: StockJournal) -> StockOwner:
    return StockOwner(
        NAME,
        journal=journal,
        board=_Nowhere(),
        metrics=_Nowhere(),
        clocks=OwnerClocks(time.time, time.monotonic),
        homes=Homes(pool_names(1)),
        node="here",
        pid=os.getpid(),
    )


def _end(task: asyncio.Task[None]) -> None:
    error = None if task.cancelled() else task.exception()
    print(f"owner ends: {error!r}", file=sys.stderr, flush=True)
    os._exit(STALE if isinstance(error, StaleEpoch) else FAILED)


async def _serve(options: Options) -> None:
    # Nobody is left alone with it: it ends with whoever started it.
    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), os._exit, FAILED)
    pool = await open_pool(
        options.database_url,
        command_timeout_s=options.command_timeout_s,
        application=application(os.getpid()),
        by_key=True,
    )
    owner = _owner_over(_StoppingJournal(pool, options))
    await owner.start()
    running = asyncio.create_task(owner.run())
    running.add_done_callback(_end)
    address = await OwnerServer(owner, KEY).start("127.0.0.1")
    print(orjson.dumps({"address": address, "epoch": owner.epoch}).decode(), flush=True)
    await running


def _to_stderr() -> None:
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))


def main(packed: str) -> None:
    """Run until it is stale, fails, or is left alone."""
    values: Mapping[str, Any] = orjson.loads(packed)
    _to_stderr()
    uvloop.run(_serve(Options(**values)))


if __name__ == "__main__":
    main(sys.argv[1])
