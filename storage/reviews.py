"""The review queue in Postgres: what waits for an operator, and what operators decided."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg

from domain.reviews import Review, ReviewDecision, ReviewLine
from storage.sql import load
from storage.stock_journal import reach

_SQL = load("reviews")
_FIRST_ID = UUID(int=0)


class PostgresReviews:
    """ReviewBook of domain.ports. Raises Unavailable when Postgres is not reached."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def queue(self, limit: int, after: UUID | None = None) -> list[Review]:
        """At most `limit` orders in review whose ids come after `after`, the oldest first."""
        return await self._reviews("queue", after or _FIRST_ID, limit)

    async def decided(self, limit: int, after: UUID | None = None) -> list[Review]:
        """At most `limit` orders that were decided before the order `after`, the newest first."""
        return await self._reviews("decided", after, limit)

    async def waiting(self) -> int:
        """How many orders are in review."""
        return await reach(lambda: self._pool.fetchval(_SQL["waiting"]))

    async def find(self, order_id: UUID) -> Review | None:
        return next(iter(await self._reviews("find", order_id)), None)

    async def accept(
        self, order_id: UUID, decision: ReviewDecision, charge_until: datetime
    ) -> None:
        values = (order_id, decision.by, decision.note, decision.at, charge_until)
        await reach(lambda: self._pool.execute(_SQL["accept"], *values))

    async def _reviews(self, query: str, *arguments: Any) -> list[Review]:
        rows = await reach(lambda: self._pool.fetch(_SQL[query], *arguments))
        ids = [row["order_id"] for row in rows]
        lines: dict[UUID, list[ReviewLine]] = {one: [] for one in ids}
        for line in await reach(lambda: self._pool.fetch(_SQL["lines"], ids)) if ids else ():
            lines[line["order_id"]].append(_line(line))
        return [_review(row, lines[row["order_id"]]) for row in rows]


def _line(row: asyncpg.Record) -> ReviewLine:
    return ReviewLine(
        sku=row["sku"] or "",  # of a variant that is gone
        name=row["name"],
        quantity=row["quantity"],
        unit_price_minor=row["unit_price_minor"],
    )


def _review(row: asyncpg.Record, lines: Sequence[ReviewLine]) -> Review:
    explained: Mapping[str, Any] = row["fraud_reasons"] or {}
    return Review(
        order_id=row["order_id"],
        user_id=row["user_id"],
        status=row["status"],
        risk_score=row["fraud_score"] or 0.0,
        flags=tuple(row["fraud_flags"]),
        reasons=tuple(explained.get("reasons", ())),
        model_version=explained.get("model_version"),
        total_minor=row["total_minor"],
        currency=row["currency"],
        payment_method=row["payment_method"],
        country=row["ship_country"],
        placed_at=row["created_at"],
        waits_until=row["waits_until"],
        lines=tuple(lines),
        decision=_decision(row),
        failure=row["failure"],
    )


def _decision(row: asyncpg.Record) -> ReviewDecision | None:
    if row["reviewed_at"] is None:
        return None
    return ReviewDecision(
        approve=row["review_decision"] == "approve",
        by=row["reviewed_by"],
        note=row["review_note"] or "",
        at=row["reviewed_at"],
    )
