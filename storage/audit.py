"""The audit: asks Postgres, the payment provider and the event bus whether the promises hold.

The questions are in `audit.sql`, the promises in `domain.promises`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg

from domain.orders import ORDER_CONFIRMED
from domain.promises import (
    GRACE_S,
    PROMISES,
    RECOVERY_LIMIT_S,
    RESERVATIONS_OF_ORDER,
    SOLD,
    VIOLATIONS_SHOWN_MAX,
    AuditReport,
    EventBusReader,
    Promise,
    ProviderBooks,
    Verdict,
    payment_agrees,
    payment_lags,
)
from domain.transitions import PaymentState
from storage.credit_ledger import LEDGER_CHECKS, ORDER_CHECKS
from storage.sql import load

QUERY_TIMEOUT_S = 600.0  # of one query; seconds are normal even for a million orders
_WORK_MEMORY = "64MB"  # per hash or sort, so that the large joins stay in memory


@dataclass(frozen=True, slots=True)
class _Check:
    """A query of audit.sql that finds violations, and which values it takes after the limit."""

    query: str
    takes: tuple[str, ...] = ()
    module: str = "audit"
    fixed: tuple[Any, ...] = ()
    needs_bus: bool = False


_CHECKS: Mapping[str, tuple[_Check, ...]] = {
    "P1": (_Check("p1_below_zero"), _Check("p1_running_balance"), _Check("p1_constraint")),
    "P2": (
        _Check("p2_replay"),
        _Check("p2_ledger"),
        _Check("p2_instructions"),
        _Check("p2_returns"),
        _Check("p2_customers"),
    ),
    "P3": (_Check("p3_missing"), _Check("p3_acknowledged"), _Check("p3_late")),
    "P4": (
        _Check("p4_states", ("legal",)),
        _Check("p4_overdue", ("settled_before",)),
        _Check("p4_stalled", ("stalled_before",)),
    ),
    "P5": (
        _Check("p5_interleaved"),
        _Check("p5_unknown_epoch"),
        _Check("p5_version"),
        _Check("p5_log"),
        _Check("p5_handed_over"),
    ),
    "P6": (_Check("p6_repeated"), _Check("p6_constraint")),
    "P7": (
        _Check("p7_unknown"),
        _Check("p7_captured", ("sold", "stalled_before", "settled_before", "now")),
        _Check("p7_amount", ("sold",)),
        _Check("p7_once", ("sold", "now")),
        _Check("p7_refunds", ("sold", "now")),
        _Check("p7_refunded", ("sold",)),
        *(
            _Check(name, module="credit_ledger", fixed=values)
            for name, values in {**LEDGER_CHECKS, **ORDER_CHECKS}.items()
        ),
        _Check("p7_payment", ("now", "agreed", "lagging", "settled_before", "stalled_before")),
        _Check("p7_left_authorized", ("settled_before",)),
        _Check("p7_total"),
        _Check("p7_priced"),
        _Check("p7_promotions"),
    ),
    "P8": (_Check("p8_lines", ("sold",)), _Check("p8_empty", ("sold",))),
    "P9": (
        _Check("p9_missing", ("event",)),
        _Check("p9_unpublished", ("event", "settled_before")),
        _Check("p9_not_on_bus", ("event", "now"), needs_bus=True),
    ),
    "P10": (
        _Check("p10_acknowledged"),
        _Check("p10_unpaid"),
        _Check("p10_event"),
        _Check("p10_charge"),
    ),
}


async def audit(
    pool: asyncpg.Pool,
    provider: ProviderBooks,
    *,
    bus: EventBusReader | None,
    acknowledged: Collection[UUID] = (),
    grace_s: float = GRACE_S,
    now: datetime,
) -> AuditReport:
    """Check every promise, in one snapshot of the database.

    `acknowledged` are the orders that someone was told are confirmed. `now` (aware, UTC) is
    taken just before the call: provider and bus are read first and the snapshot comes after,
    so that a shop may go on selling meanwhile. What may still be under way is given `grace_s`
    seconds. Without a `bus`, what is on it is not checked. Holds one connection, which may create
    temporary tables; a provider or bus that reads from the same pool needs one or two more.
    Raises ValueError for a `now` without a zone or a negative grace; asyncpg errors, and those of
    provider and bus, pass through.
    """
    if now.tzinfo is None or grace_s < 0:
        raise ValueError(
            f"cannot audit with now={now.isoformat()} and grace_s={grace_s}:"
            " give an aware time and a grace of zero or more seconds"
        )
    values = _values(now, timedelta(seconds=grace_s))
    async with pool.acquire() as connection:
        try:
            await _bring_outside_in(connection, provider, bus, acknowledged)
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                return await _judge(connection, values, with_bus=bus is not None)
        finally:
            if not connection.is_closed():
                await connection.execute(load("audit")["forget_outside"])


def _values(now: datetime, grace: timedelta) -> dict[str, Any]:
    """What the queries take, by name."""
    charges = [None, *(state for state in PaymentState if state != PaymentState.CREATED)]
    seen = [(payment, charge) for payment in PaymentState for charge in charges]
    return {
        "now": now,
        "settled_before": now - grace,
        "stalled_before": now - timedelta(seconds=RECOVERY_LIMIT_S) - grace,
        "sold": list(SOLD),
        "event": ORDER_CONFIRMED,
        "legal": [f"{o or 'none'}/{r}" for o, held in RESERVATIONS_OF_ORDER.items() for r in held],
        "agreed": [f"{p}/{c or 'none'}" for p, c in seen if payment_agrees(p, c)],
        "lagging": [f"{p}/{c or 'none'}" for p, c in seen if payment_lags(p, c)],
    }


async def _bring_outside_in(
    connection: Any,
    provider: ProviderBooks,
    bus: EventBusReader | None,
    acknowledged: Collection[UUID],
) -> None:
    """Copy what the outside says into temporary tables of this connection."""
    queries = load("audit")
    await connection.execute(queries["forget_outside"])
    await connection.execute(queries["prepare_outside"])
    await _copy(connection, "audit_charges", _charges(provider))
    await _copy(connection, "audit_acknowledged", [(order_id,) for order_id in set(acknowledged)])
    if bus is not None:
        await _copy(connection, "audit_bus", _events(bus))
    await connection.execute(queries["analyze_outside"])


async def _copy(connection: Any, table: str, records: Any) -> None:
    await connection.copy_records_to_table(
        table, schema_name="pg_temp", records=records, timeout=QUERY_TIMEOUT_S
    )


async def _charges(provider: ProviderBooks) -> AsyncIterator[tuple[str, int, str, str, int]]:
    async for charge in provider.charges():
        yield (
            charge.transaction_id,
            charge.amount_minor,
            charge.currency,
            charge.status,
            charge.refunded_minor,
        )


async def _events(bus: EventBusReader) -> AsyncIterator[tuple[UUID]]:
    async for order_id in bus.confirmed_orders():
        yield (order_id,)


async def _judge(connection: Any, values: Mapping[str, Any], *, with_bus: bool) -> AuditReport:
    await connection.execute(f"SET LOCAL work_mem = '{_WORK_MEMORY}'")
    checked = await connection.fetchrow(
        load("audit")["checked"], values["sold"], timeout=QUERY_TIMEOUT_S
    )
    verdicts: list[Verdict] = []
    for promise in PROMISES:
        checks = [c for c in _CHECKS[promise.id] if with_bus or not c.needs_bus]
        verdicts.append(await _verdict(connection, promise, checks, values, checked[promise.id]))
    return AuditReport(verdicts=tuple(verdicts))


async def _verdict(
    connection: Any,
    promise: Promise,
    checks: list[_Check],
    values: Mapping[str, Any],
    checked: int,
) -> Verdict:
    shown: list[str] = []
    total = 0
    for check in checks:
        rows = await connection.fetch(
            load(check.module)[check.query],
            VIOLATIONS_SHOWN_MAX,
            *check.fixed,
            *(values[name] for name in check.takes),
            timeout=QUERY_TIMEOUT_S,
        )
        shown += [row["violation"] for row in rows]
        total += rows[0]["total"] if rows else 0
    return Verdict(
        promise=promise,
        ok=total == 0,
        checked=checked,
        violations=tuple(shown[:VIOLATIONS_SHOWN_MAX]),
        violations_total=total,
    )
