"""Goods that came back with a refund, and the pairs whose stock they go to.

They go back to the pairs that the order took them from, never more to a pair than it gave and has
not got back. Units that were sold ahead of the stock never left a pair, so none can come back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal
from uuid import UUID, uuid5

ReturnStatus = Literal["pending", "done", "refused"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TakenFrom:
    """Units of a variant that an order took from a pair, and how many of them came back."""

    inventory_id: UUID
    variant_id: UUID
    quantity: int
    returned: int = 0

    @property
    def left(self) -> int:
        """What can still come back."""
        return self.quantity - self.returned


@dataclass(frozen=True, slots=True, kw_only=True)
class CameBack:
    """Units of an order's line that came back."""

    line: int
    variant_id: UUID
    quantity: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedReturn:
    """Units of a refunded line that go to a pair."""

    line: int
    inventory_id: UUID
    quantity: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReturnedUnits:
    """What a refund returned to a pair, and whether the pair's owner has booked it."""

    instruction_id: UUID
    inventory_id: UUID
    warehouse: str
    quantity: int
    status: ReturnStatus
    refusal: str | None


def plan_returns(
    came_back: Sequence[CameBack], taken: Sequence[TakenFrom]
) -> tuple[PlannedReturn, ...] | CameBack:
    """Which pairs get the units, those with most left first; the line that has too few left."""
    left = {one.inventory_id: one.left for one in taken}
    planned: list[PlannedReturn] = []
    for units in came_back:
        pairs = [one.inventory_id for one in taken if one.variant_id == units.variant_id]
        missing = units.quantity
        for pair in sorted(pairs, key=lambda pair: (-left[pair], pair)):
            here = min(missing, left[pair])
            if here > 0:
                planned.append(PlannedReturn(line=units.line, inventory_id=pair, quantity=here))
                left[pair] -= here
                missing -= here
        if missing:
            return units
    return tuple(planned)


def instruction_of(refund_id: UUID, planned: PlannedReturn) -> UUID:
    """The stock instruction of a return: the same refund, line and pair are the same movement."""
    return uuid5(refund_id, f"{planned.line}/{planned.inventory_id}")
