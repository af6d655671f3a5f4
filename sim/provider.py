"""The simulated payment provider, in process: takes no money, forgets nothing.

It behaves as a card processor does towards `domain.ports.PaymentProvider`: every call names
the charge by the caller's id and may be repeated; a void of a charge that does not exist yet
makes sure that it never will. The rules are in `sim.provider_rules`, the books in Postgres
(`sim.provider_books`), so they survive what the shop survives. `sim.stripe_server` is the same
provider behind HTTP.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import datetime
from typing import Any

import asyncpg

from actors.coalescer import Coalescer, Overloaded
from domain.payments import (
    ChargeRequest,
    ChargeState,
    ProviderEvent,
    RefundRequest,
    SavedMethod,
)
from domain.ports import NotReached, Unavailable
from domain.promises import Charge
from sim import provider_books as books
from sim.provider_faults import AFTER, FaultPlan
from sim.provider_rules import Outcome, is_known, next_action, outcome_of, state_of

CALL_TIMEOUT_S = 5.0
BATCH_MAX = 256
PAGES_URL = "/simulated-provider"
"""Where the provider's pages for buyers are unless told otherwise."""

EVENT_OF = {
    "authorized": "payment_intent.amount_capturable_updated",
    "captured": "payment_intent.succeeded",
    "processing": "payment_intent.processing",
    "requires_action": "payment_intent.requires_action",
    "declined": "payment_intent.payment_failed",
    "voided": "payment_intent.canceled",
    "refunded": "charge.refunded",
}
"""What tells that a charge has come to a state."""


class SimulatedProvider:
    """PaymentProvider on a Postgres schema of its own; calls of many callers travel together.

    `latency_s` is how long the provider takes for each call, as a real one would; `faults` is what
    goes wrong besides. `on_event` hears what happens by itself: a buyer who agrees at the
    provider's page (`pages_url`), a transfer that arrives.
    """

    name = "simulated"

    def __init__(
        self,
        pool: asyncpg.Pool,
        *,
        latency_s: float = 0.0,
        batch_spacing_s: float = 0.0,
        faults: FaultPlan | None = None,
        pages_url: str = PAGES_URL,
        on_event: Callable[[ProviderEvent], None] | None = None,
    ) -> None:
        self._pool = pool
        self._latency_s = latency_s
        self._faults = faults
        self._pages_url = pages_url.rstrip("/")
        self._on_event = on_event
        self._authorizing: Coalescer[ChargeRequest, ChargeState] = Coalescer(
            self._authorize_many, batch_max=BATCH_MAX, spacing_s=batch_spacing_s
        )
        self._capturing: Coalescer[ChargeRequest, ChargeState] = Coalescer(
            self._capture_many, batch_max=BATCH_MAX, spacing_s=batch_spacing_s
        )

    async def authorize(self, charge: ChargeRequest) -> ChargeState:
        """Hold the money, unless the means of payment says otherwise.

        Raises ValueError for an amount that is no amount of money.
        """
        if charge.amount_minor <= 0:
            raise ValueError(
                f"charge {charge.transaction_id} is over {charge.amount_minor} minor units;"
                " there is nothing to charge"
            )
        return await self._through(self._authorizing, "authorize", charge)

    async def capture(self, charge: ChargeRequest) -> ChargeState:
        """Take what is held; a charge that is not held stays as it is."""
        return await self._through(self._capturing, "capture", charge)

    async def void(self, charge: ChargeRequest) -> ChargeState:
        """Drop the hold, for ever."""
        return await self._ask("void", charge, lambda: self._void(charge))

    async def refund(self, charge: ChargeRequest, refund: RefundRequest) -> ChargeState:
        """Give back a part or all of what was taken, once per refund id."""
        return await self._ask("refund", charge, lambda: self._refund(charge, refund))

    async def lookup(self, charge: ChargeRequest) -> ChargeState | None:
        """What is in the books."""
        return await self._ask("lookup", charge, lambda: self._lookup(charge))

    async def save_method(self, payer: str, token: str) -> SavedMethod | None:
        """Test means can be used again as they are: the token stays the same."""
        if not is_known(token, "card"):
            return None
        digest = hashlib.sha256(payer.encode()).hexdigest()
        return SavedMethod(
            token=token,
            customer=f"cus_{digest[:14]}",
            kind="card",
            brand="visa",
            last_four="4242",
            expiry_month=12,
            expiry_year=2034,
        )

    async def detach_method(self, payer: str, token: str) -> None:
        """Nothing is kept: test means are everybody's."""
        del payer, token

    async def charges(self) -> AsyncIterator[Charge]:
        """All charges, for the audit."""
        async for charge in books.all_charges(self._pool):
            yield charge

    async def approve(self, transaction_id: str) -> ChargeState | None:
        """The buyer agrees at the provider's page; None if there is no such charge."""
        return await self._happens(transaction_id, "approve")

    async def deny(self, transaction_id: str) -> ChargeState | None:
        """The buyer does not agree, or fails to prove who they are."""
        return await self._happens(transaction_id, "deny")

    async def settle_transfer(self, transaction_id: str) -> ChargeState | None:
        """The buyer's bank has sent the money."""
        return await self._happens(transaction_id, "settle")

    async def fail_transfer(self, transaction_id: str) -> ChargeState | None:
        """The buyer's bank has refused."""
        return await self._happens(transaction_id, "fail_transfer")

    async def expire_transfer(self, transaction_id: str) -> ChargeState | None:
        """The money did not come in time."""
        return await self._happens(transaction_id, "expire")

    async def settle_due(self, asked_before: datetime) -> int:
        """Settle the transfers that were asked for before that; how many."""
        due = await self._reach(lambda: books.due_transfers(self._pool, asked_before))
        for transaction_id in due:
            await self._happens(transaction_id, "settle")
        return len(due)

    async def page_of(self, name: str) -> books.PageOfCharge | None:
        """What the buyer's page of a charge shows."""
        return await self._reach(lambda: books.page_of(self._pool, name))

    async def _through(
        self, coalescer: Coalescer[ChargeRequest, ChargeState], call: str, charge: ChargeRequest
    ) -> ChargeState:
        """The way of every checkout: nothing in between unless something is to go wrong."""
        try:
            if self._faults is None and not self._latency_s:
                return await coalescer.submit(charge)
            return await self._ask(call, charge, lambda: coalescer.submit(charge))
        except Overloaded as error:
            raise NotReached(f"payment provider: {error}") from error

    async def _ask(
        self, call: str, charge: ChargeRequest, work: Callable[[], Awaitable[Any]]
    ) -> Any:
        if self._latency_s:
            await asyncio.sleep(self._latency_s)
        if self._faults is None:
            return await work()
        trouble = self._faults.meet(call, charge.transaction_id)
        if trouble.latency_s:
            await asyncio.sleep(trouble.latency_s)
        fault = trouble.fault
        if fault is None:
            return await work()
        told = f"payment provider: {call} of charge {charge.transaction_id}: simulated {fault}"
        if fault == "refused":
            raise NotReached(told)
        if fault in AFTER:
            await work()
        raise Unavailable(told)

    async def _authorize_many(self, charges: list[ChargeRequest]) -> list[ChargeState]:
        outcomes = [outcome_of(charge.payment_token, charge.kind) for charge in charges]
        fresh = await self._reach(lambda: books.insert(self._pool, charges, outcomes))
        if len(fresh) == len(charges):
            return [self._made(c, outcome) for c, outcome in zip(charges, outcomes, strict=True)]
        states: dict[str, ChargeState] = {}
        for charge, outcome in zip(charges, outcomes, strict=True):
            # Of two with the same id in one batch, the first was written.
            if charge.transaction_id in fresh and charge.transaction_id not in states:
                states[charge.transaction_id] = self._made(charge, outcome)
        return await self._with_the_rest(charges, states)

    async def _capture_many(self, charges: list[ChargeRequest]) -> list[ChargeState]:
        ids = [charge.transaction_id for charge in charges]
        rows = await self._reach(lambda: books.capture(self._pool, ids))
        states = {
            name: ChargeState("captured", amount, currency) for name, amount, currency in rows
        }
        if len(states) == len(ids):
            return [states[one] for one in ids]
        return await self._with_the_rest(charges, states)

    async def _void(self, charge: ChargeRequest) -> ChargeState:
        await self._reach(lambda: books.make_impossible(self._pool, [charge]))
        return (await self._move([charge], "void"))[0]

    async def _move(self, charges: list[ChargeRequest], step: str) -> list[ChargeState]:
        ids = [charge.transaction_id for charge in charges]
        rows = await self._reach(lambda: books.move(self._pool, ids, step))
        return await self._with_the_rest(charges, self._states(rows))

    async def _with_the_rest(
        self, charges: list[ChargeRequest], states: dict[str, ChargeState]
    ) -> list[ChargeState]:
        """What a step left as it was is read afterwards, never in the same statement: one that
        had to wait for another call of the same charge would still see the state before it."""
        rest = [one.transaction_id for one in charges if one.transaction_id not in states]
        if rest:
            states |= self._states(await self._reach(lambda: books.read(self._pool, rest)))
        return [states.get(one.transaction_id) or _never(one) for one in charges]

    async def _refund(self, charge: ChargeRequest, refund: RefundRequest) -> ChargeState:
        row, fresh = await self._reach(lambda: books.refund(self._pool, charge, refund))
        state = self._state(row)
        if fresh:
            self._tell(charge.transaction_id, "charge.refunded", refund.refund_id)
        return state

    async def _lookup(self, charge: ChargeRequest) -> ChargeState | None:
        rows = await self._reach(lambda: books.read(self._pool, [charge.transaction_id]))
        # What was only prepared over HTTP is no charge yet.
        return self._state(rows[0]) if rows and rows[0]["status"] != "created" else None

    async def _happens(self, transaction_id: str, step: str) -> ChargeState | None:
        moved = await self._reach(lambda: books.move(self._pool, [transaction_id], step))
        rows = moved or await self._reach(lambda: books.read(self._pool, [transaction_id]))
        if not rows:
            return None
        state = self._state(rows[0])
        if moved:
            self._tell(transaction_id, EVENT_OF[state.status], step)
        return state

    def _tell(self, transaction_id: str, type: str, what: str) -> None:
        if self._on_event is not None:
            event_id = f"evt_{transaction_id}_{what}"
            self._on_event(ProviderEvent(event_id, type, transaction_id))

    def _made(self, charge: ChargeRequest, outcome: Outcome) -> ChargeState:
        status, name = outcome.status, charge.transaction_id
        action = None
        if status == "requires_action":
            action = next_action(status, charge.kind, name, self._pages_url)
        return ChargeState(
            status, charge.amount_minor, charge.currency, outcome.decline_code, 0, action
        )

    def _states(self, rows: Sequence[asyncpg.Record]) -> dict[str, ChargeState]:
        pages_url = self._pages_url
        return {row[0]: state_of(row, pages_url) for row in rows}

    def _state(self, row: asyncpg.Record) -> ChargeState:
        return state_of(row, self._pages_url)

    async def _reach(self, work: Callable[[], Awaitable[Any]]) -> Any:
        try:
            async with asyncio.timeout(CALL_TIMEOUT_S):
                return await work()
        except books.UNREACHABLE as error:
            raise Unavailable(f"payment provider: {type(error).__name__}: {error}") from error


def _never(charge: ChargeRequest) -> ChargeState:
    """A charge that was never made: nothing is held or taken."""
    return ChargeState("voided", charge.amount_minor, charge.currency)
