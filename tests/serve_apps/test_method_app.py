"""Saved payment methods over HTTP, on an app of their own with Postgres behind it."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import httpx
import pytest
import pytest_asyncio

from domain.payments import SavedMethod
from domain.ports import Unavailable
from serve_apps.checkout_parts import new_id
from serve_apps.http import describe, new_app
from serve_apps.identity import Identities
from serve_apps.method_app import PATH, MethodFinder, MethodService, add_method_routes
from storage.payment_methods import METHODS_OF_CUSTOMER_MAX, PaymentMethods
from tests.serve_apps.conftest import assert_problem

pytestmark = pytest.mark.asyncio
ANN, BOB = uuid.uuid4(), uuid.uuid4()
SHOWN = {
    "method_id",
    "type",
    "brand",
    "last_four",
    "expiry_month",
    "expiry_year",
    "default",
    "created_at",
}


class Vault:
    """MethodVault: knows every token but `unknown`; `away` is not reached."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []

    async def save_method(self, payer: str, token: str) -> SavedMethod | None:
        self.asked.append((payer, token))
        if token == "away":
            raise Unavailable("no answer")
        if token == "unknown":
            return None
        return SavedMethod(
            token=token,
            customer="cus_secret",
            kind="card",
            brand="visa",
            last_four="4242",
            expiry_month=12,
            expiry_year=2034,
        )

    async def detach_method(self, payer: str, token: str) -> None:
        raise AssertionError("nobody who removes a method waits for the provider")


@dataclass
class Wallet:
    """The app, and one customer's way to it."""

    client: httpx.AsyncClient
    identities: Identities
    book: PaymentMethods
    vault: Vault = field(default_factory=Vault)

    async def call(
        self, method: str, path: str = "", *, user: uuid.UUID = ANN, **arguments: Any
    ) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.identities.issue(user)}"}
        return await self.client.request(method, PATH + path, headers=headers, **arguments)

    async def save(self, token: Any, **more: Any) -> httpx.Response:
        return await self.call("POST", json={"token": token, **more})

    async def names_of(self, user: uuid.UUID = ANN) -> list[tuple[str, bool]]:
        answer = await self.call("GET", user=user)
        assert answer.status_code == 200, answer.text
        return [(one["method_id"], one["default"]) for one in answer.json()["methods"]]


@pytest_asyncio.fixture
async def wallet(pool: asyncpg.Pool) -> AsyncIterator[Wallet]:
    identities, book, vault = Identities(b"tokens"), PaymentMethods(pool, new_id), Vault()
    service = MethodService(book=book, vault=vault, gateway="stripe", identities=identities)
    app = new_app("Methods")

    @app.get("/api/v1/orders/{order_id}")
    async def track(order_id: str) -> dict[str, str]:  # the checkout's, which would fit as well
        return {"order": order_id}

    del track
    add_method_routes(app, lambda request: service)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://shop") as client:
        yield Wallet(client, identities, book, vault)


async def test_a_method_is_saved_shown_and_removed(wallet: Wallet) -> None:
    assert (await wallet.call("GET")).json() == {"methods": []}
    answer = await wallet.save("pm_card_visa")
    assert answer.status_code == 201
    saved = answer.json()
    assert set(saved) == SHOWN  # no token, and not the provider's customer
    assert (saved["type"], saved["brand"], saved["last_four"]) == ("card", "visa", "4242")
    assert (saved["expiry_month"], saved["expiry_year"], saved["default"]) == (12, 2034, True)
    assert (await wallet.call("GET")).json() == {"methods": [saved]}
    assert wallet.vault.asked == [(str(ANN), "pm_card_visa")]
    removed = await wallet.call("DELETE", f"/{saved['method_id']}")
    assert (removed.status_code, removed.json()) == (200, {"methods": []})


async def test_one_is_the_default(wallet: Wallet) -> None:
    one, two, three = [
        (await wallet.save(f"pm_{number}", default=number == 3)).json() for number in (1, 2, 3)
    ]
    assert [(one["default"]), two["default"], three["default"]] == [True, False, True]
    names = [three["method_id"], two["method_id"], one["method_id"]]
    assert await wallet.names_of() == [(names[0], True), (names[1], False), (names[2], False)]
    made = await wallet.call("PUT", f"/{names[2]}/default")
    assert (made.status_code, made.json()["default"]) == (200, True)
    left = (await wallet.call("DELETE", f"/{names[2]}")).json()["methods"]
    assert [(item["method_id"], item["default"]) for item in left] == [
        (names[0], True),
        (names[1], False),
    ]


async def test_a_customer_sees_and_changes_only_their_own(wallet: Wallet) -> None:
    saved = (await wallet.save("pm_1")).json()["method_id"]
    assert await wallet.names_of(BOB) == []
    for method, path in (("DELETE", f"/{saved}"), ("PUT", f"/{saved}/default")):
        assert_problem(await wallet.call(method, path, user=BOB), 404, "not_found")
    for wrong in ("method_1", "x" * 300, saved.replace("method", "order")):
        assert_problem(await wallet.call("DELETE", f"/{wrong}"), 404, "not_found")
    assert await wallet.names_of() == [(saved, True)]


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", ""), ("POST", ""), ("DELETE", "/method_1"), ("PUT", "/method_1/default")],
)
async def test_without_a_token_there_is_nothing(wallet: Wallet, method: str, path: str) -> None:
    answer = await wallet.client.request(method, PATH + path, json={"token": "pm_1"})
    assert_problem(answer, 401, "unauthorized")


async def test_a_token_that_the_provider_does_not_know_is_declined(wallet: Wallet) -> None:
    problem = assert_problem(await wallet.save("unknown"), 402, "payment_declined")
    assert problem["decline_code"] == "unknown_payment_method"
    assert await wallet.names_of() == []


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"token": ""},
        {"token": None},
        {"token": 1},
        {"token": "pm 1"},
        {"token": "pm_\u0000"},
        {"token": "p" * 101},
        {"token": "pm_1", "default": "yes"},
        {"token": "pm_1", "last_four": "4242"},
        [],
    ],
)
async def test_what_is_no_token_is_not_valid(wallet: Wallet, body: Any) -> None:
    assert_problem(await wallet.call("POST", json=body), 422, "validation")
    assert wallet.vault.asked == []


async def test_a_card_number_is_refused_unread(wallet: Wallet, pool: asyncpg.Pool) -> None:
    for token in ("4242424242424242", "4242 4242 4242 4242"):
        assert_problem(await wallet.save(token), 422, "card_number_refused")
    assert wallet.vault.asked == []
    assert await pool.fetchval("SELECT count(*) FROM payment_methods") == 0


async def test_the_number_of_methods_is_bounded(wallet: Wallet) -> None:
    for number in range(METHODS_OF_CUSTOMER_MAX):
        assert (await wallet.save(f"pm_{number}")).status_code == 201
    asked = len(wallet.vault.asked)
    assert_problem(await wallet.save("pm_more"), 422, "limit_exceeded")
    assert len(wallet.vault.asked) == asked  # the provider is not even asked
    assert (await wallet.save("pm_0")).status_code == 201
    assert len(await wallet.names_of()) == METHODS_OF_CUSTOMER_MAX


async def test_a_vault_or_a_database_that_is_away_is_busy(
    wallet: Wallet, pool: asyncpg.Pool
) -> None:
    assert_problem(await wallet.save("away"), 503, "busy")
    assert await wallet.names_of() == []
    await pool.close()
    for method, path in (("GET", ""), ("DELETE", f"/method_{'0' * 26}")):
        assert_problem(await wallet.call(method, path), 503, "busy")


async def test_a_checkout_finds_its_customers_methods_by_name(wallet: Wallet) -> None:
    one, two = [(await wallet.save(f"pm_{n}")).json()["method_id"] for n in (1, 2)]
    finder = MethodFinder(wallet.book.load_many)
    found = await finder.find(ANN, [one, two, one, "method_1", "x"])
    assert {name: kept.token for name, kept in found.items()} == {one: "pm_1", two: "pm_2"}
    assert (found[one].gateway, found[one].customer) == ("stripe", "cus_secret")
    assert await finder.find(BOB, [one, two]) == {}
    assert await finder.find(BOB, []) == {}


async def test_the_routes_are_described() -> None:
    app = new_app("Methods")
    add_method_routes(app, lambda request: MethodService.__new__(MethodService))
    paths = describe("Doorbuster", "1", (app,))["paths"]
    described = {(path, method) for path, methods in paths.items() for method in methods}
    assert described == {
        (PATH, "get"),
        (PATH, "post"),
        (f"{PATH}/{{method_id}}", "delete"),
        (f"{PATH}/{{method_id}}/default", "put"),
    }
