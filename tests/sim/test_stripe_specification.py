"""The simulated provider's answers against Stripe's published specification, where it is at hand.

It comes with stripe-mock (`go install github.com/stripe/stripe-mock@v0.203.0` leaves it in Go's module
cache); DOORBUSTER_STRIPE_SPECIFICATION names another copy of `spec3.json`.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from functools import cache
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import orjson
import pytest
import pytest_asyncio
from jsonschema import Draft4Validator

from sim.provider_process import ProviderOptions, serving

pytestmark = pytest.mark.asyncio
_IN_CACHE = "pkg/mod/github.com/stripe/stripe-mock@*/embedded/openapi/spec3.json"


def _specification() -> Path | None:
    named = os.environ.get("DOORBUSTER_STRIPE_SPECIFICATION")
    if named:
        return Path(named)
    go = Path(os.environ.get("GOPATH") or Path.home() / "go")
    return next(iter(sorted(go.glob(_IN_CACHE))), None)


@cache
def _schemas() -> dict[str, Any]:
    path = _specification()
    if path is None or not path.is_file():
        pytest.skip("Stripe's specification is not at hand; see this module's first lines")
    return _plain(orjson.loads(path.read_bytes())["components"])


def _plain(schema: Any) -> Any:
    """OpenAPI's `nullable` in JSON schema's words."""
    if isinstance(schema, list):
        return [_plain(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    plain = {name: _plain(one) for name, one in schema.items() if name != "nullable"}
    return {"anyOf": [plain, {"type": "null"}]} if schema.get("nullable") is True else plain


def check(name: str, body: Any) -> None:
    """Every field that Stripe knows has a value that it may have."""
    schema = {"$ref": f"#/components/schemas/{name}", "components": _schemas()}
    errors = [
        f"{'.'.join(map(str, error.absolute_path))}: {error.message[:200]}"
        for error in Draft4Validator(schema).iter_errors(body)
    ]
    assert not errors, errors
    known = set(_schemas()["schemas"][name]["properties"])
    assert set(body) <= known, f"Stripe's {name} has no {set(body) - known}"


@pytest_asyncio.fixture
async def client(pool: asyncpg.Pool) -> AsyncIterator[httpx.AsyncClient]:
    _schemas()
    headers = {"authorization": "Bearer sk_test_1"}
    async with (
        serving(pool, ProviderOptions(webhook_url="http://127.0.0.1:9")) as running,
        httpx.AsyncClient(base_url=running.base_url, headers=headers) as one,
    ):
        yield one


async def post(client: httpx.AsyncClient, path: str, **form: str) -> Any:
    return (await client.post(path, data=form)).json()


_WAYS: list[tuple[str, dict[str, str], str]] = [
    ("card", {"payment_method": "pm_card_visa"}, "requires_capture"),
    ("card", {"payment_method": "pm_card_threeDSecure2Required"}, "requires_action"),
    ("card", {"payment_method": "pm_card_chargeDeclinedExpiredCard"}, "requires_payment_method"),
    ("paypal", {"payment_method_data[type]": "paypal"}, "requires_action"),
    ("customer_balance", {"payment_method_data[type]": "customer_balance"}, "requires_action"),
    ("us_bank_account", {"payment_method": "pm_usBankAccount_processing"}, "processing"),
]


@pytest.mark.parametrize(("type_", "means", "status"), _WAYS)
async def test_intents_and_errors(
    client: httpx.AsyncClient, type_: str, means: dict[str, str], status: str
) -> None:
    customer = (await post(client, "/v1/customers"))["id"]
    manual = type_ in ("card", "paypal")
    made = await post(
        client,
        "/v1/payment_intents",
        amount="1580",
        currency="eur",
        customer=customer,
        capture_method="manual" if manual else "automatic",
        **{"payment_method_types[0]": type_, "metadata[transaction_id]": "charge-1"},
    )
    check("payment_intent", made)
    path = f"/v1/payment_intents/{made['id']}"
    form = means | {"return_url": "https://shop.example/back", "expand[]": "latest_charge"}
    confirmed = await post(client, f"{path}/confirm", **form)
    if "error" in confirmed:
        check("api_errors", confirmed["error"])
        confirmed = confirmed["error"]["payment_intent"]
    check("payment_intent", confirmed)
    assert confirmed["status"] == status
    if isinstance(confirmed["latest_charge"], dict):
        check("charge", confirmed["latest_charge"])
    canceled = await post(client, f"{path}/cancel")
    check("payment_intent" if "error" not in canceled else "error", canceled)


async def test_refunds_customers_methods_and_events(
    client: httpx.AsyncClient, pool: asyncpg.Pool
) -> None:
    customer = await post(client, "/v1/customers", **{"metadata[payer]": "u-1"})
    check("customer", customer)
    method = await post(
        client, "/v1/payment_methods/pm_card_mastercard/attach", customer=customer["id"]
    )
    check("payment_method", method)
    paid = await post(
        client,
        "/v1/payment_intents",
        amount="1580",
        currency="usd",
        confirm="true",
        payment_method=method["id"],
    )
    check("payment_intent", paid)
    check("refund", await post(client, "/v1/refunds", payment_intent=paid["id"], amount="80"))
    check("charge", (await client.get(f"/v1/charges/{paid['latest_charge']}")).json())
    events = await pool.fetch("SELECT body FROM simulated_provider.events")
    for row in events:
        check("event", orjson.loads(row["body"]))
    assert len(events) == 4
