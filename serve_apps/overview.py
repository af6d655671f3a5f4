"""What the dashboard shows: the figures that every part publishes, put together."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import asyncpg

from domain import ids
from domain.histogram import LatencyHistogram
from domain.owners import is_dedicated, owner_number
from serve_apps.owner_states import OwnerState, owner_state, pairs_by_owner
from storage.metrics_board import RedisMetricsBoard
from storage.orders import PostgresOrderBook
from storage.stock_views import StockViews

HOT_PAIRS_SHOWN = 10
_PAIRS = """
    SELECT i.inventory_id, v.sku, p.product_id, p.name, w.code AS warehouse,
           i.quantity AS available, i.reserved
    FROM stock_now i JOIN product_variants v USING (variant_id)
    JOIN products p ON p.product_id = i.product_id JOIN warehouses w USING (warehouse_id)
    WHERE i.inventory_id = ANY ($1::uuid[])
"""


class Overview:
    """Reads Redis, and Postgres for the names and numbers of the hottest pairs."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        metrics: RedisMetricsBoard,
        orders: PostgresOrderBook,
        views: StockViews,
        owners: tuple[str, ...],
    ) -> None:
        """`owners` is the pool's: who of it is silent is missed, however long it is gone."""
        self._pool = pool
        self._metrics = metrics
        self._orders = orders
        self._views = views
        self._owners = owners

    async def read(self) -> dict[str, Any]:
        """The dashboard's document; rates per second, times in ms."""
        owners, checkouts, replicas, caretaker, counts = await asyncio.gather(
            self._metrics.read("owners"),
            self._metrics.read("checkout"),
            self._metrics.read("replicas"),
            self._metrics.read("caretaker"),
            self._orders.counts(),
        )
        recovery = caretaker.get("caretaker", {})
        return {
            "time": datetime.now(UTC),
            "owners": await self._shown_owners(owners),
            "hot_pairs": await self._hot_pairs(list(owners.values())),
            "checkout": _checkout(list(checkouts.values())),
            "replicas": sorted(
                (shown for shown in replicas.values() if shown["alive"]), key=lambda r: r["app"]
            ),
            "outbox": {"pending": counts["outbox_pending"]},
            "recovery": {
                "pending_orders": counts["orders_pending"],
                "finished_total": recovery.get("finished_total", 0),
                "unwound_total": recovery.get("unwound_total", 0),
            },
        }

    async def _shown_owners(self, reported: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
        """Who reports and who should, the pool's first, by number."""
        rows, dedicated = await asyncio.gather(self._views.owners(), self._views.dedicated())
        own = pairs_by_owner(dedicated)
        names = sorted({*self._owners, *own, *reported}, key=owner_number)
        return [
            _owner(name, reported.get(name, {}), rows.get(name), own.get(name, []))
            for name in names
        ]

    async def _hot_pairs(self, owners: list[dict[str, Any]]) -> list[dict[str, Any]]:
        heat: dict[UUID, float] = {}
        for owner in owners:
            # A pair that was handed over is still cooling where it was before.
            for pair in owner.get("hot_pairs", ()) if owner["alive"] else ():
                own = UUID(hex=pair["inventory_id"])
                heat[own] = max(heat.get(own, 0.0), pair["requests_per_s"])
        hottest = sorted(heat, key=lambda pair: -heat[pair])[:HOT_PAIRS_SHOWN]
        rows = await self._pool.fetch(_PAIRS, hottest) if hottest else []
        shown = [
            {
                **dict(row),
                "inventory_id": str(row["inventory_id"]),
                "product_id": ids.encode("prod", row["product_id"]),
                "requests_per_s": heat[row["inventory_id"]],
            }
            for row in rows
        ]
        return sorted(shown, key=lambda pair: -pair["requests_per_s"])


def _owner(
    name: str,
    shown: dict[str, Any],
    row: dict[str, Any] | None,
    own: list[dict[str, str]],
) -> dict[str, Any]:
    """One owner; figures only of one that is alive, or of its last moment if it died."""
    state = owner_state(name, shown, row, bool(own))
    figures: dict[str, Any] = {}
    if state in (OwnerState.ALIVE, OwnerState.NOT_ALIVE):
        figures = {key: shown[key] for key in shown if key not in ("hot_pairs", "stopped")}
    return {
        "name": name,
        "kind": "dedicated" if is_dedicated(name) else "pool",
        **{key: (row or {}).get(key) for key in ("epoch", "node", "pid")},
        **figures,
        "state": state,
        "alive": state is OwnerState.ALIVE,
        "dedicated_pairs": own,
    }


def _checkout(replicas: list[dict[str, Any]]) -> dict[str, Any]:
    alive = [replica for replica in replicas if replica["alive"]]
    latency = LatencyHistogram()
    for replica in alive:
        if replica["latency"]:
            latency.merge(LatencyHistogram.from_list(replica["latency"]))
    confirmed = sum(replica["confirmed_per_s"] for replica in alive)
    rejected = sum(replica["rejected_per_s"] for replica in alive)
    return {
        "orders_per_s": round(confirmed + rejected, 1),
        "confirmed_per_s": round(confirmed, 1),
        "rejected_per_s": round(rejected, 1),
        # None where there was no checkout: 0 ms would be a very fast one.
        "p50_ms": round(latency.quantile(0.5), 1) if latency.count else None,
        "p99_ms": round(latency.quantile(0.99), 1) if latency.count else None,
        "in_flight": sum(replica["in_flight"] for replica in alive),
        "confirmed_total": sum(replica["confirmed_total"] for replica in replicas),
        "rejected_total": sum(replica["rejected_total"] for replica in replicas),
    }
