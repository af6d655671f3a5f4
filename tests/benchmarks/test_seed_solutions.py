"""The peers do what their listings say: none oversells, and their books are right."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator

import asyncpg
import pytest
import pytest_asyncio
from redis.asyncio import Redis

from benchmarks import seed_solutions
from benchmarks.seed_solutions import (
    PRODUCT_ID,
    REFERENCES,
    RESERVATION_TTL_S,
    SEED_SOLUTIONS,
    AccountingError,
    ConditionalUpdate,
    OptimisticLocking,
    RedisLock,
    RedisReservation,
    measure,
    open_peers,
)

pytestmark = pytest.mark.asyncio

_EVERY = [*SEED_SOLUTIONS, *REFERENCES]
_STOCK = 50
_CALLERS = 32
_CALLS_EACH = 8


@pytest_asyncio.fixture
async def peers(database_url: str, redis_url: str) -> AsyncIterator[tuple[asyncpg.Pool, Redis]]:
    async with open_peers(database_url, redis_url, connections=8) as opened:
        yield opened


async def _reserve_one(solution: seed_solutions.SeedSolution) -> bool:
    return await solution.reserve(PRODUCT_ID, 1, uuid.uuid4())


@pytest.mark.parametrize("kind", _EVERY)
async def test_racing_callers_never_buy_more_than_there_is(
    kind: type, peers: tuple[asyncpg.Pool, Redis]
) -> None:
    solution = kind(*peers)
    await solution.prepare(_STOCK)

    async def shopper() -> int:
        return sum([await _reserve_one(solution) for _ in range(_CALLS_EACH)])

    accepted = sum(await asyncio.gather(*(shopper() for _ in range(_CALLERS))))
    assert 0 < accepted <= _STOCK
    assert await solution.sold() == accepted
    assert await solution.left() == _STOCK - accepted
    await solution.clear()


@pytest.mark.parametrize("kind", _EVERY)
async def test_a_lone_caller_buys_everything_and_then_is_refused(
    kind: type, peers: tuple[asyncpg.Pool, Redis]
) -> None:
    solution = kind(*peers)
    await solution.prepare(5)
    assert await solution.reserve(PRODUCT_ID, 3, uuid.uuid4())
    assert not await solution.reserve(PRODUCT_ID, 3, uuid.uuid4())
    assert await solution.reserve(PRODUCT_ID, 2, uuid.uuid4())
    assert not await _reserve_one(solution)
    assert (await solution.sold(), await solution.left()) == (5, 0)
    await solution.clear()


@pytest.mark.parametrize("kind", _EVERY)
async def test_preparing_again_starts_from_nothing_and_clearing_leaves_nothing(
    kind: type, peers: tuple[asyncpg.Pool, Redis]
) -> None:
    pool, redis = peers
    solution = kind(pool, redis)
    await solution.prepare(2)
    assert await _reserve_one(solution)
    await solution.prepare(7)
    assert (await solution.sold(), await solution.left()) == (0, 7)
    assert await _reserve_one(solution)
    await solution.clear()
    assert not await pool.fetchval("SELECT count(*) FROM pg_namespace WHERE nspname = 'seed_peer'")
    assert not await redis.exists(
        f"inventory:{PRODUCT_ID}:available", f"inventory:lock:{PRODUCT_ID}"
    )


@pytest.mark.parametrize("kind", [OptimisticLocking, RedisLock, ConditionalUpdate])
async def test_the_reservation_record_names_order_product_and_expiry(
    kind: type, peers: tuple[asyncpg.Pool, Redis]
) -> None:
    pool, _ = peers
    solution = kind(*peers)
    await solution.prepare(4)
    order_id = uuid.uuid4()
    assert await solution.reserve(PRODUCT_ID, 3, order_id)
    row = await pool.fetchrow(
        "SELECT *, extract(epoch FROM expires_at - now()::timestamp) AS ttl_s"
        " FROM seed_peer.inventory_reservations"
    )
    assert row is not None
    assert (row["order_id"], row["product_id"], row["quantity"], row["status"]) == (
        order_id,
        PRODUCT_ID,
        3,
        "active",
    )
    assert RESERVATION_TTL_S - 60 < row["ttl_s"] <= RESERVATION_TTL_S
    await solution.clear()


async def test_optimistic_locking_gives_up_after_three_lost_races(
    peers: tuple[asyncpg.Pool, Redis], monkeypatch: pytest.MonkeyPatch
) -> None:
    waited_s: list[float] = []

    async def note(delay_s: float) -> None:
        waited_s.append(delay_s)

    monkeypatch.setattr(seed_solutions.asyncio, "sleep", note)
    monkeypatch.setattr(
        seed_solutions,
        "_READ_VERSION",
        seed_solutions._READ_VERSION.replace("version,", "version - 1 AS version,"),
    )
    solution = OptimisticLocking(*peers)
    await solution.prepare(10)
    assert not await _reserve_one(solution)
    assert waited_s == [0.01, 0.02, 0.04]
    assert await solution.left() == 10
    await solution.clear()


async def test_a_held_lock_refuses_and_is_left_to_its_holder(
    peers: tuple[asyncpg.Pool, Redis],
) -> None:
    _, redis = peers
    solution = RedisLock(*peers)
    await solution.prepare(1)
    key = f"inventory:lock:{PRODUCT_ID}"
    await redis.set(key, "somebody else")
    assert not await _reserve_one(solution)
    assert await redis.get(key) == b"somebody else"
    await redis.delete(key)
    assert await _reserve_one(solution)
    assert not await redis.exists(key)
    await solution.clear()


async def test_a_lock_that_passed_to_another_is_not_released(
    peers: tuple[asyncpg.Pool, Redis],
) -> None:
    _, redis = peers
    solution = RedisLock(*peers)
    await solution.prepare(1)
    await redis.set("inventory:lock:other", "new holder")
    await solution._release(keys=["inventory:lock:other"], args=["old holder"])
    assert await redis.getdel("inventory:lock:other") == b"new holder"
    await solution.clear()


async def test_a_redis_reservation_is_durable_only_once_confirmed(
    peers: tuple[asyncpg.Pool, Redis],
) -> None:
    _, redis = peers
    solution = RedisReservation(*peers)
    await solution.prepare(5)
    order_id = uuid.uuid4()
    order_key = f"reservation:order:{order_id}"
    assert await solution.reserve_with_ttl(PRODUCT_ID, 2, order_id)
    assert 0 < await redis.ttl(order_key) <= RESERVATION_TTL_S
    assert await redis.get(f"inventory:{PRODUCT_ID}:available") == b"3"
    assert (await solution.sold(), await solution.left()) == (0, 5)
    await solution.confirm_reservation(order_id)
    assert (await solution.sold(), await solution.left()) == (2, 3)
    assert not await redis.exists(order_key)
    with pytest.raises(LookupError, match="no reservation"):
        await solution.confirm_reservation(order_id)
    await solution.clear()


async def test_measuring_counts_what_postgres_holds(peers: tuple[asyncpg.Pool, Redis]) -> None:
    solution = ConditionalUpdate(*peers)
    measured = await measure(solution, concurrency=4, seconds=0.1, stock=1_000_000)
    assert measured.accepted == await solution.sold()
    assert 0 < measured.durable_per_second * 0.1 <= measured.accepted
    assert measured.refused == measured.false_refusals == 0
    await solution.clear()


async def test_a_figure_that_the_books_contradict_is_refused(
    peers: tuple[asyncpg.Pool, Redis],
) -> None:
    class Boastful(ConditionalUpdate):
        name = "boastful"

        async def reserve(self, product_id: uuid.UUID, quantity: int, order_id: uuid.UUID) -> bool:
            await super().reserve(product_id, quantity, uuid.uuid4())
            return await super().reserve(product_id, quantity, order_id)

    solution = Boastful(*peers)
    with pytest.raises(AccountingError, match="boastful accepted"):
        await measure(solution, concurrency=1, seconds=0.02, stock=1_000_000)
    await solution.clear()


async def test_a_stock_that_runs_out_is_no_measurement(
    peers: tuple[asyncpg.Pool, Redis],
) -> None:
    solution = ConditionalUpdate(*peers)
    with pytest.raises(ValueError, match="measure with more"):
        await measure(solution, concurrency=2, seconds=0.1, stock=3)
    await solution.clear()


async def test_the_pool_is_bounded(database_url: str, redis_url: str) -> None:
    with pytest.raises(ValueError, match="not 65"):
        async with open_peers(database_url, redis_url, connections=65):
            pass
