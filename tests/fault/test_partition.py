"""Two incarnations of one owner never both write: networks that lose one side or the other."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

import asyncpg
import pytest
import pytest_asyncio

from domain.ports import Unavailable
from domain.stock import ReserveStatus
from storage.left_open import PATIENCE_S
from tests.actors.postgres import status_of
from tests.fault.callers import (
    Callers,
    a_reservation,
    check_books,
    is_refused,
    line_to,
)
from tests.fault.incarnations import Incarnation, Incarnations
from tests.fault.owner_process import NAME, STALE, application
from tests.fault.partition import Hop, Way, tcp, unix
from tests.shop.running import eventually_async

pytestmark = [pytest.mark.fault, pytest.mark.asyncio, pytest.mark.timeout(60)]

SOME_ANSWERS = 200
OPEN_TURN_WITHIN_S = 5.0  # the patience of storage/left_open.py, and a start
LATENCY_S = 0.01
LOST_COMMITS = 3
_NO_PAIR = b"-" * 16
_POSTGRES_PORT = 5432
_SYNC = b"S\x00\x00\x00\x04"  # the last message of a statement: only then Postgres commits
_CONNECTIONS = "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Net:
    """Callers, their owner, Postgres, and the two ways between them."""

    owners: Incarnations
    callers: Callers
    pool: asyncpg.Pool
    database_url: str
    to_owner: Hop
    to_postgres: Hop

    @property
    def plenty(self) -> bytes:
        """A pair that is never sold out."""
        return list(self.callers.stock)[-1]

    async def start(self, **options: float) -> Incarnation:
        """The owner that is on the other side of both hops."""
        host, port = self.to_postgres.address
        database = urlsplit(self.database_url).path
        url = f"postgresql://postgres@{host}:{port}{database}?sslmode=disable"
        owner = await self.owners.start(url, **options)
        self.owners.found_at = self.to_owner.address
        return owner

    async def written(self, reservation_id: bytes) -> None:
        """Wait until a reservation is in Postgres."""

        async def there() -> bool:
            return await status_of(self.pool, reservation_id) is not None

        await eventually_async(there, within_s=5, what="the reservation is written")


@pytest_asyncio.fixture
async def net(
    owners: Incarnations, callers: Callers, pool: asyncpg.Pool, database_url: str
) -> AsyncIterator[Net]:
    folder = parse_qs(urlsplit(database_url).query)["host"][0]

    def first() -> tuple[str, int]:
        return owners.first.address

    async with (
        Hop(tcp(first)) as to_owner,
        Hop(unix(f"{folder}/.s.PGSQL.{_POSTGRES_PORT}")) as to_postgres,
    ):
        yield Net(
            owners=owners,
            callers=callers,
            pool=pool,
            database_url=database_url,
            to_owner=to_owner,
            to_postgres=to_postgres,
        )


def _turn(chunk: bytes) -> bool:
    return chunk.endswith(_SYNC) and NAME.encode() in chunk


def _before_a_turn(chunk: bytes) -> int | None:
    return 0 if _turn(chunk) else None


def _before_its_commit(chunk: bytes) -> int | None:
    """All of a turn's statement passes, but not the message that commits it."""
    return len(chunk) - len(_SYNC) if _turn(chunk) else None


@pytest.mark.parametrize("command_timeout_s", [10.0, 0.3])
async def test_an_owner_without_postgres_is_succeeded_and_refused(
    net: Net, command_timeout_s: float
) -> None:
    """Cut off for less, and for more, than it waits for an answer."""
    callers = net.callers
    old = await net.start(command_timeout_s=command_timeout_s)
    async with callers.busy():
        await callers.answers(SOME_ANSWERS)
        net.to_postgres.block()
        successor = await net.owners.start()
        await callers.first_answer_after(successor.ready_at)
        await callers.answers(SOME_ANSWERS)
        net.to_postgres.heal()
        await is_refused(old, net.pool, net.plenty)
    assert successor.epoch == old.epoch + 1
    await check_books(net.pool, callers)


async def test_a_write_that_arrives_after_its_owner_died_is_refused(net: Net) -> None:
    """It left the owner, and reaches Postgres when the successor has long begun."""
    callers = net.callers
    old = await net.start()
    async with callers.busy():
        await callers.answers(SOME_ANSWERS)
        net.to_postgres.block_at(Way.THERE, _before_a_turn)
        await net.to_postgres.sprung.wait()
        old.kill()
        successor = await net.owners.start()
        await callers.first_answer_after(successor.ready_at)
        await callers.answers(SOME_ANSWERS)
        net.to_postgres.heal()

        async def is_over() -> bool:
            return not await net.pool.fetchval(_CONNECTIONS, application(old.pid))

        await eventually_async(is_over, within_s=5, what="Postgres is done with the dead owner")
    await check_books(net.pool, callers)


async def test_a_successor_does_not_wait_for_a_turn_that_is_left_open(
    net: Net, print_line: Callable[[str], None]
) -> None:
    """The turn has run and holds the fence; its last bytes, which commit it, do not arrive."""
    callers = net.callers
    old = await net.start()
    async with callers.busy():
        await callers.answers(SOME_ANSWERS)
        net.to_postgres.block_at(Way.THERE, _before_its_commit)
        await net.to_postgres.sprung.wait()
        old.stop()
        struck = time.monotonic()
        successor = await net.owners.start()
        started_s = successor.ready_at - struck
        await callers.answers(SOME_ANSWERS)
        net.to_postgres.heal()
        old.wake_up()
        await is_refused(old, net.pool, net.plenty)
    print_line(f"a turn left open: the successor is ready after {started_s:.2f} s")
    assert PATIENCE_S < started_s < OPEN_TURN_WITHIN_S  # it did hold the fence
    await check_books(net.pool, callers)


async def test_an_owner_without_callers_is_succeeded_and_what_it_answers_late_is_true(
    net: Net,
) -> None:
    """What it had written before its successor began counts; what reaches it later does not."""
    callers, hop = net.callers, net.to_owner
    hop.delay(LATENCY_S)
    old = await net.start()
    early, late = a_reservation(net.plenty), a_reservation(net.plenty)
    async with callers.busy(), line_to(hop.address) as ask:
        assert (await ask(a_reservation(_NO_PAIR))).status == ReserveStatus.UNKNOWN_PAIR
        await callers.answers(SOME_ANSWERS)
        hop.block(Way.BACK)
        told_early = asyncio.create_task(ask(early))
        await net.written(early.reservation_id)
        hop.block()
        told_late = asyncio.create_task(ask(late))
        successor = await net.owners.start()
        await callers.first_answer_after(successor.ready_at)
        await callers.answers(SOME_ANSWERS)
        hop.heal()
        assert (await told_early).status == ReserveStatus.HELD
        with pytest.raises(Unavailable):
            await told_late
        assert await old.exit_status() == STALE, old.log()
        assert await status_of(net.pool, late.reservation_id) is None
        for one in (early, late):
            assert (await callers.ask(one)).status == ReserveStatus.HELD
    await check_books(net.pool, callers)


async def test_an_answer_lost_on_its_way_to_the_caller_is_given_again(net: Net) -> None:
    """Committed, answered, and never heard: the repeat is told the same and takes nothing."""
    callers, hop = net.callers, net.to_owner
    await net.start()
    request = a_reservation(net.plenty, 3)
    async with callers.busy(), line_to(hop.address) as ask:
        assert (await ask(a_reservation(_NO_PAIR))).status == ReserveStatus.UNKNOWN_PAIR
        await callers.answers(SOME_ANSWERS)
        hop.block(Way.BACK)
        asking = asyncio.create_task(ask(request))
        await net.written(request.reservation_id)
        hop.cut()
        hop.heal()
        with pytest.raises(Unavailable):
            await asking
        assert (await callers.ask(request)).status == ReserveStatus.HELD
        await callers.answers(SOME_ANSWERS)
    await check_books(net.pool, callers)


async def test_a_commit_whose_answer_never_reached_the_owner_counts_once(net: Net) -> None:
    """The owner forgets what it thought, loads its pairs again, and finds the turn written."""
    callers = net.callers
    owner = await net.start()
    async with callers.busy(release=False):
        for _ in range(LOST_COMMITS):
            await callers.answers(SOME_ANSWERS)
            net.to_postgres.block_at(Way.BACK, lambda _: 0)
            await net.to_postgres.sprung.wait()
            net.to_postgres.cut()
            net.to_postgres.heal()
        await callers.answers(SOME_ANSWERS)
    assert owner.log().count("turn_not_written") >= LOST_COMMITS
    await check_books(net.pool, callers)
