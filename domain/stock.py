"""The rules of stock: what an owner decides about a pair, in memory, without waiting.

A pair is one SKU in one warehouse. Ids are 16 bytes here: they cross process boundaries by
the thousand, and bytes are what both ends can handle without building objects.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import NamedTuple

RESERVATION_TTL_S = 600.0
TTL_S_MIN = 1.0
TTL_S_MAX = 3600.0
RESERVE_QUANTITY_MAX = 1_000_000


class ReserveStatus(IntEnum):
    """What came of asking for a reservation."""

    HELD = 0
    OUT_OF_STOCK = 1
    UNKNOWN_PAIR = 2
    INVALID = 3  # quantity or TTL out of bounds
    CONFLICT = 4  # the id names a reservation with other content
    CLOSED = 5  # the id names a reservation that was released or has expired
    BUSY = 6  # the queue is full; nothing was done
    UNAVAILABLE = 7  # the outcome is not known; repeat with the same id


class ReleaseStatus(IntEnum):
    """What came of giving a reservation back."""

    RELEASED = 0
    NOT_HELD = 1  # never held, or no longer: allocated, released or expired before
    BUSY = 6
    UNAVAILABLE = 7


RETRYABLE = frozenset({ReserveStatus.BUSY, ReserveStatus.UNAVAILABLE})


class Reserve(NamedTuple):
    """Hold `quantity` units of a pair for an order, for `ttl_s` seconds."""

    reservation_id: bytes
    order_id: bytes
    inventory_id: bytes
    quantity: int
    ttl_s: float


class Release(NamedTuple):
    """Give a reservation back, if it is still only held."""

    reservation_id: bytes
    inventory_id: bytes


class Answer(NamedTuple):
    """An owner's answer: the status, and what is available of the pair after the turn."""

    status: int
    available: int


class Hold(NamedTuple):
    """An open reservation as its owner remembers it; expires_at in Unix seconds."""

    order_id: bytes
    quantity: int
    expires_at: float


@dataclass(slots=True)
class Pair:
    """What an owner knows of one pair. Changes only inside a turn."""

    inventory_id: bytes
    variant_id: bytes
    available: int
    version: int
    holds: dict[bytes, Hold] = field(default_factory=dict[bytes, Hold])

    def reserve(self, request: Reserve, now: float) -> ReserveStatus:
        """Decide one reservation (P1, P4): look up the id first, then the business checks."""
        held = self.holds.get(request.reservation_id)
        if held is not None:
            same = held.order_id == request.order_id and held.quantity == request.quantity
            return ReserveStatus.HELD if same else ReserveStatus.CONFLICT
        if not 0 < request.quantity <= RESERVE_QUANTITY_MAX:
            return ReserveStatus.INVALID
        if not TTL_S_MIN <= request.ttl_s <= TTL_S_MAX:
            return ReserveStatus.INVALID
        if request.quantity > self.available:
            return ReserveStatus.OUT_OF_STOCK
        self.available -= request.quantity
        self.holds[request.reservation_id] = Hold(
            request.order_id, request.quantity, now + request.ttl_s
        )
        return ReserveStatus.HELD


@dataclass(slots=True)
class Turn:
    """What one turn writes. Parallel lists, as they go to the database."""

    owner: str
    epoch: int
    reservation_ids: list[bytes] = field(default_factory=list[bytes])
    order_ids: list[bytes] = field(default_factory=list[bytes])
    reserved_pairs: list[bytes] = field(default_factory=list[bytes])
    quantities: list[int] = field(default_factory=list[int])
    expires_at: list[float] = field(default_factory=list[float])
    released_ids: list[bytes] = field(default_factory=list[bytes])
    expired_ids: list[bytes] = field(default_factory=list[bytes])
    pair_ids: list[bytes] = field(default_factory=list[bytes])
    pair_versions: list[int] = field(default_factory=list[int])
    pair_taken: list[int] = field(default_factory=list[int])

    @property
    def empty(self) -> bool:
        """True if nothing has to be written."""
        return not (self.reservation_ids or self.released_ids or self.expired_ids)


class Closed(NamedTuple):
    """A reservation that a turn released or let expire."""

    reservation_id: bytes
    inventory_id: bytes
    quantity: int
