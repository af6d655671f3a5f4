"""Refunds over HTTP, on an app of its own: who may, what is refused, what is answered."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import asyncpg
import httpx
import pytest
import pytest_asyncio

from actors.refunds import Refunds, RefundsConfig
from actors.retry import RetryPolicy
from domain import ids
from domain.orders import OrderDraft
from domain.ports import Unavailable
from serve_apps.http import new_app
from serve_apps.identity import Identities
from serve_apps.refund_answers import refunds_view
from serve_apps.refund_app import RefundService, add_refund_routes
from storage.refunds import PostgresRefunds
from tests.actors.memory import Fault, MemoryProvider
from tests.serve_apps.conftest import assert_problem
from tests.serve_apps.revoked import operators_of
from tests.storage.sold import sell, take

pytestmark = pytest.mark.asyncio
WHY = {"reason": "broken on arrival"}
WHOLE = {"whole": True, **WHY}


@dataclass
class Counter:
    """The app, with the books and a provider behind it."""

    client: httpx.AsyncClient
    pool: asyncpg.Pool
    book: PostgresRefunds
    provider: MemoryProvider
    identities: Identities

    async def sell(self, *amounts: int) -> OrderDraft:
        return await sell(self.pool, *amounts, provider=self.provider)

    def headers(self, **more: str) -> dict[str, str]:
        token = self.identities.issue_operator("ann")
        return {"Authorization": f"Bearer {token}", **more}

    async def post(self, order: OrderDraft | str, body: Any, key: str = "") -> httpx.Response:
        name = order if isinstance(order, str) else ids.encode("order", order.order_id)
        headers = self.headers(**{"Idempotency-Key": key or str(uuid.uuid4())})
        return await self.client.post(_path(name), json=body, headers=headers)


def _path(order: str) -> str:
    return f"/api/v1/orders/{order}/refunds"


@pytest_asyncio.fixture
async def counter(pool: asyncpg.Pool) -> AsyncIterator[Counter]:
    book, provider, identities = PostgresRefunds(pool), MemoryProvider(), Identities(b"tokens")
    refunds = Refunds(
        book=book,
        providers={"simulated": provider},
        new_id=uuid.uuid4,
        now=lambda: datetime.now(UTC),
        monotonic=time.monotonic,
        config=RefundsConfig(at_first=RetryPolicy(deadline_s=0)),
    )
    app = new_app("Refunds")
    service = RefundService(refunds, book, operators_of(identities))
    add_refund_routes(app, lambda request: service)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://shop") as client:
        yield Counter(client, pool, book, provider, identities)


async def test_a_refund_by_line_tells_what_goes_where(counter: Counter) -> None:
    order = await counter.sell(3_000, 580)
    [line] = order.lines
    sku, variant = line.variant_id.hex, ids.encode("var", line.variant_id)
    body = {"lines": [{"sku": sku, "quantity": 1}], "shipping": True, **WHY}
    answer = await counter.post(order, body)
    assert answer.status_code == 201, answer.text
    told = answer.json()
    assert told["order_id"] == ids.encode("order", order.order_id)
    assert (told["amount"], told["currency"], told["shipping"]) == (15.26, "USD", 5)
    assert (told["status"], told["requested_by"], told["reason"]) == (
        "done",
        "ann",
        WHY["reason"],
    )
    [told_line] = told["lines"]
    assert told_line.pop("restocked") == []
    assert told_line == {"sku": sku, "variant_id": variant, "quantity": 1, "amount": 10.26}
    told_line["restocked"] = []
    about = {"payment_method": "card", "gateway": "simulated", "status": "done", "refusal": None}
    about |= {"settled_by": None, "settled_note": None}
    assert told["parts"] == [{**about, "amount": 12.79}, {**about, "amount": 2.47}]
    answer = await counter.post(order, {"lines": [{"variant_id": variant, "quantity": 2}], **WHY})
    assert answer.json()["amount"] == 20.54
    name = ids.encode("order", order.order_id)
    listed = await counter.client.get(_path(name), headers=counter.headers())
    assert listed.json() == {"order_id": name, "refunds": [told, answer.json()]}
    buyers = refunds_view(await counter.book.of_order(order.order_id))
    assert [(one["amount"], one["status"]) for one in buyers] == [(15.26, "done"), (20.54, "done")]
    assert set(buyers[0]) == {"amount", "currency", "reason", "status", "created_at"}


async def test_a_key_refunds_once(counter: Counter) -> None:
    order = await counter.sell()
    first = await counter.post(order, {"amount": 10, **WHY}, "key")
    again = await counter.post(order, {"amount": 10, **WHY}, "key")
    assert (again.status_code, again.json()) == (201, first.json())
    assert again.headers["idempotent-replayed"] == "true"
    assert "idempotent-replayed" not in first.headers
    other = await counter.post(order, {"amount": 11, **WHY}, "key")
    assert_problem(other, 422, "idempotency_key_reused")
    assert len(counter.provider.refunds) == 1


async def test_above_the_balance_nothing_is_half_done(counter: Counter) -> None:
    order = await counter.sell(3_000, 580)
    await counter.post(order, {"amount": 5.8, **WHY})
    problem = assert_problem(
        await counter.post(order, {"amount": 30.01, **WHY}), 422, "refund_refused"
    )
    assert (problem["reason"], problem["balance"], problem["currency"]) == (
        "refund_above_balance",
        30,
        "USD",
    )
    assert len(await counter.book.of_order(order.order_id)) == 1
    assert sum(minor for _, minor in counter.provider.refunds.values()) == 580
    assert (await counter.post(order, WHOLE)).json()["amount"] == 30
    problem = assert_problem(await counter.post(order, WHOLE), 422, "refund_refused")
    assert (problem["reason"], problem["balance"]) == ("nothing_to_refund", 0)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ({"sku": "OTHER", "quantity": 1}, "line_unknown"),
        ({"variant_id": ids.encode("var", uuid.uuid4()), "quantity": 1}, "line_unknown"),
        ({"quantity": 4}, "line_already_refunded"),
    ],
)
async def test_what_was_not_bought_is_not_refunded(
    counter: Counter, line: dict[str, Any], reason: str
) -> None:
    order = await counter.sell()
    if len(line) == 1:
        line = {**line, "sku": order.lines[0].variant_id.hex}
    problem = assert_problem(
        await counter.post(order, {"lines": [line], **WHY}), 422, "refund_refused"
    )
    assert (problem["reason"], problem["balance"]) == (reason, 35.8)


@pytest.mark.parametrize(
    "body",
    [
        {},
        WHY,
        {"whole": True},
        {"whole": True, "reason": " "},
        {"whole": True, "reason": "\u200b"},
        {"whole": True, "reason": "x" * 201},
        {"whole": False, **WHY},
        {"amount": 0, **WHY},
        {"amount": -1, **WHY},
        {"amount": 1.001, **WHY},
        {"amount": 1e30, **WHY},
        {"amount": "10", **WHY},
        {"amount": 10, "shipping": True, **WHY},
        {"amount": 10, "whole": True, **WHY},
        {"lines": [], **WHY},
        {"lines": [{"quantity": 1}], **WHY},
        {"lines": [{"sku": "A", "variant_id": "B", "quantity": 1}], **WHY},
        {"lines": [{"variant_id": "var_x", "quantity": 1}], **WHY},
        {"lines": [{"sku": "A", "quantity": 0}], **WHY},
        {"lines": [{"sku": "A", "quantity": 10**7}], **WHY},
        {"lines": [{"sku": "A", "quantity": 1}] * 101, **WHY},
        {"lines": [{"sku": "A\0", "quantity": 1}], **WHY},
        {"whole": True, "currency": "USD", **WHY},
        {"amount": 10, "restock": True, **WHY},
        {"shipping": True, "restock": True, **WHY},
    ],
)
async def test_what_makes_no_sense_is_not_valid(counter: Counter, body: Any) -> None:
    order = await counter.sell()
    assert_problem(await counter.post(order, body), 422, "validation")
    assert counter.provider.refunds == {}


@pytest.mark.parametrize("amount", ["NaN", "Infinity"])
async def test_what_is_no_number_is_not_valid(counter: Counter, amount: str) -> None:
    order = await counter.sell()
    headers = counter.headers(**{"Idempotency-Key": "key", "Content-Type": "application/json"})
    content = f'{{"amount": {amount}, "reason": "why"}}'
    path = _path(ids.encode("order", order.order_id))
    answer = await counter.client.post(path, content=content, headers=headers)
    assert_problem(answer, 422, "validation")


async def test_what_came_back_goes_back_to_the_stock_it_came_from(counter: Counter) -> None:
    order = await counter.sell()
    pair = await take(counter.pool, order)
    sku = order.lines[0].variant_id.hex
    body = {
        "lines": [{"sku": sku, "quantity": 1, "restock": True}, {"sku": sku, "quantity": 1}],
        **WHY,
    }
    answer = await counter.post(order, body, "key")
    assert answer.status_code == 201, answer.text
    [line] = answer.json()["lines"]
    [back] = line["restocked"]
    assert (line["quantity"], back["quantity"], back["status"]) == (2, 1, "pending")
    assert back["warehouse"]
    assert (await counter.post(order, body, "key")).json()["lines"] == [line]
    rest = await counter.post(order, {"whole": True, "restock": True, **WHY})
    assert rest.json()["lines"][0]["restocked"][0]["quantity"] == 1
    rows = await counter.pool.fetch(
        "SELECT inventory_id, kind, quantity, actor FROM stock_instructions"
    )
    assert [tuple(row) for row in rows] == [(pair, "return", 1, "ann")] * 2


async def test_what_never_left_the_stock_does_not_come_back(counter: Counter) -> None:
    order = await counter.sell()
    answer = await counter.post(order, {"whole": True, "restock": True, **WHY})
    assert assert_problem(answer, 422, "refund_refused")["reason"] == "restock_not_possible"
    assert counter.provider.refunds == {}


async def test_only_operators_refund(counter: Counter) -> None:
    order = await counter.sell()
    path = _path(ids.encode("order", order.order_id))
    key = {"Idempotency-Key": "key"}
    buyers = {"Authorization": f"Bearer {counter.identities.issue(order.user_id)}"}
    for headers, status, kind in (({}, 401, "unauthorized"), (buyers, 403, "forbidden")):
        answer = await counter.client.post(path, json=WHOLE, headers={**key, **headers})
        assert_problem(answer, status, kind)
        assert_problem(await counter.client.get(path, headers=headers), status, kind)
    assert counter.provider.refunds == {}


async def test_a_key_is_needed_and_an_order_that_there_is(counter: Counter) -> None:
    order = await counter.sell()
    path = _path(ids.encode("order", order.order_id))
    answer = await counter.client.post(path, json=WHOLE, headers=counter.headers())
    assert_problem(answer, 400, "idempotency_key_missing")
    twice = [*counter.headers().items(), ("Idempotency-Key", "a"), ("Idempotency-Key", "b")]
    answer = await counter.client.post(path, json=WHOLE, headers=twice)
    assert_problem(answer, 400, "idempotency_keys_differ")
    answer = await counter.post(order, WHOLE, "k" * 256)
    assert_problem(answer, 422, "validation")
    for name in (ids.encode("order", uuid.uuid4()), "order_x", "nonsense"):
        assert_problem(await counter.post(name, WHOLE), 404, "not_found")
        answer = await counter.client.get(_path(name), headers=counter.headers())
        assert_problem(answer, 404, "not_found")


async def test_a_card_number_in_the_reason_is_refused(counter: Counter) -> None:
    order = await counter.sell()
    answer = await counter.post(order, {"whole": True, "reason": "card 4242424242424242"})
    assert_problem(answer, 422, "card_number_refused")


async def test_a_provider_that_is_away_leaves_it_pending(counter: Counter) -> None:
    order = await counter.sell()
    counter.provider.faults.plan("refund", Fault.BEFORE)
    answer = await counter.post(order, WHOLE)
    assert answer.status_code == 201
    assert answer.json()["status"] == "pending"


async def test_what_a_provider_refuses_operators_see_and_buyers_do_not(counter: Counter) -> None:
    order = await counter.sell()
    counter.provider.books.clear()
    answer = await counter.post(order, WHOLE)
    assert answer.json()["status"] == "refused"
    [part] = answer.json()["parts"]
    assert part["status"] == "refused"
    assert "nothing was taken" in part["refusal"]
    [shown] = refunds_view(await counter.book.of_order(order.order_id))
    assert shown["status"] == "pending"


async def test_books_that_cannot_be_reached_are_busy(
    counter: Counter, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: Any) -> None:
        raise Unavailable("Postgres is away")

    order = await counter.sell()
    monkeypatch.setattr(counter.book, "create", away)
    assert_problem(await counter.post(order, WHOLE), 503, "busy")
    monkeypatch.setattr(counter.book, "currency_of", away)
    name = ids.encode("order", order.order_id)
    answer = await counter.client.get(_path(name), headers=counter.headers())
    assert_problem(answer, 503, "busy")
