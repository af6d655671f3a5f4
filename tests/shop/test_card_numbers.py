"""After a run nothing of a card number or an address is found: not in logs, files or the database."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import httpx
import pytest

from storage.embedded import socket_folder
from tests.card_search import grep_for_card_numbers
from tests.shop.running import ADDRESS, Basket, Shop, checkout_body, fill_basket, run_command

pytestmark = [pytest.mark.shop, pytest.mark.timeout(240)]

NUMBERS = ("4242424242424242", "5555555555554444", "3782 822463 10005", "6011-1111-1111-1117")
SYSLOG_PORT = 514
STREET = f"{uuid4().hex[:8]} Quiet Lane"
PATHS = {
    "GET": (
        "/api/v1/products/search",
        "/api/v1/cart",
        "/api/v1/orders/order_01h455vb4pex5vsknk084sn02q",
        "/api/v1/live",
        "/api/v1/ops/overview",
        "/",
    ),
    "POST": (
        "/api/v1/cart/items",
        "/api/v1/orders/checkout",
        "/api/v1/fraud/score",
        "/api/v1/fraud/score/batch",
        "/nowhere",
    ),
}


def _requests(number: str, headers: dict[str, str]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path in PATHS["GET"]:
        yield "GET", path, {"params": {"q": number}}
        yield "GET", f"{path.rstrip('/')}/{number}", {}
        yield "GET", path, {"headers": {"User-Agent": f"card {number}"}}
    for path in PATHS["POST"]:
        yield "POST", path, {"json": {"deep": [{"note": f"my card is {number}!"}]}}
        yield "POST", path, {"content": f"card={number}&cvc=123"}
        yield "POST", path, {"json": {}, "headers": {**headers, "Idempotency-Key": number}}


def _refused(answer: httpx.Response, number: str) -> None:
    assert answer.status_code == 422, answer.text
    assert answer.json()["type"] == "/problems/card_number_refused"
    assert number not in answer.text


def _buy(
    http: httpx.Client, basket: Basket, card_id: str = "card_xyz789", **address: str
) -> httpx.Response:
    body = checkout_body(basket.cart_id, card_id=card_id)
    body["shipping_address"] = {**ADDRESS, **address}
    return http.post("/api/v1/orders/checkout", json=body, headers=basket.headers)


def _open_socket(shop: Shop, number: str) -> str:
    """The status line of a WebSocket's handshake whose address carries the number."""
    with socket.create_connection(("127.0.0.1", shop.port), timeout=10) as wire:
        target = f"/api/v1/live?last_event_id={number.replace(' ', '%20')}"
        lines = (f"GET {target} HTTP/1.1", "Host: shop", "Upgrade: websocket")
        lines += ("Connection: Upgrade", "Sec-WebSocket-Version: 13")
        lines += ("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "", "")
        wire.sendall("\r\n".join(lines).encode())
        return wire.recv(4_096).decode(errors="replace").splitlines()[0]


@pytest.fixture
def syslog() -> Iterator[socket.socket]:
    """What a syslog daemon would hear, where HAProxy sends its access log unless told otherwise."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as daemon:
        try:
            daemon.bind(("127.0.0.1", SYSLOG_PORT))
        except OSError as error:
            pytest.skip(f"nobody can listen as a syslog daemon here: {error}")
        daemon.setblocking(False)
        yield daemon


def test_the_proxy_logs_no_addresses(shop: Shop, http: httpx.Client, syslog: socket.socket) -> None:
    for _ in range(5):
        _refused(http.get("/", params={"q": NUMBERS[0]}), NUMBERS[0])
    assert shop.is_ready()
    with pytest.raises(BlockingIOError):
        syslog.recv(65_536)


def test_nothing_of_a_card_or_an_address_is_found_after_a_run(
    shop: Shop, http: httpx.Client
) -> None:
    hot = asyncio.run(shop.stock_up(50))
    basket = fill_basket(http, hot.product_id)
    for number in NUMBERS:
        for method, path, arguments in _requests(number, basket.headers):
            _refused(http.request(method, path, **arguments), number)
        for field in ("name", "street", "zip", "planet"):
            _refused(_buy(http, basket, **{field: number}), number)
        _refused(_buy(http, basket, f"card_{number}"), number)
        assert " 101 " not in _open_socket(shop, number)
    answer = _buy(http, basket, street=STREET)
    assert answer.status_code == 201, answer.text
    done = run_command("keys", "status", "--home", str(shop.home), "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert sum(json.loads(done.stdout)["keys"].values()) >= 1

    # Spaces and dashes may be written in several ways; the digits between them are enough.
    texts = [STREET, *NUMBERS[:2], "822463 10005", "822463%2010005", "1111-1111-1117"]

    async def search() -> list[str]:
        async with shop.parts() as parts:
            found = await grep_for_card_numbers(shop.home, parts.pool, also=texts)
            return found + await grep_for_card_numbers(socket_folder(shop.home), None, also=texts)

    assert asyncio.run(search()) == []


def test_the_search_finds_what_is_there(shop: Shop) -> None:
    async def search() -> list[str]:
        async with shop.parts() as parts:
            await parts.pool.execute(
                "CREATE TABLE leak AS SELECT '{\"card\": 4242424242424242}'::jsonb AS leaked"
            )
            try:
                return await grep_for_card_numbers(None, parts.pool)
            finally:
                await parts.pool.execute("DROP TABLE leak")

    assert asyncio.run(search()) == ["public.leak.leaked"]
    log = shop.home / "logs" / "leak.log"
    log.write_text("INFO: GET /?q=4242%204242 4242 4242 4242 4242\n")
    try:
        assert asyncio.run(grep_for_card_numbers(shop.home / "logs", None)) == [str(log)]
    finally:
        log.unlink()
