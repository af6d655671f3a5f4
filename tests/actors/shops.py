"""A shop without HTTP: owner, client, checkout, recovery and relay on ports of the test's choice."""

from __future__ import annotations

import contextlib
import itertools
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from actors.charges import Charges
from actors.checkout import Checkout, Demand
from actors.order_steps import OrderSteps, StepConfig
from actors.outbox_relay import OutboxRelay
from actors.recovery import Recovery, RecoveryConfig
from actors.routing import Routing
from actors.settlement import Pause, Settlement
from actors.stock_client import LocalTransport, StockClient, StockClientConfig
from domain.fraud import Scoring
from domain.orders import OrderDraft
from domain.ports import PaymentForecast, PromotionBook
from domain.warehouse_choice import Haul, Source
from tests.actors.drafts import draft, line
from tests.actors.memory import Clock, MemoryBus, MemoryJournal, MemoryOrders, MemoryProvider, Row
from tests.actors.owners import an_owner, new_id, running

QUICK = StockClientConfig(retry_first_s=0.001, retry_max_s=0.002)
STALLED_AFTER_S = 15.0
GATEWAYS = ("simulated", "second")


class Hasty:
    """Elapsed time that runs out between two looks, so that nobody waits for a second try."""

    def __init__(self) -> None:
        self._seconds = itertools.count(step=100)

    def monotonic(self) -> float:
        """100 s more at every look."""
        return float(next(self._seconds))


class Shop:
    """All parts, wired. `transport`, `orders` and `provider` are what the checkout sees."""

    def __init__(
        self,
        *,
        clock: Clock,
        transport: Any,
        orders: Any,
        provider: Any,
        sweep: Any,
        bus: MemoryBus,
        monotonic: Any = None,
        config: StepConfig | None = None,
        pause: Pause | None = None,
        scoring: Scoring | None = None,
        promotions: PromotionBook | None = None,
        forecasts: Mapping[str, PaymentForecast] | None = None,
    ) -> None:
        elapsed = monotonic or clock.unix
        self.stock = StockClient(
            transport, routing=Routing(("pool-0",)), monotonic=elapsed, config=QUICK
        )
        charges = Charges(dict.fromkeys(GATEWAYS, provider), monotonic=elapsed, forecasts=forecasts)
        self.steps = OrderSteps(orders, promotions, monotonic=elapsed, config=config)
        self.settlement = Settlement(
            orders=orders,
            steps=self.steps,
            charges=charges,
            stock=self.stock,
            new_id=uuid.uuid4,
            now=clock.utc,
            pause=pause,
        )
        self.checkout = Checkout(
            stock=self.stock,
            orders=orders,
            steps=self.steps,
            charges=charges,
            settlement=self.settlement,
            new_id=uuid.uuid4,
            monotonic=elapsed,
            scoring=scoring,
        )
        self.recovery = Recovery(
            orders=orders,
            settlement=self.settlement,
            stock=self.stock,
            sweep=sweep,
            promotions=promotions,
            now=clock.utc,
            config=RecoveryConfig(stalled_after_s=STALLED_AFTER_S, orphaned_after_s=0),
        )
        self.relay = OutboxRelay(orders, bus)


class MemoryShop:
    """The shop on in-memory twins."""

    def __init__(self, **config: Any) -> None:
        self.clock = Clock()
        self.journal = MemoryJournal(self.clock.unix)
        self.orders = MemoryOrders(self.journal, self.clock.utc)
        self.provider = MemoryProvider()
        self.bus = MemoryBus()
        self.owner = an_owner(self.journal, clock=self.clock)
        self.transport = LocalTransport({"pool-0": self.owner})
        self._config = StepConfig(**config)
        self.parts = self.wire()

    def wire(self, **changes: Any) -> Shop:
        """Another replica of everything but what lasts."""
        parts: dict[str, Any] = {
            "clock": self.clock,
            "transport": self.transport,
            "orders": self.orders,
            "provider": self.provider,
            "sweep": self.journal,
            "bus": self.bus,
            "config": self._config,
        }
        return Shop(**{**parts, **changes})

    def pair(self, available: int, variant_id: uuid.UUID | None = None) -> bytes:
        """A pair with so many units."""
        inventory_id = new_id()
        variant = variant_id.bytes if variant_id else new_id()
        self.journal.rows[inventory_id] = Row(variant, available)
        return inventory_id

    def left(self, pair: bytes) -> int:
        """Units that can be reserved."""
        return self.journal.rows[pair].quantity

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[Shop]:
        """The owner runs for the length of a `with`."""
        async with running(self.owner):
            yield self.parts


def an_order(
    wanted: Sequence[tuple[int, Sequence[bytes | Source]]], **changes: Any
) -> tuple[OrderDraft, list[Demand]]:
    """An order of (quantity, pairs it may come from) and what it asks of the stock.

    A pair that comes as its id alone is in a warehouse of its own, and the better the earlier.
    """
    lines = [line(quantity) for quantity, _ in wanted]
    demands = [
        Demand(one.sku, str(one.product_id), one.quantity, _sources(pairs))
        for one, (_, pairs) in zip(lines, wanted, strict=True)
    ]
    return draft(lines, **changes), demands


def a_source(pair: bytes, warehouse: str, score: float = 1.0) -> Source:
    """A pair in a warehouse; one with a lower score is preferred."""
    return Source(pair, warehouse.encode(), Haul(score, 0.0))


def _sources(pairs: Sequence[bytes | Source]) -> tuple[Source, ...]:
    return tuple(
        one if isinstance(one, Source) else Source(one, one, Haul(float(position), 0.0))
        for position, one in enumerate(pairs, 1)
    )
