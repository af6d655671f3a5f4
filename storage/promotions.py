"""Promotions in Postgres: what there is, and uses counted under concurrency, in batches."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg

from domain.promotions import AUTOMATIC_MAX, Kind, Promotion, PromotionError, Scope, check
from domain.redemptions import Redemption, RedemptionOutcome, RedemptionStatus
from storage.left_open import passing
from storage.sql import load
from storage.stock_journal import reach

_SQL = load("promotions")
LIVE_MAX = 20_000
"""Promotions at one time: each checkout replica keeps all of them in memory."""
TOLD_AFTER_END = timedelta(days=30)
"""So long a coupon that is over is told apart from one that never was."""
VIOLATIONS_MAX = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """Something wrong with the uses of a promotion, as `violations` finds it."""

    what: str
    promotion_id: UUID
    user_id: UUID | None
    counted: int | None
    redeemed: int | None
    uses_max: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PromotionInUse:
    """A promotion and how often it is used."""

    promotion: Promotion
    uses: int


class PostgresPromotions:
    """PromotionBook of domain.ports, and what operators and the shelf ask for."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    # -- counting uses: PromotionBook -----------------------------------------------------------

    async def redeem_many(self, redemptions: Sequence[Redemption]) -> list[RedemptionOutcome]:
        wanted = [(one, promotion) for one in redemptions for promotion in one.promotion_ids]
        if not wanted:
            return [RedemptionOutcome(status=RedemptionStatus.REDEEMED)] * len(redemptions)
        columns = (
            [one.order_id for one, _ in wanted],
            [one.user_id for one, _ in wanted],
            [promotion for _, promotion in wanted],
        )

        async def redeemed(connection: Any) -> list[asyncpg.Record]:
            return await connection.fetch(_SQL["redeem"], *columns)

        rows = await reach(lambda: passing(self._pool, redeemed))
        by_order = {row["asked_order"]: _outcome(row) for row in rows}
        nothing = RedemptionOutcome(status=RedemptionStatus.REDEEMED)
        return [by_order.get(one.order_id, nothing) for one in redemptions]

    async def give_back(self, order_ids: Collection[UUID]) -> int:
        ids = list(order_ids)

        async def given_back(connection: Any) -> int:
            return await connection.fetchval(_SQL["give_back"], ids)

        return await reach(lambda: passing(self._pool, given_back)) if ids else 0

    async def return_orphans(self, older_than: datetime, limit: int) -> int:
        await reach(lambda: self._pool.execute(_SQL["settle"], older_than, limit))
        rows = await reach(lambda: self._pool.fetch(_SQL["orphans"], older_than, limit))
        return await self.give_back({row["order_id"] for row in rows})

    # -- reading --------------------------------------------------------------------------------

    async def changed_since(self, xmin: int) -> tuple[list[Promotion], int]:
        """Promotions changed since an earlier look, and what to pass as `xmin` next time.

        0 stands for the beginning. A change is never missed; some come twice. `used_up` is a
        change, a single use is none. Raises Unavailable.
        """
        following = await reach(lambda: self._pool.fetchval(_SQL["horizon"]))
        rows = await reach(
            lambda: self._pool.fetch(_SQL["changed"], str(xmin), TOLD_AFTER_END, 2 * LIVE_MAX)
        )
        return [_promotion(row) for row in rows], following

    async def exhausted(self, user_id: UUID, promotion_ids: Collection[UUID]) -> frozenset[UUID]:
        """Those of which this customer has had all uses. Raises Unavailable."""
        ids = list(promotion_ids)
        rows = await reach(lambda: self._pool.fetch(_SQL["exhausted"], user_id, ids))
        return frozenset(row["promotion_id"] for row in rows)

    async def overview(self, *, everything: bool, limit: int) -> list[PromotionInUse]:
        """The newest promotions with their uses; those that are over, too, if `everything`."""
        rows = await reach(lambda: self._pool.fetch(_SQL["overview"], everything, limit))
        return [PromotionInUse(promotion=_promotion(row), uses=row["uses"]) for row in rows]

    # -- operators ------------------------------------------------------------------------------

    async def add(self, promotion: Promotion) -> None:
        """A new promotion; replicas know it within about a second.

        Raises PromotionError if it makes no sense, its code was ever used, or there are too many.
        """
        values = _columns(check(promotion))

        async def write() -> None:
            async with self._pool.acquire() as connection, connection.transaction():
                await connection.execute(_SQL["lock_adding"])
                _check_room(await connection.fetchrow(_SQL["live"]), promotion)
                if await connection.fetchval(_SQL["add"], *values) is None:
                    raise PromotionError(
                        f"there is or was a promotion with the code {promotion.code}; take another"
                    )
                if promotion.uses_max is not None:
                    counter = (promotion.promotion_id, promotion.uses_max)
                    await connection.execute(_SQL["add_counter"], *counter)

        await reach(write)

    async def end(self, name: str) -> bool:
        """End the promotion of a code or id now; False if none is there that is not over."""
        code, one = name.strip().upper(), name.strip().lower()
        found = await reach(lambda: self._pool.fetchval(_SQL["finish"], code, one))
        return found is not None


async def violations(pool: asyncpg.Pool, limit: int = VIOLATIONS_MAX) -> list[Violation]:
    """What is wrong with the uses of promotions: nothing, if counters are what redemptions say
    and no maximum is passed. In one statement, so of one moment."""
    rows = await pool.fetch(_SQL["violations"], limit)
    return [Violation(**dict(row)) for row in rows]


async def unbalanced_orders(pool: asyncpg.Pool, limit: int = VIOLATIONS_MAX) -> list[UUID]:
    """Priced orders whose lines do not add up to the order's subtotal, tax and discount."""
    rows = await pool.fetch(_SQL["unbalanced_orders"], limit)
    return [row["order_id"] for row in rows]


def _check_room(row: Any, promotion: Promotion) -> None:
    if row["live"] >= LIVE_MAX:
        raise PromotionError(f"there are {LIVE_MAX} promotions that are not over; end some first")
    if promotion.code is None and row["automatic"] >= AUTOMATIC_MAX:
        raise PromotionError(
            f"there are {AUTOMATIC_MAX} automatic promotions that are not over; end one first"
        )


def _outcome(row: asyncpg.Record) -> RedemptionOutcome:
    status = RedemptionStatus(row["outcome"])
    return RedemptionOutcome(status=status, promotion_id=row["because"])


_PLAIN = ("promotion_id", "code", "label", "percent_bps", "amount_minor", "buy_quantity")
_PLAIN += ("get_quantity", "minimum_minor", "currency", "starts_at", "ends_at", "uses_max")
_PLAIN += ("uses_per_customer_max", "exclusive", "priority")


def _promotion(row: asyncpg.Record) -> Promotion:
    return Promotion(
        kind=Kind(row["kind"]),
        scope=Scope(
            product_ids=frozenset(row["product_ids"]),
            variant_ids=frozenset(row["variant_ids"]),
            categories=frozenset(row["categories"]),
        ),
        used_up=row["used_up"],
        **{name: row[name] for name in _PLAIN},
    )


def _columns(one: Promotion) -> list[Any]:
    """The values of the `add` query, in its order."""
    scope = {name: sorted(values) for name, values in asdict(one.scope).items()}
    return [
        *(one.promotion_id, one.code, one.label, one.kind.value, one.percent_bps),
        *(one.amount_minor, one.buy_quantity, one.get_quantity),
        *(scope["product_ids"], scope["variant_ids"], scope["categories"]),
        *(one.minimum_minor, one.currency, one.starts_at, one.ends_at),
        *(one.uses_max, one.uses_per_customer_max, one.exclusive, one.priority),
    ]
