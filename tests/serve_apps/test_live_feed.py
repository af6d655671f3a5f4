"""The feed behind live availability: heartbeats, slow listeners, and a Redis that goes away."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson
import pytest
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from domain.catalog import ListedPair, ListedProduct, ListedVariant
from domain.ports import Unavailable
from serve_apps import live_feed
from serve_apps.http import Problem
from serve_apps.live_feed import Ending, Event, Kind, LiveConfig, LiveFeed, Subscription
from storage.availability import AvailabilityBoard, AvailabilityReader, StockNumbers
from storage.availability_stream import KEY, ChangeStream, StreamId
from tests.serve_apps.conftest import until

pytestmark = pytest.mark.asyncio

FAST = {"wait_s": 0.02, "gather_s": 0.001, "retry_s": 0.01}
PRODUCTS = tuple(UUID(int=100 + number) for number in range(8))


class ManualClock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def variant_of(product_id: UUID) -> UUID:
    return UUID(int=product_id.int + 1_000)


def pair_of(product_id: UUID) -> UUID:
    return UUID(int=product_id.int + 2_000)


def _listed(product_id: UUID) -> tuple[ListedProduct, ListedVariant]:
    variant = ListedVariant(
        variant_id=variant_of(product_id),
        sku=f"SKU-{product_id.int}",
        price_minor=100,
        attributes={},
        pairs=(ListedPair(inventory_id=pair_of(product_id), warehouse_id=UUID(int=1)),),
    )
    product = ListedProduct(
        product_id=product_id, handle="p", name="P", description="", category="", tags=(),
        seller_id=UUID(int=2), seller="S", price_minor=100, currency="USD", picture=None,
        status="active", variants=(variant,),
    )  # fmt: skip
    return product, variant


class FakeShelf:
    """Every product of PRODUCTS, from memory."""

    def __init__(self) -> None:
        self.listed = {variant_of(one): _listed(one) for one in PRODUCTS}
        self.gone = False

    async def product(self, product_id: UUID) -> ListedProduct | None:
        return next((p for p, _ in self.listed.values() if p.product_id == product_id), None)

    async def variants(
        self, variant_ids: Sequence[UUID]
    ) -> dict[UUID, tuple[ListedProduct, ListedVariant]]:
        if self.gone:
            raise Unavailable("Postgres is away")
        return {one: self.listed[one] for one in variant_ids if one in self.listed}


class Stage:
    """A feed over a real Redis, the board that owners publish to, and a clock."""

    def __init__(self, redis: Redis, read: Redis, **config: Any) -> None:
        self.redis = redis
        self.clock = ManualClock()
        self.board = AvailabilityBoard(redis)
        self.shelf = FakeShelf()
        self.feed = LiveFeed(
            changes=ChangeStream(read),
            availability=AvailabilityReader(AvailabilityBoard(read), StockNumbers(_nobody_knows)),
            shelf=self.shelf,  # type: ignore[arg-type]
            monotonic=self.clock,
            config=LiveConfig(**{**FAST, **config}),
        )

    async def publish(self, units: int, *products: UUID) -> None:
        await self.board.publish(
            {(variant_of(one).bytes, pair_of(one).bytes): units for one in products}
        )

    async def until_read(self) -> None:
        """The feed has taken over everything that is in the stream."""
        newest: Any = await self.redis.xrevrange(KEY, count=1)
        last = StreamId.parse(newest[0][0].decode())

        async def caught_up() -> bool:
            return self.feed.position >= last

        await until(caught_up)

    async def until_reading(self) -> None:
        async def reading() -> bool:
            return self.feed.reading

        await until(reading)


async def _nobody_knows(pairs: Sequence[UUID]) -> Mapping[UUID, int]:
    return dict.fromkeys(pairs, 0)


OpenStage = Callable[..., contextlib.AbstractAsyncContextManager[Stage]]


@pytest.fixture
def stage(redis_url: str, tmp_path: Path) -> OpenStage:
    """Opens a stage; its feed reads through `tmp_path/redis.sock`, which a test may take away."""
    way = tmp_path / "redis.sock"
    way.symlink_to(redis_url.removeprefix("unix://"))

    @contextlib.asynccontextmanager
    async def opened(**config: Any) -> AsyncIterator[Stage]:
        async with (
            Redis.from_url(redis_url) as redis,
            Redis(unix_socket_path=str(way), retry=Retry(NoBackoff(), 0)) as read,
        ):
            await redis.flushdb()
            made = Stage(redis, read, **config)
            async with made.feed.running():
                await made.until_reading()
                yield made

    return opened


async def told(subscription: Subscription, enough: Callable[[list[Event]], bool]) -> list[Event]:
    """Take until there is enough."""
    events: list[Event] = []
    async with asyncio.timeout(10):
        while not enough(events):
            events += await subscription.take()
    return events


def units(events: Sequence[Event]) -> list[int]:
    return [orjson.loads(one.data)["available"] for one in events]


def ids(events: Sequence[Event]) -> list[StreamId]:
    return [one.id for one in events]


async def test_events_of_one_moment_can_be_cut_anywhere(stage: OpenStage) -> None:
    async with stage() as on, on.feed.subscribe([], [], None) as listener:
        await on.publish(4, *PRODUCTS[:3])
        first = await told(listener, lambda events: len(events) == 3)
        assert units(first) == [4, 4, 4]
        # Whoever has seen only some of them resumes before all of them.
        assert ids(first) == [StreamId(0, 0), StreamId(0, 0), on.feed.position]
        await on.publish(3, *PRODUCTS[:2])
        second = await told(listener, lambda events: len(events) == 2)
        assert ids(second) == [first[-1].id, on.feed.position]


async def test_who_resumes_in_the_middle_of_a_moment_gets_it_again(stage: OpenStage) -> None:
    async with stage() as on:
        await on.publish(9, PRODUCTS[5])
        await on.until_read()
        start = on.feed.position
        await on.publish(4, *PRODUCTS[:3])
        await on.until_read()
        async with on.feed.subscribe([], [], start) as listener:
            again = await told(listener, lambda events: len(events) == 3)
            assert ids(again) == [start, start, on.feed.position]
        async with on.feed.subscribe(PRODUCTS[1:3], [], start) as listener:
            again = await told(listener, lambda events: len(events) == 2)
            assert ids(again) == [start, on.feed.position]


async def test_what_waits_is_replaced_by_what_is_newer(stage: OpenStage) -> None:
    async with stage(waiting_max=2) as on, on.feed.subscribe([], [], None) as listener:
        for left in range(50, 0, -1):
            await on.publish(left, PRODUCTS[0], PRODUCTS[1])
        await on.until_read()

        async def newest() -> bool:
            return units(list(await listener.take()))[-1:] == [1]

        await until(newest)
        assert listener.ending is None


async def test_a_slow_listener_is_let_go_and_may_resume(stage: OpenStage) -> None:
    async with stage(waiting_max=3) as on:
        async with (
            on.feed.subscribe([], [], None) as slow,
            on.feed.subscribe(PRODUCTS[:6], [], None) as listener,
        ):
            for number in range(4):
                await on.publish(7, PRODUCTS[number])
                await on.until_read()

            async def ended() -> bool:
                return slow.ending is Ending.SLOW

            await until(ended)
            assert await slow.take() == []
            # Six variants were asked for: so many may wait.
            events = await told(listener, lambda events: len(events) == 5)
            assert [one.kind for one in events] == [Kind.SNAPSHOT, *[Kind.AVAILABILITY] * 4]
            assert listener.ending is None
        assert on.feed.subscribers == 0


async def test_too_many_changes_at_once_are_not_read_for_nobody(stage: OpenStage) -> None:
    async with stage(waiting_max=3) as on, on.feed.subscribe([], [], None) as listener:
        await on.publish(1, *PRODUCTS[:4])
        await on.until_read()
        assert await listener.take() == []
        assert listener.ending is Ending.SLOW
        # And who comes back over that distance is told that it must read again.
        await on.publish(1, PRODUCTS[0])
        await on.until_read()
    async with stage(waiting_max=3) as on:
        await on.publish(1, PRODUCTS[0])
        await on.until_read()
        start = on.feed.position
        await on.publish(1, *PRODUCTS[1:5])
        await on.until_read()
        async with on.feed.subscribe([], [], start) as listener:
            [missed] = await told(listener, bool)
            assert (missed.kind, missed.id) == (Kind.MISSED, on.feed.position)


async def test_silence_is_broken_by_heartbeats(stage: OpenStage) -> None:
    async with stage(heartbeat_s=15) as on, on.feed.subscribe([], [], None) as listener:
        beat = asyncio.create_task(listener.take())
        on.clock.now += 14
        await on.publish(1, PRODUCTS[0])
        assert units(await beat) == [1]
        beat = asyncio.create_task(listener.take())
        on.clock.now += 1
        async with asyncio.timeout(10):
            assert await beat == []
        assert listener.ending is None


async def test_an_old_connection_is_asked_to_come_back(stage: OpenStage) -> None:
    async with stage(age_max_s=1_800) as on, on.feed.subscribe([], [], None) as listener:
        on.clock.now += 1_800
        async with asyncio.timeout(10):
            assert await listener.take() == []
        assert listener.ending is Ending.OLD


async def test_listeners_are_let_go_while_redis_is_away_and_taken_when_it_is_back(
    stage: OpenStage, tmp_path: Path
) -> None:
    way = tmp_path / "redis.sock"
    async with stage() as on:
        await on.publish(3, PRODUCTS[0])
        await on.until_read()
        seen = on.feed.position
        async with on.feed.subscribe([PRODUCTS[0]], [], None) as listener:
            target = way.readlink()
            way.unlink()
            await on.redis.client_kill_filter(_type="normal", skipme=True)

            async def ended() -> bool:
                return listener.ending is Ending.AWAY

            await until(ended)
        with pytest.raises(Problem) as refused:
            async with on.feed.subscribe([PRODUCTS[0]], [], seen):
                pass
        assert refused.value.kind == "busy"
        await on.publish(2, PRODUCTS[0])
        way.symlink_to(target)
        await on.until_reading()
        async with on.feed.subscribe([PRODUCTS[0]], [], seen) as listener:
            assert units(await told(listener, bool)) == [2]


async def test_without_postgres_and_a_known_product_it_is_busy(stage: OpenStage) -> None:
    async with stage() as on:
        on.shelf.gone = True
        with pytest.raises(Problem) as refused:
            async with on.feed.subscribe([], [variant_of(PRODUCTS[0])], None):
                pass
        assert refused.value.kind == "busy"
        assert on.feed.subscribers == 0


async def test_whoever_fell_behind_the_stream_starts_over(
    stage: OpenStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_feed, "ENTRIES_READ_MAX", 1)  # every round looks like falling behind
    async with stage() as on, on.feed.subscribe([], [], None) as listener:
        await on.publish(1, PRODUCTS[0])  # the stream begins after where the listener began

        async def ended() -> bool:
            return listener.ending is Ending.AWAY

        await until(ended)


async def test_a_closing_server_lets_everybody_go(stage: OpenStage) -> None:
    async with contextlib.AsyncExitStack() as later:
        async with stage() as on:
            listener = await later.enter_async_context(on.feed.subscribe([], [], None))
        assert listener.ending is Ending.CLOSING
        assert await listener.take() == []
        with pytest.raises(Problem):
            async with on.feed.subscribe([], [], None):
                pass
