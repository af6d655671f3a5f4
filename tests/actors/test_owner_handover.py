"""Pairs change their owner in the middle of a sale, and nobody's reservation is lost."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter

import pytest

from actors.routing import Routing
from actors.stock_client import LocalTransport, StockClient, StockClientConfig
from actors.stock_owner import StockOwner
from domain.owners import Homes, owner_number, pool_names
from domain.ports import StaleEpoch
from domain.stock import (
    Answer,
    Extend,
    ExtendStatus,
    HandOver,
    Load,
    Movement,
    MovementKind,
    PairStatus,
    Policy,
    Release,
    ReleaseStatus,
    Reserve,
    ReserveStatus,
)
from tests.actors.memory import Clock, Fault, MemoryJournal
from tests.actors.owners import a_pair, an_owner, new_id, release, reserve, running

pytestmark = pytest.mark.asyncio
POOL = pool_names(2)
HOT = "hot-0"
TO_HOT = owner_number(HOT)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def journal(clock: Clock) -> MemoryJournal:
    return MemoryJournal(clock.unix)


def at_home_with(journal: MemoryJournal, home: str, available: int) -> bytes:
    """A pair of one of the pool."""
    homes = Homes(POOL)
    while True:
        pair = a_pair(journal, available)
        if homes.home_of(pair) == home:
            return pair
        del journal.rows[pair]


def _owner(journal: MemoryJournal, name: str, clock: Clock | None = None) -> StockOwner:
    return an_owner(journal, name=name, pool=POOL, clock=clock)


async def _one(owner: StockOwner, request: Reserve | Release | Extend | HandOver | Load) -> Answer:
    [answer] = await owner.call([request])
    return answer


async def test_of_a_pair_of_another_owner_one_is_told_whose_it_is(journal: MemoryJournal) -> None:
    home, other, hot = (_owner(journal, name) for name in (*POOL, HOT))
    pair, pair_of_hot = (at_home_with(journal, POOL[0], 5) for _ in range(2))
    journal.rows[pair_of_hot].owner = HOT
    async with running(home, other, hot):
        for asked, owner, right in [
            (pair, other, 0),
            (pair, hot, 0),
            (pair_of_hot, home, TO_HOT),
            (pair_of_hot, other, TO_HOT),
        ]:
            movement = Movement(new_id(), asked, MovementKind.RECEIVE, 1)
            extend = Extend(new_id(), new_id(), asked, 60.0)
            requests = [reserve(asked), Release(new_id(), asked), extend, movement, Load(asked)]
            answers = await owner.call([*requests, HandOver(asked, 7)])
            assert answers == [(ReserveStatus.ELSEWHERE, right)] * 6
    assert journal.turns == []


async def test_a_pair_is_handed_over_in_the_middle_of_a_turn(journal: MemoryJournal) -> None:
    home, hot = _owner(journal, POOL[0]), _owner(journal, HOT)
    pair = at_home_with(journal, POOL[0], 5)
    before, after = reserve(pair, 2), reserve(pair, 2)
    async with running(home, hot):
        answers = await home.call([before, HandOver(pair, TO_HOT), after, release(before)])
        assert answers == [
            (ReserveStatus.HELD, 3),
            (PairStatus.DONE, 3),
            (ReserveStatus.ELSEWHERE, TO_HOT),
            (ReserveStatus.ELSEWHERE, TO_HOT),
        ]
        assert await hot.call([before, after, release(before)]) == [
            (ReserveStatus.HELD, 3),
            (ReserveStatus.HELD, 1),
            (ReleaseStatus.RELEASED, 1),
        ]
    assert (journal.rows[pair].owner, journal.rows[pair].quantity) == (HOT, 3)


async def test_a_hand_over_may_be_repeated(journal: MemoryJournal) -> None:
    home, hot = _owner(journal, POOL[0]), _owner(journal, HOT)
    pair = at_home_with(journal, POOL[0], 5)
    async with running(home, hot):
        asked = HandOver(pair, TO_HOT)
        assert [a.status for a in await home.call([asked, asked])] == [PairStatus.DONE] * 2
        assert (await _one(home, asked)).status == PairStatus.DONE
        assert (await _one(hot, asked)).status == PairStatus.DONE  # it has the pair
        # To another one it is not for the old owner to hand over.
        assert await _one(home, HandOver(pair, TO_HOT + 1)) == (PairStatus.ELSEWHERE, TO_HOT)
        assert (await _one(hot, HandOver(pair, 0))).status == PairStatus.DONE
        assert (await _one(home, HandOver(pair, 0))).status == PairStatus.DONE
    assert len(journal.turns) == 2
    assert journal.rows[pair].owner == ""


@pytest.mark.parametrize("to", [1, 2, 999, 1_000, TO_HOT + 1_000, -1, 10**12])
async def test_a_pair_goes_to_its_home_or_to_a_dedicated_owner(
    journal: MemoryJournal, to: int
) -> None:
    home, pair = _owner(journal, POOL[0]), at_home_with(journal, POOL[0], 5)
    async with running(home):
        assert (await _one(home, HandOver(pair, to))).status == PairStatus.INVALID
        assert (await _one(home, HandOver(new_id(), 0))).status == PairStatus.UNKNOWN_PAIR
    assert journal.turns == []


@pytest.mark.parametrize("fault", list(Fault))
@pytest.mark.parametrize("repeated", [True, False])
async def test_a_hand_over_of_which_nobody_knows_whether_it_was_written(
    journal: MemoryJournal, fault: Fault, repeated: bool
) -> None:
    home, hot = _owner(journal, POOL[0]), _owner(journal, HOT)
    pair, held = at_home_with(journal, POOL[0], 5), reserve(bytes(16))
    held = held._replace(inventory_id=pair)
    async with running(home, hot):
        await _one(home, held)
        journal.faults.plan("write_turn", fault)
        assert (await _one(home, HandOver(pair, TO_HOT))).status == PairStatus.UNAVAILABLE
        if repeated:
            assert (await _one(home, HandOver(pair, TO_HOT))).status == PairStatus.DONE
        decides = hot if repeated or fault is Fault.AFTER else home
        refuses = home if decides is hot else hot
        assert (await _one(refuses, held)).status == ReserveStatus.ELSEWHERE
        assert await _one(decides, held) == (ReserveStatus.HELD, 4)
        assert (await _one(decides, release(held))).status == ReleaseStatus.RELEASED
    assert journal.rows[pair].quantity == 5


async def test_holds_expire_with_the_new_owner_and_only_there(
    journal: MemoryJournal, clock: Clock
) -> None:
    home, hot = _owner(journal, POOL[0], clock), _owner(journal, HOT, clock)
    pair = at_home_with(journal, POOL[0], 5)
    held, extended = reserve(pair, ttl_s=60), reserve(pair, ttl_s=60)
    extend = Extend(new_id(), extended.reservation_id, pair, 100.0)
    async with running(home, hot):
        await home.call([held, extended])
        await home.call([HandOver(pair, TO_HOT)])
        assert (await _one(hot, extend)).status == ExtendStatus.EXTENDED
        clock.advance(60)
        await home.call([])
        assert journal.reservations[held.reservation_id].status == "active"
        await hot.call([])
        assert journal.reservations[held.reservation_id].status == "expired"
        assert journal.reservations[extended.reservation_id].status == "active"
        assert (await _one(hot, extend)).status == ExtendStatus.EXTENDED
        await hot.call([HandOver(pair, 0)])
        assert (await _one(home, extend)).status == ExtendStatus.EXTENDED
        clock.advance(40)
        await home.call([])
        assert journal.reservations[extended.reservation_id].status == "expired"
    assert (journal.rows[pair].quantity, journal.rows[pair].reserved) == (5, 0)


async def test_who_waits_for_stock_and_limits_move_along(journal: MemoryJournal) -> None:
    home, hot = _owner(journal, POOL[0]), _owner(journal, HOT)
    pair, ann = at_home_with(journal, POOL[0], 1), new_id()
    journal.rows[pair].policy = Policy(backorder_max=5, customer_max=2)
    held, waits, more = (reserve(pair)._replace(customer_id=ann) for _ in range(3))
    async with running(home, hot):
        await home.call([held, waits, HandOver(pair, TO_HOT)])
        assert (await _one(hot, waits)).status == ReserveStatus.BACKORDERED
        assert (await _one(hot, more)).status == ReserveStatus.OVER_LIMIT
        await hot.call([release(held)])
        await hot.call([])
        assert (await _one(hot, waits)).status == ReserveStatus.HELD


async def test_a_stale_owner_may_not_even_say_no(journal: MemoryJournal, clock: Clock) -> None:
    """P5: its pairs were taken from it, and what it remembers is worth nothing."""
    home = _owner(journal, POOL[0], clock)
    for request_of in (
        lambda pair: reserve(pair, 9),
        lambda pair: Release(new_id(), pair),
        lambda pair: Extend(new_id(), new_id(), pair, 60.0),
        Load,
        lambda pair: reserve(new_id()),
        lambda pair: HandOver(pair, 10**12),
    ):
        zombie, pair = _owner(journal, HOT, clock), at_home_with(journal, POOL[0], 5)
        journal.rows[pair].owner = HOT
        await zombie.start()
        loop = asyncio.create_task(zombie.run())
        assert (await _one(zombie, reserve(pair))).status == ReserveStatus.HELD
        assert await journal.reclaim(HOT) == [pair]
        asking = asyncio.create_task(zombie.call([request_of(pair)]))
        with pytest.raises(StaleEpoch):
            await loop
        assert asking.exception() is not None or asking.cancelled()
        async with running(home):
            assert await _one(home, reserve(pair)) == (ReserveStatus.HELD, 3)
        home = _owner(journal, POOL[0], clock)


class Sale:
    """Buyers who reserve, change their mind, take more time, and remember all they were told."""

    def __init__(self, client: StockClient, pairs: list[bytes]) -> None:
        self.client = client
        self.pairs = pairs
        self.told: Counter[int] = Counter()
        self.has: dict[bytes, Reserve] = {}

    async def buy(self, number: int) -> None:
        """One buyer's visit; every third repeats, every second gives back, every fifth extends."""
        request = reserve(self.pairs[number % len(self.pairs)], number % 3 + 1)
        copies = 2 if number % 3 == 0 else 1
        answers = await asyncio.gather(*[self.client.reserve([request]) for _ in range(copies)])
        statuses = {answer.status for [answer] in answers}
        assert len(statuses) == 1, "a repeat got another answer"
        [status] = statuses
        self.told[status] += 1
        assert status in (ReserveStatus.HELD, ReserveStatus.OUT_OF_STOCK), status
        if status != ReserveStatus.HELD:
            return
        self.has[request.reservation_id] = request
        if number % 5 == 0:
            extend = Extend(new_id(), request.reservation_id, request.inventory_id, 900.0)
            for _ in range(2):
                [answer] = await self.client.extend([extend])
                assert answer.status == ExtendStatus.EXTENDED
        if number % 2 == 0:
            [answer] = await self.client.release([release(request)])
            assert answer.status == ReleaseStatus.RELEASED
            del self.has[request.reservation_id]


def _clients(owners: list[StockOwner], clock: Clock, count: int = 3) -> list[StockClient]:
    """Clients that know nothing of each other's routes."""
    transport = LocalTransport({owner.name: owner for owner in owners})
    config = StockClientConfig(retry_first_s=0.0001, retry_max_s=0.0005)
    return [
        StockClient(transport, Routing(POOL), monotonic=clock.unix, config=config)
        for _ in range(count)
    ]


@pytest.mark.parametrize("failing", [False, True])
async def test_under_a_sale_pairs_go_there_and_back_and_everything_adds_up(
    journal: MemoryJournal, clock: Clock, failing: bool
) -> None:
    """P1 to P5: no request fails, no answer is given twice, no reservation is lost."""
    owners = [_owner(journal, name, clock) for name in (*POOL, HOT, "hot-1")]
    pairs = [at_home_with(journal, POOL[n % 2], 60) for n in range(3)]
    clients = _clients(owners, clock)
    sales = [Sale(client, pairs) for client in clients]
    selling = True
    moves = 0

    async def move_about() -> None:
        nonlocal moves
        homes = Homes(POOL)
        for pair in itertools.cycle(pairs):
            if not selling:
                return
            for to in (HOT, "hot-1", homes.home_of(pair)):
                if failing:
                    journal.faults.plan("write_turn", list(Fault)[moves % 2])
                handing = HandOver(pair, owner_number(to))
                [answer] = await clients[moves % 3].ask([handing])
                assert answer.status == PairStatus.DONE, answer
                moves += 1

    async def sell() -> None:
        nonlocal selling
        numbers = iter(range(900))

        async def customer(sale: Sale) -> None:
            for number in numbers:
                await sale.buy(number)

        await asyncio.gather(*[customer(sales[n % 3]) for n in range(30)])
        selling = False

    async with running(*owners):
        await asyncio.gather(sell(), move_about())
    assert moves > 10
    has = {key: one for sale in sales for key, one in sale.has.items()}
    active = {key for key, one in journal.reservations.items() if one.status == "active"}
    assert active == set(has)
    told = sum((sale.told for sale in sales), Counter[int]())
    assert told.total() == 900
    assert len(journal.reservations) == told[ReserveStatus.HELD]
    for pair in pairs:
        row = journal.rows[pair]
        held = sum(one.quantity for one in has.values() if one.inventory_id == pair)
        assert (row.reserved, row.quantity) == (held, 60 - held)
    written = [turn for turn in journal.turns if turn.handed_to]
    assert {turn.owner for turn in written} == {*POOL, HOT, "hot-1"}
