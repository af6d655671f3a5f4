"""Stock that comes in and goes out, as operators ask for it: instructions, rules, orders, ledger.

Nothing in here writes a pair's row: an instruction is carried out by the pair's owner, once, in
a turn of its own (docs/stock.md).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from datetime import date, datetime
from typing import Any
from uuid import UUID

import asyncpg

from domain.stock import Movement, MovementKind
from storage.pairs import find_pair
from storage.sql import load
from storage.stock_journal import reach

_SQL = load("stock_in")
LEDGER_PAGE = 1_000


class UnknownPairError(ValueError):
    """There is no such SKU in such a warehouse."""


class NotPossibleError(ValueError):
    """What was asked for is not possible as things are; the text says why."""


class PostgresStockIn:
    """StockInBook of domain.ports, and what operators write and read."""

    def __init__(self, pool: asyncpg.Pool, new_id: Callable[[], UUID]) -> None:
        self._pool = pool
        self._new_id = new_id

    # -- asking ---------------------------------------------------------------------------------

    async def pair(self, sku: str, warehouse: str) -> UUID:
        """The pair of a SKU and a warehouse's code. Raises UnknownPairError."""
        found = await find_pair(self._pool, sku, warehouse)
        if found is None:
            raise UnknownPairError(f"there is no {sku} in {warehouse}; see GET /api/v1/stock/pairs")
        return found

    async def instruct(
        self,
        instruction_id: UUID,
        inventory_id: UUID,
        kind: MovementKind,
        quantity: int,
        *,
        actor: str,
        reason: str = "",
        reference: str = "",
    ) -> None:
        """Ask for a movement; the same id again changes nothing.

        Raises NotPossibleError if the id names a movement with other content.
        """
        name = kind.name.lower()
        values = (instruction_id, inventory_id, name, quantity, actor, reason, reference)
        await reach(lambda: self._pool.execute(_SQL["instruct"], *values))
        known = await self.outcome(instruction_id)
        if (known["inventory_id"], known["kind"], known["quantity"]) != values[1:4]:
            raise NotPossibleError(f"instruction {instruction_id} asked for something else before")

    async def transfer(
        self, from_pair: UUID, to_pair: UUID, quantity: int, *, actor: str, reason: str = ""
    ) -> tuple[UUID, UUID]:
        """Ask for units to go from one pair to another; the ids of leaving and arriving."""
        if from_pair == to_pair:
            raise NotPossibleError("a transfer needs two different warehouses")
        transfer_id, out_id, in_id = self._new_id(), self._new_id(), self._new_id()

        async def write() -> None:
            async with self._pool.acquire() as connection, connection.transaction():
                await connection.execute(
                    _SQL["instruct"],
                    *(out_id, from_pair, "transfer_out", quantity, actor, reason),
                    str(transfer_id),
                )
                await connection.execute(
                    _SQL["transfer"], transfer_id, from_pair, to_pair, quantity, out_id, in_id
                )

        await reach(write)
        return out_id, in_id

    async def outcome(self, instruction_id: UUID) -> asyncpg.Record:
        """Status (pending, done, refused), refusal, change and balance of an instruction."""
        return await reach(lambda: self._pool.fetchrow(_SQL["outcome"], instruction_id))

    # -- carrying out: StockInBook --------------------------------------------------------------

    async def pending(self, limit: int) -> list[Movement]:
        rows = await reach(lambda: self._pool.fetch(_SQL["pending"], limit))
        return [
            Movement(
                row["instruction_id"].bytes,
                row["inventory_id"].bytes,
                MovementKind[row["kind"].upper()],
                row["quantity"],
            )
            for row in rows
        ]

    async def refuse(self, movement_id: bytes, refusal: str) -> None:
        one = UUID(bytes=movement_id)
        await reach(lambda: self._pool.execute(_SQL["refuse"], one, refusal))

    async def follow_up(self, limit: int) -> None:
        await reach(lambda: self._pool.execute(_SQL["arrivals"], limit))
        await reach(lambda: self._pool.execute(_SQL["close_received"]))
        await reach(lambda: self._pool.execute(_SQL["reopen_refused"]))

    async def reloads(self, limit: int) -> list[tuple[bytes, datetime]]:
        rows = await reach(lambda: self._pool.fetch(_SQL["reloads"], limit))
        return [(row["inventory_id"].bytes, row["asked_at"]) for row in rows]

    async def reloaded(self, inventory_id: bytes, asked_at: datetime) -> None:
        one = UUID(bytes=inventory_id)
        await reach(lambda: self._pool.execute(_SQL["reloaded"], one, asked_at))

    async def reorder(self, limit: int) -> int:
        due = await reach(lambda: self._pool.fetch(_SQL["due_for_reorder"], limit))
        if not due:
            return 0
        columns = [[self._new_id() for _ in due]]
        names = ("inventory_id", "supplier_id", "reorder_quantity")
        columns += [[row[name] for row in due] for name in names]
        return len(await reach(lambda: self._pool.fetch(_SQL["order_more"], *columns)))

    # -- rules ----------------------------------------------------------------------------------

    async def set_policy(
        self,
        sku: str,
        *,
        backorder: str = "deny",
        backorder_max: int = 0,
        ships_from: date | None = None,
        customer_max: int = 0,
    ) -> None:
        """How a variant may be sold, in all warehouses; in force within a second or so."""
        if backorder == "preorder" and ships_from is None:
            raise NotPossibleError("a pre-order needs the day it ships from")
        variant = await reach(lambda: self._pool.fetchval(_SQL["variant_of_sku"], sku))
        if variant is None:
            raise UnknownPairError(f"there is no {sku}")
        values = (variant, backorder, backorder_max, ships_from, customer_max)
        await self._with_reload("set_policy", values, "ask_reload_of_variant", variant)

    async def set_safety_stock(self, inventory_id: UUID, units: int) -> None:
        """Units of a pair that are kept back; in force within a second or so."""
        values = (inventory_id, units)
        await self._with_reload("set_safety", values, "ask_reload", inventory_id)

    async def _with_reload(
        self, query: str, values: tuple[Any, ...], reload: str, of: UUID
    ) -> None:
        async def write() -> None:
            async with self._pool.acquire() as connection, connection.transaction():
                await connection.execute(_SQL[query], *values)
                await connection.execute(_SQL[reload], of)

        await reach(write)

    async def set_reorder(
        self, inventory_id: UUID, *, supplier: str, point: int, quantity: int
    ) -> None:
        """Order `quantity` from a supplier once no more than `point` units are left."""

        async def write() -> None:
            async with self._pool.acquire() as connection, connection.transaction():
                await connection.execute(_SQL["add_supplier"], self._new_id(), supplier)
                await connection.execute(
                    _SQL["set_reorder"], inventory_id, supplier, point, quantity
                )

        await reach(write)

    # -- purchase orders and ledger ---------------------------------------------------------------

    async def purchase_orders(self, status: str | None = "open") -> list[dict[str, Any]]:
        """Purchase orders, newest first."""
        rows = await reach(lambda: self._pool.fetch(_SQL["purchase_orders"], status, LEDGER_PAGE))
        return [dict(row) for row in rows]

    async def receive_order(
        self, purchase_order_id: UUID, *, quantity: int | None, actor: str
    ) -> UUID:
        """Ask for the delivery of a purchase order to be received; the instruction's id.

        Its receipt closes the order. Raises NotPossibleError unless it is open.
        """
        order = await reach(lambda: self._pool.fetchrow(_SQL["purchase_order"], purchase_order_id))
        if order is None or order["status"] != "open":
            state = order["status"] if order else "not there"
            raise NotPossibleError(f"purchase order {purchase_order_id} is {state}")
        if order["received_by"] is not None:
            return order["received_by"]
        instruction_id = self._new_id()

        async def write() -> str:
            async with self._pool.acquire() as connection, connection.transaction():
                await connection.execute(
                    _SQL["instruct"],
                    *(instruction_id, order["inventory_id"], "receive"),
                    *(quantity or order["quantity"], actor, "purchase order"),
                    str(purchase_order_id),
                )
                taken = await connection.execute(
                    _SQL["receive_order"], purchase_order_id, instruction_id
                )
                if not _changed_one(taken):
                    raise NotPossibleError("somebody else receives this order at this moment")
                return taken

        await reach(write)
        return instruction_id

    async def cancel_order(self, purchase_order_id: UUID) -> None:
        """Cancel an open purchase order. Raises NotPossibleError."""
        done = await reach(lambda: self._pool.execute(_SQL["cancel_order"], purchase_order_id))
        if not _changed_one(done):
            raise NotPossibleError(f"purchase order {purchase_order_id} is not open any more")

    async def ledger(
        self,
        *,
        sku: str | None = None,
        warehouse: str | None = None,
        since: datetime | None = None,
    ) -> AsyncIterator[asyncpg.Record]:
        """Every movement, oldest first: who, why, and what was on hand afterwards."""
        after = 0
        while True:
            values = (after, sku, warehouse, since, LEDGER_PAGE)
            rows = await self._pool.fetch(_SQL["ledger"], *values)
            for row in rows:
                yield row
            if len(rows) < LEDGER_PAGE:
                return
            after = rows[-1]["movement_id"]


def _changed_one(said: str) -> bool:
    """True if a statement's command tag says that it changed exactly one row."""
    return said.rsplit(maxsplit=1)[-1] == "1"
