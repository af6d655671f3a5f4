"""The stock journal's twin in memory: it passes the same suite as the one on Postgres."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from domain.ports import DuplicateReservation, LimitPassed, StaleEpoch, VersionConflict
from domain.stock import NOBODY, PLAIN, Closed, Hold, Known, Pair, Policy
from domain.turns import CustomerOfVariant, Instruction, Turn
from tests.actors.faults import Faults


@dataclass
class Row:
    """A row of inventory, with its rules."""

    variant_id: bytes
    quantity: int
    reserved: int = 0
    version: int = 0
    logged_to: int = 0
    owner: str = ""
    backordered: int = 0
    policy: Policy = PLAIN


@dataclass
class Reservation:
    """A row of inventory_reservations; times in Unix seconds."""

    order_id: bytes
    inventory_id: bytes
    quantity: int
    expires_at: float
    created_at: float
    status: str = "active"
    backordered: bool = False
    extension_id: bytes = NOBODY
    customer_id: bytes = NOBODY

    @property
    def known(self) -> Known:
        """As `find` shows it."""
        hold = Hold(
            self.order_id,
            self.quantity,
            self.expires_at,
            self.backordered,
            self.extension_id,
            self.customer_id,
        )
        return Known(self.status, self.inventory_id, hold)


class MemoryJournal:
    """StockJournal and StockSweep. `orders` tells the sweep which orders are pending."""

    def __init__(self, unix: Callable[[], float]) -> None:
        self.rows: dict[bytes, Row] = {}
        self.reservations: dict[bytes, Reservation] = {}
        self.units: dict[CustomerOfVariant, int] = {}
        self.asked: dict[bytes, Instruction] = {}
        self.ledger: list[tuple[bytes, bytes, int, int]] = []
        self.epochs: dict[str, int] = {}
        self.last_turns: dict[str, int] = {}
        self.log: list[tuple[str, int, bytes, int]] = []
        self.faults = Faults()
        self.turns: list[Turn] = []
        self.loads: list[list[bytes]] = []
        self.found = asyncio.Event()
        self.before_write: deque[Callable[[], Awaitable[None] | None]] = deque()
        self.is_pending: Callable[[bytes], bool] = lambda _: False
        self._unix = unix

    async def raise_epoch(
        self, owner: str, node: str, pid: int, *, pool_size: int | None = None
    ) -> int:
        self.epochs[owner] = self.epochs.get(owner, 0) + 1
        return self.faults.do("raise_epoch", lambda: self.epochs[owner])

    async def checkpoint(self, owner: str, epoch: int) -> int:
        await asyncio.sleep(0)

        def caught_up() -> int:
            if self.epochs.get(owner) != epoch:
                raise StaleEpoch(f"epoch {epoch} of owner {owner} is stale")
            return self._log_into_rows(owner)

        return self.faults.do("checkpoint", caught_up)

    def _log_into_rows(self, owner: str) -> int:
        number = self.last_turns[owner] = self.last_turns.get(owner, 0) + 1
        behind: dict[bytes, int] = {}
        for name, turn, pair, taken in self.log:
            if name == owner and turn > self.rows[pair].logged_to:
                behind[pair] = behind.get(pair, 0) + taken
        for pair, taken in behind.items():
            row = self.rows[pair]
            row.quantity -= taken
            row.reserved += taken
            row.version += 1
            row.logged_to = number
        self.log = [one for one in self.log if one[0] != owner]
        return number

    def now_of(self, pair: bytes) -> tuple[int, int]:
        """(available, reserved) of a pair: its row, and what the log has beyond it."""
        row = self.rows[pair]
        taken = sum(one[3] for one in self.log if one[2] == pair and one[1] > row.logged_to)
        return row.quantity - taken, row.reserved + taken

    async def reclaim(self, owner: str) -> list[bytes]:
        def take_home() -> list[bytes]:
            self.epochs[owner] = self.epochs.get(owner, 0) + 1
            self._log_into_rows(owner)
            taken = [pair for pair, row in self.rows.items() if row.owner == owner]
            for pair in taken:
                self.rows[pair].owner = ""
                self.rows[pair].version += 1
            return taken

        return self.faults.do("reclaim", take_home)

    async def load(self, inventory_ids: Sequence[bytes]) -> list[Pair]:
        await asyncio.sleep(0)
        self.loads.append(list(inventory_ids))
        wanted = dict.fromkeys(inventory_ids)
        return self.faults.do(
            "load", lambda: [self._pair(one) for one in wanted if one in self.rows]
        )

    def _pair(self, inventory_id: bytes) -> Pair:
        row = self.rows[inventory_id]
        own = {
            key: one for key, one in self.reservations.items() if one.inventory_id == inventory_id
        }
        holds = {key: one.known.hold for key, one in own.items() if one.status == "active"}
        waiting = {key: one.quantity for key, one in own.items() if one.backordered}
        return Pair(
            inventory_id,
            row.variant_id,
            row.quantity,
            row.version,
            row.reserved,
            holds,
            row.policy,
            waiting or None,
            sum(waiting.values()),
            row.owner,
            row.logged_to,
        )

    async def write_turn(self, turn: Turn) -> list[Closed]:
        await asyncio.sleep(0)
        if self.before_write:
            awaited = self.before_write.popleft()()
            if awaited is not None:
                await awaited
        return self.faults.do("write_turn", lambda: self._write(turn))

    def _check(self, turn: Turn) -> None:
        if self.epochs.get(turn.owner) != turn.epoch:
            raise StaleEpoch(f"epoch {turn.epoch} of owner {turn.owner} is stale")
        if self.last_turns.get(turn.owner, 0) != turn.previous:
            raise VersionConflict(f"turn {turn.number} does not follow the last one")
        ids = turn.reservation_ids
        if len(set(ids)) < len(ids) or not self.reservations.keys().isdisjoint(ids):
            raise DuplicateReservation("a reservation of the turn exists")
        moves = zip(
            turn.pair_ids, turn.pair_versions, turn.pair_taken, turn.pair_moved, strict=True
        )
        closing = [one for _, one, _ in self._closing(turn)]
        for inventory_id, version, taken, moved in moves:
            row = self.rows.get(inventory_id)
            if row is None or row.version != version or row.owner not in ("", turn.owner):
                raise VersionConflict(f"{inventory_id.hex()} is not at version {version}")
            back = sum(
                one.quantity
                for one in closing
                if one.inventory_id == inventory_id and not one.backordered
            )
            if row.quantity + moved + back < taken:
                raise VersionConflict(f"{inventory_id.hex()} has {row.quantity} left")
        for movement_id, _, _, _ in turn.movements:
            if self.asked[movement_id].status != "pending":
                raise VersionConflict("a movement was settled before")
        for reservation_id in turn.served:
            if not self.reservations[reservation_id].backordered:
                raise VersionConflict("a reservation does not wait any more")
        for customer, (units, most) in turn.limits.items():
            back = sum(
                one.quantity
                for one in closing
                if (self.rows[one.inventory_id].variant_id, one.customer_id) == customer
            )
            if self.units.get(customer, 0) + units - back > most:
                raise LimitPassed("a customer has got more elsewhere")

    def _write(self, turn: Turn) -> list[Closed]:
        self._check(turn)
        self._reserve(turn)
        for reservation_id, extension_id, until in turn.extensions:
            one = self.reservations.get(reservation_id)
            if one is None or one.inventory_id not in turn.pair_ids:
                continue
            if one.status == "active" and one.extension_id == NOBODY:
                one.expires_at, one.extension_id = until, extension_id
        for movement in turn.movements:
            self.ledger.append(movement)
            self.asked[movement[0]] = self.asked[movement[0]]._replace(status="done")
        for reservation_id in turn.served:
            self.reservations[reservation_id].backordered = False
        closed = self._close(turn)
        for inventory_id, owner in turn.handed_to.items():
            self.rows[inventory_id].owner = owner
        self.last_turns[turn.owner] = turn.number
        self.log = [one for one in self.log if one[0] != turn.owner or one[1] > turn.logged_until]
        self.turns.append(turn)
        return closed

    def _reserve(self, turn: Turn) -> None:
        columns = (
            turn.order_ids,
            turn.reserved_pairs,
            turn.quantities,
            turn.expires_at,
            turn.customer_ids,
            turn.backordered,
        )
        for one, order, pair, quantity, until, customer, backordered in zip(
            turn.reservation_ids, *columns, strict=True
        ):
            self.reservations[one] = Reservation(
                order,
                pair,
                quantity,
                until,
                self._unix(),
                backordered=backordered,
                customer_id=customer or NOBODY,
            )
        for customer_of, (units, _) in turn.limits.items():
            self.units[customer_of] = self.units.get(customer_of, 0) + units
        changes = (turn.pair_taken, turn.pair_moved, turn.pair_backordered)
        for inventory_id, taken, moved, backordered in zip(turn.pair_ids, *changes, strict=True):
            row = self.rows[inventory_id]
            row.quantity += moved - taken
            row.reserved += taken
            row.backordered += backordered
            row.version += 1
            row.logged_to = turn.number
        for inventory_id, taken in zip(turn.logged_ids, turn.logged_taken, strict=True):
            self.log.append((turn.owner, turn.number, inventory_id, taken))

    def _closing(self, turn: Turn) -> list[tuple[bytes, Reservation, str]]:
        """What the turn closes, each once, and how."""
        how = dict.fromkeys(turn.expired_ids, "expired") | dict.fromkeys(
            turn.released_ids, "released"
        )
        rows = self.reservations
        return [
            (key, rows[key], status)
            for key, status in how.items()
            if key in rows
            and rows[key].status == "active"
            and rows[key].inventory_id in turn.pair_ids
        ]

    def _close(self, turn: Turn) -> list[Closed]:
        closed: list[Closed] = []
        for reservation_id, one, status in self._closing(turn):
            one.status = status
            row = self.rows[one.inventory_id]
            if one.backordered:
                row.backordered -= one.quantity
            else:
                row.quantity += one.quantity
                row.reserved -= one.quantity
            closed.append(Closed(reservation_id, one.inventory_id, one.quantity, one.backordered))
            one.backordered = False
            if one.customer_id != NOBODY:
                self.units[row.variant_id, one.customer_id] -= one.quantity
        return closed

    async def find(self, reservation_ids: Sequence[bytes]) -> dict[bytes, Known]:
        self.found.set()
        rows = self.reservations
        return self.faults.do(
            "find", lambda: {one: rows[one].known for one in reservation_ids if one in rows}
        )

    async def settled(self, reservation_ids: Sequence[bytes]) -> list[bytes]:
        self.found.set()
        rows = self.reservations
        return self.faults.do(
            "settled",
            lambda: [
                one for one in reservation_ids if one in rows and rows[one].status != "active"
            ],
        )

    async def find_as_owner(
        self, reservation_ids: Sequence[bytes], owner: str, epoch: int
    ) -> dict[bytes, Known]:
        if self.epochs.get(owner) != epoch:
            raise StaleEpoch(f"epoch {epoch} of owner {owner} is stale")
        return await self.find(reservation_ids)

    async def units_of(
        self, customers: Sequence[CustomerOfVariant]
    ) -> dict[CustomerOfVariant, int]:
        units = self.units
        return self.faults.do(
            "units_of", lambda: {one: units[one] for one in customers if one in units}
        )

    async def instructions(self, movement_ids: Sequence[bytes]) -> dict[bytes, Instruction]:
        asked = self.asked
        return self.faults.do(
            "instructions", lambda: {one: asked[one] for one in movement_ids if one in asked}
        )

    async def abandoned(
        self, *, orphaned_for_s: float, limit: int
    ) -> list[tuple[bytes, bytes, bool]]:
        now = self._unix()
        found = [
            (reservation_id, one.inventory_id, one.expires_at <= now)
            for reservation_id, one in self.reservations.items()
            if one.status == "active"
            and (
                one.expires_at <= now - 1.0
                or (
                    one.expires_at > now
                    and one.created_at <= now - orphaned_for_s
                    and not self.is_pending(one.order_id)
                )
            )
        ]
        return self.faults.do("abandoned", lambda: found[:limit])
