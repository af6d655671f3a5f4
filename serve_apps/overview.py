"""What the dashboard shows: the figures that every part publishes, put together."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import asyncpg

from domain import ids
from domain.histogram import LatencyHistogram
from storage.metrics_board import RedisMetricsBoard
from storage.orders import PostgresOrderBook

HOT_PAIRS_SHOWN = 10
_PAIRS = """
    SELECT i.inventory_id, v.sku, p.product_id, p.name, w.code AS warehouse,
           i.quantity AS available, i.reserved
    FROM inventory i JOIN product_variants v USING (variant_id)
    JOIN products p ON p.product_id = i.product_id JOIN warehouses w USING (warehouse_id)
    WHERE i.inventory_id = ANY ($1::uuid[])
"""


class Overview:
    """Reads Redis, and Postgres for the names and numbers of the hottest pairs."""

    def __init__(
        self, pool: asyncpg.Pool, metrics: RedisMetricsBoard, orders: PostgresOrderBook
    ) -> None:
        self._pool = pool
        self._metrics = metrics
        self._orders = orders

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
            "owners": [
                {"name": name, **{key: value for key, value in shown.items() if key != "hot_pairs"}}
                for name, shown in sorted(owners.items())
            ],
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

    async def _hot_pairs(self, owners: list[dict[str, Any]]) -> list[dict[str, Any]]:
        heat = {
            UUID(hex=pair["inventory_id"]): pair["requests_per_s"]
            for owner in owners
            for pair in owner.get("hot_pairs", ())
        }
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
        "p50_ms": round(latency.quantile(0.5), 1),
        "p99_ms": round(latency.quantile(0.99), 1),
        "in_flight": sum(replica["in_flight"] for replica in alive),
        "confirmed_total": sum(replica["confirmed_total"] for replica in replicas),
        "rejected_total": sum(replica["rejected_total"] for replica in replicas),
    }
