"""Bad input: the right problem for each, and afterwards everything is as it was before."""

from __future__ import annotations

import copy
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
import pytest_asyncio

from serve_apps.http import BODY_LIMIT_BYTES
from tests.serve_apps.conftest import ADDRESS, Shop, Shopper, assert_problem

pytestmark = pytest.mark.asyncio(loop_scope="module")

CHECKOUT = "/api/v1/orders/checkout"
CARD_NUMBER = "4242424242424242"
NUL, EMOJI, LONE = "a\x00b", "🛒", "\ud83d"
GONE = object()
"""As a value in `changed`: the field is left out."""

# Names that begin with $ stand for what the stage has (Stage.names).
ITEM: dict[str, Any] = {
    "product_id": "$tee",
    "quantity": 1,
    "options": {"Size": "S"},
    "variant_id": "$TEE-S",
}
ORDER: dict[str, Any] = {
    "cart_id": "$cart",
    "shipping_address": dict(ADDRESS),
    "billing_address": dict(ADDRESS),
    "payment_method": {"type": "card", "card_id": "card_xyz789"},
    "shipping_method": "standard",
}


def changed(body: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """The body with the field at `a.b.c` replaced, added, or (GONE) left out."""
    whole = copy.deepcopy(body)
    *way, last = path.split(".")
    inner = whole
    for name in way:
        inner = inner[name]
    inner[last] = value
    if value is GONE:
        del inner[last]
    return whole


@dataclass(frozen=True, kw_only=True)
class Case:
    """One bad request and the problem it is answered with."""

    name: str
    method: str = "POST"
    path: str
    body: Any = GONE
    """As JSON, if it is not bytes."""
    mangle: Callable[[bytes], bytes] = bytes
    headers: dict[str, Any] = field(default_factory=dict[str, Any])
    """Over the usual ones; GONE leaves one out."""
    streamed: bool = False
    status: int = 422
    kind: str = "validation"
    names: str | None = None
    """The field that the problem has to name."""


def item(name: str, path: str = "", value: Any = None, **more: Any) -> Case:
    """A case for adding to the cart: one field changed, or a whole other body."""
    more.setdefault("body", changed(ITEM, path, value) if path else ITEM)
    return Case(name=f"item: {name}", path="cart/items", **more)


def order(name: str, path: str = "", value: Any = None, **more: Any) -> Case:
    """A case for checking out."""
    more.setdefault("body", changed(ORDER, path, value) if path else ORDER)
    return Case(name=f"order: {name}", path="orders/checkout", **more)


class Stage:
    """A buyer with a filled cart, and a stranger who has a cart and an order."""

    def __init__(self, shop: Shop, buyer: Shopper, stranger: Shopper, order_id: str) -> None:
        self.shop = shop
        self.buyer = buyer
        self.stranger = stranger
        self.names = {
            **{f"${handle}": one for handle, one in shop.product_ids.items()},
            **{f"${sku}": one for sku, one in shop.variant_ids.items()},
            "$cart": buyer.cart_id,
            "$strangers_cart": stranger.cart_id,
            "$strangers_order": order_id,
        }

    def named(self, value: Any) -> Any:
        """The value with all names replaced."""
        if isinstance(value, dict):
            return {self.named(key): self.named(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [self.named(inner) for inner in value]
        return self.names.get(value, value) if isinstance(value, str) else value

    def path(self, path: str) -> str:
        whole = "/".join(str(self.named(part)) for part in path.split("/"))
        return whole if whole.startswith("/") else f"/api/v1/{whole}"

    async def send(self, case: Case) -> httpx.Response:
        headers: dict[str, Any] = {**self.buyer.headers, "Idempotency-Key": "bad input"}
        content: Any = None
        if case.body is not GONE:
            headers["Content-Type"] = "application/json"
            plain = case.body
            if not isinstance(plain, bytes):
                plain = json.dumps(self.named(plain)).encode()
            content = _in_parts(case.mangle(plain)) if case.streamed else case.mangle(plain)
        headers = {k: v for k, v in {**headers, **case.headers}.items() if v is not GONE}
        url = self.path(case.path)
        return await self.shop.client.request(case.method, url, content=content, headers=headers)

    async def state(self) -> dict[str, Any]:
        """All that a request could have changed."""
        carts = [await self.buyer.cart(), await self.stranger.cart()]
        return {"books": await self.shop.books(), "carts": carts}


async def _in_parts(body: bytes) -> AsyncIterator[bytes]:
    for begin in range(0, len(body), 10_000):
        yield body[begin : begin + 10_000]


async def open_stage(standing_shop: Shop) -> Stage:
    """The stage on this shop."""
    buyer = await standing_shop.shopper("LAPTOP", 2)
    stranger = await standing_shop.shopper("TEE-M")
    bought = await stranger.checkout()
    assert bought.status_code == 201
    while (await stranger.cart())["items"]:  # what was bought leaves the cart
        pass
    await stranger.add("TEE-M")
    return Stage(standing_shop, buyer, stranger, bought.json()["order_id"])


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(standing_shop: Shop) -> Stage:
    return await open_stage(standing_shop)


_NOT_QUANTITIES: dict[str, Any] = {
    "zero": 0,
    "negative": -1,
    "one too many": 1000,
    "10^12": 10**12,
    "beyond 64 bits": 2**64,
    "400 digits": 10**400,
    "5,000 digits": GONE,
    "a fraction": 1.5,
    "a whole number written as a fraction": 1e0,
    "text": "2",
    "true": True,
    "null": None,
    "NaN": float("nan"),
    "Infinity": float("inf"),
    "-Infinity": float("-inf"),
    "a list": [1],
    "an object": {"$gt": 0},
}
QUANTITIES = [
    item(f"quantity {name}", "quantity", value, names="quantity")
    for name, value in _NOT_QUANTITIES.items()
    if value is not GONE
] + [
    item("quantity of 5,000 digits", mangle=lambda b: b.replace(b": 1,", b": " + b"9" * 5_000 + b",")),
    item("no quantity", "quantity", GONE, names="quantity"),
    *[
        Case(
            name=f"line: quantity {name}",
            method="PATCH",
            path="cart/items/$LAPTOP",
            body={"quantity": value},
            names="quantity",
        )
        for name, value in _NOT_QUANTITIES.items()
        if value != 0 and value is not GONE
    ],
]  # fmt: skip

_BODIES: dict[str, Any] = {
    "malformed": b'{"product_id": ',
    "nothing": b"",
    "white space": b"   ",
    "a list": [],
    "a list around it": [ITEM],
    "text": "hello",
    "a number": 7,
    "null": None,
    "a form": b"product_id=1&quantity=1",
    "two documents": b"{}{}",
    "a trailing comma": b'{"quantity": 1,}',
    "a comment": b'{"quantity": 1 /* one */}',
    "a byte order mark": b"\xef\xbb\xbf{}",
    "UTF-16": "{}".encode("utf-16"),
    "deep lists": b"[" * 30_000 + b"]" * 30_000,
    "deep objects": b'{"a":' * 9_000 + b"1" + b"}" * 9_000,
    "unclosed lists": b"[" * 60_000,
    "an empty object": {},
    "one name twice, the last one bad": b'{"quantity": 1, "quantity": -1}',
    "many unknown fields": {f"field{n}": n for n in range(2_000)},
    "a field with a huge name": {"x" * 60_000: 1},
}
BODIES = [
    make(f"body is {name}", body=body) for make in (item, order) for name, body in _BODIES.items()
]

_STRINGS: list[tuple[Callable[..., Case], dict[str, Any], tuple[str, ...]]] = [
    (item, ITEM, ("product_id", "variant_id", "options.Size")),
    (
        order,
        ORDER,
        (
            "cart_id",
            "payment_method.type",
            "payment_method.card_id",
            "payment_method.return_url",
            "shipping_method",
            *[f"shipping_address.{name}" for name in ADDRESS],
            *[f"billing_address.{name}" for name in ADDRESS],
        ),
    ),
]
STRINGS = [
    make(f"{path} {name}", path, value)
    for make, _, paths in _STRINGS
    for path in paths
    for name, value in {
        "with NUL": NUL,
        "with a lone surrogate": LONE,
        "empty": "",
        "too long": "x" * 10_000,
        "a number": 7,
        "a list": ["US"],
        "false": False,
    }.items()
] + [
    make(f"{path} not UTF-8", path, "@@@", mangle=lambda b: b.replace(b"@@@", b"\xff\xfe"))
    for make, _, paths in _STRINGS
    for path in paths
]

UNKNOWN_FIELDS = [
    item("an unknown field", "price", 0.01, names="price"),
    item("an unknown field named as a prototype", "__proto__", {}, names="__proto__"),
    order("an unknown field", "total", 0.01, names="total"),
    order("another's id", "user_id", "$strangers_cart", names="user_id"),
    order("an unknown address field", "shipping_address.planet", "Mars"),
    order("an unknown payment field", "payment_method.cvc", "123"),
]

PRODUCTS = [
    item("unknown product", "product_id", "prod_00000000000000000000000000",
         status=404, kind="not_found"),
    item("product id without a form", "product_id", "1", status=404, kind="not_found"),
    item("product id of another kind", "product_id", "$TEE-S", status=404, kind="not_found"),
    item("product id with emoji", "product_id", EMOJI, status=404, kind="not_found"),
    item("product id above 128 bits", "product_id", "prod_zzzzzzzzzzzzzzzzzzzzzzzzzz",
         status=404, kind="not_found"),
    item("SQL", "product_id", "'; DROP TABLE orders; --", status=404, kind="not_found"),
    item("another product's variant", "variant_id", "$VASE"),
    item("unknown variant", "variant_id", "var_00000000000000000000000000"),
    item("variant id without a form", "variant_id", "S", names="variant_id"),
    item("unknown option", "options", {"Colour": "Red"}),
    item("unknown option value", "options", {"Size": EMOJI}),
    item("NUL in an option's name", "options", {NUL: "S"}),
    item("too many options", "options", {f"o{n}": "S" for n in range(21)}, names="options"),
    item("no choice among variants", body={"product_id": "$tee", "quantity": 1}),
    item("more than fits a line", body={"product_id": "$laptop", "quantity": 998}),
    Case(name="line: unknown", method="PATCH", body={"quantity": 1},
         path="cart/items/var_00000000000000000000000000", status=404, kind="not_found"),
    Case(name="line: no id", method="PATCH", path="cart/items/1", body={"quantity": 1}),
    Case(name="line: removing no id", method="DELETE", path="cart/items/1"),
    Case(name="line: NUL", method="DELETE", path="cart/items/%00"),
    Case(name="line: not UTF-8", method="DELETE", path="cart/items/%ff"),
]  # fmt: skip

ORDERS = [
    order("no cart", "cart_id", GONE, names="cart_id"),
    order("unknown cart", "cart_id", "cart_00000000000000000000000000",
          status=404, kind="not_found"),
    order("cart id without a form", "cart_id", EMOJI, status=404, kind="not_found"),
    order("another's cart", "cart_id", "$strangers_cart", status=404, kind="not_found"),
    order("unknown shipping method", "shipping_method", "drone", names="shipping_method"),
    order("country in lower case", "shipping_address.country", "us"),
    order("country with three letters", "shipping_address.country", "usa"),
    order("country with a line break", "shipping_address.country", "US\n"),
    order("no country", "shipping_address.country", GONE),
    order("address of white space", "shipping_address.street", "   "),
    order("address of nothing that shows", "shipping_address.street", "\u200b\u3164",
          names="shipping_address.street"),
    order("zip of marks", "shipping_address.zip", "\u0301" * 3, names="shipping_address.zip"),
    order("a name twice", mangle=lambda body: body[:-1] + b',"shipping_method":"standard"}',
          names="shipping_method"),
    order("a name twice, deep and escaped", names="city",
          mangle=lambda body: body.replace(b'"zip"', b'"c\\u0069ty":"Rome","zip"')),
    item("a name twice", mangle=lambda body: body[:-1] + b',"quantity" : 2}', names="quantity"),
    order("no address", "shipping_address", GONE),
    order("another payment type", "payment_method.type", "cash"),
    order("return address with NUL", "payment_method.return_url", "http://a\x00b"),
    order("card token with a line break", "payment_method.card_id", "card_1\n"),
    Case(name="another's order", method="GET", path="orders/$strangers_order",
         status=404, kind="not_found"),
    Case(name="unknown order", method="GET", path="orders/order_00000000000000000000000000",
         status=404, kind="not_found"),
    Case(name="order id without a form", method="GET", path="orders/%F0%9F%9B%92",
         status=404, kind="not_found"),
    Case(name="order id with NUL", method="GET", path="orders/%00",
         status=404, kind="not_found"),
]  # fmt: skip

_WHOLE = {"Idempotency-Key": GONE}
HEADERS = [
    order("no key", headers=_WHOLE, status=400, kind="idempotency_key_missing"),
    order("empty key", headers={"Idempotency-Key": ""}, status=400, kind="idempotency_key_missing"),
    order("blank key", headers={"Idempotency-Key": " "}, status=400,
          kind="idempotency_key_missing"),
    order("overlong key", headers={"Idempotency-Key": "k" * 256}, names="Idempotency-Key"),
    order("tab in the key", headers={"Idempotency-Key": "a\tb"}, names="Idempotency-Key"),
    order("escape in the key", headers={"Idempotency-Key": b"a\x1bb"}, names="Idempotency-Key"),
    order("NUL in the key", headers={"Idempotency-Key": b"a\x00b"}, names="Idempotency-Key"),
    order("C1 control in the key", headers={"Idempotency-Key": b"a\x9bb"},
          names="Idempotency-Key"),
    *[
        make(f"sent as {'nothing' if media_type is GONE else media_type}", headers={"Content-Type": media_type}, status=415,
             kind="unsupported_media_type")
        for make in (item, order)
        for media_type in ("text/plain", "application/x-www-form-urlencoded", "text/json",
                           "application/jsonp", "multipart/form-data; boundary=x", "", GONE)
    ],
    *[
        make(f"token {name}", headers={"Authorization": token}, status=401, kind="unauthorized")
        for make in (item, order)
        for name, token in {
            "empty": "",
            "without a scheme": "user_1",
            "missing after the scheme": "Bearer",
            "blank": "Bearer ",
            "made up": "Bearer hello",
            "unsigned": "Bearer user_00000000000000000000000000",
            "forged": "Bearer user_00000000000000000000000000." + "0" * 32,
            "with another scheme": "Basic dXNlcjpwYXNz",
            "not ASCII": "Bearer é.é".encode(),
            "huge": "Bearer " + "x" * 50_000,
        }.items()
    ],
    order("no token", headers={"Authorization": GONE}, status=401, kind="unauthorized"),
    Case(name="cart without a token", method="GET", path="cart",
         headers={"Authorization": GONE}, status=401, kind="unauthorized"),
    Case(name="order without a token", method="GET", path="orders/$strangers_order",
         headers={"Authorization": GONE}, status=401, kind="unauthorized"),
    Case(name="line without a token", method="DELETE", path="cart/items/$LAPTOP",
         headers={"Authorization": GONE}, status=401, kind="unauthorized"),
]  # fmt: skip

_OVERSIZE = b" " * BODY_LIMIT_BYTES + b"{}"
SIZES = [
    make(f"oversize, {how}", body=_OVERSIZE, streamed=streamed, status=413, kind="too_large")
    for make in (item, order)
    for how, streamed in (("saying so", False), ("not saying so", True))
] + [
    make(f"length {value[:20]}", headers={"Content-Length": value}, status=413, kind="too_large")
    for make in (item, order)
    for value in ("-1", "1e9", "9" * 20, "9" * 5_000)
]

PATHS = [
    Case(name=f"{method} {path}", method=method, path=path, status=status, kind=kind)
    for status, kind, paths in (
        (
            405,
            "method_not_allowed",
            ("GET cart/items", "PUT cart/items", "POST cart", "PUT cart/items/$LAPTOP",
             "DELETE orders/$strangers_order", "PUT orders/checkout", "DELETE products/search",
             "GET fraud/score", "POST products/$laptop", "BREW orders/checkout"),
        ),
        (
            404,
            "not_found",
            ("GET nothing", "GET carts", "GET cart/nothing/at/all", "POST orders", "GET orders",
             "GET orders/$strangers_order/nothing", "GET products", "GET products/1",
             "GET fraud", "GET /nothing", "GET /api/v2/cart", "GET /docs-assets/nothing.js",
             "GET /media/nothing.svg", "GET /docs-assets/..%2f..%2fpyproject.toml"),
        ),
    )
    for method, _, path in [one.partition(" ") for one in paths]
]  # fmt: skip

CASES = [
    *QUANTITIES, *BODIES, *STRINGS, *UNKNOWN_FIELDS, *PRODUCTS, *ORDERS, *HEADERS, *SIZES, *PATHS,
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_is_refused_and_changes_nothing(stage: Stage, case: Case) -> None:
    before = await stage.state()

    answer = await stage.send(case)

    problem = assert_problem(answer, case.status, case.kind)
    if case.kind == "validation":
        assert problem["errors"]
        assert all(error.keys() == {"field", "message"} for error in problem["errors"])
    if case.names:
        assert [error["field"] for error in problem["errors"]] == [case.names]
    if case.kind == "unauthorized":
        assert answer.headers["www-authenticate"].startswith("Bearer")
    if case.kind == "method_not_allowed":
        allowed = answer.headers["allow"].split(", ")
        assert case.method not in allowed
        if case.path == "cart/items/$LAPTOP":
            assert allowed == ["DELETE", "PATCH"]
    assert len(answer.content) < 8_000
    assert await stage.state() == before


@pytest.mark.parametrize(
    "path", ["payment_method.card_id", "payment_method.type", "payment_method", "card_number"]
)
async def test_a_card_number_is_refused_and_not_said_again(stage: Stage, path: str) -> None:
    before = await stage.state()
    for number in (CARD_NUMBER, f"card_{CARD_NUMBER}", f"card-{CARD_NUMBER}", int(CARD_NUMBER)):
        answer = await stage.send(order("card number", path, number))
        assert_problem(answer, 422, "card_number_refused")
        assert CARD_NUMBER not in answer.text
    assert await stage.state() == before


async def test_a_token_cut_short_or_altered_is_no_token(stage: Stage) -> None:
    token = stage.buyer.token
    bad = [token[:-1], token[1:], f"{token}0", token.upper(), token.replace(".", "")]
    bad.append(stage.stranger.token.partition(".")[0] + "." + token.partition(".")[2])
    for one in bad:
        answer = await stage.send(order("token", headers={"Authorization": f"Bearer {one}"}))
        assert_problem(answer, 401, "unauthorized")


async def test_every_bad_field_is_named(stage: Stage) -> None:
    body = changed(changed(ORDER, "shipping_address.country", "usa"), "shipping_method", "drone")
    problem = (await stage.send(order("both", body=changed(body, "cart_id", GONE)))).json()
    assert {error["field"] for error in problem["errors"]} == {
        "cart_id",
        "shipping_address.country",
        "shipping_method",
    }


async def test_two_keys_are_refused_and_the_same_one_twice_is_one(stage: Stage) -> None:
    before = await stage.state()
    content = json.dumps(stage.named(ORDER))
    usual = [*stage.buyer.headers.items(), ("Content-Type", "application/json")]
    for keys in (("one", "two"), ("two", "one"), ("one", "")):
        headers = [*usual, *(("Idempotency-Key", key) for key in keys)]
        answer = await stage.shop.client.post(CHECKOUT, content=content, headers=headers)
        assert_problem(answer, 400, "idempotency_keys_differ")
    assert await stage.state() == before
    shopper = await stage.shop.shopper("VASE")
    headers = [*shopper.headers.items(), *[("Idempotency-Key", "twice the same")] * 2]
    answer = await stage.shop.client.post(CHECKOUT, json=shopper.order_body(), headers=headers)
    assert answer.status_code == 201, answer.text


async def test_an_allowed_media_type_may_have_parameters(stage: Stage) -> None:
    shopper = await stage.shop.shopper()
    headers = {"Content-Type": "Application/JSON; charset=utf-8"}
    content = json.dumps({"product_id": stage.shop.product_of["VASE"], "quantity": 1})
    answer = await shopper.call("POST", "cart/items", content=content, headers=headers)
    assert answer.status_code == 200, answer.text
