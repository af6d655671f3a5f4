"""Who comes to the simulated sale: buyers with their baskets and orders, and an operator.

Everything that they send and hear the auditor is told of.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from random import Random
from uuid import UUID

from actors.stock_client import StockClient
from domain.payments import RefundRequest
from domain.ports import Unavailable
from domain.stock import (
    Answer,
    Extend,
    Movement,
    MovementKind,
    MovementStatus,
    Release,
    Request,
    Reserve,
    ReserveStatus,
)
from sim.engine_auditor import Auditor
from sim.engine_rows import InstructionRow
from sim.engine_story import Story
from sim.scripted_checkout import ScriptedOrders, ScriptedProvider, part_of
from sim.scripted_database import DatabaseOfProcess, Line, ScriptedDatabase
from sim.virtual_time import VirtualLoop

CUSTOMERS = 40
_HELD = (ReserveStatus.HELD, ReserveStatus.BACKORDERED)


class Shoppers:
    """All sessions of one run, which ends at `end` (virtual seconds)."""

    def __init__(
        self,
        *,
        random: Random,
        loop: VirtualLoop,
        end: float,
        story: Story,
        auditor: Auditor,
        database: ScriptedDatabase,
        provider: ScriptedProvider,
        orders: ScriptedOrders,
        pairs: Sequence[bytes],
        new_id: Callable[[], bytes],
    ) -> None:
        self._random = random
        self._loop = loop
        self._end = end
        self._story = story
        self._auditor = auditor
        self._database = database
        self._provider = provider
        self._orders = orders
        self._pairs = pairs
        self._new_id = new_id

    async def _rest(self, seconds: float) -> None:
        """A while, but not beyond the end of the sale."""
        await self._loop.after(max(0.0, min(seconds, self._end - self._loop.time())))

    async def ask(self, client: StockClient, requests: list[Request]) -> list[Answer]:
        """Ask, and tell the auditor what was said when."""
        sent_at = self._loop.time()
        for request in requests:
            self._auditor.sent(request, sent_at)
        answers = await client.ask(requests)
        now = self._loop.time()
        for request, answer in zip(requests, answers, strict=True):
            self._auditor.answered(request, answer, sent_at, now)
            self._story.heard(request, answer, sent_at)
        return answers

    def _wanted(self, order_id: bytes) -> Reserve:
        random = self._random
        # Zipf-like: the first pairs are much the hottest.
        pair = self._pairs[min(int(random.paretovariate(0.9)) - 1, len(self._pairs) - 1)]
        quantity = random.choice((1, 1, 1, 2, 3, 10))
        ttl_s = random.choice((1.0, 5.0, 30.0, 60.0, 600.0, 600.0))
        if random.random() < 0.03:  # what no owner may accept
            quantity = random.choice((0, -1, 10**12, 10**30))
        elif random.random() < 0.03:
            ttl_s = random.choice((0.5, 10_000.0, float("nan")))
        customer = random.randrange(CUSTOMERS).to_bytes(8).rjust(16, b"c")
        return Reserve(self._new_id(), order_id, pair, quantity, ttl_s, customer)

    async def buyer(self, client: StockClient) -> None:
        """One session after the other, until the sale ends."""
        random = self._random
        book = DatabaseOfProcess(self._database, Line())
        while self._loop.time() < self._end:
            order = self._new_id()
            wanted = [self._wanted(order) for _ in range(random.choice((1, 1, 2, 4)))]
            if random.random() < 0.03:  # a burst
                burst = [self._wanted(self._new_id()) for _ in range(random.randrange(40))]
                await asyncio.gather(*[self.ask(client, [one]) for one in burst])
            await self._shop(client, book, order, wanted)
            await self._rest(random.expovariate(1 / 10.0))

    async def _shop(
        self, client: StockClient, book: DatabaseOfProcess, order: bytes, wanted: list[Reserve]
    ) -> None:
        random = self._random
        answers = await self.ask(client, list(wanted))
        if random.random() < 0.2:
            answers = await self.ask(client, list(wanted))
        held = [one for one, said in zip(wanted, answers, strict=True) if said.status in _HELD]
        if random.random() < 0.05:
            other = wanted[0]._replace(quantity=wanted[0].quantity + 1)
            await self.ask(client, [other])
        await self._loop.after(random.choice((0.0, 0.05, 1.0, 20.0)))
        if held and random.random() < 0.1:
            extend = Extend(self._new_id(), held[0].reservation_id, held[0].inventory_id, 120.0)
            await self.ask(client, [extend])
            if random.random() < 0.5:
                await self.ask(
                    client, [random.choice((extend, extend._replace(extension_id=self._new_id())))]
                )
        way = random.random()
        if held and way < 0.5:
            await self._confirm(book, order, held, paid=len(held) == len(wanted))
        elif held and way < 0.8:
            releases: list[Request] = [
                Release(one.reservation_id, one.inventory_id) for one in held
            ]
            await self.ask(client, releases)
            if random.random() < 0.3:
                await self.ask(client, releases)
        if random.random() < 0.1:  # an old request comes again
            await self.ask(client, list(wanted))

    async def _confirm(
        self, book: DatabaseOfProcess, order: bytes, held: list[Reserve], *, paid: bool
    ) -> None:
        key, units = order.hex(), sum(one.quantity for one in held)
        self._auditor.confirm_sent(order)
        for _ in range(3):
            try:
                known, body = await book.record(order, key, f"{units}", units)
                if (known, body) != (order, f"{units}"):
                    self._auditor.complain("P6", f"the key {key} belongs to two orders")
                other, _ = await book.record(self._new_id(), key, "other", units)
                if other != order:
                    self._auditor.complain("P6", f"a second order under the key {key}")
                if paid and not await self._pay(order, units):
                    return
                status = await book.confirm(order)
                if paid and status in ("not_held", "failed"):
                    await self._give_back(order, units)
            except Unavailable:
                continue
            self._story.tell(f"order of {units} units: {status}", order, *(one[0] for one in held))
            self._auditor.confirmed(order, status, units, self._loop.time())
            return

    async def _pay(self, order: bytes, units: int) -> bool:
        """Hold the money and take it; False if there is none, or if the checkout dies on the way:
        then recovery finds the order."""
        self._orders.pending[order] = None
        dies_at = self._random.randrange(20)
        charge = part_of(order, units).charge
        if dies_at == 0 or (await self._provider.authorize(charge)).status == "voided":
            return False
        if dies_at == 1 or (await self._provider.capture(charge)).status != "captured":
            return False
        return dies_at != 2

    async def _give_back(self, order: bytes, units: int) -> None:
        """There is nothing to be had for the money."""
        charge = part_of(order, units).charge
        await self._provider.refund(charge, RefundRequest(f"{order.hex()}-undo", units))
        await self._orders.fail([(UUID(bytes=order), {}, {charge.transaction_id: "refunded"})])

    async def operator(self, client: StockClient) -> None:
        """Deliveries, counts, adjustments and transfers, until the sale ends."""
        random = self._random
        while self._loop.time() < self._end:
            await self._rest(random.expovariate(1 / 20.0))
            pair, kind = random.choice(self._pairs), random.choice(list(MovementKind))
            quantity = random.choice((1, 5, 50, 500))
            if kind == MovementKind.ADJUST and random.random() < 0.5:
                quantity = -quantity
            movement = Movement(self._new_id(), pair, kind, quantity)
            self._database.tables.instructions[movement.movement_id] = InstructionRow(
                pair, kind, quantity
            )
            for _ in range(random.choice((1, 1, 2, 5))):
                [answer] = await self.ask(client, [movement])
                if answer.status == MovementStatus.SHORT and random.random() < 0.5:
                    row = self._database.tables.instructions[movement.movement_id]
                    row.status = "refused" if row.status == "pending" else row.status
