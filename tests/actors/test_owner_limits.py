"""A customer may have so many units of a variant, whoever sells them."""

from __future__ import annotations

import asyncio

import pytest

from domain.stock import NOBODY, Policy, Reserve, ReserveStatus
from tests.actors.memory import Clock, Fault, MemoryJournal, Row
from tests.actors.owners import a_pair, an_owner, new_id, release, reserve, running

pytestmark = pytest.mark.asyncio
LIMIT = 3


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def journal(clock: Clock) -> MemoryJournal:
    return MemoryJournal(clock.unix)


def limited(journal: MemoryJournal, available: int, beside: bytes | None = None) -> bytes:
    """A pair of a limited variant; of the same as another one, if there is one beside it."""
    pair = a_pair(journal, available)
    journal.rows[pair].policy = Policy(customer_max=LIMIT)
    if beside:
        journal.rows[pair].variant_id = journal.rows[beside].variant_id
    return pair


def by(customer: bytes, pair: bytes, quantity: int = 1, *, ttl_s: float = 600.0) -> Reserve:
    """A customer's reservation."""
    return reserve(pair, quantity, ttl_s=ttl_s)._replace(customer_id=customer)


def _units(journal: MemoryJournal, pair: bytes, customer: bytes) -> int:
    row: Row = journal.rows[pair]
    return journal.units.get((row.variant_id, customer), 0)


async def test_a_customer_gets_up_to_the_limit_over_orders_and_pairs(
    journal: MemoryJournal,
) -> None:
    owner, pair = an_owner(journal), limited(journal, 10)
    other, ann, bob = limited(journal, 10, beside=pair), new_id(), new_id()
    async with running(owner):
        answers = await owner.call([by(ann, pair, 2), by(ann, other, 2), by(ann, other, 1)])
        assert [one.status for one in answers] == [
            ReserveStatus.HELD,
            ReserveStatus.OVER_LIMIT,
            ReserveStatus.HELD,
        ]
        assert answers[1].available == 1  # what she may still have
        assert await owner.call([by(ann, pair)]) == [(ReserveStatus.OVER_LIMIT, 0)]
        assert (await owner.call([by(bob, pair, 3)]))[0].status == ReserveStatus.HELD
    assert (_units(journal, pair, ann), _units(journal, pair, bob)) == (3, 3)


async def test_nobody_in_particular_cannot_buy_what_is_limited(journal: MemoryJournal) -> None:
    owner, pair = an_owner(journal), limited(journal, 10)
    async with running(owner):
        assert await owner.call([by(NOBODY, pair)]) == [(ReserveStatus.INVALID, 10)]
    assert journal.turns == []


async def test_a_repeat_does_not_count_again(journal: MemoryJournal) -> None:
    """P4, also where the limit is reached and the owner has forgotten the hold."""
    owner, pair, ann = an_owner(journal), limited(journal, 10), new_id()
    held = by(ann, pair, 3)
    async with running(owner):
        assert await owner.call([held, held]) == [(ReserveStatus.HELD, 7)] * 2
    journal.reservations[held.reservation_id].status = "allocated"
    successor = an_owner(journal)
    async with running(successor):
        assert (await successor.call([held]))[0].status == ReserveStatus.HELD
    assert _units(journal, pair, ann) == 3
    assert journal.rows[pair].quantity == 7


@pytest.mark.parametrize("how", ["release", "expiry"])
async def test_what_is_given_back_may_be_had_again(
    journal: MemoryJournal, clock: Clock, how: str
) -> None:
    owner, pair, ann = an_owner(journal, clock=clock), limited(journal, 10), new_id()
    held = by(ann, pair, 3, ttl_s=60)
    async with running(owner):
        await owner.call([held])
        if how == "release":
            await owner.call([release(held)])
        else:
            clock.advance(60)
            await owner.call([])
        assert (await owner.call([by(ann, pair, 3)]))[0].status == ReserveStatus.HELD
    assert _units(journal, pair, ann) == 3


async def test_what_is_bought_goes_on_counting(journal: MemoryJournal) -> None:
    owner, pair, ann = an_owner(journal), limited(journal, 10), new_id()
    held = by(ann, pair, 3)
    async with running(owner):
        await owner.call([held])
        journal.reservations[held.reservation_id].status = "allocated"
        await owner.call([release(held)])
        assert await owner.call([by(ann, pair)]) == [(ReserveStatus.OVER_LIMIT, 0)]


async def test_two_owners_at_once_never_give_more_than_the_limit(journal: MemoryJournal) -> None:
    first = limited(journal, 500)
    pool = ("pool-0", "pool-1")
    owners = [an_owner(journal, name=name, pool=pool) for name in pool]
    homes = owners[0]._homes  # pyright: ignore[reportPrivateUsage]
    pairs = {homes.home_of(first): first}
    while len(pairs) < 2:
        other = limited(journal, 500, beside=first)
        pairs.setdefault(homes.home_of(other), other)
    customers = [new_id() for _ in range(20)]
    async with running(*owners):

        async def buy(customer: bytes, owner: int) -> Reserve | None:
            request = by(customer, pairs[owners[owner].name])
            status = ReserveStatus.UNAVAILABLE
            while status == ReserveStatus.UNAVAILABLE:  # the two met too often: repeat
                [(status, _)] = await owners[owner].call([request])
            assert status in (ReserveStatus.HELD, ReserveStatus.OVER_LIMIT)
            return request if status == ReserveStatus.HELD else None

        bought = await asyncio.gather(
            *[buy(customer, n % 2) for n in range(8) for customer in customers]
        )
    held = [one for one in bought if one is not None]
    for customer in customers:
        assert sum(one.customer_id == customer for one in held) == LIMIT
        assert _units(journal, first, customer) == LIMIT
    assert sum(journal.now_of(pair)[1] for pair in pairs.values()) == len(held)


async def test_a_limit_that_was_passed_meanwhile_is_seen_in_the_same_call(
    journal: MemoryJournal,
) -> None:
    owner, pair, ann = an_owner(journal), limited(journal, 10), new_id()

    def buy_elsewhere() -> None:
        journal.units[journal.rows[pair].variant_id, ann] = 2

    journal.before_write.append(buy_elsewhere)
    async with running(owner):
        answers = await owner.call([by(ann, pair, 2), by(new_id(), pair, 2)])
    assert [tuple(one) for one in answers] == [
        (ReserveStatus.OVER_LIMIT, 1),
        (ReserveStatus.HELD, 8),
    ]


@pytest.mark.parametrize("fault", list(Fault))
async def test_a_lost_commit_counts_once(journal: MemoryJournal, fault: Fault) -> None:
    owner, pair, ann = an_owner(journal), limited(journal, 10), new_id()
    held = by(ann, pair, 3)
    journal.faults.plan("write_turn", fault)
    async with running(owner):
        assert (await owner.call([held]))[0].status == ReserveStatus.UNAVAILABLE
        assert (await owner.call([held]))[0].status == ReserveStatus.HELD
        assert (await owner.call([by(ann, pair)]))[0].status == ReserveStatus.OVER_LIMIT
    assert _units(journal, pair, ann) == 3
