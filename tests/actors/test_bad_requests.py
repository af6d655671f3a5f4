"""The engine's list of bad input: each gets a named refusal, and no row changes.

On Postgres: the rows before and after are compared whole. What a turn that writes nothing for
the caller may leave behind is named in `_OWNERS_OWN`.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

from actors.routing import Routing
from actors.stock_client import LocalTransport, StockClient
from actors.stock_owner import StockOwner
from domain.owners import Homes, owner_number, pool_names
from domain.ports import StaleEpoch, Unavailable
from domain.stock import (
    EXTENSION_S_MAX,
    NOBODY,
    RESERVE_QUANTITY_MAX,
    TTL_S_MAX,
    TTL_S_MIN,
    Answer,
    Extend,
    ExtendStatus,
    HandOver,
    Load,
    Movement,
    MovementKind,
    MovementStatus,
    PairStatus,
    Release,
    ReleaseStatus,
    Request,
    Reserve,
    ReserveStatus,
)
from storage.stock_journal import PostgresStockJournal
from tests.actors.memory import Clock
from tests.actors.owners import an_owner, running
from tests.actors.postgres import add_pair

pytestmark = pytest.mark.asyncio
POOL = pool_names(2)
_TABLES = (
    "inventory",
    "inventory_reservations",
    "stock_movements",
    "stock_instructions",
    "customer_units",
    "pair_handovers",
    "stock_policies",
    "pair_rules",
    "stock_owners",
)
# A release is put to Postgres, which decides that nothing is held: the pair's version and the
# time of its last turn go on, and nothing else.
_OWNERS_OWN = ("version", "logged_to", "updated_at")
_ids = uuid.uuid4


@dataclass
class Shop:
    """A running owner with one pair of five units, two of which are held."""

    pool: asyncpg.Pool
    owner: StockOwner
    clock: Clock
    pair: bytes
    pair_elsewhere: bytes
    held: Reserve

    async def rows(self, *besides: str) -> dict[str, list[dict[str, Any]]]:
        """Everything that is in the books of the stock, but these columns."""
        found: dict[str, list[dict[str, Any]]] = {}
        for table in _TABLES:
            rows = [dict(row) for row in await self.pool.fetch(f"SELECT * FROM {table}")]
            kept = [{key: row[key] for key in row if key not in besides} for row in rows]
            found[table] = sorted(kept, key=repr)
        return found

    async def refused(self, *requests: Request, besides: tuple[str, ...] = ()) -> list[Answer]:
        """The answers, after which every row is as it was. Asked twice: a refusal is final."""
        before = await self.rows(*besides)
        answers = await self.owner.call(requests)
        assert await self.owner.call(requests) == answers
        assert await self.rows(*besides) == before
        return answers

    def reserve(self, **different: Any) -> Reserve:
        """A reservation that would be held, but for what is different."""
        good = Reserve(_ids().bytes, _ids().bytes, self.pair, 1, 60.0)
        return good._replace(**different)


@pytest_asyncio.fixture
async def shop(pool: asyncpg.Pool) -> AsyncIterator[Shop]:
    homes, pairs = Homes(POOL), dict[str, bytes]()
    while len(pairs) < 2:
        pair = await add_pair(pool, 5)
        pairs.setdefault(homes.home_of(pair), pair)
    clock = Clock(time.time())
    owner = an_owner(PostgresStockJournal(pool), clock=clock, name=POOL[0], pool=POOL)
    held = Reserve(_ids().bytes, _ids().bytes, pairs[POOL[0]], 2, 600.0)
    async with running(owner):
        assert await owner.call([held]) == [(ReserveStatus.HELD, 3)]
        yield Shop(pool, owner, clock, pairs[POOL[0]], pairs[POOL[1]], held)


async def test_an_unknown_pair(shop: Shop) -> None:
    unknown = _ids().bytes
    answers = await shop.refused(
        shop.reserve(inventory_id=unknown),
        Release(shop.held.reservation_id, unknown),
        Extend(_ids().bytes, shop.held.reservation_id, unknown, 60.0),
        Movement(_ids().bytes, unknown, MovementKind.RECEIVE, 1),
        HandOver(unknown, owner_number("hot-0")),
        Load(unknown),
    )
    assert [one.status for one in answers] == [
        ReserveStatus.UNKNOWN_PAIR,
        ReleaseStatus.NOT_HELD,
        ExtendStatus.UNKNOWN_PAIR,
        MovementStatus.UNKNOWN_PAIR,
        PairStatus.UNKNOWN_PAIR,
        PairStatus.UNKNOWN_PAIR,
    ]


@pytest.mark.parametrize("quantity", [0, -1, -(10**12), RESERVE_QUANTITY_MAX + 1, 10**12])
async def test_a_quantity_out_of_bounds(shop: Shop, quantity: int) -> None:
    assert await shop.refused(shop.reserve(quantity=quantity)) == [(ReserveStatus.INVALID, 3)]


@pytest.mark.parametrize("quantity", [0, -1, -(10**12), 10**12])
async def test_a_quantity_out_of_bounds_moves_nothing(shop: Shop, quantity: int) -> None:
    kinds = [kind for kind in MovementKind if quantity or kind != MovementKind.COUNT]
    instruction = _ids()
    await shop.pool.execute(
        "INSERT INTO stock_instructions (instruction_id, inventory_id, kind, quantity, actor)"
        " VALUES ($1, $2, 'receive', 1, 'test')",
        instruction,
        uuid.UUID(bytes=shop.pair),
    )
    for kind in kinds:
        asked = Movement(_ids().bytes, shop.pair, kind, quantity)
        altered = Movement(instruction.bytes, shop.pair, kind, quantity)
        answers = await shop.refused(asked, altered)
        assert answers == [(MovementStatus.INVALID, 3), (MovementStatus.CONFLICT, 3)]


@pytest.mark.parametrize(
    "ttl_s", [0.0, -1.0, TTL_S_MIN / 2, TTL_S_MAX * 1.01, 1e300, float("inf"), float("nan")]
)
async def test_a_ttl_out_of_bounds(shop: Shop, ttl_s: float) -> None:
    # An extension may be for longer: a bank transfer takes days.
    longer = EXTENSION_S_MAX * 1.01 if ttl_s == TTL_S_MAX * 1.01 else ttl_s
    extend = Extend(_ids().bytes, shop.held.reservation_id, shop.pair, longer)
    assert await shop.refused(shop.reserve(ttl_s=ttl_s), extend) == [
        (ReserveStatus.INVALID, 3),
        (ExtendStatus.INVALID, 3),
    ]


@pytest.mark.parametrize(
    "different",
    [{"quantity": 1}, {"order_id": uuid.uuid4().bytes}, {"quantity": 3}],
    ids=lambda different: next(iter(different)),
)
@pytest.mark.parametrize("forgotten", [False, True])
async def test_a_repeated_id_with_other_content(
    shop: Shop, different: dict[str, Any], forgotten: bool
) -> None:
    """Also where the owner has to look it up, and beside an honest repeat in the same turn."""
    if forgotten:
        await shop.pool.execute("UPDATE inventory_reservations SET status = 'allocated'")
        await shop.owner.call([Load(shop.pair)])
    altered = shop.held._replace(**different)
    answers = await shop.refused(altered, shop.held, altered)
    assert [one.status for one in answers] == [
        ReserveStatus.CONFLICT,
        ReserveStatus.HELD,
        ReserveStatus.CONFLICT,
    ]


async def test_a_repeated_id_for_another_pair(shop: Shop) -> None:
    homes = Homes(POOL)
    while homes.home_of(other := await add_pair(shop.pool, 5)) != POOL[0]:
        pass
    answers = await shop.refused(shop.held._replace(inventory_id=other), shop.held)
    assert [one.status for one in answers] == [ReserveStatus.CONFLICT, ReserveStatus.HELD]


async def test_a_repeated_id_after_its_reservation_was_closed(shop: Shop) -> None:
    await shop.owner.call([Release(shop.held.reservation_id, shop.pair)])
    assert await shop.refused(shop.held) == [(ReserveStatus.CLOSED, 5)]


async def test_a_release_of_what_was_never_held(shop: Shop) -> None:
    never = Release(_ids().bytes, shop.pair)
    assert await shop.refused(never, besides=_OWNERS_OWN) == [(ReleaseStatus.NOT_HELD, 3)]


async def test_a_release_of_what_is_sold(shop: Shop) -> None:
    await shop.pool.execute("UPDATE inventory_reservations SET status = 'allocated'")
    sold = Release(shop.held.reservation_id, shop.pair)
    assert await shop.refused(sold, besides=_OWNERS_OWN) == [(ReleaseStatus.NOT_HELD, 3)]


async def test_an_extension_of_what_was_never_held_or_without_an_id(shop: Shop) -> None:
    answers = await shop.refused(
        Extend(_ids().bytes, _ids().bytes, shop.pair, 60.0),
        Extend(NOBODY, shop.held.reservation_id, shop.pair, 60.0),
    )
    assert [one.status for one in answers] == [ExtendStatus.NOT_HELD, ExtendStatus.INVALID]


async def test_a_second_extension(shop: Shop) -> None:
    first, second = (
        Extend(_ids().bytes, shop.held.reservation_id, shop.pair, ttl_s) for ttl_s in (60.0, 90.0)
    )
    await shop.owner.call([first])
    answers = await shop.refused(second, first)
    assert [one.status for one in answers] == [ExtendStatus.CONFLICT, ExtendStatus.EXTENDED]


async def test_a_hand_over_to_who_cannot_have_the_pair(shop: Shop) -> None:
    requests = [HandOver(shop.pair, to) for to in (1, 999, -1, 10**12)]
    assert await shop.refused(*requests) == [(PairStatus.INVALID, 3)] * 4


async def test_a_caller_with_a_stale_route(shop: Shop) -> None:
    """The owner refuses by name; the client finds the right one and comes back with the id."""
    asked = shop.reserve(inventory_id=shop.pair_elsewhere)
    right = owner_number(POOL[1])
    assert await shop.refused(asked) == [(ReserveStatus.ELSEWHERE, right)]
    routing = Routing(POOL)
    routing.learn(shop.pair_elsewhere, owner_number(POOL[0]))
    other = an_owner(PostgresStockJournal(shop.pool), clock=shop.clock, name=POOL[1], pool=POOL)
    transport = LocalTransport({POOL[0]: shop.owner, POOL[1]: other})
    client = StockClient(transport, routing, monotonic=shop.clock.unix)
    async with running(other):
        assert await client.reserve([asked, asked]) == [(ReserveStatus.HELD, 4)] * 2
    assert routing.owner_of(shop.pair_elsewhere) == POOL[1]


async def test_a_caller_of_an_owner_that_was_replaced(shop: Shop) -> None:
    """P5: not even a no from who may not decide any more."""
    stale = an_owner(PostgresStockJournal(shop.pool), clock=shop.clock, name="hot-7", pool=POOL)
    await stale.start()
    loop = asyncio.create_task(stale.run())
    await PostgresStockJournal(shop.pool).raise_epoch("hot-7", "there", 2)
    before = await shop.rows()
    with pytest.raises(Unavailable):
        await stale.call([shop.reserve(inventory_id=_ids().bytes)])
    with pytest.raises(StaleEpoch):
        await loop
    assert await shop.rows() == before
