from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from actors.caretaker import Caretaker, CaretakerConfig
from actors.stock_in import StockIn
from domain.ports import Unavailable
from tests.actors.hosts import MemoryHost, NothingAsked, a_directory
from tests.actors.memory import MemoryLeases, MemoryMetrics
from tests.actors.shops import MemoryShop, an_order

pytestmark = pytest.mark.asyncio
AT_ONCE = CaretakerConfig(
    relay_every_s=0,
    recover_every_s=0,
    sweep_every_s=0,
    watch_every_s=0,
    place_every_s=0,
    stock_in_every_s=0,
    reorder_every_s=0,
    report_every_s=0,
    wait_every_s=0,
    refund_every_s=0,
    detach_every_s=0,
    pause_after_failure_s=0,
)


async def test_a_pass_that_fails_is_made_again_and_stops_no_other() -> None:
    shop, metrics, looks = MemoryShop(), MemoryMetrics(), 0
    watched, finished, detached = asyncio.Event(), asyncio.Event(), asyncio.Event()

    class Looks(MemoryHost):
        async def ping(self, owners: Sequence[str], timeout_s: float) -> list[bool | None]:
            nonlocal looks
            looks += 1
            if looks == 1:
                raise Unavailable("nobody there")
            if looks == 2:
                raise RuntimeError("something that nobody thought of")
            watched.set()
            return await super().ping(owners, timeout_s)

    class Finishes:
        parts_done_total = parts_refused_total = 0

        async def finish_open(self) -> int:
            self.parts_done_total += 1
            if self.parts_done_total == 1:
                raise Unavailable("a provider is away")
            finished.set()
            return 0

    class Detaches:
        detached_total = 0

        async def detach_due(self) -> int:
            self.detached_total += 1
            if self.detached_total == 1:
                raise Unavailable("a provider is away")
            detached.set()
            return 0

    async with shop.open() as parts:
        await parts.checkout.run(*an_order([(1, [shop.pair(5)])]))
        caretaker = Caretaker(
            recovery=parts.recovery,
            leases=MemoryLeases(),
            holder="node",
            relay=parts.relay,
            directory=a_directory(Looks(shop.journal), parts.stock),
            stock_in=StockIn(NothingAsked(), parts.stock),
            metrics=metrics,
            refunds=Finishes(),  # type: ignore[arg-type]
            method_removal=Detaches(),  # type: ignore[arg-type]
            config=AT_ONCE,
        )
        running = asyncio.create_task(caretaker.run())
        await watched.wait()
        await finished.wait()
        await detached.wait()
        while metrics.shown.get(("caretaker", "caretaker"), {}).get("published_total") != 1:
            metrics.changed.clear()
            await metrics.changed.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
    assert len(shop.bus.events) == 1
