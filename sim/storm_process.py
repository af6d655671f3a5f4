"""A process of the shop that can die in the middle of everything, over parts that outlive it.

When it dies, no call of it begins any more, and nobody hears the answers of those under way: what
they do at the database, the owner or the provider happens all the same, as after `kill -9`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import asyncpg

from actors.charges import Charges
from actors.checkout import Checkout
from actors.order_steps import OrderSteps
from actors.outbox_relay import OutboxRelay
from actors.recovery import Recovery, RecoveryConfig
from actors.routing import Routing
from actors.settlement import Settlement, SettlementConfig
from actors.stock_client import LocalTransport, StockClient
from actors.stock_owner import StockOwner
from domain.fraud import Scoring
from domain.ports import EventBus
from sim.provider import SimulatedProvider
from storage.key_ring import KeyRing
from storage.orders import PostgresOrderBook
from storage.stock_journal import PostgresStockJournal

OWNER = "pool-0"


class ProcessDied(Exception):  # noqa: N818 - what happened, not what is wrong
    """The process that made this call is gone."""


class _Mortal:
    """A part of the outside, as a process sees it that may die."""

    def __init__(self, part: Any, is_dead: Callable[[], bool]) -> None:
        self._part = part
        self._is_dead = is_dead

    def __getattr__(self, name: str) -> Any:
        async def call(*args: Any, **kwargs: Any) -> Any:
            if self._is_dead():
                raise ProcessDied(name)
            answer = await getattr(self._part, name)(*args, **kwargs)
            if self._is_dead():
                raise ProcessDied(name)
            return answer

        return call


@dataclass(frozen=True, slots=True, kw_only=True)
class Lasting:
    """What outlives the processes of the shop."""

    pool: asyncpg.Pool
    ring: KeyRing
    owner: StockOwner
    provider: SimulatedProvider
    bus: EventBus


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long what waits waits, in seconds; short, so that a storm has all of it."""

    stalled_after_s: float = 2.0
    orphaned_after_s: float = 4.0
    look_again_after_s: float = 1.0
    action_wait_s: float = 6.0
    review_wait_s: float = 5.0


class MortalProcess:
    """Checkout, recovery and relay of one process; `die` ends it at once."""

    def __init__(self, lasting: Lasting, scoring: Scoring, patience: Patience) -> None:
        self.dead = False
        orders: Any = self._mortal(PostgresOrderBook(lasting.pool, lasting.ring))
        journal = PostgresStockJournal(lasting.pool)
        transport: Any = self._mortal(LocalTransport({OWNER: lasting.owner}))
        stock = StockClient(transport, Routing((OWNER,)), monotonic=time.monotonic)
        provider: Any = self._mortal(lasting.provider)
        steps = OrderSteps(orders, monotonic=time.monotonic)
        charges = Charges({SimulatedProvider.name: provider}, monotonic=time.monotonic)
        settlement = Settlement(
            orders=orders,
            steps=steps,
            charges=charges,
            stock=stock,
            new_id=uuid4,
            now=_now,
            config=SettlementConfig(
                action_wait_s=patience.action_wait_s, review_wait_s=patience.review_wait_s
            ),
        )
        self.checkout = Checkout(
            stock=stock,
            orders=orders,
            steps=steps,
            charges=charges,
            settlement=settlement,
            new_id=_new_id,
            monotonic=time.monotonic,
            scoring=scoring,
        )
        self.recovery = Recovery(
            orders=orders,
            settlement=settlement,
            stock=stock,
            sweep=self._mortal(journal),
            now=_now,
            config=RecoveryConfig(
                stalled_after_s=patience.stalled_after_s,
                orphaned_after_s=patience.orphaned_after_s,
                look_again_after_s=patience.look_again_after_s,
            ),
        )
        self.relay = OutboxRelay(orders, lasting.bus)

    def die(self) -> None:
        """From now on it does nothing and hears nothing."""
        self.dead = True

    def _mortal(self, part: Any) -> Any:
        return _Mortal(part, lambda: self.dead)


def _now() -> datetime:
    return datetime.now(UTC)


def _new_id() -> UUID:
    return uuid4()
