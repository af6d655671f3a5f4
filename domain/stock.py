"""The rules of stock: what an owner decides about a pair, in memory, without waiting.

A pair is one SKU in one warehouse. Ids are 16 bytes here: they cross process boundaries by
the thousand, and bytes are what both ends can handle without building objects.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, NamedTuple, cast

RESERVATION_TTL_S = 600.0
TTL_S_MIN = 1.0
TTL_S_MAX = 3600.0
EXTENSION_S_MAX = 14 * 86_400.0  # a bank transfer may take days, and the stock waits for it
RESERVE_QUANTITY_MAX = 1_000_000
MOVEMENT_QUANTITY_MAX = 1_000_000_000
ON_HAND_MAX = 2_000_000_000
"""Units of one pair; below what Postgres' int can hold."""
NOBODY = bytes(16)
"""The customer of a reservation that is made for nobody in particular."""


class ReserveStatus(IntEnum):
    """What came of asking for a reservation."""

    HELD = 0
    OUT_OF_STOCK = 1
    UNKNOWN_PAIR = 2
    INVALID = 3  # quantity or TTL out of bounds
    CONFLICT = 4  # the id names a reservation with other content
    CLOSED = 5  # the id names a reservation that was released or has expired
    BUSY = 6  # the queue is full; nothing was done; `available` is the ms to wait
    UNAVAILABLE = 7  # the outcome is not known; repeat with the same id
    ELSEWHERE = 8  # the pair has another owner; `available` is its number
    BACKORDERED = 9  # held, of stock that is still to come
    OVER_LIMIT = 10  # `available` is what this customer may still have


class ReleaseStatus(IntEnum):
    """What came of giving a reservation back."""

    RELEASED = 0
    NOT_HELD = 1  # never held, or no longer: allocated, released or expired before
    BUSY = 6
    UNAVAILABLE = 7
    ELSEWHERE = 8


class ExtendStatus(IntEnum):
    """What came of asking for more time."""

    EXTENDED = 0
    NOT_HELD = 1
    UNKNOWN_PAIR = 2
    INVALID = 3  # TTL out of bounds
    CONFLICT = 4  # extended before, under another id: once is all
    BUSY = 6
    UNAVAILABLE = 7
    ELSEWHERE = 8


class MovementStatus(IntEnum):
    """What came of a movement of physical stock."""

    RECORDED = 0
    SHORT = 1  # it would take more than is available
    UNKNOWN_PAIR = 2
    INVALID = 3  # quantity out of bounds for its kind
    CONFLICT = 4  # the id names a movement with other content
    BUSY = 6
    UNAVAILABLE = 7
    ELSEWHERE = 8


class PairStatus(IntEnum):
    """What came of handing a pair over, or of loading it."""

    DONE = 0
    UNKNOWN_PAIR = 2
    INVALID = 3
    BUSY = 6
    UNAVAILABLE = 7
    ELSEWHERE = 8


# Names of this module's own: looking a member up costs as much as deciding with it.
_HELD, _BACKORDERED = ReserveStatus.HELD, ReserveStatus.BACKORDERED
_OUT_OF_STOCK, _INVALID = ReserveStatus.OUT_OF_STOCK, ReserveStatus.INVALID
_new_tuple: Any = cast(Any, tuple).__new__

RETRYABLE = frozenset({ReserveStatus.BUSY, ReserveStatus.UNAVAILABLE})
HELD = frozenset({ReserveStatus.HELD, ReserveStatus.BACKORDERED})


class MovementKind(IntEnum):
    """Why physical stock moves, as the ledger names it."""

    RECEIVE = 1
    ADJUST = 2
    TRANSFER_OUT = 3
    TRANSFER_IN = 4
    COUNT = 5
    RETURN = 6


class Reserve(NamedTuple):
    """Hold `quantity` units of a pair for an order, for `ttl_s` seconds."""

    reservation_id: bytes
    order_id: bytes
    inventory_id: bytes
    quantity: int
    ttl_s: float
    customer_id: bytes = NOBODY

    @property
    def in_bounds(self) -> bool:
        """Whether its quantity and its TTL are possible at all."""
        return 0 < self.quantity <= RESERVE_QUANTITY_MAX and TTL_S_MIN <= self.ttl_s <= TTL_S_MAX


class Release(NamedTuple):
    """Give a reservation back, if it is still only held."""

    reservation_id: bytes
    inventory_id: bytes


class Extend(NamedTuple):
    """Hold a reservation until `ttl_s` seconds from now at least; once per reservation."""

    extension_id: bytes
    reservation_id: bytes
    inventory_id: bytes
    ttl_s: float


class Movement(NamedTuple):
    """Physical stock comes in or goes out.

    `quantity` is in units: above 0 for what is received, returned or transferred; signed for
    an adjustment; for a count, what was counted on hand.
    """

    movement_id: bytes
    inventory_id: bytes
    kind: int
    quantity: int


class HandOver(NamedTuple):
    """Give the pair to another owner, by its number."""

    inventory_id: bytes
    to: int


class Load(NamedTuple):
    """Bring the pair into memory, or bring it up to date: its policy has changed."""

    inventory_id: bytes


Request = Reserve | Release | Extend | Movement | HandOver | Load


class Answer(NamedTuple):
    """An owner's answer: the status, and what can be reserved of the pair after the turn.

    Of a movement it is all that is available; where the status says so, it means something else.
    """

    status: int
    available: int


class Hold(NamedTuple):
    """An open reservation as its owner remembers it; expires_at in Unix seconds."""

    order_id: bytes
    quantity: int
    expires_at: float
    backordered: bool = False
    extension_id: bytes = NOBODY
    customer_id: bytes = NOBODY


class Policy(NamedTuple):
    """How a pair may be sold, in units; the same object serves all pairs that have it."""

    safety_stock: int = 0
    """Kept back: what is available below it is not sold."""
    backorder_max: int = 0
    """Promised beyond the stock at most, as backorder or pre-order."""
    customer_max: int = 0
    """One customer may hold and own at most, over all orders and warehouses; 0: no limit."""


PLAIN = Policy()


@dataclass(slots=True)
class Pair:
    """What an owner knows of one pair. Changes only inside a turn."""

    inventory_id: bytes
    variant_id: bytes
    available: int
    version: int
    reserved: int = 0
    """Reserved and allocated, of the stock that is there."""
    holds: dict[bytes, Hold] = field(default_factory=dict[bytes, Hold])
    policy: Policy = PLAIN
    waiting: dict[bytes, int] | None = None
    """Units promised beyond the stock, by reservation, in the order they are served."""
    backordered: int = 0
    """Their sum."""
    owner: str = ""
    """The dedicated owner that has the pair; empty: the owner of the pool it is at home with."""
    logged_to: int = 0
    """As loaded: the number of the turn up to which its row is up to date."""

    @property
    def sellable(self) -> int:
        """What can be reserved now: who waits for stock goes first, and safety stock stays."""
        if self.waiting:
            return 0
        sellable = self.available - self.policy.safety_stock
        return sellable if sellable > 0 else 0

    def reserve(self, request: Reserve, now: float) -> ReserveStatus:
        """Decide one reservation (P1, P4): look up the id first, then the business checks."""
        held = self.holds.get(request.reservation_id)
        if held is not None:
            if (
                held.order_id != request.order_id
                or held.quantity != request.quantity
                or held.customer_id not in (request.customer_id, NOBODY)
            ):
                return ReserveStatus.CONFLICT
            return ReserveStatus.BACKORDERED if held.backordered else ReserveStatus.HELD
        quantity = request.quantity
        if not request.in_bounds:
            return _INVALID
        policy = self.policy
        status = _HELD
        if self.waiting or quantity > self.available - policy.safety_stock:
            if self.backordered + quantity > policy.backorder_max:
                return _OUT_OF_STOCK
            if self.waiting is None:
                self.waiting = {}
            self.waiting[request.reservation_id] = quantity
            self.backordered += quantity
            status = _BACKORDERED
        else:
            self.available -= quantity
            self.reserved += quantity
        customer_id = request.customer_id if policy.customer_max else NOBODY
        self.holds[request.reservation_id] = _new_tuple(
            Hold,
            (
                request.order_id,
                quantity,
                now + request.ttl_s,
                status is _BACKORDERED,
                NOBODY,
                customer_id,
            ),
        )
        return status

    def extend(self, request: Extend, now: float) -> ExtendStatus:
        """Decide more time for a reservation; the same extension again changes nothing (P4)."""
        held = self.holds.get(request.reservation_id)
        if held is None:
            return ExtendStatus.NOT_HELD
        if request.extension_id == NOBODY:  # what a hold without an extension has
            return ExtendStatus.INVALID
        if held.extension_id == request.extension_id:
            return ExtendStatus.EXTENDED
        if held.extension_id != NOBODY:
            return ExtendStatus.CONFLICT
        if not TTL_S_MIN <= request.ttl_s <= EXTENSION_S_MAX:
            return ExtendStatus.INVALID
        # Never less time than it had: whoever asks for more must not lose what was promised.
        self.holds[request.reservation_id] = held._replace(
            expires_at=max(held.expires_at, now + request.ttl_s),
            extension_id=request.extension_id,
        )
        return ExtendStatus.EXTENDED

    def move(self, request: Movement) -> tuple[MovementStatus, int]:
        """Decide a movement: (status, by how much the stock on hand changes)."""
        kind, quantity = request.kind, request.quantity
        if kind not in _MOVEMENT_BOUNDS or abs(quantity) > MOVEMENT_QUANTITY_MAX:
            return MovementStatus.INVALID, 0
        if quantity < _MOVEMENT_BOUNDS[kind]:
            return MovementStatus.INVALID, 0
        change = quantity
        if kind == MovementKind.TRANSFER_OUT:
            change = -quantity
        elif kind == MovementKind.COUNT:
            change = quantity - self.available - self.reserved
        elif kind == MovementKind.ADJUST and quantity == 0:
            return MovementStatus.INVALID, 0
        if self.available + self.reserved + change > ON_HAND_MAX:
            return MovementStatus.INVALID, 0
        if self.available + change < 0:
            return MovementStatus.SHORT, 0
        self.available += change
        return MovementStatus.RECORDED, change

    def serve_waiting(self) -> list[tuple[bytes, int]]:
        """Give stock that has come in to who waits for it, first come first served.

        Safety stock is kept back from them as well: it was from whoever had to wait for its sake.
        """
        served: list[tuple[bytes, int]] = []
        while self.waiting:
            reservation_id, quantity = next(iter(self.waiting.items()))
            if quantity > self.available - self.policy.safety_stock:
                break
            self.stop_waiting(reservation_id)
            self.available -= quantity
            self.reserved += quantity
            held = self.holds.get(reservation_id)
            if held is not None:
                self.holds[reservation_id] = held._replace(backordered=False)
            served.append((reservation_id, quantity))
        return served

    def stop_waiting(self, reservation_id: bytes) -> None:
        """Nothing is promised to it any more."""
        if self.waiting and reservation_id in self.waiting:
            self.backordered -= self.waiting.pop(reservation_id)


# The least quantity of each kind; an adjustment may be negative, and a count of 0 is a count.
_MOVEMENT_BOUNDS: dict[int, int] = {
    MovementKind.RECEIVE: 1,
    MovementKind.ADJUST: -MOVEMENT_QUANTITY_MAX,
    MovementKind.TRANSFER_OUT: 1,
    MovementKind.TRANSFER_IN: 1,
    MovementKind.COUNT: 0,
    MovementKind.RETURN: 1,
}


class Closed(NamedTuple):
    """A reservation that a turn released or let expire."""

    reservation_id: bytes
    inventory_id: bytes
    quantity: int
    backordered: bool = False


class Known(NamedTuple):
    """What the database knows of a reservation id."""

    status: str
    inventory_id: bytes
    hold: Hold

    def first_answer(self, request: Reserve) -> ReserveStatus:
        """What its reservation was answered, if `request` repeats it (P4)."""
        asked = (request.inventory_id, request.order_id, request.quantity)
        if (self.inventory_id, self.hold.order_id, self.hold.quantity) != asked:
            return ReserveStatus.CONFLICT
        if self.status in ("active", "allocated", "shipped"):
            return ReserveStatus.BACKORDERED if self.hold.backordered else ReserveStatus.HELD
        return ReserveStatus.CLOSED
