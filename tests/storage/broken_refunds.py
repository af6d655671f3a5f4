"""An honest shop's refunds, and ways to break their books, each of which the audit must find."""

from __future__ import annotations

from datetime import timedelta

from tests.storage.books import CURRENCY, NOW, ORDER, uid
from tests.storage.broken_books import World, breaks

PART_MINOR = 1_200
DONE_AT = NOW - timedelta(minutes=30)


async def write_refunds(world: World) -> None:
    """One mug of `shipped` given back, all of `split`, and a part of `latest` asked for."""
    latest = ORDER["latest"]
    await write_refund(world, "shipped", PART_MINOR, lines={1: 1})
    await write_refund(world, "split", ORDER["split"].total_minor, lines={1: 5, 2: 1})
    await write_refund(world, "latest", latest.total_minor - 1_000, done=False)
    await write_return(world, "shipped")


async def write_refund(
    world: World,
    order: str,
    amount_minor: int,
    *,
    lines: dict[int, int] | None = None,
    done: bool = True,
) -> None:
    """One refund of an order, its lines without an amount; done at the provider or only asked for."""
    refund, payment, done_at = uid(f"refund-{order}"), uid(f"payment-{order}"), None
    if done:
        done_at = DONE_AT
    await world.sql(
        "INSERT INTO refunds (refund_id, order_id, amount_minor, currency, reason, requested_by,"
        " idempotency_key, request_hash, created_at, done_at)"
        " VALUES ($1, $2, $3, $4, 'broken', 'ann', 'key', '\\x00', $5, $6)",
        refund,
        uid(order),
        amount_minor,
        CURRENCY,
        DONE_AT - timedelta(seconds=1),
        done_at,
    )
    for line, quantity in (lines or {}).items():
        await world.sql("INSERT INTO refund_lines VALUES ($1, $2, $3, 0)", refund, line, quantity)
    await world.sql(
        "INSERT INTO refund_parts VALUES ($1, $2, $3, $4)", refund, payment, amount_minor, done_at
    )
    whole = done and amount_minor == ORDER[order].total_minor
    await world.sql(
        "UPDATE payments SET refunded_minor = $2, status = $3 WHERE payment_id = $1",
        payment,
        amount_minor,
        "refunded" if whole else "captured",
    )
    if done:
        await given_back(world, order, amount_minor)


async def write_return(world: World, order: str, pair: str = "mug@east", quantity: int = 1) -> None:
    """Units of a refund's first line that come back to a pair, which nobody has booked yet."""
    instruction = uid(f"return-{order}-{pair}")
    await world.sql(
        "INSERT INTO stock_instructions (instruction_id, inventory_id, kind, quantity, actor)"
        " VALUES ($1, $2, 'return', $3, 'ann')",
        *(instruction, uid(pair), quantity),
    )
    await world.sql(
        "INSERT INTO refund_returns (instruction_id, refund_id, line, inventory_id, quantity)"
        " VALUES ($1, $2, 1, $3, $4)",
        *(instruction, uid(f"refund-{order}"), uid(pair), quantity),
    )


async def given_back(world: World, order: str, amount_minor: int) -> None:
    """What the provider has given back of an order's charge."""
    await world.sql(
        "UPDATE simulated_provider.charges SET refunded_minor = $2,"
        " status = CASE WHEN amount_minor = $2 THEN 'refunded' ELSE 'captured' END"
        " WHERE transaction_id = $1",
        ORDER[order].transaction_id,
        amount_minor,
    )


@breaks("P7")
async def given_back_and_never_asked_for(world: World) -> None:
    await given_back(world, "first", 5)


@breaks("P7")
async def given_back_in_full_and_never_asked_for(world: World) -> None:
    await given_back(world, "first", ORDER["first"].total_minor)


@breaks("P7")
async def given_back_more_than_asked_for(world: World) -> None:
    await write_refunds(world)
    await given_back(world, "shipped", PART_MINOR + 1)


@breaks("P7")
async def given_back_less_than_noted(world: World) -> None:
    await write_refunds(world)
    await given_back(world, "shipped", PART_MINOR - 1)


@breaks("P7")
async def noted_in_full_and_not_given_back(world: World) -> None:
    await write_refunds(world)
    await given_back(world, "split", 0)


@breaks("P7")
async def refused_though_it_was_given_back_in_full(world: World) -> None:
    """Somebody has to look: our books would say for ever that the money is still ours."""
    await write_refund(world, "first", ORDER["first"].total_minor, done=False)
    await given_back(world, "first", ORDER["first"].total_minor)
    await world.sql("UPDATE refund_parts SET refused_at = $1, refusal = 'none left'", NOW)


async def write_settled(world: World, order: str) -> None:
    """A refund of all of an order that its provider refused, and an operator settled outside."""
    await write_refund(world, order, ORDER[order].total_minor)
    await given_back(world, order, 0)
    await world.sql(
        "UPDATE refund_parts SET settled_by = 'ann', settled_note = 'in cash', refusal = 'no'"
        " WHERE refund_id = $1",
        uid(f"refund-{order}"),
    )


@breaks("P7")
async def settled_outside_and_more_given_back_than_asked_for(world: World) -> None:
    await write_settled(world, "first")
    await world.sql("UPDATE refund_parts SET amount_minor = amount_minor - 5")
    await world.sql("UPDATE refunds SET amount_minor = amount_minor - 5")
    await world.sql(
        "UPDATE payments SET refunded_minor = refunded_minor - 5 WHERE refunded_minor > 0"
    )
    await given_back(world, "first", ORDER["first"].total_minor)


@breaks("P7")
async def part_of_a_refund_lost(world: World) -> None:
    await write_refunds(world)
    await world.sql("DELETE FROM refund_parts WHERE refund_id = $1", uid("refund-latest"))
    await world.sql(
        "UPDATE payments SET refunded_minor = 0 WHERE payment_id = $1", uid("payment-latest")
    )


@breaks("P7")
async def payment_that_forgot_its_refund(world: World) -> None:
    await write_refunds(world)
    await world.sql(
        "UPDATE payments SET refunded_minor = refunded_minor - 1 WHERE refunded_minor > 0"
    )


@breaks("P7")
async def payment_refunded_by_nothing(world: World) -> None:
    await world.sql(
        "UPDATE payments SET refunded_minor = 5 WHERE payment_id = $1", uid("payment-first")
    )


@breaks("P7")
async def lines_of_a_refund_above_it(world: World) -> None:
    await write_refunds(world)
    await world.sql("UPDATE refund_lines SET amount_minor = 1000000")


@breaks("P7")
async def more_units_refunded_than_bought(world: World) -> None:
    await write_refunds(world)
    await world.sql(
        "UPDATE refund_lines SET quantity = 3 WHERE refund_id = $1", uid("refund-shipped")
    )


@breaks("P7")
async def units_refunded_of_a_line_that_there_is_not(world: World) -> None:
    await write_refunds(world)
    await world.sql(
        "UPDATE refund_lines SET line = 9 WHERE refund_id = $1 AND line = 2", uid("refund-split")
    )


@breaks("P7")
async def refund_done_before_its_parts(world: World) -> None:
    await write_refunds(world)
    await world.sql(
        "UPDATE refunds SET done_at = $2 WHERE refund_id = $1", uid("refund-latest"), DONE_AT
    )


@breaks("P7")
async def refund_not_done_with_its_parts(world: World) -> None:
    await write_refunds(world)
    await world.sql("UPDATE refunds SET done_at = NULL WHERE refund_id = $1", uid("refund-split"))


@breaks("P2")
async def more_units_came_back_than_money_was_given_for(world: World) -> None:
    await write_refunds(world)
    await world.sql("UPDATE refund_returns SET quantity = 2")
    await world.sql("UPDATE stock_instructions SET quantity = 2")


@breaks("P2")
async def units_came_back_to_a_pair_that_gave_none(world: World) -> None:
    await write_refund(world, "shipped", PART_MINOR, lines={1: 1})
    await write_return(world, "shipped", "shirt-s@west")


@breaks("P2")
async def return_by_another_movement(world: World) -> None:
    await write_refunds(world)
    await world.sql("UPDATE stock_instructions SET kind = 'receive'")
