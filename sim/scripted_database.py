"""A scripted database: the tables of `sim.engine_tables` behind round trips that go wrong.

Each transaction happens whole at one instant. Around it: latency, refusal before anything is
done, a lost answer after the commit, a statement that is carried out although its caller has long
given up, an outage, and a cut between one process and the database.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, TypeVar

from domain.placement import Wish
from domain.ports import Unavailable
from domain.stock import Closed, Known, Pair
from domain.turns import CustomerOfVariant, Instruction, Turn
from sim.engine_tables import Tables

T = TypeVar("T")
TIMEOUT_S = 10.0
CHANGES = {"raise_epoch", "checkpoint", "reclaim", "write_turn", "record", "confirm", "fail"}
CHANGES |= {"authorize", "captured", "voided", "refunded"}


@dataclass(slots=True)
class DatabaseFaults:
    """Chances per round trip, between 0 and 1."""

    refused: float = 0.0
    """Nothing is done, and the caller hears so."""
    answer_lost: float = 0.0
    """It is done; the caller hears that the outcome is not known."""
    carried_out_late: float = 0.0
    """The caller gives up at once; it is done some time later."""
    slow: float = 0.0
    """It takes a second or more."""
    out: bool = False
    """Nobody gets through."""


@dataclass(slots=True)
class Line:
    """One process's way to the database."""

    cut: bool = False
    awake: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.awake.set()


class ScriptedDatabase:
    """What all processes share: the rows, and the chances of the day."""

    def __init__(
        self,
        tables: Tables,
        random: Random,
        tell: Callable[[str], None],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.tables = tables
        self.faults = DatabaseFaults()
        self.generations: list[tuple[int, str, int]] = []
        """(length of the write log, owner, epoch) at the beginning of each generation."""
        self.wished: list[Wish] = []
        self.ambush: Callable[[Line, Turn], bool] | None = None
        """Shown each turn between its commit and the answer, until it says that it has struck."""
        self._random = random
        self._tell = tell
        self._sleep = sleep
        self._late: set[asyncio.Task[None]] = set()

    async def trip(self, line: Line, name: str, work: Callable[[], T]) -> T:
        """One transaction of one process. Raises Unavailable, and whatever `work` raises."""
        random, faults = self._random, self.faults
        there_s, back_s = self._ways(name)
        if there_s:
            await self._sleep(there_s)
        if not line.awake.is_set():
            await line.awake.wait()
        if random.random() < faults.slow:
            await self._sleep(random.uniform(0.2, 3.0))
        if line.cut or faults.out:
            await self._sleep(random.choice((0.001, 1.0, TIMEOUT_S)))
            raise Unavailable(f"{name}: no way to the database")
        luck = random.random()
        if luck < faults.refused:
            raise Unavailable(f"{name}: refused")
        luck -= faults.refused
        if 0 <= luck < faults.carried_out_late:
            self._tell(f"{name} will be carried out late")
            task = asyncio.get_running_loop().create_task(self._later(work))
            self._late.add(task)
            task.add_done_callback(self._late.discard)
            raise Unavailable(f"{name}: no answer in time")
        luck -= faults.carried_out_late
        result = work()
        if 0 <= luck < faults.answer_lost:
            self._tell(f"{name} was done, its answer is lost")
            raise Unavailable(f"{name}: the answer is lost")
        if back_s:
            await self._sleep(back_s)
        if not line.awake.is_set():
            await line.awake.wait()
        return result

    def _ways(self, name: str) -> tuple[float, float]:
        """Seconds there and back. For who only looks, one of both: what happens to others
        meanwhile comes before the look or after it."""
        random = self._random
        seconds = 0.0002 + 0.001 * random.random()
        if name in CHANGES:
            return seconds, 0.0002 + 0.001 * random.random()
        return (seconds, 0.0) if random.random() < 0.5 else (0.0, seconds)

    def committed(self, line: Line, turn: Turn) -> None:
        """A turn of the process behind `line` is in the tables, and nobody has heard of it."""
        if self.ambush is not None and self.ambush(line, turn):
            self.ambush = None

    async def _later(self, work: Callable[[], T]) -> None:
        await self._sleep(self._random.uniform(0.01, 5.0))
        try:
            work()
        except Exception as error:
            self._tell(f"carried out late, and refused: {type(error).__name__}")


class DatabaseOfProcess:
    """StockJournal, StockSweep, StockReclaim and PlacementBook for one process."""

    def __init__(self, database: ScriptedDatabase, line: Line) -> None:
        self._database = database
        self._tables = database.tables
        self.line = line

    async def raise_epoch(
        self, owner: str, node: str, pid: int, *, pool_size: int | None = None
    ) -> int:
        return await self._trip("raise_epoch", lambda: self._generation(owner))

    def _generation(self, owner: str) -> int:
        epoch = self._tables.raise_epoch(owner)
        self._database.generations.append((len(self._tables.log), owner, epoch))
        return epoch

    async def checkpoint(self, owner: str, epoch: int) -> int:
        return await self._trip("checkpoint", lambda: self._tables.checkpoint(owner, epoch))

    async def reclaim(self, owner: str) -> list[bytes]:
        def take() -> list[bytes]:
            before = len(self._tables.log)
            taken = self._tables.reclaim(owner)
            self._database.generations.append((before, owner, self._tables.epochs[owner]))
            return taken

        return await self._trip("reclaim", take)

    async def load(self, inventory_ids: Sequence[bytes]) -> list[Pair]:
        return await self._trip("load", lambda: self._tables.load(inventory_ids))

    async def write_turn(self, turn: Turn) -> list[Closed]:
        def write() -> list[Closed]:
            closed = self._tables.turn(turn)
            self._database.committed(self.line, turn)
            return closed

        return await self._trip("write_turn", write)

    async def find(self, reservation_ids: Sequence[bytes]) -> dict[bytes, Known]:
        return await self._trip("find", lambda: self._tables.find(reservation_ids))

    async def settled(self, reservation_ids: Sequence[bytes]) -> list[bytes]:
        return await self._trip("settled", lambda: self._tables.settled(reservation_ids))

    async def find_as_owner(
        self, reservation_ids: Sequence[bytes], owner: str, epoch: int
    ) -> dict[bytes, Known]:
        def find() -> dict[bytes, Known]:
            self._tables.fence(owner, epoch)
            return self._tables.find(reservation_ids)

        return await self._trip("find_as_owner", find)

    async def units_of(
        self, customers: Sequence[CustomerOfVariant]
    ) -> dict[CustomerOfVariant, int]:
        return await self._trip("units_of", lambda: self._tables.units_of(customers))

    async def instructions(self, movement_ids: Sequence[bytes]) -> dict[bytes, Instruction]:
        return await self._trip("instructions", lambda: self._tables.instructions_of(movement_ids))

    async def abandoned(
        self, *, orphaned_for_s: float, limit: int
    ) -> list[tuple[bytes, bytes, bool]]:
        return await self._trip("abandoned", lambda: self._tables.abandoned(orphaned_for_s, limit))

    async def dedicated(self) -> dict[bytes, str]:
        pairs = self._tables.pairs
        return await self._trip(
            "dedicated",
            lambda: {one: row.owner_name for one, row in pairs.items() if row.owner_name},
        )

    async def wishes(self) -> list[Wish]:
        return await self._trip("wishes", lambda: list(self._database.wished))

    async def confirm(self, order_id: bytes) -> str:
        """The order's own transaction, as storage/orders.sql has it."""
        return await self._trip("confirm", lambda: self._tables.confirm(order_id))

    async def record(self, order_id: bytes, key: str, body: str, units: int) -> tuple[bytes, str]:
        """A pending order, or whose the key is."""
        return await self._trip("record", lambda: self._tables.record(order_id, key, body, units))

    def _trip(self, name: str, work: Callable[[], T]) -> Coroutine[Any, Any, T]:
        return self._database.trip(self.line, name, work)
