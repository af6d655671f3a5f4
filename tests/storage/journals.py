"""The stock journals, each with what a suite for both must know and set up around it."""

from __future__ import annotations

import time
import uuid
from random import Random
from typing import Any, Protocol

import asyncpg

from domain.stock import Closed, MovementKind, Policy
from domain.turns import Instruction, Turn
from sim.engine_rows import InstructionRow, PairRow, ReservationRow
from sim.engine_tables import Tables
from sim.scripted_database import DatabaseOfProcess, Line, ScriptedDatabase
from storage.stock_journal import PostgresStockJournal
from tests.actors.memory import MemoryJournal, Reservation, Row
from tests.actors.postgres import add_pair, status_of, stock_of

OWNER = "pool-0"


class World(Protocol):
    """A journal, and the ways around it that a test needs."""

    journal: Any
    last_turns: dict[str, int]

    async def add_pair(self, available: int, beside: bytes | None = None) -> bytes:
        """A pair; of the same variant as another one, if there is one beside it."""
        ...

    async def rule(self, pair: bytes, policy: Policy) -> None:
        """Its policy, without a word to its owner."""
        ...

    async def row_of(self, pair: bytes) -> tuple[int, int, int, int, str]:
        """(quantity, reserved, backordered, version, owner's name)"""
        ...

    async def instruct(self, instruction: Instruction) -> bytes:
        """A movement that is asked for; its id."""
        ...

    async def ledger_of(self, pair: bytes) -> list[tuple[int, int]]:
        """(change, on hand after it) of what instructions have moved, oldest first."""
        ...

    async def hand_overs_of(self, pair: bytes) -> list[tuple[str, str]] | None:
        """(from, to), oldest first; None where nobody writes them down."""
        ...

    async def stock_of(self, pair: bytes) -> tuple[int, int]: ...
    async def status_of(self, reservation_id: bytes) -> str | None: ...
    async def set_status(self, reservation_id: bytes, status: str) -> None: ...
    async def backdate(self, reservation_id: bytes, seconds: float) -> None: ...
    async def stray(self) -> bytes:
        """An active reservation of a pair that does not exist; the pair's id."""
        ...

    async def pending(self, order_id: bytes) -> None: ...


async def write(world: World, turn: Turn) -> list[Closed]:
    """Write a turn as the one that follows its owner's last."""
    turn.previous = world.last_turns.get(turn.owner, 0)
    turn.number = turn.previous + 1
    closed = await world.journal.write_turn(turn)
    world.last_turns[turn.owner] = turn.number
    return closed


class MemoryWorld:
    def __init__(self) -> None:
        self.last_turns: dict[str, int] = {}
        self.journal = MemoryJournal(time.time)
        self._pending: set[bytes] = set()
        self.journal.is_pending = self._pending.__contains__

    async def add_pair(self, available: int, beside: bytes | None = None) -> bytes:
        pair = uuid.uuid4().bytes
        variant = self.journal.rows[beside].variant_id if beside else uuid.uuid4().bytes
        self.journal.rows[pair] = Row(variant_id=variant, quantity=available)
        return pair

    async def rule(self, pair: bytes, policy: Policy) -> None:
        self.journal.rows[pair].policy = policy

    async def row_of(self, pair: bytes) -> tuple[int, int, int, int, str]:
        row = self.journal.rows[pair]
        return row.quantity, row.reserved, row.backordered, row.version, row.owner

    async def instruct(self, instruction: Instruction) -> bytes:
        movement_id = uuid.uuid4().bytes
        self.journal.asked[movement_id] = instruction
        return movement_id

    async def ledger_of(self, pair: bytes) -> list[tuple[int, int]]:
        return [(change, after) for _, one, change, after in self.journal.ledger if one == pair]

    async def hand_overs_of(self, pair: bytes) -> list[tuple[str, str]] | None:
        return None

    async def stock_of(self, pair: bytes) -> tuple[int, int]:
        row = self.journal.rows[pair]
        return row.quantity, row.reserved

    async def status_of(self, reservation_id: bytes) -> str | None:
        found = self.journal.reservations.get(reservation_id)
        return found and found.status

    async def set_status(self, reservation_id: bytes, status: str) -> None:
        self.journal.reservations[reservation_id].status = status

    async def backdate(self, reservation_id: bytes, seconds: float) -> None:
        self.journal.reservations[reservation_id].created_at -= seconds

    async def stray(self) -> bytes:
        pair = uuid.uuid4().bytes
        self.journal.reservations[uuid.uuid4().bytes] = Reservation(
            uuid.uuid4().bytes, pair, 1, time.time() + 600, time.time()
        )
        return pair

    async def pending(self, order_id: bytes) -> None:
        self._pending.add(order_id)


class SimulatedWorld:
    """The twin that the simulator runs on."""

    def __init__(self) -> None:
        self.last_turns: dict[str, int] = {}
        self.tables = Tables(unix=time.time, elapsed=time.monotonic)
        database = ScriptedDatabase(self.tables, Random(1), lambda _: None)
        self.journal = DatabaseOfProcess(database, Line())

    async def add_pair(self, available: int, beside: bytes | None = None) -> bytes:
        pair = uuid.uuid4().bytes
        variant = self.tables.pairs[beside].variant_id if beside else uuid.uuid4().bytes
        self.tables.pairs[pair] = PairRow(variant, available)
        return pair

    async def rule(self, pair: bytes, policy: Policy) -> None:
        row = self.tables.pairs[pair]
        row.safety_stock = policy.safety_stock
        self.tables.policies[row.variant_id] = (policy.backorder_max, policy.customer_max)

    async def row_of(self, pair: bytes) -> tuple[int, int, int, int, str]:
        row = self.tables.pairs[pair]
        return row.quantity, row.reserved, row.backordered, row.version, row.owner_name

    async def instruct(self, instruction: Instruction) -> bytes:
        movement_id = uuid.uuid4().bytes
        self.tables.instructions[movement_id] = InstructionRow(*instruction)
        return movement_id

    async def ledger_of(self, pair: bytes) -> list[tuple[int, int]]:
        lines = self.tables.ledger
        return [(line.change, line.balance) for line in lines if line.inventory_id == pair]

    async def hand_overs_of(self, pair: bytes) -> list[tuple[str, str]] | None:
        return None

    async def stock_of(self, pair: bytes) -> tuple[int, int]:
        row = self.tables.pairs[pair]
        return row.quantity, row.reserved

    async def status_of(self, reservation_id: bytes) -> str | None:
        found = self.tables.reservations.get(reservation_id)
        return found and found.status

    async def set_status(self, reservation_id: bytes, status: str) -> None:
        row = self.tables.reservations[reservation_id]
        row.status = status
        if status != "active":
            self.tables.active.get(row.inventory_id, {}).pop(reservation_id, None)

    async def backdate(self, reservation_id: bytes, seconds: float) -> None:
        self.tables.reservations[reservation_id].created_at -= seconds

    async def stray(self) -> bytes:
        pair, reservation_id = some_ids()
        row = ReservationRow(uuid.uuid4().bytes, pair, 1, time.time() + 600, time.time())
        self.tables.reservations[reservation_id] = row
        self.tables.active.setdefault(pair, {})[reservation_id] = row
        return pair

    async def pending(self, order_id: bytes) -> None:
        self.tables.record(order_id, order_id.hex(), "", 0)


class PostgresWorld:
    def __init__(self, pool: asyncpg.Pool) -> None:
        self.last_turns: dict[str, int] = {}
        self.pool = pool
        self.journal = PostgresStockJournal(pool)

    async def add_pair(self, available: int, beside: bytes | None = None) -> bytes:
        return await add_pair(self.pool, available, variant_id=await self._variant_of(beside))

    async def _variant_of(self, pair: bytes | None) -> uuid.UUID | None:
        if pair is None:
            return None
        return await self.pool.fetchval(
            "SELECT variant_id FROM inventory WHERE inventory_id = $1", uuid.UUID(bytes=pair)
        )

    async def rule(self, pair: bytes, policy: Policy) -> None:
        await self.pool.execute(
            "INSERT INTO stock_policies (variant_id, backorder, backorder_max, customer_max)"
            " VALUES ($1, $2, $3, $4) ON CONFLICT (variant_id) DO UPDATE"
            " SET backorder = $2, backorder_max = $3, customer_max = $4",
            await self._variant_of(pair),
            "backorder" if policy.backorder_max else "deny",
            policy.backorder_max,
            policy.customer_max,
        )
        await self.pool.execute(
            "INSERT INTO pair_rules (inventory_id, safety_stock) VALUES ($1, $2)"
            " ON CONFLICT (inventory_id) DO UPDATE SET safety_stock = $2",
            uuid.UUID(bytes=pair),
            policy.safety_stock,
        )

    async def row_of(self, pair: bytes) -> tuple[int, int, int, int, str]:
        row = await self.pool.fetchrow(
            "SELECT quantity, reserved, backordered, version, owner_name FROM inventory"
            " WHERE inventory_id = $1",
            uuid.UUID(bytes=pair),
        )
        assert row is not None
        return tuple(row)

    async def instruct(self, instruction: Instruction) -> bytes:
        movement_id = uuid.uuid4()
        pair, kind, quantity, status = instruction
        await self.pool.execute(
            "INSERT INTO stock_instructions (instruction_id, inventory_id, kind, quantity, actor,"
            " reason, reference, status, refusal, settled_at) VALUES ($1, $2, $3, $4, 'test',"
            " 'because', 'PO-7', $5, CASE WHEN $5 = 'refused' THEN 'short' END,"
            " CASE WHEN $5 <> 'pending' THEN now() END)",
            movement_id,
            uuid.UUID(bytes=pair),
            MovementKind(kind).name.lower(),
            quantity,
            status,
        )
        return movement_id.bytes

    async def ledger_of(self, pair: bytes) -> list[tuple[int, int]]:
        rows = await self.pool.fetch(
            "SELECT quantity, balance FROM stock_movements"
            " WHERE inventory_id = $1 AND instruction_id IS NOT NULL ORDER BY movement_id",
            uuid.UUID(bytes=pair),
        )
        return [(row["quantity"], row["balance"]) for row in rows]

    async def hand_overs_of(self, pair: bytes) -> list[tuple[str, str]] | None:
        rows = await self.pool.fetch(
            "SELECT from_owner, to_owner FROM pair_handovers WHERE inventory_id = $1"
            " ORDER BY handover_id",
            uuid.UUID(bytes=pair),
        )
        return [tuple(row) for row in rows]

    async def stock_of(self, pair: bytes) -> tuple[int, int]:
        return await stock_of(self.pool, pair)

    async def status_of(self, reservation_id: bytes) -> str | None:
        return await status_of(self.pool, reservation_id)

    async def set_status(self, reservation_id: bytes, status: str) -> None:
        await self._change(reservation_id, f"status = '{status}'")

    async def backdate(self, reservation_id: bytes, seconds: float) -> None:
        await self._change(
            reservation_id, f"created_at = created_at - interval '{seconds} seconds'"
        )

    async def _change(self, reservation_id: bytes, change: str) -> None:
        await self.pool.execute(
            f"UPDATE inventory_reservations SET {change} WHERE reservation_id = $1",
            uuid.UUID(bytes=reservation_id),
        )

    async def stray(self) -> bytes:
        pair = uuid.uuid4()
        await self.pool.execute(
            "INSERT INTO inventory_reservations (reservation_id, order_id, inventory_id, quantity,"
            " expires_at) VALUES (gen_random_uuid(), gen_random_uuid(), $1, 1, now())",
            pair,
        )
        return pair.bytes

    async def pending(self, order_id: bytes) -> None:
        await self.pool.execute(
            "INSERT INTO orders (order_id, user_id, cart_id, idempotency_key, request_hash,"
            " subtotal_minor, tax_minor, shipping_minor, total_minor, currency, payment_method,"
            " shipping_method, shipping_address, estimated_delivery)"
            " VALUES ($1, $1, $1, 'k', '', 0, 0, 0, 0, 'USD', 'card', 'standard', '{}', now())",
            uuid.UUID(bytes=order_id),
        )


def a_turn(
    epoch: int,
    *,
    hold: list[tuple[bytes, bytes, bytes, int]] | None = None,
    release: tuple[bytes, ...] = (),
    expire: tuple[bytes, ...] = (),
    at: dict[bytes, int] | None = None,
    expires_at: float | None = None,
    owner: str = OWNER,
    waits: bool = False,
    customer: bytes | None = None,
) -> Turn:
    """A turn that holds (id, order, pair, quantity); `at` says which version a pair is at."""
    turn = Turn(owner, epoch, released_ids=list(release), expired_ids=list(expire))
    taken = dict.fromkeys(at or {}, 0)
    promised: dict[bytes, int] = {}
    for reservation_id, order_id, pair, quantity in hold or []:
        turn.reservation_ids.append(reservation_id)
        turn.order_ids.append(order_id)
        turn.reserved_pairs.append(pair)
        turn.quantities.append(quantity)
        turn.customer_ids.append(customer)
        turn.backordered.append(waits)
        turn.expires_at.append(expires_at or time.time() + 600)
        taken[pair] = taken.get(pair, 0) + (0 if waits else quantity)
        promised[pair] = promised.get(pair, 0) + (quantity if waits else 0)
    for pair, quantity in taken.items():
        turn.pair_ids.append(pair)
        turn.pair_versions.append((at or {}).get(pair, 0))
        turn.pair_taken.append(quantity)
        turn.pair_moved.append(0)
        turn.pair_backordered.append(promised.get(pair, 0))
    return turn


def some_ids(count: int = 2) -> list[bytes]:
    """Fresh ids."""
    return [uuid.uuid4().bytes for _ in range(count)]
