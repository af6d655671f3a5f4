"""Ways to break the books of physical stock, and the turn log, each of which the audit must find."""

from __future__ import annotations

from tests.storage.books import OWNER, uid
from tests.storage.broken_books import World, breaks


@breaks("P2")
async def balance_rewritten(world: World) -> None:
    await world.sql("ALTER TABLE stock_movements DISABLE TRIGGER USER")
    await world.sql("UPDATE stock_movements SET balance = balance + 1 WHERE kind = 'received'")


@breaks("P2")
async def done_without_a_line(world: World) -> None:
    await world.sql(
        "INSERT INTO stock_instructions (instruction_id, inventory_id, kind, quantity, actor,"
        " status, settled_at) VALUES (gen_random_uuid(), $1, 'receive', 5, 'ann', 'done', now())",
        uid("mug@east"),
    )


@breaks("P2")
async def promised_to_nobody(world: World) -> None:
    await world.sql("UPDATE inventory SET backordered = 1 WHERE inventory_id = $1", uid("mug@east"))


@breaks("P2")
async def a_customer_with_more_than_they_have(world: World) -> None:
    await world.sql("INSERT INTO customer_units VALUES ($1, gen_random_uuid(), 2)", uid("mug"))


@breaks("P2")
async def logged_without_a_reservation(world: World) -> None:
    await world.sql("UPDATE stock_log SET taken = '{2}' WHERE turn = 20")


@breaks("P2")
async def log_forgotten_too_early(world: World) -> None:
    await world.sql("DELETE FROM stock_log WHERE turn = 20")


@breaks("P1", "P2")
async def oversold_by_way_of_the_log(world: World) -> None:
    await world.sql("UPDATE stock_log SET taken = '{1000}' WHERE turn = 20")


@breaks("P5")
async def log_ahead_of_its_owner(world: World) -> None:
    await world.sql("UPDATE stock_log SET turn = 21 WHERE turn = 20")


@breaks("P5")
async def log_of_a_pair_that_there_is_not(world: World) -> None:
    await world.sql(
        "UPDATE stock_log SET pair_ids = ARRAY[$1::uuid] WHERE turn = 18", uid("no-pair")
    )


@breaks("P5")
async def logged_by_an_owner_that_had_given_it_away(world: World) -> None:
    shirt = uid("shirt-s@east")
    handed = "INSERT INTO pair_handovers VALUES (DEFAULT, $1, $2, 2, 'hot-0')"
    await world.sql(handed, shirt, OWNER)
    await world.sql("UPDATE inventory SET owner_name = 'hot-0' WHERE inventory_id = $1", shirt)
