"""The shopper's journey under Locust, against any running shop:

    locust -f sim/locustfile.py --host http://127.0.0.1:8000 --hot-product prod_…

Shoppers, their requests and their repeats are those of `sim.shoppers` and `sim.journey`; only the
sending is Locust's. "Sold out" and a declined card are outcomes a sale expects, reported under
their own names and not as failures.
"""

from __future__ import annotations

import itertools
from argparse import ArgumentParser
from random import Random
from time import perf_counter
from typing import Any
from uuid import uuid4

import gevent
from locust import FastHttpUser, events, task
from locust.env import Environment
from locust.exception import StopUser

from sim.http_messages import Request
from sim.journey import Answer, StepName, journey_steps, read_retry_after
from sim.load import problem_type
from sim.shoppers import Assortment, HotProduct, Shopper, read_assortment, search_request

ASSORTMENT_LIMIT = 100
EXPECTED_REFUSALS = {"out_of_stock": "sold out", "payment_declined": "card declined"}
"""Problem types that are part of a sale, and the name they are reported under."""


@events.init_command_line_parser.add_listener
def add_options(parser: ArgumentParser) -> None:
    """Options of the journey, each also settable by environment."""
    parser.add_argument(
        "--hot-product",
        env_var="DOORBUSTER_HOT_PRODUCT",
        default="",
        help="Id of the product of the rush (prod_…); without it everybody shops around",
    )  # pyright: ignore[reportCallIssue] -- Locust's parser takes env_var
    parser.add_argument(
        "--hot-share",
        env_var="DOORBUSTER_HOT_SHARE",
        type=float,
        default=0.8,
        help="Share of shoppers, 0 to 1, who come for the hot product",
    )  # pyright: ignore[reportCallIssue]
    parser.add_argument(
        "--think-seconds",
        env_var="DOORBUSTER_THINK_SECONDS",
        type=float,
        default=1.0,
        help="Average pause of a user between two journeys",
    )  # pyright: ignore[reportCallIssue]
    parser.add_argument(
        "--journeys",
        env_var="DOORBUSTER_JOURNEYS",
        type=int,
        default=0,
        help="Stop after this many journeys in all; 0 means until Locust is stopped",
    )  # pyright: ignore[reportCallIssue]
    parser.add_argument(
        "--shopper-seed",
        env_var="DOORBUSTER_SHOPPER_SEED",
        type=int,
        default=1,
        help="Seed of names, addresses, searches and choices",
    )  # pyright: ignore[reportCallIssue]


_user_numbers = itertools.count()
_entered = itertools.count(1)
_left = itertools.count(1)


class ShopperUser(FastHttpUser):
    """One place in the shop: a new guest with every journey."""

    environment: Environment

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        options = self._options = _options_of(environment)
        self._rng = Random(f"{options.shopper_seed}/{next(_user_numbers)}")
        self._assortment = Assortment(words=(), categories=())
        self._hot: HotProduct | None = None

    def wait_time(self) -> float:
        """Seconds to the next journey."""
        return self._rng.uniform(0.0, 2.0 * self._options.think_seconds)

    def on_start(self) -> None:
        """Looks around once: what there is to search for, and the hot product's page."""
        listing = self._ask("look around", search_request(limit=ASSORTMENT_LIMIT))
        if listing.status != 200:
            raise StopUser(f"the shop at {self.host} does not answer searches: {listing.failure}")
        self._assortment = read_assortment(listing.body)
        if self._options.hot_product:
            self._hot = HotProduct(product_id=self._options.hot_product)

    @task
    def shop(self) -> None:
        """One journey from the search to the order; the last one allowed ends the run."""
        limit = self._options.journeys
        if limit and next(_entered) > limit:
            raise StopUser
        self._shop_once()
        if limit and next(_left) == limit:
            assert self.environment.runner is not None
            # Not from here: quitting waits for all users, this one included.
            gevent.spawn(self.environment.runner.quit)

    def _shop_once(self) -> None:
        shopper = Shopper(
            rng=Random(self._rng.getrandbits(64)),
            new_key=lambda: str(uuid4()),
            assortment=self._assortment,
            hot=self._hot,
            rush=self._hot is not None and self._rng.random() < self._options.hot_share,
        )
        steps = journey_steps(shopper)
        try:
            step = next(steps)
            while True:
                gevent.sleep(step.pause_s)
                step = steps.send(self._ask(step.name, step.request))
        except StopIteration:
            return

    def _ask(self, name: StepName | str, request: Request) -> Answer:
        answer = Answer(status=0, failure="no answer")
        started = perf_counter()
        with self.client.request(
            request.method,
            request.path,
            name=str(name),
            data=request.body or None,  # pyright: ignore[reportArgumentType] -- sent as they are
            headers=dict(request.headers),
            catch_response=True,
        ) as response:
            answer = _to_answer(response, (perf_counter() - started) * 1000.0)
            kind = problem_type(answer.body) if answer.status >= 400 else ""
            if kind in EXPECTED_REFUSALS:
                response.request_meta["name"] = EXPECTED_REFUSALS[kind]
                response.success()
        return answer


def _to_answer(response: Any, elapsed_ms: float) -> Answer:
    """Locust's response as the journey's answer; untyped, as Locust builds it at run time."""
    status = response.status_code or 0
    body = response.content or b""
    return Answer(
        status=status,
        body=body if isinstance(body, bytes) else body.encode(),
        retry_after_s=read_retry_after((response.headers or {}).get("Retry-After")),
        failure=None if status else f"{getattr(response, 'error', 'no answer')}",
        elapsed_ms=elapsed_ms,
    )


def _options_of(environment: Environment) -> Any:
    if environment.parsed_options is None:
        raise RuntimeError("run this file with `locust -f sim/locustfile.py`")
    return environment.parsed_options
