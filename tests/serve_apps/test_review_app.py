"""The review queue over HTTP, on an app of its own with Postgres behind it."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import asyncpg
import httpx
import pytest
import pytest_asyncio

from actors.checkout import Waiting
from actors.reviews import Reviews
from actors.stock_client import LocalTransport
from domain.ids import encode
from domain.orders import OrderDraft
from domain.ports import Unavailable
from serve_apps.http import new_app
from serve_apps.identity import Identities
from serve_apps.review_app import ReviewService, add_review_routes
from storage.orders import PostgresOrderBook
from storage.reviews import PostgresReviews
from storage.stock_journal import PostgresStockJournal
from tests.actors.drafts import ADDRESS, draft, line
from tests.actors.memory import Clock, MemoryBus, MemoryProvider
from tests.actors.owners import an_owner, running
from tests.actors.postgres import add_pair, now_of
from tests.actors.shops import Shop, an_order
from tests.serve_apps.conftest import assert_problem
from tests.serve_apps.revoked import operators_of
from tests.storage.keys import a_ring

pytestmark = pytest.mark.asyncio
EARLIER = 5
PATH = "/api/v1/fraud/reviews"
ELSEWHERE = {"name": "Eve", "street": "9 Else", "city": "Y", "zip": "9", "country": "FR"}
CONTACT = {"email": "eve@example.com", "phone": "+1 555 0100"}


@dataclass
class Desk:
    """The app, and the shop behind it."""

    client: httpx.AsyncClient
    pool: asyncpg.Pool
    parts: Shop
    clock: Clock
    service: ReviewService
    provider: MemoryProvider
    orders: PostgresOrderBook
    pair: bytes = b""

    def headers(self, name: str = "ann") -> dict[str, str]:
        return {"Authorization": f"Bearer {self.service.operators.identities.issue_operator(name)}"}

    async def in_review(self, *, token: str = "card_1") -> OrderDraft:
        """An order of 2 that is to be looked at: a new buyer's, of many within the hour."""
        variant_id = uuid.uuid4()
        self.pair = await add_pair(self.pool, 5, variant_id=variant_id)
        _, demands = an_order([(2, [self.pair])])
        buyer = uuid.uuid4()
        others = [draft(user_id=buyer, idempotency_key=str(number)) for number in range(EARLIER)]
        await self.orders.record(others)
        await self.orders.fail([(one.order_id, {"kind": "other"}, {}) for one in others])
        order = draft(
            [line(2, variant_id=variant_id)],
            user_id=buyer,
            payment_token=token,
            billing_address=ELSEWHERE,
            contact=CONTACT,
        )
        result = await self.parts.checkout.run(order, demands)
        assert isinstance(result, Waiting)
        assert result.status == "in_review"
        return order

    async def get(self, path: str = "", **query: Any) -> Any:
        answer = await self.client.get(PATH + path, headers=self.headers(), params=query)
        assert answer.status_code == 200, answer.text
        assert answer.headers["cache-control"] == "no-store"
        return answer.json()

    async def decide(
        self, order: OrderDraft, decision: str, *, by: str = "ann", **body: Any
    ) -> dict[str, Any]:
        answer = await self.client.post(
            f"{PATH}/{name(order)}/decision",
            json={"decision": decision, **body},
            headers=self.headers(by),
        )
        assert answer.status_code == 200, answer.text
        await self.service.drain()
        return answer.json()


def name(order: OrderDraft) -> str:
    return encode("order", order.order_id)


@pytest_asyncio.fixture
async def desk(pool: asyncpg.Pool) -> AsyncIterator[Desk]:
    clock, provider = Clock(), MemoryProvider()
    journal, book = PostgresStockJournal(pool), PostgresOrderBook(pool, a_ring())
    owner = an_owner(journal, clock=clock)
    parts = Shop(
        clock=clock,
        transport=LocalTransport({"pool-0": owner}),
        orders=book,
        provider=provider,
        sweep=journal,
        bus=MemoryBus(),
    )
    reviews = PostgresReviews(pool)
    service = ReviewService(
        book=reviews,
        desk=Reviews(book=reviews, orders=book, settlement=parts.settlement, now=clock.utc),
        personal=book.personal,
        operators=operators_of(Identities(b"tokens")),
        now=clock.utc,
    )
    app = new_app("Reviews")
    add_review_routes(app, lambda request: service)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with (
        running(owner),
        httpx.AsyncClient(transport=transport, base_url="http://shop") as client,
    ):
        yield Desk(client, pool, parts, clock, service, provider, book)


async def test_the_queue_says_what_waits_and_why(desk: Desk) -> None:
    order = await desk.in_review()
    desk.clock.advance(3_600)
    listed = await desk.get()
    assert (listed["waiting"], listed["next_cursor"]) == (1, None)
    [shown] = listed["reviews"]
    assert (shown["order_id"], shown["status"]) == (name(order), "in_review")
    assert shown["customer"] == encode("user", order.user_id)
    assert (shown["total"], shown["currency"]) == (order.total_minor / 100, "USD")
    assert (shown["country"], shown["payment_method"]) == ("US", "card")
    assert shown["seconds_left"] == 23 * 3_600
    [item] = shown["items"]
    assert (item["name"], item["quantity"], item["price"]) == ("Mug", 2, 10.0)
    assert shown["flags"]
    assert [one["name"] for one in shown["reasons"]] == [*shown["flags"], "model"]
    points = sum(one["points"] for one in shown["reasons"])
    assert points == pytest.approx(shown["risk_score"], rel=1e-4)
    assert shown["model_version"]
    assert shown["decision"] is None


async def test_addresses_are_shown_of_one_order_only(desk: Desk) -> None:
    order = await desk.in_review()
    shown = await desk.get(f"/{name(order)}")
    assert shown["personal"] == {
        "shipping_address": ADDRESS,
        "billing_address": ELSEWHERE,
        "contact": CONTACT,
    }
    listed = await desk.client.get(PATH, headers=desk.headers())
    assert "Else" not in listed.text
    assert "eve@example.com" not in listed.text


async def test_without_the_key_an_order_is_shown_without_addresses(desk: Desk) -> None:
    order = await desk.in_review()
    stranger = PostgresOrderBook(desk.pool, a_ring("k2"))
    desk.service._personal = stranger.personal
    assert (await desk.get(f"/{name(order)}"))["personal"] is None


async def test_an_approved_order_is_charged_at_once(desk: Desk) -> None:
    order = await desk.in_review()
    answer = await desk.decide(order, "approve", note="  Called her. ")
    assert (answer["order_id"], answer["status"]) == (name(order), "accepted")
    assert answer["counted"] is True
    assert answer["decision"]["by"] == "ann"
    shown = await desk.get(f"/{name(order)}")
    assert (shown["status"], shown["failure"]) == ("confirmed", None)
    assert (shown["decide_by"], shown["seconds_left"]) == (None, None)
    told = shown["decision"]
    assert (told["decision"], told["by"], told["note"]) == ("approve", "ann", "Called her.")
    assert desk.provider.calls == ["lookup", "authorize", "capture"]
    assert await now_of(desk.pool, desk.pair) == (3, 2)


async def test_a_declined_order_gives_its_stock_back(desk: Desk) -> None:
    order = await desk.in_review()
    answer = await desk.decide(order, "decline")
    assert (answer["status"], answer["counted"]) == ("failed", True)
    assert answer["failure"]["type"] == "/problems/payment_declined"
    assert answer["failure"]["decline_code"] == "fraudulent"
    assert desk.provider.calls == []
    assert await now_of(desk.pool, desk.pair) == (5, 0)
    stored = await desk.orders.find(order.order_id, order.user_id)
    assert stored is not None
    assert stored.failure is not None
    assert stored.failure["decline_code"] == "fraudulent"


async def test_who_comes_second_is_told_what_was_decided(desk: Desk) -> None:
    order = await desk.in_review()
    await desk.decide(order, "approve", by="ann")
    for by, decision in (("bob", "decline"), ("bob", "approve"), ("ann", "approve")):
        desk.clock.advance(1)
        answer = await desk.decide(order, decision, by=by)
        assert (answer["counted"], answer["status"]) == (False, "confirmed")
        assert (answer["decision"]["decision"], answer["decision"]["by"]) == ("approve", "ann")


async def test_two_operators_at_once(desk: Desk) -> None:
    order = await desk.in_review()
    answers = await asyncio.gather(
        desk.decide(order, "approve", by="ann"), desk.decide(order, "decline", by="bob")
    )
    assert [one["counted"] for one in answers].count(True) == 1
    status = (await desk.get(f"/{name(order)}"))["status"]
    assert status == ("confirmed" if answers[0]["counted"] else "failed")
    assert bool(desk.provider.calls) == answers[0]["counted"]


async def test_pages_and_the_journal(desk: Desk) -> None:
    orders = sorted([await desk.in_review() for _ in range(3)], key=lambda one: one.order_id)
    first = await desk.client.get(PATH, headers=desk.headers(), params={"limit": 2})
    assert first.json()["waiting"] == 3
    following = first.links["next"]["url"]
    second = (await desk.client.get(following, headers=desk.headers())).json()
    seen = first.json()["reviews"] + second["reviews"]
    assert [one["order_id"] for one in seen] == [name(order) for order in orders]
    assert second["next_cursor"] is None
    for order in orders:
        await desk.decide(order, "decline")
        desk.clock.advance(1)
    newest = await desk.get(decided="true", limit=1)
    older = await desk.get(decided="true", limit=5, cursor=newest["next_cursor"])
    journal = newest["reviews"] + older["reviews"]
    assert [one["order_id"] for one in journal] == [name(order) for order in orders[::-1]]
    assert (newest["waiting"], older["next_cursor"]) == (0, None)


async def test_operators_only(desk: Desk) -> None:
    order = await desk.in_review()
    customer = {"Authorization": f"Bearer {desk.service.operators.identities.issue(order.user_id)}"}
    body = {"decision": "approve"}
    for headers, status, kind in ((customer, 403, "forbidden"), ({}, 401, "unauthorized")):
        for path in (PATH, f"{PATH}/{name(order)}"):
            assert_problem(await desk.client.get(path, headers=headers), status, kind)
        path = f"{PATH}/{name(order)}/decision"
        assert_problem(await desk.client.post(path, json=body, headers=headers), status, kind)
    assert (await desk.get())["waiting"] == 1


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"decision": "maybe"},
        {"decision": "approve", "note": "x" * 501},
        {"decision": "approve", "note": "a\x00b"},
        {"decision": "approve", "by": "bob"},
        [],
    ],
)
async def test_a_decision_that_makes_no_sense(desk: Desk, body: Any) -> None:
    path = f"{PATH}/{encode('order', uuid.uuid4())}/decision"
    answer = await desk.client.post(path, json=body, headers=desk.headers())
    assert_problem(answer, 422, "validation")


@pytest.mark.parametrize("order_id", [encode("order", uuid.UUID(int=7)), "order_x", "user_1"])
async def test_an_order_that_was_never_put_up(desk: Desk, order_id: str) -> None:
    answer = await desk.client.get(f"{PATH}/{order_id}", headers=desk.headers())
    assert_problem(answer, 404, "not_found")
    answer = await desk.client.post(
        f"{PATH}/{order_id}/decision", json={"decision": "approve"}, headers=desk.headers()
    )
    assert_problem(answer, 404, "not_found")


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "limit=x", "cursor=x", "decided=so"])
async def test_a_page_that_makes_no_sense(desk: Desk, query: str) -> None:
    answer = await desk.client.get(f"{PATH}?{query}", headers=desk.headers())
    assert_problem(answer, 422, "validation")


async def test_a_card_number_in_the_note_is_refused(desk: Desk) -> None:
    order = await desk.in_review()
    answer = await desk.client.post(
        f"{PATH}/{name(order)}/decision",
        json={"decision": "approve", "note": "card 4111 1111 1111 1111"},
        headers=desk.headers(),
    )
    assert_problem(answer, 422, "card_number_refused")
    assert (await desk.get())["waiting"] == 1


async def test_when_postgres_is_away_a_decision_may_be_repeated(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = await desk.in_review()

    async def away(*_: Any) -> Any:
        raise Unavailable("Postgres: away")

    with monkeypatch.context() as patch:
        patch.setattr(PostgresReviews, "accept", away)
        answer = await desk.client.post(
            f"{PATH}/{name(order)}/decision", json={"decision": "approve"}, headers=desk.headers()
        )
        assert_problem(answer, 503, "busy")
    assert (await desk.decide(order, "approve"))["counted"] is True
