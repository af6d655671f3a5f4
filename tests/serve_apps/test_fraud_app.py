"""The fraud app: the checks over HTTP, and the right problem for every bad request."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from domain.fraud import BATCH_MAX
from serve_apps.fraud_app import BATCH_BODY_LIMIT_BYTES, FraudOrder, FraudVerdict, build_fraud_app
from serve_apps.http import describe
from storage.fraud_files import load_model, load_scoring

ONE = "/api/v1/fraud/score"
MANY = "/api/v1/fraud/score/batch"
ADDRESS = {
    "name": "Ann Lee",
    "street": "1 Main St",
    "city": "San Francisco",
    "state": "CA",
    "zip": "94102",
    "country": "US",
}
ORDINARY: dict[str, Any] = {
    "user_id": "user_1",
    "payment_method": "saved_card",
    "shipping_address": ADDRESS,
    "billing_address": ADDRESS,
    "total": 80.00,
    "recent_orders": 0,
    "avg_order_value": 70.0,
    "user_country": "US",
    "item_count": 2,
}


@pytest_asyncio.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app=build_fraud_app(load_scoring()))
    async with httpx.AsyncClient(transport=transport, base_url="http://fraud") as client:
        yield client


def assert_problem(response: httpx.Response, status: int, kind: str) -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert problem["type"] == f"/problems/{kind}"
    assert problem["status"] == status
    return problem


@pytest.mark.asyncio
async def test_an_ordinary_order_is_approved(client: httpx.AsyncClient) -> None:
    response = await client.post(ONE, json=ORDINARY)
    assert response.status_code == 200
    verdict = response.json()
    assert verdict.keys() == {"risk_score", "action", "flags", "reasons", "model_version"}
    assert [reason["name"] for reason in verdict["reasons"]] == ["model"]
    assert verdict["model_version"] == load_model().version
    assert 0 < verdict["risk_score"] < 2.5
    assert verdict["action"] == "approve"
    assert verdict["flags"] == []


@pytest.mark.asyncio
async def test_all_flags(client: httpx.AsyncClient) -> None:
    worst = {
        **ORDINARY,
        "payment_method": "new_card",
        "billing_address": {**ADDRESS, "street": "9 Side St"},
        "total": 210.01,
        "recent_orders": 6,
        "user_country": "DE",
    }
    verdict = (await client.post(ONE, json=worst)).json()
    assert verdict["action"] == "decline"
    assert verdict["flags"] == [
        "high_velocity",
        "new_payment_method",
        "address_mismatch",
        "unusually_high_value",
        "international_order",
    ]


@pytest.mark.asyncio
async def test_the_reasons_add_up_to_the_score(client: httpx.AsyncClient) -> None:
    doubtful = {**ORDINARY, "payment_method": "new_card", "user_country": "DE"}
    verdict = (await client.post(ONE, json=doubtful)).json()
    assert [reason["name"] for reason in verdict["reasons"]] == [*verdict["flags"], "model"]
    points = sum(reason["points"] for reason in verdict["reasons"])
    assert points == pytest.approx(verdict["risk_score"])
    assert "has not paid with this card before" in verdict["reasons"][0]["sentence"]


@pytest.mark.asyncio
async def test_a_shop_scores_by_its_own_policy(tmp_path: Path) -> None:
    rules = tmp_path / "policy.toml"
    rules.write_text(
        "review_from = 1\ndecline_from = 2\n[checks.new_payment_method]\npoints = 1.5\n"
    )
    app = build_fraud_app(load_scoring(rules))
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://fraud") as client:
        doubtful = {**ORDINARY, "payment_method": "new_card"}
        assert (await client.post(ONE, json=doubtful)).json()["action"] == "review"


@pytest.mark.asyncio
async def test_boundaries_hold_on_the_wire(client: httpx.AsyncClient) -> None:
    at_the_edge = {**ORDINARY, "recent_orders": 5, "avg_order_value": 0.07, "total": 0.21}
    assert (await client.post(ONE, json=at_the_edge)).json()["flags"] == []
    over = {**at_the_edge, "recent_orders": 6, "total": 0.22}
    assert (await client.post(ONE, json=over)).json()["flags"] == [
        "high_velocity",
        "unusually_high_value",
    ]


@pytest.mark.asyncio
async def test_what_is_unknown_may_be_left_out(client: httpx.AsyncClient) -> None:
    least = {"payment_method": "card", "shipping_address": {"country": "DE"}, "total": 10}
    verdict = (await client.post(ONE, json=least)).json()
    assert (verdict["action"], verdict["flags"]) == ("approve", [])
    blank = {**least, "billing_address": {"country": "DE", "state": " "}, "user_country": None}
    assert (await client.post(ONE, json=blank)).json()["flags"] == []


@pytest.mark.asyncio
async def test_other_currencies(client: httpx.AsyncClient) -> None:
    yen = {**ORDINARY, "currency": "JPY", "total": 9000, "avg_order_value": 8000.5}
    assert (await client.post(ONE, json=yen)).json()["flags"] == []
    half_yen = {**yen, "total": 9000.5}
    problem = assert_problem(await client.post(ONE, json=half_yen), 422, "validation")
    assert problem["errors"][0]["field"] == "total"


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"total": -1}, "total"),
        ({"total": 1.005}, "total"),
        ({"total": 1e300}, "total"),
        ({"total": 10**11}, "total"),
        ({"total": "80.00"}, "total"),
        ({"total": None}, "total"),
        ({"total": True}, "total"),
        ({"avg_order_value": -1}, "avg_order_value"),
        ({"recent_orders": -1}, "recent_orders"),
        ({"recent_orders": 1.5}, "recent_orders"),
        ({"recent_orders": 10**30}, "recent_orders"),
        ({"item_count": 0}, "item_count"),
        ({"item_count": 99_901}, "item_count"),
        ({"currency": "XXX"}, "currency"),
        ({"currency": "usd"}, "currency"),
        ({"user_country": "usa"}, "user_country"),
        ({"payment_method": ""}, "payment_method"),
        ({"payment_method": "card\x00"}, "payment_method"),
        ({"shipping_address": {}}, "shipping_address.country"),
        ({"shipping_address": {**ADDRESS, "planet": "Mars"}}, "shipping_address.planet"),
        ({"shipping_address": {**ADDRESS, "city": "a\x00b"}}, "shipping_address.city"),
        ({"shipping_address": {**ADDRESS, "city": "x" * 201}}, "shipping_address.city"),
        ({"surprise": 1}, "surprise"),
    ],
)
async def test_each_bad_field_is_named(
    client: httpx.AsyncClient, change: dict[str, Any], field: str
) -> None:
    bad = {**ORDINARY, **change}
    problem = assert_problem(await client.post(ONE, json=bad), 422, "validation")
    assert [error["field"] for error in problem["errors"]] == [field]
    problem = assert_problem(
        await client.post(MANY, json={"orders": [ORDINARY, bad]}), 422, "validation"
    )
    assert [error["field"] for error in problem["errors"]] == [f"orders.1.{field}"]


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        b'{"total": NaN, "payment_method": "card", "shipping_address": {"country": "US"}}',
        b'{"total": 1e999, "payment_method": "card", "shipping_address": {"country": "US"}}',
        b"[" * 20_000,
    ],
)
async def test_what_is_not_an_order_is_refused(client: httpx.AsyncClient, body: bytes) -> None:
    for path in (ONE, MANY):
        response = await client.post(
            path, content=body, headers={"content-type": "application/json"}
        )
        assert_problem(response, 422, "validation")


@pytest.mark.asyncio
async def test_emoji_are_text_like_any_other(client: httpx.AsyncClient) -> None:
    response = await client.post(
        ONE, json={**ORDINARY, "billing_address": {**ADDRESS, "name": "🦊"}}
    )
    assert response.json()["flags"] == ["address_mismatch"]


@pytest.mark.asyncio
async def test_media_type_and_method(client: httpx.AsyncClient) -> None:
    response = await client.post(ONE, content=b"{}", headers={"content-type": "text/plain"})
    assert_problem(response, 415, "unsupported_media_type")
    assert_problem(await client.get(ONE), 405, "method_not_allowed")
    assert_problem(await client.post("/api/v1/fraud"), 404, "not_found")


@pytest.mark.asyncio
async def test_a_full_batch_is_answered_in_order(client: httpx.AsyncClient) -> None:
    orders = [{**ORDINARY, "recent_orders": n % 10} for n in range(BATCH_MAX)]
    response = await client.post(MANY, json={"orders": orders})
    assert response.status_code == 200
    scores = response.json()["scores"]
    assert len(scores) == BATCH_MAX
    assert scores[:10] == [(await client.post(ONE, json=one)).json() for one in orders[:10]]


@pytest.mark.asyncio
async def test_batches_have_bounds(client: httpx.AsyncClient) -> None:
    for orders in ([], [ORDINARY] * (BATCH_MAX + 1)):
        problem = assert_problem(
            await client.post(MANY, json={"orders": orders}), 422, "validation"
        )
        assert problem["errors"][0]["field"] == "orders"
    response = await client.post(
        MANY,
        content=b" " * (BATCH_BODY_LIMIT_BYTES + 1),
        headers={"content-type": "application/json"},
    )
    assert_problem(response, 413, "too_large")


def test_the_description_has_examples_that_are_valid() -> None:
    document = describe("Shop", "1", (build_fraud_app(),))
    assert {ONE, MANY} <= document["paths"].keys()
    schemas = document["components"]["schemas"]
    for model in (FraudOrder, FraudVerdict):
        for example in schemas[model.__name__]["examples"]:
            model.model_validate(example)
    assert document["paths"][ONE]["post"]["responses"].keys() == {"200", "413", "415", "422"}


@pytest.mark.asyncio
async def test_the_example_answer_is_what_the_example_order_gets(client: httpx.AsyncClient) -> None:
    schemas = describe("Shop", "1", (build_fraud_app(),))["components"]["schemas"]
    answer = (await client.post(ONE, json=schemas["FraudOrder"]["examples"][0])).json()
    shown = schemas["FraudVerdict"]["examples"][0]
    for reason in answer["reasons"]:
        reason["points"] = round(reason["points"], 2)
    assert {**answer, "risk_score": round(answer["risk_score"], 2)} == shown
