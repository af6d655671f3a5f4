"""A customer's credit over HTTP, on an app of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import httpx
import pytest
import pytest_asyncio

from domain.gift_cards import code_hash
from domain.ports import Unavailable
from serve_apps.credit_app import ATTEMPTS_MAX, ATTEMPTS_WINDOW, CreditService, add_credit_routes
from serve_apps.http import new_app
from serve_apps.identity import Identities
from tests.serve_apps.conftest import assert_problem
from tests.storage.credit import ANN, BOB, Desk, charge, letters

pytestmark = pytest.mark.asyncio
KEY = b"key"
BALANCE = "/api/v1/gift-cards/balance"


@dataclass
class Counter:
    """The app, with the ledger behind it."""

    client: httpx.AsyncClient
    desk: Desk
    identities: Identities

    def headers(self, customer: str = ANN) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.identities.issue(UUID(customer))}"}

    async def ask(self, code: Any, customer: str = ANN) -> httpx.Response:
        headers = self.headers(customer)
        return await self.client.post(BALANCE, json={"code": code}, headers=headers)

    async def card(self, amount_minor: int, code: str, **changes: Any) -> int:
        values: dict[str, Any] = {"currency": "USD", "origin": "sold", "actor": "test"} | changes
        return await self.desk.accounts.issue_gift_card(
            code_hash=code_hash(KEY, code) or "",
            last_four=code[-4:],
            amount_minor=amount_minor,
            **values,
        )


@pytest_asyncio.fixture
async def counter(pool: asyncpg.Pool) -> AsyncIterator[Counter]:
    desk, identities = Desk(pool), Identities(b"tokens")
    service = CreditService(desk.accounts, identities, KEY, lambda: desk.now)
    app = new_app("Credit")
    add_credit_routes(app, lambda request: service)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://shop") as client:
        yield Counter(client, desk, identities)


async def test_customers_see_their_own_credit_and_nobody_elses(counter: Counter) -> None:
    desk = counter.desk
    await desk.credit(ANN, 5_000)
    await desk.approve(ANN, 100_000)
    bought = charge("c-1", 2_550, kind="invoice")
    await desk.ledger.authorize(bought)
    await desk.ledger.capture(bought)
    await desk.ledger.authorize(charge("c-2", 999, kind="store_credit"))
    answer = await counter.client.get("/api/v1/credit", headers=counter.headers())
    assert answer.status_code == 200
    shown = answer.json()
    assert shown["store_credit"] == [{"currency": "USD", "available": 40.01, "held": 9.99}]
    [terms] = shown["terms"]
    assert (terms["limit"], terms["owed"], terms["available"]) == (1_000, 25.5, 974.5)
    assert (terms["approved"], terms["net_days"]) == (True, 30)
    [invoice] = shown["invoices"]
    assert (invoice["number"], invoice["open"], invoice["due_on"]) == (
        "INV-000001",
        25.5,
        str(desk.now.date() + timedelta(days=30)),
    )
    answer = await counter.client.get("/api/v1/credit", headers=counter.headers(BOB))
    assert answer.json() == {"store_credit": [], "terms": [], "invoices": []}


async def test_a_withdrawn_approval_leaves_nothing_available(counter: Counter) -> None:
    await counter.desk.approve(ANN, 1_000, approved=False)
    answer = await counter.client.get("/api/v1/credit", headers=counter.headers())
    [terms] = answer.json()["terms"]
    assert (terms["approved"], terms["limit"], terms["available"]) == (False, 10, 0)


async def test_nobody_asks_without_a_token(counter: Counter) -> None:
    assert_problem(await counter.client.get("/api/v1/credit"), 401, "unauthorized")
    answer = await counter.client.post(BALANCE, json={"code": letters(1)})
    assert_problem(answer, 401, "unauthorized")


async def test_a_card_tells_what_can_be_spent(counter: Counter) -> None:
    code = letters(1)
    await counter.card(5_000, code, expires_at=counter.desk.now + timedelta(hours=1))
    held = charge("c-1", 1_250, card=code_hash(KEY, code) or "")
    await counter.desk.ledger.authorize(held)
    expected = {"balance": 37.5, "currency": "USD", "last_four": code[-4:], "expired": False}
    for typed in (code, code.lower(), "-".join(code[at : at + 4] for at in range(0, 24, 4))):
        answer = await counter.ask(typed)
        assert answer.status_code == 200
        assert answer.json().items() >= expected.items()
    counter.desk.now += timedelta(hours=1)
    assert (await counter.ask(code, BOB)).json()["expired"] is True


async def test_the_last_day_of_a_card_is_told(counter: Counter) -> None:
    midnight = datetime(2028, 1, 1, tzinfo=UTC)
    await counter.card(5_000, letters(1), expires_at=midnight)
    told = (await counter.ask(letters(1))).json()
    assert (told["expires_at"], told["good_until"]) == ("2028-01-01T00:00:00Z", "2027-12-31")
    await counter.card(5_000, letters(2))
    told = (await counter.ask(letters(2))).json()
    assert (told["expires_at"], told["good_until"]) == (None, None)


async def test_unknown_and_blocked_are_told_alike(counter: Counter) -> None:
    number = await counter.card(5_000, letters(1))
    await counter.desk.accounts.block_gift_card(number)
    answers = [await counter.ask(code) for code in (letters(1), letters(2), "no code")]
    for answer in answers:
        assert_problem(answer, 404, "not_found")
        assert answer.content == answers[0].content


@pytest.mark.parametrize("code", ["", None, 5, "x" * 201, "a\0b", ["x"]])
async def test_what_is_no_text_is_not_valid(counter: Counter, code: Any) -> None:
    assert_problem(await counter.ask(code), 422, "validation")


async def test_guessing_ends_soon(counter: Counter) -> None:
    await counter.card(5_000, letters(0))
    for number in range(1, ATTEMPTS_MAX + 1):
        assert_problem(await counter.ask(letters(number)), 404, "not_found")
    answer = await counter.ask(letters(0))  # the right one, but too late
    problem = assert_problem(answer, 429, "too_many_attempts")
    assert problem["retry_after"] == ATTEMPTS_WINDOW.total_seconds()
    assert answer.headers["retry-after"] == str(problem["retry_after"])
    assert (await counter.ask(letters(0), BOB)).status_code == 200
    counter.desk.now += ATTEMPTS_WINDOW
    assert (await counter.ask(letters(0))).status_code == 200


async def test_a_ledger_that_cannot_be_read_is_busy(
    counter: Counter, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def down(*_: Any, **__: Any) -> None:
        raise Unavailable("down")

    monkeypatch.setattr(counter.desk.accounts, "of_customer", down)
    monkeypatch.setattr(counter.desk.accounts, "count_attempt", down)
    answer = await counter.client.get("/api/v1/credit", headers=counter.headers())
    assert_problem(answer, 503, "busy")
    assert_problem(await counter.ask(letters(1)), 503, "busy")
