"""The HTTP door's way to the books: requests in batches, each batch one transaction.

Keys, charges, refunds and events are written together, so whoever is killed in between has done
all of a request or nothing, and a repeat gets the first answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import asyncpg
import orjson

from sim.provider_books import SETTLE_BATCH_MAX
from sim.stripe_objects import (
    Form,
    Intent,
    Method,
    StripeRefusal,
    customer_object,
    intent_object,
    list_object,
    method_object,
    refund_object,
)
from sim.stripe_steps import OPERATIONS, Desk, Request, check_parameters, intent_named

KEYS_KEPT_FOR = timedelta(hours=24)
RACES_MAX = 3
PAGE_MAX = 100
KEPT_ERROR: Form = {"error": {"type": "api_error", "message": "An unknown error occurred."}}

_KEYS = """
    SELECT key, request_hash, status, body FROM simulated_provider.idempotency_keys
    WHERE key = ANY ($1::text[])
"""
_FORGET_OLD_KEYS = """
    DELETE FROM simulated_provider.idempotency_keys WHERE created_at <= $1
"""
_INTENTS = """
    SELECT intent_id, transaction_id, amount_minor, currency, status, created_at, decline_code,
           refunded_minor, kind, return_url, captures_at_once, details
      FROM simulated_provider.charges
     WHERE intent_id IS NOT NULL AND intent_id = ANY ($1::text[])
"""
_LOCKED = f"{_INTENTS} ORDER BY intent_id FOR UPDATE"
_SAID = """
    SELECT intent_id, transaction_id, amount_minor, currency, status, created_at, decline_code,
           refunded_minor, kind, return_url, captures_at_once, details
      FROM simulated_provider.charges
     WHERE intent_id IS NOT NULL AND details #>> '{metadata,transaction_id}' = $1
       AND created_at <= $2
     ORDER BY created_at DESC LIMIT $3
"""
_NAMED = """
    SELECT intent_id FROM simulated_provider.charges
    WHERE intent_id IS NOT NULL AND (transaction_id = $1 OR intent_id = $1)
"""
_METHODS = """
    SELECT method_id, token, type, customer_id, created_at
    FROM simulated_provider.payment_methods WHERE method_id = ANY ($1::text[])
"""
_METHODS_OF = """
    SELECT method_id, token, type, customer_id, created_at
    FROM simulated_provider.payment_methods WHERE customer_id = $1 ORDER BY created_at DESC
    LIMIT $2
"""
_CUSTOMERS = """
    SELECT customer_id, details, created_at FROM simulated_provider.customers
    WHERE customer_id = ANY ($1::text[])
"""
_CUSTOMERS_SAID = """
    SELECT customer_id, details, created_at FROM simulated_provider.customers
    WHERE details -> 'metadata' ->> $1 = $2 AND created_at <= $3
    ORDER BY created_at DESC LIMIT $4
"""
_REFUNDS = """
    SELECT provider_refund_id, amount_minor, metadata, created_at
    FROM simulated_provider.refunds
    WHERE transaction_id = $1 AND provider_refund_id IS NOT NULL
    ORDER BY created_at DESC, provider_refund_id DESC
"""
_INSERT = """
    INSERT INTO simulated_provider.charges
          (intent_id, transaction_id, amount_minor, currency, status, created_at, decline_code,
           refunded_minor, kind, return_url, captures_at_once, details)
    SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[], $4::text[], $5::text[],
                         $6::timestamptz[], $7::text[], $8::bigint[], $9::text[], $10::text[],
                         $11::boolean[], $12::jsonb[])
    ON CONFLICT (transaction_id) DO NOTHING
    RETURNING intent_id
"""
_UPDATE = """
    UPDATE simulated_provider.charges c
       SET status = a.status, decline_code = a.decline_code, refunded_minor = a.refunded_minor,
           kind = a.kind, return_url = a.return_url, details = a.details, updated_at = now()
      FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::text[], $6::text[],
                  $7::jsonb[])
        AS a (intent_id, status, decline_code, refunded_minor, kind, return_url, details)
     WHERE c.intent_id IS NOT NULL AND c.intent_id = a.intent_id
"""
_WRITE_REFUNDS = """
    INSERT INTO simulated_provider.refunds
        (transaction_id, refund_id, provider_refund_id, amount_minor, metadata, created_at)
    SELECT id, refund, refund, amount, metadata, $5
    FROM unnest($1::text[], $2::text[], $3::bigint[], $4::jsonb[])
        AS a (id, refund, amount, metadata)
"""
_WRITE_CUSTOMERS = """
    INSERT INTO simulated_provider.customers (customer_id, details, created_at)
    SELECT id, details, $3 FROM unnest($1::text[], $2::jsonb[]) AS a (id, details)
"""
_WRITE_METHODS = """
    INSERT INTO simulated_provider.payment_methods
        (method_id, token, type, customer_id, created_at)
    SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::timestamptz[])
    ON CONFLICT (method_id) DO UPDATE SET customer_id = excluded.customer_id
"""
_WRITE_KEYS = """
    INSERT INTO simulated_provider.idempotency_keys (key, request_hash, status, body, created_at)
    SELECT key, hash, status, body, $5
    FROM unnest($1::text[], $2::bytea[], $3::smallint[], $4::text[])
        AS a (key, hash, status, body)
"""
_WRITE_EVENTS = """
    INSERT INTO simulated_provider.events (event_id, type, body, created_at, due_at)
    SELECT id, type, body, $4, $4 FROM unnest($1::text[], $2::text[], $3::text[])
        AS a (id, type, body)
"""
_DUE = """
    SELECT intent_id FROM simulated_provider.charges
    WHERE kind = 'bank_transfer' AND status IN ('requires_action', 'processing')
      AND intent_id IS NOT NULL AND created_at <= $1
    ORDER BY created_at LIMIT $2
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """An answer: JSON, and whether it is the one of an earlier request with the same key."""

    status: int
    body: bytes
    replayed: bool = False


class StripeBooks:
    """Carries out requests on the books of `pool`.

    `new_id` makes a fresh id with a prefix. `keeps_events`: somebody sends them.
    """

    def __init__(
        self,
        pool: asyncpg.Pool,
        *,
        now: Callable[[], datetime],
        new_id: Callable[[str], str],
        pages_url: str,
        keeps_events: bool,
    ) -> None:
        self._pool = pool
        self._now = now
        self._new_id = new_id
        self.pages_url = pages_url
        self._keeps_events = keeps_events

    async def carry_out(self, requests: list[tuple[Request, bool]]) -> list[Reply]:
        """Do the requests, in order; True beside one keeps a 500 as its answer for ever."""
        for _ in range(RACES_MAX):
            try:
                async with self._pool.acquire() as connection, connection.transaction():
                    return await self._batch(connection, requests)
            except (asyncpg.UniqueViolationError, asyncpg.DeadlockDetectedError):
                continue  # somebody else has just used one of the keys: replay that answer
        raise asyncpg.SerializationError(f"{RACES_MAX} races for the same keys were lost")

    async def _batch(self, connection: Any, requests: list[tuple[Request, bool]]) -> list[Reply]:
        now = self._now()
        keys = [request.key for request, _ in requests if request.key is not None]
        rows = await connection.fetch(_KEYS, keys) if keys else []
        saved = {row["key"]: row for row in rows}
        desk = await self._desk(connection, [r for r, _ in requests if r.key not in saved], now)
        replies: list[Reply] = []
        used: list[tuple[Request, Reply]] = []
        for request, keeps_error in requests:
            row = saved.get(request.key)
            if row is not None:
                replies.append(_replay(row, request))
                continue
            reply, begun = _do(desk, request)
            if begun and request.key is not None:
                if keeps_error:
                    reply = Reply(status=500, body=orjson.dumps(KEPT_ERROR))
                used.append((request, reply))
            replies.append(reply)
        await self._write(connection, desk, used)
        return replies

    async def _desk(self, connection: Any, requests: Sequence[Request], now: datetime) -> Desk:
        intents, methods, customers = set[str](), set[str](), set[str]()
        for request in requests:
            form = request.form
            intents |= {
                intent_named(str(name))
                for name in (request.target, form.get("payment_intent"), form.get("charge"))
                if name
            }
            methods |= {str(n) for n in (request.target, form.get("payment_method")) if n}
            customers |= {str(form["customer"])} if "customer" in form else set[str]()
        desk = Desk(
            now=now,
            new_id=self._new_id,
            pages_url=self.pages_url,
            keeps_events=self._keeps_events,
        )
        intents = {name for name in intents if name.startswith("pi_")}
        methods = {name for name in methods if _is_saved(name)}
        if intents:
            rows = await connection.fetch(_LOCKED, list(intents))
            desk.intents = {row["intent_id"]: Intent(**row) for row in rows}
            methods |= {
                name
                for one in desk.intents.values()
                if one.status == "created"
                and (name := one.details.get("payment_method"))
                and _is_saved(name)
            }
        if methods:
            rows = await connection.fetch(_METHODS, list(methods))
            desk.methods = {row["method_id"]: Method(**row) for row in rows}
        if customers:
            rows = await connection.fetch(_CUSTOMERS, list(customers))
            desk.customers = {row["customer_id"] for row in rows}
        return desk

    async def _write(self, connection: Any, desk: Desk, used: list[tuple[Request, Reply]]) -> None:
        await _write_intents(connection, desk)
        if desk.refunds:
            names, ids, amounts, metadata = zip(
                *[
                    (desk.intents[intent_id].transaction_id, refund_id, amount, said)
                    for refund_id, intent_id, amount, said in desk.refunds
                ],
                strict=True,
            )
            await connection.execute(_WRITE_REFUNDS, names, ids, amounts, metadata, desk.now)
        if desk.new_customers:
            ids, details = zip(*desk.new_customers, strict=True)
            await connection.execute(_WRITE_CUSTOMERS, ids, details, desk.now)
        if desk.new_methods:
            kept = [desk.methods[name] for name in desk.new_methods]
            columns = ("method_id", "token", "type", "customer_id", "created_at")
            await connection.execute(
                _WRITE_METHODS, *[[getattr(one, name) for one in kept] for name in columns]
            )
        if used:
            await connection.execute(
                _WRITE_KEYS,
                [request.key for request, _ in used],
                [request.request_hash for request, _ in used],
                [reply.status for _, reply in used],
                [reply.body.decode() for _, reply in used],
                desk.now,
            )
        if desk.events:
            await connection.execute(
                _WRITE_EVENTS,
                [event["id"] for event in desk.events],
                [event["type"] for event in desk.events],
                [orjson.dumps(event).decode() for event in desk.events],
                desk.now,
            )

    async def intents(self, ids: list[str]) -> list[Intent | None]:
        """Intents as they are, in the order of `ids`; None for unknown ones."""
        found = {row["intent_id"]: Intent(**row) for row in await self._pool.fetch(_INTENTS, ids)}
        return [found.get(one) for one in ids]

    async def search_intents(
        self, transaction_id: str, lag: timedelta, expand: frozenset[str]
    ) -> Form:
        """Intents that carry our own id, as far as the index has got: `lag` behind."""
        rows = await self._pool.fetch(_SAID, transaction_id, self._now() - lag, PAGE_MAX)
        inner = frozenset(name.removeprefix("data.") for name in expand)
        data = [intent_object(Intent(**row), self.pages_url, inner) for row in rows]
        return list_object("/v1/payment_intents/search", data, search=True)

    async def search_customers(self, name: str, value: str, lag: timedelta) -> Form:
        """Customers whose metadata say that."""
        rows = await self._pool.fetch(_CUSTOMERS_SAID, name, value, self._now() - lag, PAGE_MAX)
        return list_object("/v1/customers/search", [customer_object(*r) for r in rows], search=True)

    async def customer(self, customer_id: str) -> Form | None:
        """A customer."""
        row = await self._pool.fetchrow(_CUSTOMERS, [customer_id])
        return None if row is None else customer_object(*row)

    async def method(self, method_id: str) -> Form | None:
        """A saved means of payment."""
        row = await self._pool.fetchrow(_METHODS, [method_id])
        return None if row is None else method_object(Method(**row))

    async def methods_of(self, customer_id: str) -> Form:
        """What a customer has saved."""
        rows = await self._pool.fetch(_METHODS_OF, customer_id, PAGE_MAX)
        return list_object("/v1/payment_methods", [method_object(Method(**row)) for row in rows])

    async def refunds_of(self, intent: Intent, after: str | None, limit: int) -> Form:
        """Refunds of a charge, newest first."""
        rows = await self._pool.fetch(_REFUNDS, intent.transaction_id)
        ids = [row["provider_refund_id"] for row in rows]
        begin = ids.index(after) + 1 if after in ids else 0
        page = rows[begin : begin + limit]
        data = [
            refund_object(r["provider_refund_id"], intent, r["amount_minor"], r["metadata"], r[3])
            for r in page
        ]
        return list_object("/v1/refunds", data, has_more=begin + limit < len(rows))

    async def named(self, name: str) -> str | None:
        """The intent's id of a charge by our id, or by its own."""
        return await self._pool.fetchval(_NAMED, name)

    async def forget_old_keys(self) -> None:
        """A key that is older than a day is free again, as at Stripe."""
        await self._pool.execute(_FORGET_OLD_KEYS, self._now() - KEYS_KEPT_FOR)

    async def due_transfers(self, asked_before: datetime) -> list[str]:
        """Intents whose bank will have sent the money by now."""
        rows = await self._pool.fetch(_DUE, asked_before, SETTLE_BATCH_MAX)
        return [row[0] for row in rows]


def _is_saved(name: str) -> bool:
    """It may be a means of payment that was saved, and not a test means."""
    return name.startswith("pm_") and not name.startswith("pm_card_")


def _do(desk: Desk, request: Request) -> tuple[Reply, bool]:
    """The answer, and whether it was begun: what is badly put leaves its key free."""
    try:
        check_parameters(request)
        done = OPERATIONS[request.operation](desk, request)
        return Reply(status=200, body=orjson.dumps(done)), True
    except StripeRefusal as refusal:
        return Reply(status=refusal.status, body=orjson.dumps(refusal.body)), refusal.begun


def _replay(row: Any, request: Request) -> Reply:
    if row["request_hash"] != request.request_hash:
        refusal = StripeRefusal(
            400,
            "Keys for idempotent requests can only be used with the same parameters they were"
            f" first used with. Try using a key other than '{request.key}'.",
            type="idempotency_error",
        )
        return Reply(status=400, body=orjson.dumps(refusal.body))
    return Reply(status=row["status"], body=row["body"].encode(), replayed=True)


async def _write_intents(connection: Any, desk: Desk) -> None:
    made = [desk.intents[name] for name in desk.made]
    if made:
        fresh = await _insert(connection, made, [one.transaction_id for one in made])
        # Two intents with the same id of ours are two charges, as at Stripe: the later one is
        # known by its own id, and the audit finds a charge that nobody asked for.
        if rest := [one for one in made if one.intent_id not in fresh]:
            await _insert(connection, rest, [one.intent_id for one in rest])
    changed = [desk.intents[name] for name in desk.changed]
    if changed:
        columns = ("intent_id", "status", "decline_code", "refunded_minor", "kind", "return_url")
        await connection.execute(
            _UPDATE,
            *[[getattr(one, name) for one in changed] for name in columns],
            [dict(one.details) for one in changed],
        )


async def _insert(connection: Any, made: list[Intent], names: list[str]) -> set[str]:
    rows = await connection.fetch(
        _INSERT,
        [one.intent_id for one in made],
        names,
        [one.amount_minor for one in made],
        [one.currency for one in made],
        [one.status for one in made],
        [one.created_at for one in made],
        [one.decline_code for one in made],
        [one.refunded_minor for one in made],
        [one.kind for one in made],
        [one.return_url for one in made],
        [one.captures_at_once for one in made],
        [dict(one.details) for one in made],
    )
    return {row[0] for row in rows}
