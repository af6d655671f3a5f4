"""A shopper's journey: search, product page, cart, checkout, with its repeats.

Written once, without I/O: a generator that yields what to ask next and is sent the answer.
`go_shopping` drives it over asyncio; the Locust file drives the same one over gevent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from dataclasses import dataclass
from enum import StrEnum
from random import Random
from time import perf_counter
from typing import Any

import orjson

from sim.http_client import HttpClient
from sim.http_messages import Outcome, Request, TransportFailure
from sim.load import problem_type
from sim.shoppers import (
    DECLINED_CARD,
    LINES_MAX,
    HotProduct,
    Shopper,
    add_request,
    checkout_request,
    draw_address,
    draw_zipf,
    product_request,
    search_request,
)

TRIES_MAX = 6
"""How often one step is asked in all, when no answer or "busy" comes back."""

RETRY_PAUSE_S_FIRST = 0.1
RETRY_PAUSE_S_MAX = 2.0
"""Pause before a step is asked again; doubles from the first to the max, with jitter."""

RETRY_AFTER_S_MAX = 5.0
"""A longer `Retry-After` is cut to this: a shopper's patience ends."""

_RETRIED_PROBLEMS = frozenset({"busy", "not_ready", "idempotency_key_in_flight"})


class StepName(StrEnum):
    """The steps of a journey."""

    SEARCH = "search"
    PRODUCT = "product"
    CART = "cart"
    CHECKOUT = "checkout"


class JourneyOutcome(StrEnum):
    """How a journey ended. A refusal that the API names is `rejected`, the rest is `error`."""

    CONFIRMED = "confirmed"
    REJECTED = "rejected"
    ERROR = "error"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What to ask next, after a pause of `pause_s` seconds."""

    name: StepName
    request: Request
    pause_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came back; `status` 0 and the kind of failure when nothing did."""

    status: int
    body: bytes = b""
    retry_after_s: float | None = None
    failure: str | None = None
    elapsed_ms: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """Units of one variant in a cart, as the shop answered."""

    product_id: str
    variant_id: str
    quantity: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Journey:
    """How one shopper fared."""

    outcome: JourneyOutcome
    problem: str | None
    """The problem type of a refusal; for an error, what it was."""
    refused_at: StepName | None
    order_id: str | None
    lines: tuple[Line, ...]
    """What was in the cart at checkout."""
    step_ms: tuple[tuple[StepName, float], ...]
    """Milliseconds per step, repeats and their pauses included."""
    faults: tuple[str, ...]
    """Every 5xx (as `503 busy`) and transport failure met, those later made good included."""


JourneySteps = Generator[Step, Answer, Journey]


class _StoppedError(Exception):
    """Ends the journey early; carries how."""

    def __init__(self, outcome: JourneyOutcome, problem: str, step: StepName) -> None:
        super().__init__(problem)
        self.outcome = outcome
        self.problem = problem
        self.step = step


class _Trip:
    """What one journey has gathered so far."""

    def __init__(self, shopper: Shopper) -> None:
        self._shopper = shopper
        self._step_ms: list[tuple[StepName, float]] = []
        self._faults: list[str] = []
        self.token: str | None = None
        self.cart_id: str | None = None
        self.lines: tuple[Line, ...] = ()

    def ask(self, name: StepName, request: Request) -> Generator[Step, Answer, dict[str, Any]]:
        """One step with its repeats: the answer's JSON, or `_StoppedError`."""
        elapsed_ms = 0.0
        pause_s = 0.0
        tried = 0
        while True:
            tried += 1
            answer = yield Step(name=name, request=request, pause_s=pause_s)
            elapsed_ms += answer.elapsed_ms + pause_s * 1000.0
            problem = _problem_of(answer)
            if answer.status == 0 or answer.status >= 500:
                self._faults.append(_fault_name(answer, problem))
            if tried == TRIES_MAX or not _worth_repeating(answer, problem):
                break
            pause_s = _pause_s(self._shopper.rng, tried, answer.retry_after_s)
        self._step_ms.append((name, elapsed_ms))
        if problem is None:
            return _read_object(answer, name)
        named = 400 <= answer.status < 500 or answer.status == 503
        outcome = JourneyOutcome.REJECTED if named else JourneyOutcome.ERROR
        raise _StoppedError(outcome, problem, name)

    def note_cart(self, cart: dict[str, Any]) -> None:
        self.token = cart.get("token") or self.token
        self.cart_id = cart["cart_id"]
        self.lines = tuple(
            Line(
                product_id=item["product_id"],
                variant_id=item["variant_id"],
                quantity=item["quantity"],
            )
            for item in cart["items"]
        )

    def end(
        self,
        outcome: JourneyOutcome,
        *,
        problem: str | None = None,
        refused_at: StepName | None = None,
        order_id: str | None = None,
    ) -> Journey:
        return Journey(
            outcome=outcome,
            problem=problem,
            refused_at=refused_at,
            order_id=order_id,
            lines=self.lines,
            step_ms=tuple(self._step_ms),
            faults=tuple(self._faults),
        )


def journey_steps(shopper: Shopper) -> JourneySteps:
    """The whole journey: yields steps, is sent answers, returns how it ended. Never raises for
    anything a shop can answer."""
    trip = _Trip(shopper)
    try:
        yield from _fill_cart(trip, shopper)
        order = yield from _buy(trip, shopper)
    except _StoppedError as stopped:
        return trip.end(stopped.outcome, problem=stopped.problem, refused_at=stopped.step)
    except (KeyError, TypeError, IndexError) as error:
        return trip.end(JourneyOutcome.ERROR, problem=f"unexpected answer: {error!r}"[:80])
    if order["status"] != "confirmed":
        return trip.end(
            JourneyOutcome.REJECTED,
            problem=f"order_{order['status']}",
            refused_at=StepName.CHECKOUT,
            order_id=order["order_id"],
        )
    return trip.end(JourneyOutcome.CONFIRMED, order_id=order["order_id"])


def _fill_cart(trip: _Trip, shopper: Shopper) -> Generator[Step, Answer, None]:
    rng = shopper.rng
    if shopper.rush and shopper.hot is not None:
        hot = shopper.hot
        yield from trip.ask(StepName.SEARCH, search_request(query=hot.query))
        yield from _add(
            trip,
            hot.product_id,
            quantity=1,
            choose=lambda variants: hot.variant_id or variants[0]["variant_id"],
        )
        return
    for _ in range(rng.randint(1, LINES_MAX)):
        found = yield from trip.ask(StepName.SEARCH, _draw_search(shopper))
        product_ids = _choosable(found, shopper.hot)
        if not product_ids:
            found = yield from trip.ask(StepName.SEARCH, search_request())
            product_ids = _choosable(found, shopper.hot)
        if not product_ids:
            raise _StoppedError(JourneyOutcome.REJECTED, "nothing_found", StepName.SEARCH)
        product_id = product_ids[draw_zipf(rng, len(product_ids))]
        yield from _add(
            trip,
            product_id,
            quantity=rng.choice((1, 1, 1, 2)),
            choose=lambda variants: _draw_variant(rng, variants),
        )


def _draw_search(shopper: Shopper) -> Request:
    rng, known = shopper.rng, shopper.assortment
    if known.categories and (not known.words or rng.random() < 0.4):
        return search_request(category=rng.choice(known.categories))
    return search_request(query=rng.choice(known.words) if known.words else "")


def _choosable(found: dict[str, Any], hot: HotProduct | None) -> list[str]:
    hot_id = hot.product_id if hot is not None else None
    return [
        result["product_id"]
        for result in found["results"]
        if result["in_stock"] and result["product_id"] != hot_id
    ]


def _add(
    trip: _Trip, product_id: str, *, quantity: int, choose: Callable[[list[dict[str, Any]]], str]
) -> Generator[Step, Answer, None]:
    page = yield from trip.ask(StepName.PRODUCT, product_request(product_id))
    request = add_request(
        product_id=product_id,
        variant_id=choose(page["variants"]),
        quantity=quantity,
        token=trip.token,
    )
    trip.note_cart((yield from trip.ask(StepName.CART, request)))


def _buy(trip: _Trip, shopper: Shopper) -> Generator[Step, Answer, dict[str, Any]]:
    rng = shopper.rng
    if trip.token is None or trip.cart_id is None:
        raise _StoppedError(JourneyOutcome.ERROR, "no_guest_token", StepName.CART)
    declined = rng.random() < shopper.declined_share
    request = checkout_request(
        cart_id=trip.cart_id,
        token=trip.token,
        idempotency_key=shopper.new_key(),
        address=draw_address(rng),
        card_id=DECLINED_CARD if declined else f"card_{rng.getrandbits(64):016x}",
        shipping_method=rng.choice(("standard", "standard", "express")),
    )
    order = yield from trip.ask(StepName.CHECKOUT, request)
    return order


def _draw_variant(rng: Random, variants: list[dict[str, Any]]) -> str:
    """One that is there to buy; any, when none is."""
    there = [variant for variant in variants if variant["available"] > 0]
    return rng.choice(there or variants)["variant_id"]


async def go_shopping(client: HttpClient, shopper: Shopper) -> Journey:
    """Sends one shopper through the shop; returns how it ended, raises for nothing it answers."""
    steps = journey_steps(shopper)
    try:
        step = next(steps)
        while True:
            if step.pause_s:
                await asyncio.sleep(step.pause_s)
            started = perf_counter()
            outcome = await client.send(step.request)
            step = steps.send(_to_answer(outcome, (perf_counter() - started) * 1000.0))
    except StopIteration as stopped:
        return stopped.value


# reading answers


def _to_answer(outcome: Outcome, elapsed_ms: float) -> Answer:
    if isinstance(outcome, TransportFailure):
        return Answer(status=0, failure=outcome.kind.value, elapsed_ms=elapsed_ms)
    return Answer(
        status=outcome.status,
        body=outcome.body,
        retry_after_s=read_retry_after(outcome.headers.get("retry-after")),
        elapsed_ms=elapsed_ms,
    )


def read_retry_after(value: str | None) -> float | None:
    """Seconds of a `Retry-After` header; None without one or for the form with a date."""
    return float(value) if value is not None and value.strip().isdecimal() else None


def _problem_of(answer: Answer) -> str | None:
    if answer.status == 0:
        return answer.failure or "no answer"
    return problem_type(answer.body) if answer.status >= 400 else None


def _fault_name(answer: Answer, problem: str | None) -> str:
    return f"{answer.status} {problem}" if answer.status else f"{problem}"


def _worth_repeating(answer: Answer, problem: str | None) -> bool:
    return problem is not None and (
        answer.status == 0 or answer.status in (502, 503, 504) or problem in _RETRIED_PROBLEMS
    )


def _pause_s(rng: Random, tried: int, retry_after_s: float | None) -> float:
    if retry_after_s is not None:
        return min(retry_after_s, RETRY_AFTER_S_MAX)
    grown = RETRY_PAUSE_S_FIRST * 2.0 ** (tried - 1)
    return min(grown, RETRY_PAUSE_S_MAX) * rng.uniform(0.5, 1.0)


def _read_object(answer: Answer, name: StepName) -> dict[str, Any]:
    try:
        document = orjson.loads(answer.body)
    except orjson.JSONDecodeError:
        document = None
    if not isinstance(document, dict):
        raise _StoppedError(JourneyOutcome.ERROR, f"{answer.status} without a JSON object", name)
    return document
