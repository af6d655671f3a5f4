"""Money and orders of the simulated day: what recovery and the buyers' checkouts meet in.

The provider keeps the rules of `sim.provider`: a charge is named by our own id, a step that comes
too late changes nothing, and what was voided before it began can never be made. Orders are the
rows of `sim.engine_tables`, through the statements of `storage/orders.sql`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from actors.stock_client import StockClient
from domain.orders import OpenOrder, OutboxEvent, Parking, PaymentPart
from domain.payments import ChargeRequest, ChargeState, ChargeStatus, RefundRequest
from domain.stock import Answer, Request
from sim.scripted_database import Line, ScriptedDatabase

CURRENCY = "USD"
_CUSTOMER = UUID(int=0)
_NEVER = ChargeState("voided", 0, CURRENCY)


def part_of(order_id: bytes, amount_minor: int) -> PaymentPart:
    """The one payment of an order."""
    charge = ChargeRequest(order_id.hex(), amount_minor, CURRENCY, "card")
    return PaymentPart(payment_id=UUID(bytes=order_id), gateway="scripted", charge=charge)


class ScriptedProvider:
    """PaymentProvider behind a way that goes wrong as the database's does."""

    name = "scripted"

    def __init__(self, way: ScriptedDatabase) -> None:
        self.charges: dict[str, ChargeState] = {}
        self._way = way
        self._line = Line()

    async def authorize(self, charge: ChargeRequest) -> ChargeState:
        fresh = ChargeState("authorized", charge.amount_minor, charge.currency)
        return await self._way.trip(
            self._line, "authorize", lambda: self.charges.setdefault(charge.transaction_id, fresh)
        )

    async def capture(self, charge: ChargeRequest) -> ChargeState:
        return await self._move(charge, "captured", "authorized")

    async def void(self, charge: ChargeRequest) -> ChargeState:
        return await self._move(charge, "voided", "authorized")

    async def refund(self, charge: ChargeRequest, refund: RefundRequest) -> ChargeState:
        del refund  # always all of it
        return await self._move(charge, "refunded", "captured")

    async def lookup(self, charge: ChargeRequest) -> ChargeState | None:
        return await self._way.trip(
            self._line, "lookup", lambda: self.charges.get(charge.transaction_id)
        )

    async def _move(self, asked: ChargeRequest, to: ChargeStatus, before: str) -> ChargeState:
        def move() -> ChargeState:
            charge = self.charges.setdefault(asked.transaction_id, _NEVER)
            if charge.status == before:
                charge = ChargeState(to, charge.amount_minor, charge.currency)
                self.charges[asked.transaction_id] = charge
            return charge

        return await self._way.trip(self._line, to, move)


class ScriptedOrders:
    """The part of OrderBook that recovery needs, for one process."""

    def __init__(
        self, database: ScriptedDatabase, line: Line, unwinding: Callable[[bytes], None]
    ) -> None:
        self.pending: dict[bytes, None] = {}
        """Orders with a payment; those that are settled leave with the next look."""
        self._database = database
        self._tables = database.tables
        self._line = line
        self._unwinding = unwinding

    async def stalled(self, older_than: datetime, limit: int) -> list[OpenOrder]:
        return await self._database.trip(
            self._line, "stalled", lambda: self._stalled(older_than.timestamp(), limit)
        )

    def _stalled(self, before: float, limit: int) -> list[OpenOrder]:
        orders = self._tables.orders
        open_ = [one for one in self.pending if orders[one].status == "pending"]
        self.pending = dict.fromkeys(open_)
        return [
            OpenOrder(
                order_id=UUID(bytes=one),
                user_id=_CUSTOMER,
                status="pending",
                total_minor=orders[one].units,
                currency=CURRENCY,
                parts=(part_of(one, orders[one].units),),
            )
            for one in open_
            if orders[one].created_at < before
        ][:limit]

    async def confirm(self, confirmations: Sequence[tuple[UUID, OutboxEvent]]) -> list[str]:
        def confirm() -> list[str]:
            return [self._tables.confirm(order.bytes) for order, _ in confirmations]

        return await self._database.trip(self._line, "confirm", confirm)

    async def record(self, drafts: Sequence[Any]) -> list[Any]:
        raise AssertionError("buyers of the simulated day record through their own book")

    note_fraud = record

    async def park(self, parkings: Sequence[Parking]) -> list[str]:
        raise AssertionError("no payment of the simulated day has to wait")

    async def fail(
        self, failures: Sequence[tuple[UUID, Mapping[str, Any], Mapping[str, str]]]
    ) -> list[str]:
        return await self._database.trip(
            self._line, "fail", lambda: [self._fail(order.bytes) for order, _, _ in failures]
        )

    def _fail(self, order_id: bytes) -> str:
        order = self._tables.orders[order_id]
        if order.status == "pending":
            order.status = "failed"
            self._unwinding(order_id)
        return order.status

    async def holds_of(self, order_id: UUID) -> list[tuple[bytes, bytes]]:
        def holds() -> list[tuple[bytes, bytes]]:
            rows = self._tables.reservations
            ids = self._tables.of_order.get(order_id.bytes, ())
            return [(one, rows[one].inventory_id) for one in ids if rows[one].status == "active"]

        return await self._database.trip(self._line, "holds_of", holds)


class OverheardClient(StockClient):
    """A client whose requests take a way of their own, on which the auditor is told of them."""

    def __init__(self, ask: Callable[[list[Request]], Awaitable[list[Answer]]]) -> None:
        self._overheard = ask

    async def ask(self, requests: Sequence[Request]) -> list[Answer]:
        return await self._overheard(list(requests))
