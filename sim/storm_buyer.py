"""A buyer in a storm: asks, hangs up, asks again with the same key, and remembers the answers."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from uuid import UUID

from actors.checkout import (
    CheckoutResult,
    Confirmed,
    KnownKey,
    Refused,
    TryAgain,
    Waiting,
)
from domain.ports import Unavailable
from domain.transitions import OPEN_ORDERS
from sim.provider import SimulatedProvider
from sim.storm_process import MortalProcess, ProcessDied
from sim.storm_purchases import Purchase, charge_name

ASK_AGAIN_AFTER_S = 0.25
DECIDED_WITHIN_S = 90.0
HANGS_UP_AFTER_S = 0.002


@dataclass(slots=True)
class Stormed:
    """What all buyers of a storm were told."""

    told: Counter[str] = field(default_factory=Counter[str])
    confirmed: set[UUID] = field(default_factory=set[UUID])
    refused: set[UUID] = field(default_factory=set[UUID])
    hang_ups: int = 0
    repeats: int = 0
    wrong: list[str] = field(default_factory=list[str])
    under_way: set[asyncio.Task[None]] = field(default_factory=set[asyncio.Task[None]])


@dataclass(frozen=True, slots=True)
class _Decision:
    """A final answer."""

    order_id: UUID
    confirmed: bool


class Buyer:
    """One purchase, until it is decided."""

    def __init__(
        self,
        purchase: Purchase,
        replica: Callable[[], MortalProcess],
        provider: SimulatedProvider,
        stormed: Stormed,
    ) -> None:
        self._purchase = purchase
        self._replica = replica
        self._provider = provider
        self._stormed = stormed
        self._has_acted = False

    async def buy(self) -> None:
        """Ask until there is a final answer; some ask once more after it."""
        if self._purchase.hangs_up:
            await self._hang_up()
        decision = await self._decided()
        if decision is None:
            self._stormed.told["undecided"] += 1
            self._stormed.wrong.append(
                f"key {self._purchase.key!r} had no answer within {DECIDED_WITHIN_S:g} s"
            )
            return
        self._note(decision)
        if self._purchase.asks_again:
            again = await self._decided()
            if again != decision:
                self._stormed.wrong.append(
                    f"key {self._purchase.key!r} was answered {decision}, then {again}"
                )

    def _note(self, decision: _Decision) -> None:
        kept = self._stormed.confirmed if decision.confirmed else self._stormed.refused
        kept.add(decision.order_id)
        self._stormed.told["confirmed" if decision.confirmed else "refused"] += 1

    async def _hang_up(self) -> None:
        """The request goes its way, as the shop lets it; nobody hears its answer."""
        task = asyncio.create_task(self._ask_and_forget())
        self._stormed.under_way.add(task)
        task.add_done_callback(self._stormed.under_way.discard)
        self._stormed.hang_ups += 1
        await asyncio.sleep(HANGS_UP_AFTER_S)

    async def _ask_and_forget(self) -> None:
        await self._ask()

    async def _decided(self) -> _Decision | None:
        deadline = time.monotonic() + DECIDED_WITHIN_S
        while True:
            decision = await self._ask()
            if decision is not None or time.monotonic() > deadline:
                return decision
            self._stormed.repeats += 1
            await asyncio.sleep(ASK_AGAIN_AFTER_S)

    async def _ask(self) -> _Decision | None:
        """One request; None as long as nothing is decided, or the process died over it."""
        draft = self._purchase.draft()
        try:
            result = await self._replica().checkout.run(draft, self._purchase.demands)
        except ProcessDied:
            return None
        return await self._understood(draft.order_id, result)

    async def _understood(self, order_id: UUID, result: CheckoutResult) -> _Decision | None:
        match result:
            case Confirmed():
                return _Decision(order_id, True)
            case Refused():
                return _Decision(order_id, False)
            case KnownKey(order):
                if order.status not in OPEN_ORDERS:
                    return _Decision(order.order_id, order.failure is None)
                if order.status == "awaiting_payment":
                    await self._act(order.order_id)
                return None
            case Waiting(status=status):
                if status == "awaiting_payment":
                    await self._act(order_id)
                return None
            case TryAgain():
                return None

    async def _act(self, order_id: UUID) -> None:
        """At the bank's page; the shop hears of it when it asks."""
        if self._has_acted or self._purchase.answer == "nothing":
            return
        decide = self._provider.approve
        if self._purchase.answer == "deny":
            decide = self._provider.deny
        try:
            for number in range(len(self._purchase.tokens)):
                await decide(charge_name(order_id, number))
        except Unavailable:
            return
        self._has_acted = True
