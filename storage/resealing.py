"""Seals what stands in the clear, and seals anew by the newest key: in batches, beside a running shop.

A pass goes through the orders by id. What it has done stays done, so it may be interrupted
anywhere and begun again, by several at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import asyncpg

from storage.key_ring import KeyRing, KeyRingError, UnknownKeyError, sealed_by
from storage.personal_data import PersonalData, country_of, open_personal, seal_personal
from storage.sql import load

BATCH_MAX = 500
PASSES_MAX = 10
"""Then so much is still being worked on that it is said instead of waited for."""
PAUSE_S = 0.5
"""Between two passes: rows that were skipped belonged to transactions of milliseconds."""
UNREADABLE_SHOWN_MAX = 20
COUNT_TIMEOUT_S = 300.0
_SQL = load("resealing")
_FIRST = UUID(int=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Resealed:
    """What came of it."""

    orders: int
    """Sealed now."""
    left: int
    """Neither sealed nor unreadable: they were being worked on in every pass."""
    unreadable: tuple[tuple[UUID, str], ...]
    """Orders that do not open, and why; at most `UNREADABLE_SHOWN_MAX` are told."""
    unreadable_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SealStatus:
    """How many orders are sealed by which key, and how many stand in the clear."""

    by_key: dict[str, int]
    in_the_clear: int


class _Unreadable:
    """Orders that do not open: counted, and some of them named."""

    def __init__(self) -> None:
        self.count = 0
        self.shown: list[tuple[UUID, str]] = []

    def add(self, order_id: UUID, why: str) -> None:
        self.count += 1
        if len(self.shown) < UNREADABLE_SHOWN_MAX:
            self.shown.append((order_id, why))


class Resealing:
    """The orders of this pool, sealed by this ring. `told` hears how many are done so far."""

    def __init__(
        self, pool: asyncpg.Pool, ring: KeyRing, *, told: Callable[[int], None] = lambda _: None
    ) -> None:
        self._pool = pool
        self._ring = ring
        self._told = told

    async def seal_the_clear(self) -> Resealed:
        """Seal what is not sealed at all."""
        return await self._until_done(_SQL["in_the_clear"], ())

    async def seal_anew(self) -> Resealed:
        """Seal whatever the ring's first key has not sealed, too."""
        return await self._until_done(_SQL["not_sealed_by"], (self._ring.sealing_id.encode(),))

    async def check_newest(self) -> None:
        """Raises UnknownKeyError if the ring has not the key that sealed the newest order.

        A shop that opens with other keys than before would take orders and read none of the old.
        """
        newest = await self._pool.fetchval(_SQL["newest"])
        if newest is not None and (key_id := sealed_by(newest)) not in self._ring.key_ids:
            raise UnknownKeyError(
                f"the newest order is sealed by the key {key_id!r}, and the keys given are"
                f" {', '.join(self._ring.key_ids)}: restore home/data-keys or DOORBUSTER_DATA_KEYS"
            )

    async def status(self) -> SealStatus:
        """Counted over all orders."""
        rows = await self._pool.fetch(_SQL["by_key"], timeout=COUNT_TIMEOUT_S)
        clear = await self._pool.fetchval(_SQL["count_in_the_clear"], timeout=COUNT_TIMEOUT_S)
        return SealStatus(by_key={row["key_id"]: row["orders"] for row in rows}, in_the_clear=clear)

    async def _until_done(self, query: str, more: tuple[bytes, ...]) -> Resealed:
        done, skipped, unreadable = 0, 0, _Unreadable()
        for turn in range(PASSES_MAX):
            if turn:
                await asyncio.sleep(PAUSE_S)
            unreadable = _Unreadable()
            now_done, skipped = await self._pass(query, more, unreadable, done)
            done += now_done
            if not skipped and not now_done:
                break
        return Resealed(
            orders=done,
            left=skipped,
            unreadable=tuple(unreadable.shown),
            unreadable_count=unreadable.count,
        )

    async def _pass(
        self, query: str, more: tuple[bytes, ...], unreadable: _Unreadable, done_before: int
    ) -> tuple[int, int]:
        """Once through all orders; how many were sealed, and how many were somebody's just then."""
        after, done, skipped = _FIRST, 0, 0
        while rows := await self._pool.fetch(
            query, after, BATCH_MAX, *more, timeout=COUNT_TIMEOUT_S
        ):
            after = rows[-1]["order_id"]
            fresh = [one for row in rows if (one := self._sealed(row, unreadable)) is not None]
            if fresh:
                put = await self._pool.fetch(_SQL["put"], *map(list, zip(*fresh, strict=True)))
                done += len(put)
                skipped += len(fresh) - len(put)
                self._told(done_before + done)
        return done, skipped

    def _sealed(self, row: asyncpg.Record, unreadable: _Unreadable) -> Sequence[Any] | None:
        """The row's arguments for `put`; None for one that does not open."""
        order_id, before = row["order_id"], row["sealed_personal"]
        try:
            if before is None:
                data = PersonalData(row["shipping_address"], row["billing_address"], None)
            else:
                data = open_personal(self._ring, order_id, before)
        except KeyRingError as error:
            unreadable.add(order_id, str(error))
            return None
        return (
            order_id,
            before,
            seal_personal(self._ring, order_id, data),
            country_of(data.shipping_address),
        )
