"""The stream of changes: in order, bounded, and enough to tell who missed what."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID, uuid4

import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st
from redis.asyncio import Redis

from domain.ports import Unavailable
from storage import availability_stream
from storage.availability import (
    PAUSE_S,
    AvailabilityBoard,
    AvailabilityReader,
    StockNumbers,
)
from storage.availability_stream import (
    BEGINNING,
    ENTRIES_READ_MAX,
    KEY,
    VARIANTS_PER_ENTRY_MAX,
    Change,
    ChangeStream,
    RecentChanges,
    StreamId,
)
from tests.storage.test_availability import ManualClock, Numbers, pairs

A, B, C, D = (UUID(int=number) for number in range(1, 5))


@pytest_asyncio.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    async with Redis.from_url(redis_url) as client:
        await client.flushdb()
        yield client


@pytest.mark.asyncio
async def test_what_is_published_is_in_the_stream_in_order(redis: Redis) -> None:
    board, stream = AvailabilityBoard(redis), ChangeStream(redis)
    assert await stream.after(BEGINNING, wait_s=0) == []
    assert await stream.oldest() is None
    await board.publish(pairs((A, uuid4(), 5), (A, uuid4(), 2), (B, uuid4(), 0)))
    await board.publish(pairs((C, uuid4(), 1)))
    await board.publish({})
    first, second = await stream.after(BEGINNING, wait_s=0)
    assert first.variant_ids == (A, B)
    assert second.variant_ids == (C,)
    assert BEGINNING < first.id < second.id
    assert await stream.oldest() == first.id
    assert await stream.after(first.id, wait_s=0) == [second]
    assert await stream.after(second.id, wait_s=0.01) == []


@pytest.mark.asyncio
async def test_many_variants_become_entries_of_bounded_size(redis: Redis) -> None:
    variants = [UUID(int=number) for number in range(1, 2 * VARIANTS_PER_ENTRY_MAX + 2)]
    await AvailabilityBoard(redis).publish(pairs(*((one, A, 1) for one in variants)))
    entries = await ChangeStream(redis).after(BEGINNING, wait_s=0)
    assert [len(entry.variant_ids) for entry in entries] == [256, 256, 1]
    assert [one for entry in entries for one in entry.variant_ids] == variants


@pytest.mark.asyncio
async def test_the_stream_is_bounded(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(availability_stream, "ENTRIES_MAX", 100)
    board, stream = AvailabilityBoard(redis), ChangeStream(redis)
    await board.publish(pairs((A, A, 1)))
    oldest = await stream.oldest()
    for units in range(500):
        await board.publish(pairs((A, A, units)))
    # Redis drops whole nodes, of 100 entries by default.
    assert 100 <= await redis.xlen(KEY) <= 200
    now_oldest = await stream.oldest()
    assert oldest is not None
    assert now_oldest is not None
    assert now_oldest > oldest


@pytest.mark.asyncio
async def test_one_read_is_bounded(redis: Redis) -> None:
    async with redis.pipeline(transaction=False) as pipeline:
        for _ in range(ENTRIES_READ_MAX + 1):
            pipeline.xadd(availability_stream.KEY, {b"v": A.bytes})
        await pipeline.execute()
    stream = ChangeStream(redis)
    batch = await stream.after(BEGINNING, wait_s=0)
    assert len(batch) == ENTRIES_READ_MAX
    assert len(await stream.after(batch[-1].id, wait_s=0)) == 1


@pytest.mark.asyncio
async def test_what_could_not_be_sent_is_told_of_later(
    redis: Redis, redis_url: str, tmp_path: Path
) -> None:
    clock, path = ManualClock(), tmp_path / "later.sock"
    async with Redis(unix_socket_path=str(path)) as client:
        board = AvailabilityBoard(client, clock=clock)
        await board.publish(pairs((A, C, 5)))
        path.symlink_to(redis_url.removeprefix("unix://"))
        clock.now += PAUSE_S
        await board.publish(pairs((B, C, 1)))
    [entry] = await ChangeStream(redis).after(BEGINNING, wait_s=0)
    assert set(entry.variant_ids) == {A, B}


@pytest.mark.asyncio
async def test_without_redis_readers_of_the_newest_are_told_so(tmp_path: Path) -> None:
    async with Redis(unix_socket_path=str(tmp_path / "nobody.sock")) as gone:
        stream, board = ChangeStream(gone), AvailabilityBoard(gone)
        reader = AvailabilityReader(board, StockNumbers(Numbers({B: 7}).load))
        assert await reader.units({A: (B,)}) == {A: 7}
        for asking in (
            stream.after(BEGINNING, wait_s=0),
            stream.oldest(),
            reader.units_now({A: (B,)}),
        ):
            with pytest.raises(Unavailable):
                await asking


@pytest.mark.asyncio
async def test_the_newest_numbers_come_from_the_board_or_else_from_postgres(redis: Redis) -> None:
    board = AvailabilityBoard(redis)
    await board.publish(pairs((A, C, 3)))
    reader = AvailabilityReader(board, StockNumbers(Numbers({C: 100, D: 20}).load))
    assert await reader.units_now({A: (C, D), B: ()}) == {A: 23, B: 0}


def test_an_id_is_what_redis_calls_it() -> None:
    assert StreamId.parse("1764000000000-12") == (1764000000000, 12)
    assert str(StreamId(1764000000000, 12)) == "1764000000000-12"
    assert StreamId(9, 10) > StreamId(9, 9)


@pytest.mark.parametrize(
    "text",
    ["", "1", "1-", "-1", "1-1-1", "a-b", "01-1", "1 -1", "١-١", "$", "1-1\n", f"{1 << 64}-0",
     "9" * 5_000 + "-0"],
)  # fmt: skip
def test_other_texts_are_no_id(text: str) -> None:
    with pytest.raises(ValueError, match="is not the id of an event"):
        StreamId.parse(text)


def change(ms: int, *variants: UUID) -> Change:
    return Change(StreamId(ms, 0), variants)


def test_recent_changes_tell_what_came_after_a_place() -> None:
    recent = RecentChanges()
    assert not recent.reaches(BEGINNING)  # nothing was read yet
    assert recent.add([change(5, A, B), change(6, A), change(7, C)]) == [A, B, C]
    assert recent.position == (7, 0)
    assert recent.since(StreamId(5, 0), None, 10) == [A, C]
    assert recent.since(StreamId(5, 0), frozenset({A, B, D}), 10) == [A]
    assert recent.since(StreamId(7, 0), None, 10) == []
    assert recent.since(StreamId(5, 0), None, 1) is None


def test_recent_changes_know_how_far_they_reach() -> None:
    recent = RecentChanges(kept_max=2)
    recent.add([change(5, A)])
    # What was before the first entry may have been trimmed; what is ahead is not ours.
    assert [recent.reaches(StreamId(ms, 0)) for ms in (4, 5, 6)] == [False, True, False]
    recent.add([change(6, B), change(7, C), change(8, D)])
    assert [recent.reaches(StreamId(ms, 0)) for ms in (5, 6, 8)] == [False, True, True]
    assert recent.since(StreamId(6, 0), None, 10) == [C, D]


def test_before_the_first_entry_nothing_is_known() -> None:
    recent = RecentChanges()
    recent.add([])
    assert not recent.reaches(BEGINNING)
    recent.add([change(5, A)])
    assert not recent.reaches(BEGINNING)  # there may have been another Redis


@given(
    st.lists(st.lists(st.sampled_from([A, B, C, D]), max_size=3), max_size=12),
    st.integers(1, 4),
    st.integers(0, 13),
    st.one_of(st.none(), st.frozensets(st.sampled_from([A, B, C, D]))),
)
def test_nothing_is_missed_by_whoever_is_reached(
    entries: list[list[UUID]], kept_max: int, after_ms: int, among: frozenset[UUID] | None
) -> None:
    recent = RecentChanges(kept_max=kept_max)
    for ms, variants in enumerate(entries, 1):
        recent.add([change(ms, *variants)])
    after = StreamId(after_ms, 0)
    if recent.reaches(after):
        later = {one for variants in entries[after_ms:] for one in variants}
        told = recent.since(after, among, 10)
        assert told is not None
        assert len(told) == len(set(told))
        assert set(told) == (later if among is None else later & among)
