"""A flash sale: buyers after one hot product, mixed among ordinary traffic."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random
from time import perf_counter
from uuid import uuid4

import orjson

from domain.histogram import LatencyHistogram
from sim.http_client import HttpClient
from sim.http_messages import Request, Response
from sim.journey import Journey, JourneyOutcome, StepName, go_shopping
from sim.shoppers import (
    Assortment,
    HotProduct,
    Shopper,
    product_request,
    read_assortment,
    search_request,
)

ORDINARY_SHARE = 0.25
"""Ordinary shoppers per buyer of the hot product, unless the plan says how many."""

PROGRESS_EVERY_S = 0.1
RATE_WINDOW_S = 1.0
"""The live rate is that of the last second."""

ASSORTMENT_LIMIT = 100
OUT_OF_STOCK = "out_of_stock"


@dataclass(frozen=True, slots=True, kw_only=True)
class SalePlan:
    """What is to happen."""

    base_url: str
    hot_product_id: str
    hot_variant_id: str | None = None
    """The SKU of the rush; without it, the product's first variant."""
    hot_stock: int | None = None
    """Units there are, for the screen only; nothing is decided from it."""
    buyers: int = 2_000
    ordinary: int | None = None
    """Shoppers on other products; `ORDINARY_SHARE` of the buyers when None."""
    concurrency: int = 128
    """Shoppers in the shop at once, each with one connection."""
    seed: int = 1
    declined_share: float = 0.02
    """Ordinary shoppers whose card is declined."""
    request_timeout_s: float = 10.0
    seconds_max: float = 300.0
    """After this nobody enters any more; who is inside finishes."""

    @property
    def shoppers(self) -> int:
        """Buyers and ordinary shoppers together."""
        extra = round(self.buyers * ORDINARY_SHARE) if self.ordinary is None else self.ordinary
        return self.buyers + extra


@dataclass(frozen=True, slots=True, kw_only=True)
class SaleProgress:
    """Where a running sale stands, as its shoppers see it."""

    elapsed_s: float
    shoppers: int
    finished: int
    inside: int
    orders_confirmed: int
    orders_rejected: int
    errors: int
    hot_sold: int
    hot_stock: int | None
    orders_per_second: float
    """Confirmed orders in the last `RATE_WINDOW_S`."""
    checkout_ms_p50: float
    checkout_ms_p99: float
    sold_out_after_s: float | None
    """When a buyer of the hot product was first told that it is out of stock."""

    @property
    def stock_left(self) -> int | None:
        """Hot units not yet confirmed to a buyer."""
        return None if self.hot_stock is None else self.hot_stock - self.hot_sold


@dataclass(frozen=True, slots=True, kw_only=True)
class SaleResult:
    """What all shoppers together saw."""

    shoppers: int
    finished: int
    """Shoppers whose journey came to an end; fewer than `shoppers` when time ran out."""
    orders_confirmed: int
    orders_rejected: dict[str, int]
    """Journeys that a named refusal ended, by problem type."""
    journeys_failed: dict[str, int]
    """Journeys that ended without a confirmation or a named refusal, by reason."""
    acknowledged: tuple[str, ...]
    """The id of every order that was confirmed to its buyer; none may be lost."""
    hot_sku_sold: int
    """Units of the hot product in confirmed orders."""
    orders_per_second: float
    duration_s: float
    checkout_ms_p50: float
    checkout_ms_p99: float
    checkout_ms_max: float
    errors: int
    """5xx answers and transport failures, those made good by a repeat included."""
    faults: dict[str, int]
    """The same by kind, such as `503 busy` or `timeout`."""
    sold_out_after_s: float | None

    def to_json(self) -> dict[str, object]:
        """The sale's part of the document that `doorbuster demo --json` writes."""
        return {
            "shoppers": self.shoppers,
            "shoppers_finished": self.finished,
            "orders_confirmed": self.orders_confirmed,
            "orders_rejected": self.orders_rejected,
            "journeys_failed": self.journeys_failed,
            "hot_sku_sold": self.hot_sku_sold,
            "orders_per_second": round(self.orders_per_second, 1),
            "checkout_ms": {
                "p50": round(self.checkout_ms_p50, 2),
                "p99": round(self.checkout_ms_p99, 2),
                "max": round(self.checkout_ms_max, 2),
            },
            "errors": self.errors,
            "faults": self.faults,
            "duration_s": round(self.duration_s, 3),
            "sold_out_after_s": self.sold_out_after_s,
        }


class SaleNotPossibleError(RuntimeError):
    """The shop does not answer, or has no such product; says what was asked and what came."""


async def run_sale(
    plan: SalePlan,
    on_progress: Callable[[SaleProgress], None],
    *,
    new_key: Callable[[], str] = lambda: str(uuid4()),
) -> SaleResult:
    """Runs the sale and returns what its shoppers saw; `on_progress` is called every 0.1 s and
    once at the end. `SaleNotPossibleError` when the hot product cannot be looked at to begin with.
    """
    async with HttpClient(
        base_url=plan.base_url,
        connections_max=plan.concurrency,
        timeout_s=plan.request_timeout_s,
    ) as client:
        hot, assortment = await _look_around(client, plan)
        await client.warm_up()
        sale = _Sale(plan, client, hot)
        crowd = _crowd(plan, hot, assortment, new_key)
        reporter = asyncio.create_task(_report(sale, on_progress))
        try:
            await asyncio.gather(*(sale.let_in(crowd) for _ in range(plan.concurrency)))
        finally:
            reporter.cancel()
            await asyncio.gather(reporter, return_exceptions=True)
        on_progress(sale.progress())
    return sale.result()


async def _report(sale: _Sale, on_progress: Callable[[SaleProgress], None]) -> None:
    while True:
        on_progress(sale.progress())
        await asyncio.sleep(PROGRESS_EVERY_S)


async def _look_around(client: HttpClient, plan: SalePlan) -> tuple[HotProduct, Assortment]:
    page = await _look_at(client, product_request(plan.hot_product_id))
    listing = await _look_at(client, search_request(limit=ASSORTMENT_LIMIT))
    document = orjson.loads(page)
    hot = HotProduct(
        product_id=plan.hot_product_id,
        query=document["name"],
        variant_id=plan.hot_variant_id or document["variants"][0]["variant_id"],
    )
    return hot, read_assortment(listing)


async def _look_at(client: HttpClient, request: Request) -> bytes:
    outcome = await client.send(request)
    if isinstance(outcome, Response) and outcome.status == 200:
        return outcome.body
    came = (
        f"{outcome.status} {outcome.body[:200]!r}"
        if isinstance(outcome, Response)
        else outcome.detail
    )
    raise SaleNotPossibleError(
        f"no sale: GET {request.path} at {client.host} gave {came}; "
        "check that the shop is up and sells the hot product"
    )


def _crowd(
    plan: SalePlan, hot: HotProduct, assortment: Assortment, new_key: Callable[[], str]
) -> Iterator[Shopper]:
    """All shoppers in the order they come; the same for the same seed, whoever runs ahead."""
    order = Random(plan.seed)
    rush = [True] * plan.buyers + [False] * (plan.shoppers - plan.buyers)
    order.shuffle(rush)
    for wants_hot in rush:
        yield Shopper(
            rng=Random(order.getrandbits(64)),
            new_key=new_key,
            assortment=assortment,
            hot=hot,
            rush=wants_hot,
            declined_share=0.0 if wants_hot else plan.declined_share,
        )


class _Sale:
    """Counts what shoppers report."""

    def __init__(self, plan: SalePlan, client: HttpClient, hot: HotProduct) -> None:
        self._plan = plan
        self._client = client
        self._hot = hot
        self._started = perf_counter()
        self._inside = 0
        self._finished = 0
        self._acknowledged: list[str] = []
        self._rejected: Counter[str] = Counter()
        self._failed: Counter[str] = Counter()
        self._faults: Counter[str] = Counter()
        self._hot_sold = 0
        self._sold_out_after_s: float | None = None
        self._checkout = LatencyHistogram()
        self._recent: deque[float] = deque()

    async def let_in(self, crowd: Iterator[Shopper]) -> None:
        """One place in the shop: a shopper enters when the one before has left."""
        for shopper in crowd:
            self._inside += 1
            journey = await go_shopping(self._client, shopper)
            self._inside -= 1
            self._note(shopper, journey)
            if self._elapsed_s() > self._plan.seconds_max:
                return

    def _elapsed_s(self) -> float:
        return perf_counter() - self._started

    def _note(self, shopper: Shopper, journey: Journey) -> None:
        self._finished += 1
        self._faults.update(journey.faults)
        for name, ms in journey.step_ms:
            if name is StepName.CHECKOUT:
                self._checkout.record(ms)
        if journey.outcome is JourneyOutcome.CONFIRMED and journey.order_id is not None:
            self._acknowledged.append(journey.order_id)
            self._recent.append(self._elapsed_s())
            self._hot_sold += sum(
                line.quantity for line in journey.lines if line.variant_id == self._hot.variant_id
            )
        elif journey.outcome is JourneyOutcome.REJECTED:
            self._rejected[journey.problem or "untyped"] += 1
            if shopper.rush and journey.problem == OUT_OF_STOCK and self._sold_out_after_s is None:
                self._sold_out_after_s = round(self._elapsed_s(), 3)
        else:
            self._failed[journey.problem or "unknown"] += 1

    def progress(self) -> SaleProgress:
        elapsed_s = self._elapsed_s()
        while self._recent and self._recent[0] < elapsed_s - RATE_WINDOW_S:
            self._recent.popleft()
        window_s = min(RATE_WINDOW_S, elapsed_s)
        return SaleProgress(
            elapsed_s=elapsed_s,
            shoppers=self._plan.shoppers,
            finished=self._finished,
            inside=self._inside,
            orders_confirmed=len(self._acknowledged),
            orders_rejected=self._rejected.total(),
            errors=self._faults.total(),
            hot_sold=self._hot_sold,
            hot_stock=self._plan.hot_stock,
            orders_per_second=len(self._recent) / window_s if window_s > 0 else 0.0,
            checkout_ms_p50=self._checkout.quantile(0.5),
            checkout_ms_p99=self._checkout.quantile(0.99),
            sold_out_after_s=self._sold_out_after_s,
        )

    def result(self) -> SaleResult:
        duration_s = self._elapsed_s()
        return SaleResult(
            shoppers=self._plan.shoppers,
            finished=self._finished,
            orders_confirmed=len(self._acknowledged),
            orders_rejected=dict(sorted(self._rejected.items())),
            journeys_failed=dict(sorted(self._failed.items())),
            acknowledged=tuple(self._acknowledged),
            hot_sku_sold=self._hot_sold,
            orders_per_second=len(self._acknowledged) / duration_s if duration_s > 0 else 0.0,
            duration_s=duration_s,
            checkout_ms_p50=self._checkout.quantile(0.5),
            checkout_ms_p99=self._checkout.quantile(0.99),
            checkout_ms_max=self._checkout.max_ms,
            errors=self._faults.total(),
            faults=dict(sorted(self._faults.items())),
            sold_out_after_s=self._sold_out_after_s,
        )
