"""The tables of the stock engine as values in memory, and its transactions as plain functions.

Written after `storage/migrations/0004_stock_engine.sql` and `storage/orders.sql`: each transaction
happens whole at one instant or raises, in the order in which the statements there run. The log
tells what each turn did; the tests compare this twin with Postgres.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from domain.ports import DuplicateReservation, LimitPassed, StaleEpoch, VersionConflict
from domain.stock import NOBODY, PLAIN, Closed, Hold, Known, Pair, Policy
from domain.turns import CustomerOfVariant, Instruction, Turn
from sim.engine_rows import (
    InstructionRow,
    LedgerLine,
    Logged,
    LogLine,
    OrderRow,
    PairChange,
    PairRow,
    ReservationRow,
)

OPEN = ("active",)
BOUND = ("active", "allocated")


@dataclass(slots=True)
class Tables:
    """All rows. `unix` is the database's own clock, `elapsed` the time of the log."""

    unix: Callable[[], float]
    elapsed: Callable[[], float]
    pairs: dict[bytes, PairRow] = field(default_factory=dict)
    reservations: dict[bytes, ReservationRow] = field(default_factory=dict)
    active: dict[bytes, dict[bytes, ReservationRow]] = field(default_factory=dict)
    of_order: dict[bytes, list[bytes]] = field(default_factory=dict)
    orders: dict[bytes, OrderRow] = field(default_factory=dict)
    keys: dict[str, bytes] = field(default_factory=dict)
    epochs: dict[str, int] = field(default_factory=dict)
    retired: set[tuple[str, int]] = field(default_factory=set)
    last_turns: dict[str, int] = field(default_factory=dict)
    logged: dict[str, list[Logged]] = field(default_factory=dict)
    """The turn log, by owner."""
    policies: dict[bytes, tuple[int, int]] = field(default_factory=dict)
    """(backorder_max, customer_max) by variant"""
    customer_units: dict[CustomerOfVariant, int] = field(default_factory=dict)
    instructions: dict[bytes, InstructionRow] = field(default_factory=dict)
    ledger: list[LedgerLine] = field(default_factory=list)
    log: list[LogLine] = field(default_factory=list)

    def raise_epoch(self, owner: str) -> int:
        """A new generation; the older ones are retired."""
        before = self.epochs.get(owner, 0)
        self.retired.add((owner, before))
        self.epochs[owner] = before + 1
        return before + 1

    def checkpoint(self, owner: str, epoch: int) -> int:
        """All rows of the owner's log up to date; the number that its next turn follows."""
        self.fence(owner, epoch)
        self._log_into_rows(owner, epoch)
        return self.last_turns[owner]

    def _log_into_rows(self, owner: str, epoch: int) -> None:
        number = self.last_turns[owner] = self.last_turns.get(owner, 0) + 1
        behind: dict[bytes, int] = {}
        for one in self.logged.pop(owner, ()):
            if one.turn > self.pairs[one.inventory_id].logged_to:
                behind[one.inventory_id] = behind.get(one.inventory_id, 0) + one.taken
        changes: list[PairChange] = []
        for inventory_id, taken in behind.items():
            row = self.pairs[inventory_id]
            row.quantity -= taken
            row.reserved += taken
            row.version, row.logged_to = row.version + 1, number
            changes.append(_unmoved(inventory_id, row, None))
        if changes:
            self.log.append(LogLine(self.elapsed(), owner, epoch, tuple(changes), (), ()))

    def taken_beyond_row(self, inventory_id: bytes) -> int:
        """Units that the log says were taken, and the row does not know of."""
        logged_to = self.pairs[inventory_id].logged_to
        return sum(
            one.taken
            for entries in self.logged.values()
            for one in entries
            if one.inventory_id == inventory_id and one.turn > logged_to
        )

    def reclaim(self, owner: str) -> list[bytes]:
        """Fence an owner that is gone and take its pairs home."""
        epoch = self.raise_epoch(owner)
        self.retired.add((owner, epoch))
        self._log_into_rows(owner, epoch)
        taken = [one for one, row in self.pairs.items() if row.owner_name == owner]
        changes: list[PairChange] = []
        for inventory_id in taken:
            row = self.pairs[inventory_id]
            row.owner_name, row.version = "", row.version + 1
            changes.append(_unmoved(inventory_id, row, ""))
        if changes:
            self.log.append(LogLine(self.elapsed(), owner, epoch, tuple(changes), (), ()))
        return taken

    def fence(self, owner: str, epoch: int) -> None:
        """StaleEpoch unless the generation is the newest."""
        if self.epochs.get(owner) != epoch or (owner, epoch) in self.retired:
            raise StaleEpoch(f"epoch {epoch} of owner {owner} is stale")

    def load(self, inventory_ids: Sequence[bytes]) -> list[Pair]:
        """Pairs with their open reservations, as one snapshot."""
        return [self._pair(one) for one in inventory_ids if one in self.pairs]

    def _pair(self, inventory_id: bytes) -> Pair:
        row = self.pairs[inventory_id]
        backorder_max, customer_max = self.policies.get(row.variant_id, (0, 0))
        policy = Policy(row.safety_stock, backorder_max, customer_max)
        pair = Pair(
            inventory_id,
            row.variant_id,
            row.quantity,
            row.version,
            row.reserved,
            logged_to=row.logged_to,
            policy=PLAIN if policy == PLAIN else policy,
            owner=row.owner_name,
        )
        for reservation_id, one in self.active.get(inventory_id, {}).items():
            pair.holds[reservation_id] = _hold(one)
        if row.backordered:
            waiting = [
                (one.created_at, reservation_id, one.quantity)
                for reservation_id, one in self.reservations.items()
                if one.backordered and one.inventory_id == inventory_id
            ]
            pair.waiting = {reservation_id: units for _, reservation_id, units in sorted(waiting)}
            pair.backordered = sum(pair.waiting.values())
        return pair

    def find(self, reservation_ids: Sequence[bytes]) -> dict[bytes, Known]:
        """What there is of the ids."""
        rows = self.reservations
        return {
            one: Known(rows[one].status, rows[one].inventory_id, _hold(rows[one]))
            for one in reservation_ids
            if one in rows
        }

    def settled(self, reservation_ids: Sequence[bytes]) -> list[bytes]:
        """Those of the ids that are no longer only held."""
        rows = self.reservations
        return [one for one in reservation_ids if one in rows and rows[one].status != "active"]

    def units_of(self, customers: Sequence[CustomerOfVariant]) -> dict[CustomerOfVariant, int]:
        """Units of limited variants."""
        units = self.customer_units
        return {one: units[one] for one in customers if one in units}

    def instructions_of(self, ids: Sequence[bytes]) -> dict[bytes, Instruction]:
        """Movements that were asked for."""
        rows = self.instructions
        return {
            one: Instruction(
                rows[one].inventory_id, rows[one].kind, rows[one].quantity, rows[one].status
            )
            for one in ids
            if one in rows
        }

    def abandoned(self, orphaned_for_s: float, limit: int) -> list[tuple[bytes, bytes, bool]]:
        """Active reservations whose time is over, or without a pending order for so long."""
        now = self.unix()
        found: list[tuple[float, bytes, bytes, bool]] = []
        for inventory_id, rows in self.active.items():
            for reservation_id, row in rows.items():
                overdue = row.expires_at <= now
                if overdue and row.expires_at > now - 1.0:
                    continue  # its owner's, for now
                if not overdue:
                    if row.created_at > now - orphaned_for_s:
                        continue
                    order = self.orders.get(row.order_id)
                    if order is not None and order.status == "pending":
                        continue
                found.append((row.expires_at, reservation_id, inventory_id, overdue))
        found.sort()
        return [(one, pair, overdue) for _, one, pair, overdue in found[:limit]]

    def turn(self, turn: Turn) -> list[Closed]:
        """A turn: all of it, or an exception and nothing."""
        self.fence(turn.owner, turn.epoch)
        if not self.follows(turn):
            raise VersionConflict(f"turn {turn.number} of {turn.owner} does not follow its last")
        writing = TurnWriting(self, turn)
        closed = writing.statements()
        writing.commit()
        return closed

    def follows(self, turn: Turn) -> bool:
        """Whether it was decided knowing of all turns of its owner."""
        return self.last_turns.get(turn.owner, 0) == turn.previous

    # -- orders ---------------------------------------------------------------------------------

    def record(self, order_id: bytes, key: str, body: str, units: int) -> tuple[bytes, str]:
        """A pending order, or the one that has the key: (its id, its body)."""
        known = self.keys.get(key)
        if known is None:
            self.keys[key] = order_id
            self.orders[order_id] = OrderRow(key, body, units, self.unix())
            known = order_id
        return known, self.orders[known].body

    def confirm(self, order_id: bytes) -> str:
        """The order as a whole, if it is pending and every unit of it is still held."""
        order = self.orders.get(order_id)
        if order is None:
            return "unknown"
        if order.status != "pending":
            return order.status
        held = [one for one in self.of_order.get(order_id, ()) if self._is_active(one)]
        if sum(self.reservations[one].quantity for one in held) != order.units:
            return "not_held"
        for one in held:
            row = self.reservations[one]
            row.status = "allocated"
            del self.active[row.inventory_id][one]
        order.status = "confirmed"
        return "confirmed"

    def _is_active(self, reservation_id: bytes) -> bool:
        return self.reservations[reservation_id].status == "active"


class TurnWriting:
    """One turn's transaction: statements on copies, and the copies put in place at the end."""

    def __init__(self, tables: Tables, turn: Turn) -> None:
        self._tables = tables
        self._turn = turn
        self._fresh: dict[bytes, ReservationRow] = {}
        self._changed: dict[bytes, ReservationRow] = {}
        self._units: dict[CustomerOfVariant, int] = {}
        self._pairs: dict[bytes, PairRow] = {}
        self._changes: list[PairChange] = []
        self._lines: list[LedgerLine] = []
        self._in_turn = set(turn.pair_ids)

    def statements(self) -> list[Closed]:
        """Everything but the commit; raises what the database would."""
        turn = self._turn
        if turn.reservation_ids:
            self._insert()
        if turn.extensions:
            self._extend()
        if turn.movements:
            self._move()
        if turn.served:
            self._serve()
        closed = self._close() if turn.released_ids or turn.expired_ids else []
        if turn.limits or closed:
            self._count_units(closed)
        self._update_pairs(closed)
        self._log_pairs()
        return closed

    def _row(self, reservation_id: bytes) -> ReservationRow | None:
        return (
            self._changed.get(reservation_id)
            or self._fresh.get(reservation_id)
            or self._tables.reservations.get(reservation_id)
        )

    def _own(self, reservation_id: bytes, row: ReservationRow) -> ReservationRow:
        if reservation_id in self._fresh or reservation_id in self._changed:
            return row
        own = self._changed[reservation_id] = replace(row)
        return own

    def _insert(self) -> None:
        turn, now = self._turn, self._tables.unix()
        rows, fresh = self._tables.reservations, self._fresh
        for position, reservation_id in enumerate(turn.reservation_ids):
            if reservation_id in fresh or reservation_id in rows:
                raise DuplicateReservation(f"{reservation_id.hex()} is there already")
            fresh[reservation_id] = ReservationRow(
                turn.order_ids[position],
                turn.reserved_pairs[position],
                turn.quantities[position],
                turn.expires_at[position],
                now + position * 1e-6,  # first come, first served within a turn, too
                customer_id=turn.customer_ids[position],
                backordered=turn.backordered[position],
            )

    def _extend(self) -> None:
        for reservation_id, extension_id, until in self._turn.extensions:
            row = self._row(reservation_id)
            if row is None or row.status != "active" or row.extension_id is not None:
                continue
            if row.inventory_id in self._in_turn:
                own = self._own(reservation_id, row)
                own.expires_at, own.extension_id = until, extension_id

    def _move(self) -> None:
        for instruction_id, inventory_id, change, balance in self._turn.movements:
            asked = self._tables.instructions.get(instruction_id)
            if asked is None or asked.status != "pending":
                raise VersionConflict(f"movement {instruction_id.hex()} was settled before")
            self._lines.append(LedgerLine(instruction_id, inventory_id, change, balance))
        if len({line.instruction_id for line in self._lines}) < len(self._lines):
            raise VersionConflict("a movement twice in one turn")

    def _serve(self) -> None:
        for reservation_id in self._turn.served:
            row = self._row(reservation_id)
            if row is None or not row.backordered or row.status not in BOUND:
                raise VersionConflict(f"{reservation_id.hex()} does not wait any more")
            self._own(reservation_id, row).backordered = False

    def _close(self) -> list[Closed]:
        closed: list[Closed] = []
        turn = self._turn
        asked = [(one, "released") for one in turn.released_ids]
        asked += [(one, "expired") for one in turn.expired_ids]
        for reservation_id, status in asked:
            row = self._row(reservation_id)
            if row is None or not self._may_close(row) or row.inventory_id not in self._in_turn:
                continue
            own = self._own(reservation_id, row)
            own.status = status
            closed.append(Closed(reservation_id, own.inventory_id, own.quantity, own.backordered))
            own.backordered = False
        return closed

    def _may_close(self, row: ReservationRow) -> bool:
        return row.status in OPEN

    def _count_units(self, closed: list[Closed]) -> None:
        tables, units = self._tables, self._units
        for customer, (more, _) in self._turn.limits.items():
            units[customer] = tables.customer_units.get(customer, 0) + more
        for one in closed:
            row = self._row(one.reservation_id)
            assert row is not None
            if row.customer_id is None or row.customer_id == NOBODY:
                continue
            customer = (tables.pairs[row.inventory_id].variant_id, row.customer_id)
            before = units.get(customer, tables.customer_units.get(customer, 0))
            units[customer] = before - one.quantity
        for customer, (_, most) in self._turn.limits.items():
            if units[customer] > most:
                raise LimitPassed("a customer has got more elsewhere")

    def _may_write(self, row: PairRow, version: int) -> bool:
        return row.version == version and row.owner_name in ("", self._turn.owner)

    def _update_pairs(self, closed: list[Closed]) -> None:
        turn = self._turn
        for position, inventory_id in enumerate(turn.pair_ids):
            row = self._tables.pairs.get(inventory_id)
            if row is None or not self._may_write(row, turn.pair_versions[position]):
                raise VersionConflict(f"{inventory_id.hex()} is not as the owner remembers it")
            given = waiting = 0
            for one in closed:
                if one.inventory_id == inventory_id:
                    given += 0 if one.backordered else one.quantity
                    waiting += one.quantity if one.backordered else 0
            taken, moved = turn.pair_taken[position], turn.pair_moved[position]
            own = self._pairs[inventory_id] = replace(row)
            own.quantity += moved + given - taken
            own.reserved += taken - given
            own.backordered += turn.pair_backordered[position] - waiting
            own.version, own.logged_to = own.version + 1, turn.number
            if min(own.quantity, own.reserved, own.backordered) < 0:
                raise VersionConflict(f"{inventory_id.hex()} would go below zero")
            handed_to = turn.handed_to.get(inventory_id)
            if handed_to is not None:
                own.owner_name = handed_to
            before = row.quantity - self._tables.taken_beyond_row(inventory_id)
            low = min(row.quantity, row.quantity + min(moved, 0) - taken, own.quantity)
            self._changes.append(
                PairChange(
                    inventory_id,
                    own.version,
                    before,
                    low,
                    own.quantity,
                    own.backordered,
                    handed_to,
                )
            )

    def _log_pairs(self) -> None:
        turn, tables = self._turn, self._tables
        for inventory_id, taken in zip(turn.logged_ids, turn.logged_taken, strict=True):
            row = tables.pairs[inventory_id]
            before = row.quantity - tables.taken_beyond_row(inventory_id)
            after = before - taken
            self._changes.append(
                PairChange(
                    inventory_id,
                    row.version,
                    before,
                    after,
                    after,
                    row.backordered,
                    None,
                    logged=True,
                )
            )

    def commit(self) -> None:
        """Put it all in place."""
        tables, turn = self._tables, self._turn
        tables.last_turns[turn.owner] = turn.number
        entries = tables.logged.setdefault(turn.owner, [])
        entries[:] = [one for one in entries if one.turn > turn.logged_until]
        entries += [
            Logged(turn.number, inventory_id, taken)
            for inventory_id, taken in zip(turn.logged_ids, turn.logged_taken, strict=True)
        ]
        for reservation_id, row in (*self._fresh.items(), *self._changed.items()):
            if reservation_id in self._fresh:
                tables.of_order.setdefault(row.order_id, []).append(reservation_id)
            tables.reservations[reservation_id] = row
            rows = tables.active.setdefault(row.inventory_id, {})
            if row.status == "active":
                rows[reservation_id] = row
            else:
                rows.pop(reservation_id, None)
        tables.pairs.update(self._pairs)
        tables.customer_units.update(self._units)
        tables.ledger.extend(self._lines)
        for line in self._lines:
            tables.instructions[line.instruction_id].status = "done"
        tables.log.append(self._log_line())

    def _log_line(self) -> LogLine:
        closed = [
            (one, row.status) for one, row in self._changed.items() if row.status not in BOUND
        ]
        closed += [(one, row.status) for one, row in self._fresh.items() if row.status not in BOUND]
        turn = self._turn
        return LogLine(
            self._tables.elapsed(),
            turn.owner,
            turn.epoch,
            tuple(self._changes),
            tuple(self._fresh),
            tuple(closed),
        )


def _unmoved(inventory_id: bytes, row: PairRow, handed_to: str | None) -> PairChange:
    """A row was written, and the pair has what it had."""
    quantity = row.quantity
    return PairChange(
        inventory_id, row.version, quantity, quantity, quantity, row.backordered, handed_to
    )


def _hold(row: ReservationRow) -> Hold:
    return Hold(
        row.order_id,
        row.quantity,
        row.expires_at,
        row.backordered,
        row.extension_id or NOBODY,
        row.customer_id or NOBODY,
    )
