"""The simulated provider's HTTP door, as a client of Stripe sees it."""

from __future__ import annotations

import asyncio
import base64
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
import pytest_asyncio

from sim.provider_process import ProviderOptions, RunningProvider, serving

pytestmark = pytest.mark.asyncio
BEARER = {"authorization": "Bearer sk_test_1"}
START_TIMEOUT_S = 60.0
CREATE = {
    "amount": "1580",
    "currency": "usd",
    "capture_method": "manual",
    "payment_method_types[0]": "card",
    "metadata[transaction_id]": "charge-1",
}
VISA = {"payment_method": "pm_card_visa"}
INTENTS = "/v1/payment_intents"


@pytest.fixture
def options() -> ProviderOptions:
    """Overridden where a test wants another provider."""
    return ProviderOptions()


@pytest_asyncio.fixture
async def running(pool: asyncpg.Pool, options: ProviderOptions) -> AsyncIterator[RunningProvider]:
    async with serving(pool, options) as one:
        yield one


@pytest_asyncio.fixture
async def client(running: RunningProvider) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=running.base_url, headers=BEARER, timeout=20) as one:
        yield one


async def post(client: httpx.AsyncClient, path: str, form: Any = None, key: str = "") -> Any:
    headers = {"idempotency-key": key} if key else {}
    return await client.post(path, data=form or {}, headers=headers)


async def held(client: httpx.AsyncClient, **changes: str) -> str:
    """The id of an intent that holds its amount."""
    made = (await post(client, INTENTS, CREATE | changes)).json()
    answer = await post(client, f"{INTENTS}/{made['id']}/confirm", VISA)
    assert answer.json()["status"] == "requires_capture"
    return made["id"]


async def test_the_two_steps_of_a_charge_and_its_capture(client: httpx.AsyncClient) -> None:
    made = (await post(client, INTENTS, CREATE, "1:create")).json()
    assert (made["status"], made["latest_charge"]) == ("requires_payment_method", None)
    form = {**VISA, "expand[]": "latest_charge"}
    confirmed = (await post(client, f"{INTENTS}/{made['id']}/confirm", form, "1:confirm")).json()
    assert (confirmed["status"], confirmed["amount_capturable"]) == ("requires_capture", 1_580)
    assert confirmed["latest_charge"]["captured"] is False
    taken = (await post(client, f"{INTENTS}/{made['id']}/capture", None, "1:capture")).json()
    assert (taken["status"], taken["amount_received"]) == ("succeeded", 1_580)
    shown = (await client.get(f"{INTENTS}/{made['id']}")).json()
    assert shown == taken
    charge = (await client.get(f"/v1/charges/{taken['latest_charge']}")).json()
    assert (charge["captured"], charge["payment_intent"]) == (True, made["id"])


async def test_create_and_confirm_at_once(client: httpx.AsyncClient) -> None:
    form = CREATE | VISA | {"confirm": "true", "capture_method": "automatic"}
    assert (await post(client, INTENTS, form)).json()["status"] == "succeeded"


async def test_a_repeated_key_gets_the_first_answer(client: httpx.AsyncClient) -> None:
    first, again = [await post(client, INTENTS, CREATE, "key") for _ in range(2)]
    assert first.content == again.content
    assert "idempotent-replayed" not in first.headers
    assert again.headers["idempotent-replayed"] == "true"
    other = await post(client, INTENTS, CREATE | {"amount": "1581"}, "key")
    assert other.status_code == 400
    assert other.json()["error"]["type"] == "idempotency_error"
    # Without a key, the same again is another intent.
    assert (await post(client, INTENTS, CREATE)).json()["id"] != first.json()["id"]


async def test_a_badly_put_request_leaves_its_key_free(client: httpx.AsyncClient) -> None:
    assert (await post(client, INTENTS, CREATE | {"amount": "0"}, "key")).status_code == 400
    assert (await post(client, INTENTS, CREATE, "key")).status_code == 200


async def test_a_key_in_flight_is_a_conflict(client: httpx.AsyncClient, pool: asyncpg.Pool) -> None:
    intent = await held(client)
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute("SELECT FROM simulated_provider.charges FOR UPDATE")
        path = f"{INTENTS}/{intent}/capture"
        both = {asyncio.create_task(post(client, path, None, "capture")) for _ in range(2)}
        (quick,), waiting = await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        assert quick.result().status_code == 409
        assert quick.result().json()["error"]["code"] == "idempotency_key_in_use"
    assert (await waiting.pop()).json()["status"] == "succeeded"


async def test_a_declined_card_can_be_replaced(client: httpx.AsyncClient) -> None:
    made = (await post(client, INTENTS, CREATE)).json()
    path = f"{INTENTS}/{made['id']}/confirm"
    form = {"payment_method": "pm_card_chargeDeclinedInsufficientFunds"}
    refused = await post(client, path, form)
    error = refused.json()["error"]
    assert (refused.status_code, error["type"]) == (402, "card_error")
    assert (error["code"], error["decline_code"]) == ("card_declined", "insufficient_funds")
    assert error["payment_intent"]["status"] == "requires_payment_method"
    assert error["payment_intent"]["last_payment_error"]["decline_code"] == "insufficient_funds"
    assert (await post(client, path, VISA)).json()["status"] == "requires_capture"


async def test_a_card_that_nobody_can_be_asked_about_is_declined(
    client: httpx.AsyncClient,
) -> None:
    made = (await post(client, INTENTS, CREATE)).json()
    form = {"payment_method": "pm_card_threeDSecure2Required", "off_session": "true"}
    answer = await post(client, f"{INTENTS}/{made['id']}/confirm", form)
    assert answer.json()["error"]["decline_code"] == "authentication_required"


@pytest.mark.parametrize("decision", ["approve", "deny"])
async def test_the_buyer_decides_at_the_page_and_comes_back(
    client: httpx.AsyncClient, decision: str
) -> None:
    made = (await post(client, INTENTS, CREATE)).json()
    form = {
        "payment_method": "pm_card_threeDSecure2Required",
        "return_url": "http://shop.example/back?order=1",
    }
    asked = (await post(client, f"{INTENTS}/{made['id']}/confirm", form)).json()
    assert asked["status"] == "requires_action"
    url = asked["next_action"]["redirect_to_url"]["url"]
    assert "Approve" in (await client.get(url)).text
    back = await client.post(f"{url}/{decision}")
    assert back.status_code == 303
    told = "succeeded" if decision == "approve" else "failed"
    assert back.headers["location"] == (
        f"http://shop.example/back?order=1&payment_intent={made['id']}&redirect_status={told}"
    )
    after = (await client.get(f"{INTENTS}/{made['id']}")).json()
    expected = "requires_capture" if decision == "approve" else "requires_payment_method"
    assert after["status"] == expected
    assert "Approve" not in (await client.get(url)).text
    assert (await client.post(f"{url}/steal")).status_code == 404
    assert (await client.get("/pay/pi_unknown")).status_code == 404


async def test_refunds_are_listed_and_bounded(client: httpx.AsyncClient) -> None:
    intent = await held(client)
    await post(client, f"{INTENTS}/{intent}/capture")
    for n in range(3):
        form = {"payment_intent": intent, "amount": "500", "metadata[refund_id]": f"r{n}"}
        assert (await post(client, "/v1/refunds", form)).json()["status"] == "succeeded"
    too_much = await post(client, "/v1/refunds", {"payment_intent": intent, "amount": "81"})
    assert too_much.status_code == 400
    query = {"payment_intent": intent, "limit": "2"}
    page = (await client.get("/v1/refunds", params=query)).json()
    rest = await client.get(
        "/v1/refunds", params=query | {"starting_after": page["data"][-1]["id"]}
    )
    listed = [*page["data"], *rest.json()["data"]]
    assert page["has_more"]
    assert sorted(one["metadata"]["refund_id"] for one in listed) == ["r0", "r1", "r2"]
    assert (await post(client, "/v1/refunds", {"payment_intent": intent})).json()["amount"] == 80
    again = await post(client, "/v1/refunds", {"payment_intent": intent})
    assert again.json()["error"]["code"] == "charge_already_refunded"


async def test_two_intents_for_one_charge_of_ours_are_both_found(
    client: httpx.AsyncClient,
) -> None:
    intents = {await held(client), await held(client)}
    found = await client.get(
        f"{INTENTS}/search", params={"query": "metadata['transaction_id']:'charge-1'"}
    )
    assert {one["id"] for one in found.json()["data"]} == intents


@pytest.mark.parametrize("options", [ProviderOptions(search_lag_s=3_600)])
async def test_search_lags_behind(client: httpx.AsyncClient) -> None:
    intent = await held(client)
    found = await client.get(
        f"{INTENTS}/search", params={"query": "metadata['transaction_id']:'charge-1'"}
    )
    assert found.json()["data"] == []
    assert (await client.get(f"{INTENTS}/{intent}")).status_code == 200


async def test_a_card_is_kept_for_a_customer(client: httpx.AsyncClient) -> None:
    made = (await post(client, "/v1/customers", {"metadata[payer]": "u-1"})).json()
    query = {"query": "metadata['payer']:'u-1'"}
    found = (await client.get("/v1/customers/search", params=query)).json()
    assert [one["id"] for one in found["data"]] == [made["id"]]
    form = {"customer": made["id"]}
    kept = (await post(client, "/v1/payment_methods/pm_card_visa/attach", form)).json()
    assert (kept["customer"], kept["card"]["last4"]) == (made["id"], "4242")
    assert (await client.get(f"/v1/payment_methods/{kept['id']}")).json() == kept
    listed = (await client.get("/v1/payment_methods", params=form)).json()
    assert listed["data"] == [kept]
    intent = await held(client, customer=made["id"], payment_method=kept["id"])
    assert (await client.get(f"{INTENTS}/{intent}")).json()["customer"] == made["id"]
    refused = await post(client, "/v1/payment_methods/pm_card_chargeDeclined/attach", form)
    assert refused.status_code == 402
    gone = (await post(client, f"/v1/payment_methods/{kept['id']}/detach")).json()
    assert gone["customer"] is None


_WRONG: list[tuple[dict[str, str], str]] = [
    ({"amount": "-5"}, "amount"),
    ({"amount": "1.5"}, "amount"),
    ({"amount": "100000000"}, "amount"),
    ({"currency": "dollars"}, "currency"),
    ({"payment_method_types[0]": "cheque"}, "payment_method_types"),
    ({"payment_method_types[0]": "customer_balance"}, "capture_method"),
    ({"customer": "cus_unknown"}, "customer"),
    ({"colour": "red"}, "colour"),
    ({"payment_method_data[card][number]": "4242"}, "payment_method_data"),
]


@pytest.mark.parametrize(("changes", "param"), _WRONG)
async def test_what_stripe_would_not_take_is_refused(
    client: httpx.AsyncClient, pool: asyncpg.Pool, changes: dict[str, str], param: str
) -> None:
    answer = await post(client, INTENTS, CREATE | changes)
    assert answer.status_code in (400, 404)
    error = answer.json()["error"]
    assert (error["type"], error["param"]) == ("invalid_request_error", param)
    assert await pool.fetchval("SELECT count(*) FROM simulated_provider.charges") == 0


async def test_steps_out_of_turn_show_the_intent(client: httpx.AsyncClient) -> None:
    made = (await post(client, INTENTS, CREATE)).json()
    early = await post(client, f"{INTENTS}/{made['id']}/capture")
    assert early.json()["error"]["code"] == "payment_intent_unexpected_state"
    canceled = (await post(client, f"{INTENTS}/{made['id']}/cancel")).json()
    assert canceled["status"] == "canceled"
    late = await post(client, f"{INTENTS}/{made['id']}/confirm", VISA)
    assert late.status_code == 400
    assert late.json()["error"]["payment_intent"]["status"] == "canceled"
    unknown = await post(client, f"{INTENTS}/pi_unknown/confirm", VISA)
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "resource_missing")
    assert (await client.get("/v1/balance")).status_code == 404


@pytest.mark.parametrize(
    "header", ["", "Bearer sk_live_1", "Basic !!", "Basic " + base64.b64encode(b"me:").decode()]
)
async def test_only_test_keys_open_the_door(client: httpx.AsyncClient, header: str) -> None:
    answer = await client.get(f"{INTENTS}/pi_1", headers={"authorization": header})
    assert answer.status_code == 401


async def test_basic_authentication_is_understood(client: httpx.AsyncClient) -> None:
    header = "Basic " + base64.b64encode(b"sk_test_1:").decode()
    answer = await client.get(f"{INTENTS}/pi_1", headers={"authorization": header})
    assert answer.status_code == 404


async def test_a_fault_after_the_charge_keeps_the_true_answer(
    running: RunningProvider, client: httpx.AsyncClient
) -> None:
    running.server.faults.plan("create", "error_after", None, "kept_error", None)
    assert (await post(client, INTENTS, CREATE, "one")).status_code == 500
    again = await post(client, INTENTS, CREATE, "one")
    assert (again.status_code, again.headers["idempotent-replayed"]) == (200, "true")
    kept = [(await post(client, INTENTS, CREATE, "two")).status_code for _ in range(2)]
    assert kept == [500, 500]
    query = {"query": "metadata['transaction_id']:'charge-1'"}
    found = (await client.get(f"{INTENTS}/search", params=query)).json()
    assert len(found["data"]) == 2  # it was made all the same


@pytest.mark.parametrize(
    ("fault", "error", "happened"),
    [
        ("refused", httpx.RemoteProtocolError, False),
        ("silent_before", httpx.ReadTimeout, False),
        ("silent_after", httpx.ReadTimeout, True),
    ],
)
async def test_no_answer_comes(
    running: RunningProvider, client: httpx.AsyncClient, fault: Any, error: Any, happened: bool
) -> None:
    intent = await held(client)
    running.server.faults.plan("capture", fault)
    with pytest.raises((error, httpx.ReadError)):
        await client.post(f"{INTENTS}/{intent}/capture", timeout=1.0)
    status = (await client.get(f"{INTENTS}/{intent}")).json()["status"]
    assert status == ("succeeded" if happened else "requires_capture")


@pytest.mark.parametrize(("fault", "status"), [("in_flight", 409), ("rate_limited", 429)])
async def test_busy_answers_do_nothing(
    running: RunningProvider, client: httpx.AsyncClient, fault: Any, status: int
) -> None:
    running.server.faults.plan("create", fault)
    assert (await post(client, INTENTS, CREATE, "key")).status_code == status
    assert (await post(client, INTENTS, CREATE, "key")).status_code == 200


async def test_books_that_are_away_are_a_fault_of_the_provider(
    client: httpx.AsyncClient, pool: asyncpg.Pool
) -> None:
    await pool.close()
    answer = await post(client, INTENTS, CREATE)
    assert (answer.status_code, answer.json()["error"]["type"]) == (500, "api_error")


@pytest.mark.parametrize("options", [ProviderOptions(settle_after_s=0.0)])
async def test_transfers_settle_by_themselves(client: httpx.AsyncClient) -> None:
    customer = (await post(client, "/v1/customers")).json()["id"]
    types = {"payment_method_types[0]": "customer_balance", "customer": customer}
    form = CREATE | types | {"capture_method": "automatic"}
    made = (await post(client, INTENTS, form)).json()
    data = {"payment_method_data[type]": "customer_balance"}
    asked = (await post(client, f"{INTENTS}/{made['id']}/confirm", data)).json()
    assert asked["next_action"]["type"] == "display_bank_transfer_instructions"
    while (await client.get(f"{INTENTS}/{made['id']}")).json()["status"] != "succeeded":
        pass


async def test_a_killed_server_has_done_a_request_or_nothing(
    database_url: str, tmp_path: Path
) -> None:
    """The key that was in flight when it died gets a true answer from the next one."""
    environment = {**os.environ, "DOORBUSTER_DATABASE_URL": database_url}
    command = [sys.executable, "-m", "doorbuster", "provider", "--home", str(tmp_path)]
    amounts: dict[str, str] = {}
    for _ in range(2):
        process = await asyncio.create_subprocess_exec(
            *command, "--port", "0", stderr=asyncio.subprocess.PIPE, env=environment
        )
        assert process.stderr is not None
        async with asyncio.timeout(START_TIMEOUT_S):
            line = (await process.stderr.readline()).decode()
        try:
            base_url = line.split()[-1]
            async with httpx.AsyncClient(base_url=base_url, headers=BEARER, timeout=20) as client:
                tasks = [
                    asyncio.create_task(post(client, INTENTS, CREATE, f"key-{n}"))
                    for n in range(40)
                ]
                done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                if not amounts:
                    process.send_signal(signal.SIGKILL)
                for n, task in enumerate(tasks):
                    try:
                        intent = (await task).json()["id"]
                    except httpx.TransportError:
                        continue
                    assert amounts.setdefault(f"key-{n}", intent) == intent
                assert done
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()
            process._transport.close()  # pyright: ignore[reportAttributeAccessIssue]
    assert len(set(amounts.values())) == 40
    connection = await asyncpg.connect(database_url)
    made = await connection.fetchval("SELECT count(*) FROM simulated_provider.charges")
    await connection.close()
    assert made == 40
