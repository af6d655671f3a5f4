from __future__ import annotations

import asyncio
import json
import time
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import asyncpg
import pytest

from actors.refunds import Refunds
from domain.promises import PROMISES, VIOLATIONS_SHOWN_MAX, AuditReport
from domain.refunds import RefundRefusal, RefundScope, UnitsOf
from sim.provider import SimulatedProvider
from storage.refunds import PostgresRefunds
from tests.storage import broken_ledgers, broken_promotions, broken_refunds
from tests.storage.books import NOW, ORDER, Bus, Held, Order, uid, write_books, write_order
from tests.storage.broken_books import (
    CASES,
    PAYING_RESERVATION,
    Breaking,
    World,
    constraint_dropped,
    never_expired,
)
from tests.storage.sold import WHOLE, asks

pytestmark = pytest.mark.asyncio
assert broken_ledgers.__doc__  # imported for their cases, which join the others in CASES
assert broken_promotions.__doc__
assert broken_refunds.__doc__


async def _world(pool: asyncpg.Pool) -> World:
    await write_books(pool)
    return World(pool)


def _broken(report: AuditReport) -> dict[str, tuple[str, ...]]:
    return {v.promise.id: v.violations for v in report.verdicts if not v.ok}


async def test_honest_books_pass_and_everything_is_checked(pool: asyncpg.Pool) -> None:
    report = await (await _world(pool)).audited()
    assert _broken(report) == {}
    assert report.ok
    assert [verdict.promise for verdict in report.verdicts] == list(PROMISES)
    assert all(verdict.checked > 0 for verdict in report.verdicts)


async def test_refunds_of_an_honest_shop_pass(pool: asyncpg.Pool) -> None:
    world = await _world(pool)
    await broken_refunds.write_refunds(world)
    assert _broken(await world.audited()) == {}


async def test_a_refund_that_is_on_its_way_may_be_ahead_at_the_provider(
    pool: asyncpg.Pool,
) -> None:
    world = await _world(pool)
    await broken_refunds.write_refunds(world)
    await broken_refunds.given_back(world, "latest", ORDER["latest"].total_minor - 1_000)
    assert _broken(await world.audited()) == {}
    await broken_refunds.given_back(world, "latest", ORDER["latest"].total_minor)
    assert set(_broken(await world.audited())) == {"P7"}  # more than was asked for


async def test_what_was_settled_outside_passes_however_the_money_went_back(
    pool: asyncpg.Pool,
) -> None:
    world = await _world(pool)
    await broken_refunds.write_settled(world, "first")
    for at_the_provider in (0, 500, ORDER["first"].total_minor):
        await broken_refunds.given_back(world, "first", at_the_provider)
        assert _broken(await world.audited()) == {}


async def test_what_refunds_really_write_passes(pool: asyncpg.Pool) -> None:
    world, book = await _world(pool), PostgresRefunds(pool)
    provider = SimulatedProvider(pool)
    refunds = Refunds(
        book=book,
        providers={provider.name: provider},
        new_id=uuid4,
        now=lambda: datetime.now(UTC) + timedelta(hours=1),
        monotonic=time.monotonic,
    )
    some = RefundScope(amount_minor=700)
    units = RefundScope(units=(UnitsOf(item="shirt-s", quantity=2),), shipping=True)
    wanted = [(name, scope) for name in ("first", "split", "shipped") for scope in (some, WHOLE)]
    wanted += [("delivered", some), ("split", units), ("first", units), ("paying", some)]
    made = await asyncio.gather(*[refunds.refund(asks(uid(name), one)) for name, one in wanted])
    refused = [one.name for one in made if isinstance(one, RefundRefusal)]
    assert "order_not_refundable" in refused
    await book.create(asks(uid("latest")))  # nobody has asked the provider yet
    for table, column in (("refunds", "done_at"), ("refund_parts", "done_at")):
        await world.sql(f"UPDATE {table} SET {column} = $1 WHERE {column} IS NOT NULL", NOW)
    await world.sql("UPDATE payments SET updated_at = $1", NOW - timedelta(minutes=5))
    statuses = "SELECT status::text, refunded_minor FROM payments WHERE order_id = $1"
    for name in ("first", "split", "shipped"):
        row = await pool.fetchrow(statuses, uid(name))
        assert tuple(row or ()) == ("refunded", ORDER[name].total_minor)
    assert _broken(await world.audited()) == {}
    await refunds.finish_open()
    assert _broken(await world.audited()) == {}


async def test_an_empty_shop_passes(pool: asyncpg.Pool) -> None:
    report = await World(pool, bus=Bus(), acknowledged=set()).audited()
    assert _broken(report) == {}


def _named(case: tuple[frozenset[str], Breaking]) -> str:
    promises, breaking = case
    return f"{'+'.join(sorted(promises))}-{breaking.__name__}"


@pytest.mark.parametrize("case", CASES, ids=_named)
async def test_a_broken_promise_is_found(
    pool: asyncpg.Pool, case: tuple[frozenset[str], Breaking]
) -> None:
    promises, breaking = case
    world = await _world(pool)
    await breaking(world)
    report = await world.audited()
    found = _broken(report)
    assert set(found) == set(promises), found
    assert all(found.values())
    assert not report.ok


async def test_every_promise_is_broken_alone_in_two_ways() -> None:
    alone = [next(iter(promises)) for promises, _ in CASES if len(promises) == 1]
    assert {p.id: alone.count(p.id) >= 2 for p in PROMISES} == {p.id: True for p in PROMISES}


async def test_the_report_as_json_names_the_violation(pool: asyncpg.Pool) -> None:
    world = await _world(pool)
    await never_expired(world)
    document = json.loads(json.dumps((await world.audited()).as_json()))
    assert document["ok"] is False
    assert list(document["promises"]) == [promise.id for promise in PROMISES]
    assert document["promises"]["P1"] == {"ok": True, "checked": 4, "violations": []}
    broken = document["promises"]["P4"]
    assert broken["ok"] is False
    assert len(broken["violations"]) == 1
    assert str(PAYING_RESERVATION) in broken["violations"][0]


async def test_of_many_violations_some_are_shown_and_all_are_counted(pool: asyncpg.Pool) -> None:
    world = await _world(pool)
    world.acknowledged |= {uid(f"vanished-{number}") for number in range(50)}
    report = await world.audited()
    verdict = report.verdicts[9]
    assert len(verdict.violations) == VIOLATIONS_SHOWN_MAX
    assert verdict.violations_total == 50
    assert report.as_json()["promises"]["P10"]["violations"][-1] == "and 30 more"


async def test_what_is_under_way_is_given_its_grace(pool: asyncpg.Pool) -> None:
    world = await _world(pool)
    await world.sql(
        "UPDATE inventory_reservations SET expires_at = $2 WHERE reservation_id = $1",
        PAYING_RESERVATION,
        NOW - timedelta(seconds=20),
    )
    await write_order(
        pool,
        Order(
            name="failing",
            status="failed",
            lines={"mug": 1},
            held=(Held(sku="mug", warehouse="east", quantity=1, status="released"),),
            payment="authorized",
            charge="authorized",
            age=timedelta(seconds=10),
        ),
    )
    assert _broken(await world.audited()) == {}
    assert set(_broken(await world.audited(grace_s=3))) == {"P4", "P7", "P9"}


async def test_what_happened_after_the_audit_began_is_left_out(pool: asyncpg.Pool) -> None:
    world = await _world(pool)
    world.now = ORDER["latest"].created_at  # provider and bus were read before it was confirmed
    world.acknowledged.discard(uid("latest"))
    assert world.bus is not None
    world.bus.orders.remove(uid("latest"))
    await world.sql(
        "UPDATE simulated_provider.charges SET status = 'authorized' WHERE transaction_id = $1",
        ORDER["latest"].transaction_id,
    )
    assert _broken(await world.audited()) == {}


async def test_what_the_bounded_bus_has_forgotten_is_not_missed(pool: asyncpg.Pool) -> None:
    world = await _world(pool)
    world.bus = Bus([uid("split"), uid("latest")])
    assert _broken(await world.audited()) == {}


async def test_without_a_bus_its_events_are_not_asked_for(pool: asyncpg.Pool) -> None:
    world = await _world(pool)
    world.bus = None
    assert _broken(await world.audited()) == {}


async def test_an_audit_can_be_repeated_on_one_connection(pool: asyncpg.Pool) -> None:
    world = await _world(pool)
    await constraint_dropped(world)
    first = await world.audited()
    assert await world.audited() == first
    left = await pool.fetchval("SELECT count(*) FROM pg_class WHERE relname LIKE 'audit%'")
    assert left == 0


async def test_a_provider_that_fails_leaves_nothing_behind(pool: asyncpg.Pool) -> None:
    world = await _world(pool)
    await world.sql("ALTER SCHEMA simulated_provider RENAME TO gone")
    with pytest.raises(asyncpg.UndefinedTableError):
        await world.audited()
    await world.sql("ALTER SCHEMA gone RENAME TO simulated_provider")
    assert (await world.audited()).ok


@pytest.mark.parametrize(("now", "grace_s"), [(NOW.replace(tzinfo=None), 30), (NOW, -1)])
async def test_a_naive_time_or_a_negative_grace_is_refused(
    pool: asyncpg.Pool, now: datetime, grace_s: float
) -> None:
    with pytest.raises(ValueError, match="aware time"):
        await World(pool, now=now).audited(grace_s=grace_s)
