"""A naive model of stock: lists of everything that was asked for, and sums taken over them.

It knows no version, no turn's lists and no memory that could be wrong. Slow and obvious.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from domain.stock import (
    EXTENSION_S_MAX,
    MOVEMENT_QUANTITY_MAX,
    NOBODY,
    ON_HAND_MAX,
    RESERVE_QUANTITY_MAX,
    TTL_S_MAX,
    TTL_S_MIN,
    Extend,
    ExtendStatus,
    Known,
    Movement,
    MovementKind,
    MovementStatus,
    Policy,
    Reserve,
    ReserveStatus,
)
from domain.turns import Instruction


@dataclass
class Reservation:
    """All that ever happened to one reservation."""

    reservation_id: bytes
    order_id: bytes
    pair: bytes
    quantity: int
    expires_at: float
    customer: bytes
    status: str = "active"
    waits: bool = False
    extension_id: bytes = NOBODY
    remembered: bool = True
    """The owner has not heard yet that it is allocated."""

    @property
    def bound(self) -> bool:
        """It has, or is promised, units."""
        return self.status in ("active", "allocated")


@dataclass
class Model:
    """Pairs by id with (variant, policy, units on hand), and what was asked of them, in order."""

    variants: Mapping[bytes, bytes]
    policies: Mapping[bytes, Policy]
    on_hand: dict[bytes, int]
    instructions: dict[bytes, Instruction]
    reservations: list[Reservation] = field(default_factory=list[Reservation])

    def reserved(self, pair: bytes) -> int:
        """Units of the stock that is there, held or allocated."""
        return sum(one.quantity for one in self.of(pair) if one.bound and not one.waits)

    def available(self, pair: bytes) -> int:
        """What is left of it."""
        return self.on_hand[pair] - self.reserved(pair)

    def waiting(self, pair: bytes) -> list[Reservation]:
        """Who waits for stock to come, first come first."""
        return [one for one in self.of(pair) if one.bound and one.waits]

    def backordered(self, pair: bytes) -> int:
        """Units promised beyond the stock."""
        return sum(one.quantity for one in self.waiting(pair))

    def sellable(self, pair: bytes) -> int:
        """What a new buyer can have."""
        left = self.available(pair) - self.policies[pair].safety_stock
        return 0 if self.waiting(pair) else max(0, left)

    def units(self, variant: bytes, customer: bytes) -> int:
        """What a customer holds and owns, in all pairs."""
        return sum(
            one.quantity
            for one in self.reservations
            if one.bound and one.customer == customer and self.variants[one.pair] == variant
        )

    def of(self, pair: bytes) -> list[Reservation]:
        """A pair's reservations, oldest first."""
        return [one for one in self.reservations if one.pair == pair]

    def remembered(self, reservation_id: bytes, pair: bytes) -> Reservation | None:
        """A hold as its owner knows it."""
        for one in self.of(pair):
            if one.reservation_id == reservation_id and one.bound and one.remembered:
                return one
        return None

    def reserve(
        self, asked: Reserve, now: float, known: Mapping[bytes, Known | None]
    ) -> ReserveStatus:
        """Decide a reservation."""
        pair, policy = asked.inventory_id, self.policies[asked.inventory_id]
        if asked.reservation_id in known:
            return self._repeated(asked, known[asked.reservation_id])
        held = self.remembered(asked.reservation_id, pair)
        if held is not None:
            same = (held.order_id, held.quantity) == (asked.order_id, asked.quantity)
            return self._held(held) if same else ReserveStatus.CONFLICT
        refused = self._refused(asked)
        if refused is not None:
            return refused
        waits = asked.quantity > self.sellable(pair)
        if waits and self.backordered(pair) + asked.quantity > policy.backorder_max:
            return ReserveStatus.OUT_OF_STOCK
        fresh = Reservation(
            asked.reservation_id,
            asked.order_id,
            pair,
            asked.quantity,
            now + asked.ttl_s,
            asked.customer_id if policy.customer_max else NOBODY,
            waits=waits,
        )
        self.reservations.append(fresh)
        return self._held(fresh)

    def _refused(self, asked: Reserve) -> ReserveStatus | None:
        policy = self.policies[asked.inventory_id]
        quantity_ok = 0 < asked.quantity <= RESERVE_QUANTITY_MAX
        nobody = policy.customer_max and asked.customer_id == NOBODY
        if not quantity_ok or not (TTL_S_MIN <= asked.ttl_s <= TTL_S_MAX) or nobody:
            return ReserveStatus.INVALID
        have = self.units(self.variants[asked.inventory_id], asked.customer_id)
        if policy.customer_max and have + asked.quantity > policy.customer_max:
            return ReserveStatus.OVER_LIMIT
        return None

    def _repeated(self, asked: Reserve, known: Known | None) -> ReserveStatus:
        written = [one for one in self.reservations if one.reservation_id == asked.reservation_id]
        if known is None or not written:
            return ReserveStatus.CONFLICT
        [one] = written
        content = (asked.order_id, asked.inventory_id, asked.quantity)
        if (one.order_id, one.pair, one.quantity) != content:
            return ReserveStatus.CONFLICT
        if not one.bound:
            return ReserveStatus.CLOSED
        return ReserveStatus.BACKORDERED if known.hold.backordered else ReserveStatus.HELD

    @staticmethod
    def _held(one: Reservation) -> ReserveStatus:
        return ReserveStatus.BACKORDERED if one.waits else ReserveStatus.HELD

    def extend(self, asked: Extend, now: float) -> ExtendStatus:
        """Decide more time."""
        held = self.remembered(asked.reservation_id, asked.inventory_id)
        if held is None:
            return ExtendStatus.NOT_HELD
        if asked.extension_id == NOBODY:
            return ExtendStatus.INVALID
        if held.extension_id != NOBODY:
            repeated = held.extension_id == asked.extension_id
            return ExtendStatus.EXTENDED if repeated else ExtendStatus.CONFLICT
        if not (TTL_S_MIN <= asked.ttl_s <= EXTENSION_S_MAX):
            return ExtendStatus.INVALID
        held.extension_id = asked.extension_id
        held.expires_at = max(held.expires_at, now + asked.ttl_s)
        return ExtendStatus.EXTENDED

    def move(self, asked: Movement) -> MovementStatus:
        """Decide a movement that was asked for and not settled yet."""
        pair, quantity = asked.inventory_id, asked.quantity
        if abs(quantity) > MOVEMENT_QUANTITY_MAX:
            return MovementStatus.INVALID
        change = {
            MovementKind.TRANSFER_OUT: -quantity,
            MovementKind.COUNT: quantity - self.on_hand[pair],
        }.get(MovementKind(asked.kind), quantity)
        if quantity == 0 and asked.kind != MovementKind.COUNT:
            return MovementStatus.INVALID
        if quantity < 0 and asked.kind != MovementKind.ADJUST:
            return MovementStatus.INVALID
        if self.on_hand[pair] + change > ON_HAND_MAX:
            return MovementStatus.INVALID
        if change < -self.available(pair):
            return MovementStatus.SHORT
        self.on_hand[pair] += change
        self.serve(pair)
        return MovementStatus.RECORDED

    def serve(self, pair: bytes) -> None:
        """First come, first served; safety stock stays."""
        for one in self.waiting(pair):
            if one.quantity > self.available(pair) - self.policies[pair].safety_stock:
                return
            one.waits = False
