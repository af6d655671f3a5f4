"""Many callers who reserve, repeat and release at one owner, and note what they were told."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from datetime import UTC, datetime
from uuid import UUID

import asyncpg

from actors.owner_stream import Address, StreamTransport
from actors.routing import Routing
from actors.stock_client import StockClient, StockClientConfig
from domain.owners import pool_names
from domain.ports import Unavailable
from domain.promises import AuditReport
from domain.stock import (
    RETRYABLE,
    Answer,
    Release,
    ReleaseStatus,
    Request,
    Reserve,
    ReserveStatus,
)
from storage.audit import audit
from tests.actors.postgres import add_pair, now_of, status_of
from tests.fault.incarnations import Incarnation
from tests.fault.owner_process import KEY, NAME, STALE
from tests.shop.running import POLL_S, eventually_async
from tests.storage.books import SimulatedBooks

CALLERS = 48
CLIENTS = 3  # each with a connection of its own, so that something always waits at the owner
SCARCE, PLENTY = 150, 1_000_000
PAIRS = (SCARCE,) * 6 + (PLENTY,) * 6
ANSWERED_WITHIN_S = 20.0
_TTL_S = 600.0
_RELEASED, _REPEATED = 0.3, 0.5  # of the callers who got it, up to which part
# As in a shop, but for the time until a silent owner is given up: tests are shorter than sales.
CONFIG = StockClientConfig(call_timeout_s=0.7, deadline_s=3.0)
_RESERVATIONS = """
    SELECT reservation_id, inventory_id, quantity, status::text AS status
    FROM inventory_reservations
"""

Find = Callable[[str], Awaitable[Address]]


def a_reservation(pair: bytes, quantity: int = 1) -> Reserve:
    """With ids that no other has."""
    return Reserve(uuid.uuid4().bytes, uuid.uuid4().bytes, pair, quantity, _TTL_S)


def _client(transport: StreamTransport) -> StockClient:
    routing = Routing(pool_names(1))
    return StockClient(transport, routing, monotonic=time.monotonic, config=CONFIG)


class Callers:
    """Their load is the most that the owner bears: each asks again as soon as it is answered."""

    def __init__(self, find: Find, stock: Mapping[bytes, int], seed: int) -> None:
        self.stock = stock
        self._transports = [StreamTransport(find, KEY) for _ in range(CLIENTS)]
        self._clients = [_client(transport) for transport in self._transports]
        self._random = random.Random(seed)
        self._stopping = False
        self.held: dict[bytes, Reserve] = {}
        """Who was told HELD, and not of its release."""
        self.released: set[bytes] = set()
        self.refused: set[bytes] = set()
        self.wrong: list[tuple[Request, Answer, str]] = []
        self.unknown = 0
        """Calls after which the outcome was not known, and which were repeated."""
        self.answered_at: list[float] = []
        """Monotonic times of answers that decided something."""

    def close(self) -> None:
        """End their connections."""
        for transport in self._transports:
            transport.close()

    @contextlib.asynccontextmanager
    async def busy(self, *, release: bool = True) -> AsyncIterator[None]:
        """They call for the length of a `with`; at its end every one of them has its answer."""
        self._stopping = False
        tasks = [
            asyncio.create_task(self._call(self._clients[number % CLIENTS], release))
            for number in range(CALLERS)
        ]
        try:
            yield
            self._stopping = True
            async with asyncio.timeout(ANSWERED_WITHIN_S):
                await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        assert not self.wrong, self.wrong[:5]

    async def answers(self, more: int) -> None:
        """Wait until so many more were answered."""
        enough = len(self.answered_at) + more

        async def reached() -> bool:
            return len(self.answered_at) >= enough

        await eventually_async(reached, within_s=ANSWERED_WITHIN_S, what=f"{more} more answers")

    async def first_answer_after(self, moment: float) -> float:
        """Monotonic time of the first answer after `moment`, once there is one."""

        async def later() -> float | None:
            return next((at for at in self.answered_at if at > moment), None)

        return await eventually_async(later, within_s=ANSWERED_WITHIN_S, what="an answer")

    async def ask(self, request: Reserve) -> Answer:
        """One reservation of its own, repeated until it is decided, and noted like the others."""
        answer = await self._insist(self._clients[0], request)
        self._note(request, answer)
        return answer

    async def _call(self, client: StockClient, release: bool) -> None:
        pairs = list(self.stock)
        while not self._stopping:
            request = a_reservation(self._random.choice(pairs), self._random.randint(1, 3))
            answer = await self._insist(client, request)
            self._note(request, answer)
            if answer.status != ReserveStatus.HELD:
                continue
            roll = self._random.random() if release else 1.0
            if roll < _RELEASED:
                await self._give_back(client, request)
            elif roll < _REPEATED:
                again = await self._insist(client, request)
                if again.status != ReserveStatus.HELD:
                    self.wrong.append((request, again, "the repeat of what was held"))

    async def _give_back(self, client: StockClient, request: Reserve) -> None:
        given = Release(request.reservation_id, request.inventory_id)
        answer = await self._insist(client, given)
        if answer.status != ReleaseStatus.RELEASED:
            self.wrong.append((given, answer, "the release of what was held"))
        self.released.add(request.reservation_id)
        del self.held[request.reservation_id]

    async def _insist(self, client: StockClient, request: Request) -> Answer:
        """Repeat with the same ids until it is decided."""
        while True:
            [answer] = await client.ask([request])
            if answer.status not in RETRYABLE:
                self.answered_at.append(time.monotonic())
                return answer
            self.unknown += 1
            await asyncio.sleep(POLL_S)

    def _note(self, request: Reserve, answer: Answer) -> None:
        if answer.status == ReserveStatus.HELD:
            self.held[request.reservation_id] = request
        elif answer.status == ReserveStatus.OUT_OF_STOCK:
            self.refused.add(request.reservation_id)
        else:
            self.wrong.append((request, answer, "a reservation"))


async def stock_up(pool: asyncpg.Pool) -> dict[bytes, int]:
    """Pairs with their units: some sell out, some never do."""
    return {await add_pair(pool, units): units for units in PAIRS}


async def check_books(pool: asyncpg.Pool, callers: Callers) -> None:
    """Postgres holds what callers were told, all of it and nothing else; then the audit."""
    rows = await pool.fetch(_RESERVATIONS)
    by_status: dict[str, set[bytes]] = {"active": set(), "released": set()}
    for row in rows:
        by_status.setdefault(row["status"], set()).add(row["reservation_id"].bytes)
    assert by_status["active"] == set(callers.held)
    assert by_status["released"] == callers.released
    assert by_status.keys() == {"active", "released"}
    for pair, units in callers.stock.items():
        held = sum(
            row["quantity"]
            for row in rows
            if row["inventory_id"] == UUID(bytes=pair) and row["status"] == "active"
        )
        assert await now_of(pool, pair) == (units - held, held)
        assert held <= units
    report = await audited(pool)
    assert report.ok, [verdict for verdict in report.verdicts if not verdict.ok]


async def audited(pool: asyncpg.Pool) -> AuditReport:
    """What the audit says now."""
    return await audit(pool, SimulatedBooks(pool), bus=None, now=datetime.now(UTC))


@contextlib.asynccontextmanager
async def line_to(address: Address) -> AsyncIterator[Callable[[Reserve], Awaitable[Answer]]]:
    """A connection of one's own, which asks that very owner and repeats nothing.

    It is there when the first request is answered. Asking raises Unavailable when it is lost.
    """

    async def there(_: str) -> Address:
        return address

    transport = StreamTransport(there, KEY)

    async def ask(request: Reserve) -> Answer:
        async with asyncio.timeout(ANSWERED_WITHIN_S):
            [answer] = await transport.call(NAME, [request])
            return answer

    try:
        yield ask
    finally:
        transport.close()


async def ask_directly(address: Address, request: Reserve) -> Answer:
    """As someone who believes that the owner is there. Raises Unavailable."""
    async with line_to(address) as ask:
        return await ask(request)


async def is_refused(late: Incarnation, pool: asyncpg.Pool, pair: bytes) -> None:
    """Whoever still believes in it hears nothing, nothing is written, and it ends."""
    request = a_reservation(pair)
    with contextlib.suppress(Unavailable):
        raise AssertionError(f"a late owner answered {await ask_directly(late.address, request)}")
    assert await late.exit_status() == STALE, late.log()
    assert await status_of(pool, request.reservation_id) is None
