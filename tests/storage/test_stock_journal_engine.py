"""The suite for every stock journal, continued: what a turn does besides holding units."""

from __future__ import annotations

import asyncio
import time
import uuid

import pytest

from domain.ports import LimitPassed, StaleEpoch, VersionConflict
from domain.stock import NOBODY, PLAIN, Closed, MovementKind, Policy
from domain.turns import HOME, Instruction, Turn
from tests.storage.journals import OWNER, PostgresWorld, World, a_turn, some_ids, write

pytestmark = pytest.mark.asyncio
HOT = "hot-3"
LATER = 1_900_000_000.25


async def _started(world: World, owner: str = OWNER) -> int:
    return await world.journal.raise_epoch(owner, "here", 1)


async def _held(world: World, quantity: int = 2, available: int = 5) -> tuple[bytes, bytes, int]:
    """A pair at version 1, a reservation of it, and the epoch that wrote it."""
    pair, epoch = await world.add_pair(available), await _started(world)
    [reservation] = some_ids(1)
    await write(world, _holding(epoch, pair, (reservation, quantity)))
    return pair, reservation, epoch


def _holding(
    epoch: int,
    pair: bytes,
    *held: tuple[bytes, int],
    version: int = 0,
    owner: str = OWNER,
    waits: bool = False,
    customer: bytes | None = None,
) -> Turn:
    hold = [(one, uuid.uuid4().bytes, pair, quantity) for one, quantity in held]
    at = {pair: version}
    return a_turn(epoch, hold=hold, at=at, owner=owner, waits=waits, customer=customer)


def _extending(epoch: int, pair: bytes, version: int, *extended: tuple[bytes, bytes]) -> Turn:
    turn = a_turn(epoch, at={pair: version})
    turn.extensions = [(one, extension, LATER) for one, extension in extended]
    return turn


def _moving(epoch: int, pair: bytes, version: int, *moved: tuple[bytes, int, int]) -> Turn:
    turn = a_turn(epoch, at={pair: version})
    turn.movements = [(one, pair, change, on_hand) for one, change, on_hand in moved]
    turn.pair_moved = [sum(change for _, change, _ in moved)]
    return turn


def _handing(epoch: int, pair: bytes, version: int, to: str, *, owner: str = OWNER) -> Turn:
    turn = a_turn(epoch, at={pair: version}, owner=owner)
    turn.handed_to = {pair: to}
    return turn


# More time


async def test_an_extension_is_written_and_loaded(world: World) -> None:
    pair, reservation, epoch = await _held(world)
    [extension] = some_ids(1)
    await write(world, _extending(epoch, pair, 1, (reservation, extension)))
    [loaded] = await world.journal.load([pair])
    hold = loaded.holds[reservation]
    assert (hold.expires_at, hold.extension_id) == (LATER, extension)
    assert (await world.journal.find([reservation]))[reservation].hold == hold
    assert await world.stock_of(pair) == (3, 2)


async def test_a_second_extension_changes_nothing(world: World) -> None:
    pair, reservation, epoch = await _held(world)
    first, second = some_ids()
    await write(world, _extending(epoch, pair, 1, (reservation, first)))
    for version, extension in ((2, first), (3, second)):
        turn = _extending(epoch, pair, version, (reservation, extension))
        turn.extensions = [(reservation, extension, LATER + 60)]
        await write(world, turn)
    hold = (await world.journal.find([reservation]))[reservation].hold
    assert (hold.expires_at, hold.extension_id) == (LATER, first)


@pytest.mark.parametrize("status", ["allocated", "released", "expired"])
async def test_what_is_settled_meanwhile_is_not_extended(world: World, status: str) -> None:
    pair, reservation, epoch = await _held(world)
    await world.set_status(reservation, status)
    await write(world, _extending(epoch, pair, 1, (reservation, some_ids(1)[0])))
    known = (await world.journal.find([reservation]))[reservation]
    assert (known.status, known.hold.extension_id) == (status, NOBODY)
    assert known.hold.expires_at < LATER


async def test_a_reservation_of_a_pair_outside_the_turn_is_not_extended(world: World) -> None:
    _, reservation, epoch = await _held(world)
    other = await world.add_pair(1)
    await write(world, _extending(epoch, other, 0, (reservation, some_ids(1)[0])))
    assert (await world.journal.find([reservation]))[reservation].hold.extension_id == NOBODY


# Movements


async def test_movements_are_written_in_order_with_what_is_on_hand_after_each(
    world: World,
) -> None:
    pair, _, epoch = await _held(world)
    received = await world.instruct(Instruction(pair, MovementKind.RECEIVE, 10, "pending"))
    sent = await world.instruct(Instruction(pair, MovementKind.TRANSFER_OUT, 4, "pending"))
    turn = _moving(epoch, pair, 1, (received, 10, 15), (sent, -4, 11))
    assert await write(world, turn) == []
    assert await world.row_of(pair) == (9, 2, 0, 2, "")
    assert await world.ledger_of(pair) == [(10, 15), (-4, 11)]
    asked = await world.journal.instructions([received, sent, some_ids(1)[0]])
    assert asked == {
        received: Instruction(pair, MovementKind.RECEIVE, 10, "done"),
        sent: Instruction(pair, MovementKind.TRANSFER_OUT, 4, "done"),
    }


@pytest.mark.parametrize("status", ["done", "refused"])
async def test_a_settled_movement_writes_nothing_again(world: World, status: str) -> None:
    pair, _, epoch = await _held(world)
    settled = await world.instruct(Instruction(pair, MovementKind.RECEIVE, 10, status))
    pending = await world.instruct(Instruction(pair, MovementKind.RECEIVE, 1, "pending"))
    with pytest.raises(VersionConflict):
        await write(world, _moving(epoch, pair, 1, (pending, 1, 6), (settled, 10, 16)))
    assert await world.row_of(pair) == (3, 2, 0, 1, "")
    assert await world.ledger_of(pair) == []
    assert (await world.journal.instructions([pending]))[pending].status == "pending"


async def test_a_count_that_agrees_is_worth_a_line(world: World) -> None:
    pair, _, epoch = await _held(world)
    counted = await world.instruct(Instruction(pair, MovementKind.COUNT, 5, "pending"))
    await write(world, _moving(epoch, pair, 1, (counted, 0, 5)))
    assert await world.row_of(pair) == (3, 2, 0, 2, "")
    assert await world.ledger_of(pair) == [(0, 5)]


async def test_a_movement_below_zero_is_refused_whatever_the_owner_believes(world: World) -> None:
    pair, _, epoch = await _held(world)
    sent = await world.instruct(Instruction(pair, MovementKind.TRANSFER_OUT, 4, "pending"))
    with pytest.raises(VersionConflict):
        await write(world, _moving(epoch, pair, 1, (sent, -4, 1)))
    assert await world.row_of(pair) == (3, 2, 0, 1, "")
    assert (await world.journal.instructions([sent]))[sent].status == "pending"


# Who waits for stock


async def _waiting(world: World, count: int = 3) -> tuple[bytes, list[bytes], int]:
    """A pair at version 1 without stock, who waits for it (2 units each), and the epoch."""
    pair, epoch = await world.add_pair(0), await _started(world)
    # In an order that is neither that of the ids nor its reverse.
    waiting = sorted(some_ids(count))
    waiting = [*waiting[1::2], *waiting[::2]]
    held = [(one, 2) for one in waiting]
    await write(world, _holding(epoch, pair, *held, waits=True))
    return pair, waiting, epoch


async def _serving(
    world: World, pair: bytes, served: list[bytes], *, units: int, version: int = 1
) -> Turn:
    """Units come in, and go to who waits."""
    epoch = await _started(world)
    received = await world.instruct(Instruction(pair, MovementKind.RECEIVE, units, "pending"))
    turn = _moving(epoch, pair, version, (received, units, units))
    turn.served = served
    turn.pair_taken, turn.pair_backordered = [2 * len(served)], [-2 * len(served)]
    return turn


async def test_who_came_in_one_turn_waits_in_the_order_they_came(world: World) -> None:
    pair, waiting, epoch = await _waiting(world, 7)
    [last] = some_ids(1)
    await write(world, _holding(epoch, pair, (last, 1), version=1, waits=True))
    [loaded] = await world.journal.load([pair])
    assert list(loaded.waiting.items()) == [*((one, 2) for one in waiting), (last, 1)]
    assert (loaded.backordered, loaded.available, loaded.reserved) == (15, 0, 0)
    assert all(hold.backordered for hold in loaded.holds.values())
    assert await world.row_of(pair) == (0, 0, 15, 2, "")


async def test_stock_that_comes_goes_to_who_waits(world: World) -> None:
    pair, waiting, _ = await _waiting(world)
    turn = await _serving(world, pair, waiting[:2], units=5)
    await write(world, turn)
    assert await world.row_of(pair) == (1, 4, 2, 2, "")
    [loaded] = await world.journal.load([pair])
    assert list(loaded.waiting) == waiting[2:]
    assert [loaded.holds[one].backordered for one in waiting] == [False, False, True]


@pytest.mark.parametrize("how", ["release", "expire"])
async def test_who_stops_waiting_gives_nothing_back_but_the_promise(world: World, how: str) -> None:
    pair, [first, *rest], epoch = await _waiting(world)
    closing = (first,)
    turn = a_turn(
        epoch,
        at={pair: 1},
        release=closing if how == "release" else (),
        expire=closing if how == "expire" else (),
    )
    assert await write(world, turn) == [Closed(first, pair, 2, True)]
    assert await world.row_of(pair) == (0, 0, 4, 2, "")
    [loaded] = await world.journal.load([pair])
    assert list(loaded.waiting) == rest


async def test_a_confirmed_order_goes_on_waiting_and_is_served(world: World) -> None:
    pair, [first, *rest], _ = await _waiting(world)
    await world.set_status(first, "allocated")
    [loaded] = await world.journal.load([pair])
    assert first not in loaded.holds
    assert list(loaded.waiting) == [first, *rest]
    await write(world, await _serving(world, pair, [first], units=2))
    assert await world.row_of(pair) == (0, 2, 4, 2, "")
    known = (await world.journal.find([first]))[first]
    assert (known.status, known.hold.backordered) == ("allocated", False)


async def test_who_waits_no_more_is_not_served(world: World) -> None:
    pair, [first, *_], epoch = await _waiting(world)
    await write(world, a_turn(epoch, at={pair: 1}, release=(first,)))
    with pytest.raises(VersionConflict):
        await write(world, await _serving(world, pair, [first], units=2, version=2))
    assert await world.row_of(pair) == (0, 0, 4, 2, "")


async def test_served_and_released_in_one_turn_is_back_on_the_shelf(world: World) -> None:
    pair, [first, *_], _ = await _waiting(world)
    turn = await _serving(world, pair, [first], units=2)
    turn.released_ids = [first]
    assert await write(world, turn) == [Closed(first, pair, 2, False)]
    assert await world.row_of(pair) == (2, 0, 4, 2, "")


# Limits per customer


async def _variant(world: World, pair: bytes) -> bytes:
    [loaded] = await world.journal.load([pair])
    return loaded.variant_id


def _limited(
    epoch: int, pair: bytes, variant: bytes, customer: bytes, units: int, *, owner: str = OWNER
) -> Turn:
    turn = _holding(epoch, pair, (uuid.uuid4().bytes, units), owner=owner, customer=customer)
    turn.limits = {(variant, customer): (units, 3)}
    return turn


async def test_of_two_owners_at_once_one_passes_the_limit(world: World) -> None:
    pair = await world.add_pair(5)
    other = await world.add_pair(5, beside=pair)
    variant, [customer] = await _variant(world, pair), some_ids(1)
    assert await _variant(world, other) == variant
    turns = [
        _limited(await _started(world), pair, variant, customer, 2),
        _limited(await _started(world, "pool-1"), other, variant, customer, 2, owner="pool-1"),
    ]
    ended = await asyncio.gather(*map(world.journal.write_turn, turns), return_exceptions=True)
    assert sorted(type(one).__name__ for one in ended) == ["LimitPassed", "list"]
    assert await world.journal.units_of([(variant, customer)]) == {(variant, customer): 2}
    rows = [await world.row_of(one) for one in (pair, other)]
    assert sorted(rows) == [(3, 2, 0, 1, ""), (5, 0, 0, 0, "")]


@pytest.mark.parametrize("how", ["release", "expire"])
async def test_what_is_given_back_counts_no_more(world: World, how: str) -> None:
    pair, epoch = await world.add_pair(5), await _started(world)
    variant, [customer] = await _variant(world, pair), some_ids(1)
    turn = _limited(epoch, pair, variant, customer, 3)
    await write(world, turn)
    closing = (turn.reservation_ids[0],)
    released, expired = (closing, ()) if how == "release" else ((), closing)
    await write(world, a_turn(epoch, at={pair: 1}, release=released, expire=expired))
    assert await world.journal.units_of([(variant, customer)]) == {(variant, customer): 0}
    again = _limited(epoch, pair, variant, customer, 3)
    again.pair_versions = [2]
    await write(world, again)
    assert await world.stock_of(pair) == (2, 3)


async def test_a_limit_is_passed_by_no_turn_that_gives_back_less_than_it_takes(
    world: World,
) -> None:
    pair, epoch = await world.add_pair(9), await _started(world)
    variant, [customer] = await _variant(world, pair), some_ids(1)
    first = _limited(epoch, pair, variant, customer, 2)
    await write(world, first)
    for units in (4, 3):
        turn = _limited(epoch, pair, variant, customer, units)
        turn.pair_versions, turn.released_ids = [1], first.reservation_ids
        if units == 4:
            with pytest.raises(LimitPassed):
                await write(world, turn)
        else:
            await write(world, turn)
    assert await world.journal.units_of([(variant, customer)]) == {(variant, customer): 3}


async def test_who_has_nothing_is_left_out_of_the_units(world: World) -> None:
    assert await world.journal.units_of([(NOBODY, some_ids(1)[0])]) == {}
    assert await world.journal.units_of([]) == {}


# Hand-over and reclaim


async def test_a_pair_that_is_handed_over_belongs_to_its_new_owner(world: World) -> None:
    pair, reservation, epoch = await _held(world)
    hot = await _started(world, HOT)
    await write(world, _handing(epoch, pair, 1, HOT))
    assert await world.row_of(pair) == (3, 2, 0, 2, HOT)
    [loaded] = await world.journal.load([pair])
    assert (loaded.owner, list(loaded.holds)) == (HOT, [reservation])
    # The old owner is refused though its fence holds and it knows the version.
    with pytest.raises(VersionConflict):
        await write(world, a_turn(epoch, at={pair: 2}, release=(reservation,)))
    turn = a_turn(hot, at={pair: 2}, release=(reservation,), owner=HOT)
    assert await write(world, turn) == [Closed(reservation, pair, 2)]
    await write(world, _handing(hot, pair, 3, HOME, owner=HOT))
    await write(world, _holding(epoch, pair, (some_ids(1)[0], 1), version=4))
    assert await world.row_of(pair) == (4, 1, 0, 5, "")
    assert await world.hand_overs_of(pair) in (None, [(OWNER, HOT), (HOT, HOME)])


async def test_a_turn_holds_gives_back_and_hands_over_at_once(world: World) -> None:
    pair, reservation, epoch = await _held(world)
    [fresh] = some_ids(1)
    turn = _holding(epoch, pair, (fresh, 4), version=1)
    turn.released_ids, turn.handed_to = [reservation], {pair: HOT}
    with pytest.raises(VersionConflict):  # 3 are there; the 2 come back with this very turn
        await write(world, _holding(epoch, pair, (fresh, 4), version=1))
    await write(world, turn)
    assert await world.row_of(pair) == (1, 4, 0, 2, HOT)


async def test_a_stale_owner_hands_nothing_over(world: World) -> None:
    pair, _, epoch = await _held(world)
    await _started(world)
    with pytest.raises(StaleEpoch):
        await write(world, _handing(epoch, pair, 1, HOT))
    assert await world.row_of(pair) == (3, 2, 0, 1, "")
    assert await world.hand_overs_of(pair) in (None, [])


async def test_reclaim_takes_an_owners_pairs_home_behind_a_fence(world: World) -> None:
    """P5: the zombie can neither write nor say no."""
    pair, reservation, epoch = await _held(world)
    hot, other = await _started(world, HOT), await world.add_pair(1)
    await _started(world, "hot-4")
    await write(world, _handing(epoch, pair, 1, HOT))
    await write(world, _handing(epoch, other, 0, "hot-4"))
    assert await world.journal.find_as_owner([], HOT, hot) == {}
    assert await world.journal.reclaim(HOT) == [pair]
    assert await world.row_of(pair) == (3, 2, 0, 3, "")
    assert (await world.row_of(other))[4] == "hot-4"
    for version in (2, 3):
        with pytest.raises(StaleEpoch):
            await write(world, a_turn(hot, at={pair: version}, release=(reservation,), owner=HOT))
    with pytest.raises(StaleEpoch):
        await world.journal.find_as_owner([reservation], HOT, hot)
    assert await world.journal.reclaim(HOT) == []
    assert await world.hand_overs_of(pair) in (None, [(OWNER, HOT), (HOT, HOME)])


async def test_reclaim_fences_whatever_generation_comes_next_to_it(world: World) -> None:
    await _started(world, HOT)
    await world.journal.reclaim(HOT)
    await world.journal.reclaim(HOT)
    epoch = await _started(world, HOT)
    assert epoch > 2
    for old in range(1, epoch):
        with pytest.raises(StaleEpoch):
            await world.journal.find_as_owner([], HOT, old)
    assert await world.journal.find_as_owner([], HOT, epoch) == {}


async def test_an_owner_that_never_started_may_have_been_given_pairs(world: World) -> None:
    pair, epoch = await world.add_pair(5), await _started(world)
    await write(world, _handing(epoch, pair, 0, HOT))
    assert await world.journal.reclaim(HOT) == [pair]
    assert await world.row_of(pair) == (5, 0, 0, 2, "")
    assert await world.hand_overs_of(pair) in (None, [(OWNER, HOT), (HOT, HOME)])


async def test_a_stale_owner_may_not_even_look(world: World) -> None:
    pair, reservation, epoch = await _held(world)
    found = await world.journal.find_as_owner([reservation, *some_ids(1)], OWNER, epoch)
    assert found == await world.journal.find([reservation])
    assert found[reservation].inventory_id == pair
    for owner, stale in ((OWNER, epoch + 1), (OWNER, 0), ("pool-9", epoch)):
        with pytest.raises(StaleEpoch):
            await world.journal.find_as_owner([reservation], owner, stale)


# Policies


async def test_a_pair_is_loaded_with_its_policy(world: World) -> None:
    plain, ruled = await world.add_pair(5), await world.add_pair(5)
    policy = Policy(safety_stock=2, backorder_max=7, customer_max=3)
    await world.rule(ruled, policy)
    loaded = {one.inventory_id: one for one in await world.journal.load([plain, ruled])}
    assert loaded[plain].policy is PLAIN
    assert loaded[ruled].policy == policy
    assert loaded[ruled].sellable == 3
    beside = await world.add_pair(5, beside=ruled)
    if isinstance(world, PostgresWorld):  # safety stock is a pair's own, the rest its variant's
        [loaded_beside] = await world.journal.load([beside])
        assert loaded_beside.policy == policy._replace(safety_stock=0)


async def test_held_for_a_customer_is_loaded_so(world: World) -> None:
    pair, epoch = await world.add_pair(5), await _started(world)
    variant, [customer] = await _variant(world, pair), some_ids(1)
    turn = _limited(epoch, pair, variant, customer, 1)
    turn.expires_at = [time.time() + 60]
    await write(world, turn)
    [loaded] = await world.journal.load([pair])
    assert loaded.holds[turn.reservation_ids[0]].customer_id == customer


async def test_settled_are_those_that_are_not_only_held(world: World) -> None:
    pair, (held, sold, gone, unknown) = await world.add_pair(5), some_ids(4)
    epoch = await world.journal.raise_epoch(OWNER, "here", 1)
    orders = some_ids(3)
    hold = [(one, order, pair, 1) for one, order in zip((held, sold, gone), orders, strict=True)]
    await write(world, a_turn(epoch, hold=hold))
    await world.set_status(sold, "allocated")
    await write(world, a_turn(epoch, release=(gone,), at={pair: 1}))
    assert set(await world.journal.settled([held, sold, gone, unknown])) == {sold, gone}
