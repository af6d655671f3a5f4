"""The caretaker: runs recovery, the outbox relay and the directory of owners, each in its loop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog

from actors.directory import Directory
from actors.method_removal import MethodRemoval
from actors.outbox_relay import BATCH_MAX, OutboxRelay
from actors.recovery import Recovery
from actors.refunds import Refunds
from actors.stock_in import StockIn
from domain.board_ports import MetricsBoard
from domain.ports import Leases, Unavailable

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class CaretakerConfig:
    """Pauses between passes, in seconds."""

    relay_every_s: float = 0.1
    recover_every_s: float = 2.0
    wait_every_s: float = 1.0
    refund_every_s: float = 1.0
    detach_every_s: float = 5.0
    lease_s: float = 10.0
    """How long recovery's lease holds; renewed with each pass."""
    sweep_every_s: float = 0.5
    watch_every_s: float = 1.0
    place_every_s: float = 1.0
    stock_in_every_s: float = 0.2
    reorder_every_s: float = 2.0
    report_every_s: float = 1.0
    pause_after_failure_s: float = 1.0


class Caretaker:
    """Never stops because of one failed pass; a pass that fails is logged and tried again."""

    def __init__(
        self,
        *,
        recovery: Recovery,
        leases: Leases,
        holder: str,
        relay: OutboxRelay,
        directory: Directory,
        stock_in: StockIn,
        metrics: MetricsBoard,
        refunds: Refunds | None = None,
        method_removal: MethodRemoval | None = None,
        config: CaretakerConfig | None = None,
    ) -> None:
        self._config = config or CaretakerConfig()
        self._recovery = recovery
        self._leases = leases
        self._holder = holder
        self._relay = relay
        self._directory = directory
        self._stock_in = stock_in
        self._metrics = metrics
        self._refunds = refunds
        self._method_removal = method_removal

    async def run(self) -> None:
        """All loops, until cancelled."""
        config = self._config
        async with asyncio.TaskGroup() as group:
            group.create_task(self._every("relay", config.relay_every_s, self._drain_outbox))
            group.create_task(self._every("recover", config.recover_every_s, self._recover))
            group.create_task(self._every("waiting", config.wait_every_s, self._look_after))
            group.create_task(self._every("refund", config.refund_every_s, self._refund))
            group.create_task(self._every("detach", config.detach_every_s, self._detach))
            group.create_task(self._every("sweep", config.sweep_every_s, self._sweep))
            group.create_task(self._every("watch", config.watch_every_s, self._directory.watch))
            group.create_task(self._every("place", config.place_every_s, self._directory.place))
            carry_out, reorder = self._stock_in.carry_out, self._stock_in.reorder
            group.create_task(self._every("stock_in", config.stock_in_every_s, carry_out))
            group.create_task(self._every("reorder", config.reorder_every_s, reorder))
            group.create_task(self._every("report", config.report_every_s, self._report))

    async def _drain_outbox(self) -> None:
        while await self._relay.relay() == BATCH_MAX:
            pass

    async def _recover(self) -> None:
        if await self._leads():
            await self._recovery.settle_stalled()

    async def _look_after(self) -> None:
        if await self._leads():
            await self._recovery.settle_waiting()

    async def _refund(self) -> None:
        if self._refunds is not None and await self._leads():
            await self._refunds.finish_open()

    async def _detach(self) -> None:
        if self._method_removal is not None and await self._leads():
            await self._method_removal.detach_due()

    async def _leads(self) -> bool:
        """Of two caretakers, which a partition may leave, one does recovery's work.

        Two at it would come to the same end; they would only ask the providers twice.
        """
        return await self._leases.lease("recovery", self._holder, self._config.lease_s)

    async def _sweep(self) -> None:
        await self._recovery.release_abandoned()

    async def _report(self) -> None:
        figures = {
            "finished_total": self._recovery.finished_total,
            "unwound_total": self._recovery.unwound_total,
            "released_total": self._recovery.released_total,
            "published_total": self._relay.published_total,
            "promoted_total": self._directory.promoted_total,
            "demoted_total": self._directory.demoted_total,
            "replaced_total": self._directory.replaced_total,
            "reclaimed_total": self._directory.reclaimed_total,
            "movements_total": self._stock_in.moved_total,
            "movements_refused_total": self._stock_in.refused_total,
            "purchase_orders_total": self._stock_in.ordered_total,
            "waiting_pairs": self._directory.waiting,
        }
        if self._refunds is not None:
            figures["refund_parts_done_total"] = self._refunds.parts_done_total
            figures["refund_parts_refused_total"] = self._refunds.parts_refused_total
        if self._method_removal is not None:
            figures["methods_detached_total"] = self._method_removal.detached_total
        await self._metrics.publish("caretaker", "caretaker", figures)

    async def _every(self, name: str, seconds: float, job: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await job()
                await asyncio.sleep(seconds)
            except Unavailable as error:
                _log.warning("pass_not_finished", job=name, reason=str(error))
                await asyncio.sleep(self._config.pause_after_failure_s)
            except Exception:
                _log.exception("pass_failed", job=name)
                await asyncio.sleep(self._config.pause_after_failure_s)
