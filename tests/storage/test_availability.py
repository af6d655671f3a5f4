"""Availability for readers: one round trip, Postgres behind it, and nothing fails without Redis."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
import pytest_asyncio
from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection

from storage import availability
from storage.availability import (
    NUMBERS_AGE_MAX_S,
    PAUSE_S,
    READ_TIMEOUT_S,
    AvailabilityBoard,
    AvailabilityReader,
    StockNumbers,
)

A, B, C = UUID(int=1), UUID(int=2), UUID(int=3)
# READ_TIMEOUT_S and what a busy machine may add to it; far below the client's own retries.
ANSWERED_WITHIN_S = 1.0


class ManualClock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Numbers:
    """Stands for Postgres: counts its queries, and can be made to wait or to fail."""

    def __init__(self, units: Mapping[UUID, int]) -> None:
        self.units = units
        self.queries: list[list[UUID]] = []
        self.error: Exception | None = None
        self.gate: asyncio.Event | None = None
        self.asked = asyncio.Event()

    async def load(self, inventory_ids: Sequence[UUID]) -> Mapping[UUID, int]:
        self.queries.append(list(inventory_ids))
        self.asked.set()
        if self.gate is not None:
            await self.gate.wait()
        if self.error is not None:
            raise self.error
        return {one: self.units[one] for one in inventory_ids if one in self.units}


@pytest_asyncio.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    async with Redis.from_url(redis_url) as client:
        await client.flushdb()
        yield client


@pytest_asyncio.fixture
async def deaf(tmp_path: Path) -> AsyncIterator[Redis]:
    """A Redis that takes connections and never answers."""

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    path = tmp_path / "deaf.sock"
    server = await asyncio.start_unix_server(listen, path)
    async with Redis(unix_socket_path=str(path)) as client:
        yield client
    server.close()


def pairs(*entries: tuple[UUID, UUID, int]) -> dict[tuple[bytes, bytes], int]:
    return {(variant.bytes, pair.bytes): units for variant, pair, units in entries}


@pytest.mark.asyncio
async def test_what_is_published_is_read(redis: Redis) -> None:
    board = AvailabilityBoard(redis)
    x, y = uuid4(), uuid4()
    await board.publish(pairs((A, x, 5), (A, y, 0), (B, x, 7)))
    await board.publish(pairs((A, x, 4)))
    await board.publish({})
    assert await board.read([A, B, C, A]) == {A: {x: 4, y: 0}, B: {x: 7}}
    assert await board.read([]) == {}


@pytest.mark.asyncio
async def test_a_page_is_one_round_trip(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    board = AvailabilityBoard(redis)
    variants = [UUID(int=n) for n in range(1, 61)]
    sent: list[object] = []
    send = AbstractConnection.send_packed_command

    async def counting(self: AbstractConnection, command: Any, **rest: Any) -> None:
        sent.append(command)
        await send(self, command, **rest)

    await board.read([A])  # Redis keeps the script from here on
    monkeypatch.setattr(AbstractConnection, "send_packed_command", counting)
    await board.publish(pairs(*((one, UUID(int=9), 3) for one in variants)))
    assert len(sent) == 1
    assert len(await board.read(variants)) == 60
    assert len(sent) == 2
    assert await redis.ttl(b"av:" + A.bytes) == -1


@pytest.mark.asyncio
async def test_without_redis_readers_get_nothing_and_soon(tmp_path: Path) -> None:
    async with Redis(unix_socket_path=str(tmp_path / "nobody.sock")) as gone:
        board = AvailabilityBoard(gone)
        started = time.monotonic()
        assert await board.read([A]) == {}
        await board.publish(pairs((A, B, 1)))
        assert time.monotonic() - started < ANSWERED_WITHIN_S


@pytest.mark.asyncio
async def test_a_redis_that_hangs_costs_one_timeout_per_pause(deaf: Redis) -> None:
    clock = ManualClock()
    board = AvailabilityBoard(deaf, clock=clock)
    started = time.monotonic()
    assert await board.read([A]) == {}
    assert READ_TIMEOUT_S <= time.monotonic() - started < ANSWERED_WITHIN_S
    started = time.monotonic()
    for _ in range(100):
        assert await board.read([A]) == {}
    assert time.monotonic() - started < ANSWERED_WITHIN_S
    clock.now += PAUSE_S
    started = time.monotonic()
    assert await board.read([A]) == {}
    assert time.monotonic() - started >= READ_TIMEOUT_S  # it was tried again


@pytest.mark.asyncio
async def test_what_could_not_be_sent_goes_with_the_next_publication(
    redis: Redis, redis_url: str, tmp_path: Path
) -> None:
    clock = ManualClock()
    path = tmp_path / "later.sock"
    async with Redis(unix_socket_path=str(path)) as client:
        board = AvailabilityBoard(client, clock=clock)
        await board.publish(pairs((A, C, 5), (B, C, 6)))
        await board.publish(pairs((A, C, 4)))
        path.symlink_to(redis_url.removeprefix("unix://"))
        await board.publish({})
        assert await AvailabilityBoard(redis).read([A]) == {}  # still pausing
        clock.now += PAUSE_S
        await board.publish({})
        assert await AvailabilityBoard(redis).read([A, B]) == {A: {C: 4}, B: {C: 6}}


@pytest.mark.asyncio
async def test_unsent_pairs_are_bounded(
    redis: Redis, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(availability, "UNSENT_PAIRS_MAX", 2)
    clock = ManualClock()
    path = tmp_path / "later.sock"
    async with Redis(unix_socket_path=str(path)) as client:
        board = AvailabilityBoard(client, clock=clock)
        for number in (1, 2, 3):
            await board.publish(pairs((UUID(int=number), C, number)))
        path.symlink_to(redis_url.removeprefix("unix://"))
        clock.now += PAUSE_S
        await board.publish({})
    assert await AvailabilityBoard(redis).read([A, B, C]) == {B: {C: 2}, C: {C: 3}}


@pytest.mark.asyncio
async def test_numbers_are_kept_for_a_second_and_no_longer() -> None:
    clock, source = ManualClock(), Numbers({A: 5, B: 0})
    numbers = StockNumbers(source.load, clock=clock)
    assert await numbers.read([A, B]) == {A: 5, B: 0}
    clock.now += NUMBERS_AGE_MAX_S
    assert await numbers.read([A, B]) == {A: 5, B: 0}
    assert source.queries == [[A, B]]
    source.units = {A: 4}
    clock.now += 0.001
    assert await numbers.read([A]) == {A: 4}
    assert source.queries == [[A, B], [A]]


@pytest.mark.asyncio
async def test_questions_that_come_during_a_query_share_the_next_one() -> None:
    source = Numbers({A: 1, B: 2, C: 3})
    source.gate = asyncio.Event()
    numbers = StockNumbers(source.load)
    first = asyncio.create_task(numbers.read([A]))
    await source.asked.wait()
    others = [asyncio.create_task(numbers.read(ids)) for ids in ([B], [C, B], [B, C])]
    hung_up = asyncio.create_task(numbers.read([C]))
    await asyncio.sleep(0)
    hung_up.cancel()
    source.gate.set()
    assert await first == {A: 1}
    assert await asyncio.gather(*others) == [{B: 2}, {C: 3, B: 2}, {B: 2, C: 3}]
    assert source.queries == [[A], [B, C]]
    assert hung_up.cancelled()


@pytest.mark.asyncio
async def test_without_postgres_the_last_known_numbers_stand_in() -> None:
    clock, source = ManualClock(), Numbers({A: 5, B: 1})
    numbers = StockNumbers(source.load, clock=clock)
    await numbers.read([A])
    source.error = OSError("connection refused")
    clock.now += 2 * NUMBERS_AGE_MAX_S
    for _ in range(10):
        assert await numbers.read([A, B]) == {A: 5}
    assert len(source.queries) == 2  # it is left alone after the first failure
    source.error = None
    clock.now += PAUSE_S
    assert await numbers.read([A, B]) == {A: 5, B: 1}


@pytest.mark.asyncio
async def test_numbers_kept_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(availability, "NUMBERS_KEPT_MAX", 2)
    source = Numbers({A: 1, B: 2, C: 3})
    numbers = StockNumbers(source.load, clock=ManualClock())
    for one in (A, B, C, B):
        assert await numbers.read([one]) == {one: one.int}
    assert source.queries == [[A], [B], [C]]
    await numbers.read([A])
    assert source.queries[-1] == [A]


@pytest.mark.asyncio
async def test_each_pair_comes_from_the_board_or_else_from_postgres(redis: Redis) -> None:
    a1, a2, b1, c1, d1 = (UUID(int=number) for number in range(11, 16))
    board = AvailabilityBoard(redis)
    source = Numbers({a1: 100, a2: 20, b1: 7, c1: 1})
    reader = AvailabilityReader(board, StockNumbers(source.load))
    await board.publish(pairs((A, a1, 3), (C, c1, 9)))
    asked = {A: (a1, a2), B: (b1,), C: (c1,), UUID(int=4): (d1,), UUID(int=5): ()}
    assert list((await reader.units(asked)).values()) == [23, 7, 9, 0, 0]
    assert source.queries == [[a2, b1, d1]]


@pytest.mark.asyncio
async def test_a_reader_without_redis_and_postgres_still_answers(deaf: Redis) -> None:
    source = Numbers({})
    source.error = OSError("connection refused")
    reader = AvailabilityReader(AvailabilityBoard(deaf), StockNumbers(source.load))
    started = time.monotonic()
    assert await reader.units({A: (B,), B: (C,)}) == {A: 0, B: 0}
    assert time.monotonic() - started < ANSWERED_WITHIN_S
