"""Holding what an order needs: plan, ask for everything at once, plan the rest again.

All or none: the caller gives back what is held if anything stays short.

This cannot deadlock. A reservation is never waited for: an owner answers at once, held or not,
and no owner asks another. So nobody holds one pair while waiting for somebody else's hold on
another; what a checkout waits for are answers, which come whatever others hold. It also ends:
there are at most as many rounds as pairs that come into question, and one. The price is that two
carts which want the same last units of two pairs may each get one of them, and then both are
refused; waiting in a common order would avoid it, at a round trip per pair.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from uuid import UUID

from actors.stock_client import StockClient
from domain.stock import HELD, RETRYABLE, Answer, Release, Reserve, ReserveStatus
from domain.warehouse_choice import Part, Plan, Source, Want, plan, within_reach

HINTS_MAX = 10_000
"""Pairs of which a process remembers what they had."""
HINT_AGE_MAX_S = 1.0


@dataclass(frozen=True, slots=True)
class Demand:
    """Units of one SKU, and the pairs they may come from."""

    sku: str
    product_id: str
    quantity: int
    sources: tuple[Source, ...]


Short = tuple[Demand, Answer]
"""What could not be held and why; `available` is what the buyer could have of it.

Of a BUSY one it is the ms after which to ask again, the largest of all pairs that were busy.
"""


def busy_for_ms(answer: Answer) -> int:
    """How long an owner asks to be left alone; 0 if it does not say."""
    return answer.available if answer.status == ReserveStatus.BUSY else 0


class Hints:
    """What pairs had a moment ago, as their owners' answers told.

    Only the order in which warehouses are tried follows from it: nobody is refused on a hint.
    """

    def __init__(self) -> None:
        self._noted: dict[bytes, tuple[int, float]] = {}

    def note(self, inventory_id: bytes, available: int, now: float) -> None:
        """An owner has just said so; elapsed seconds."""
        self._noted.pop(inventory_id, None)
        if len(self._noted) >= HINTS_MAX:
            del self._noted[next(iter(self._noted))]  # the oldest: each note goes to the end
        self._noted[inventory_id] = (available, now)

    def of(self, inventory_id: bytes, now: float) -> int | None:
        """Units, if something is known that is not too old."""
        noted = self._noted.get(inventory_id)
        if noted is None or now - noted[1] > HINT_AGE_MAX_S:
            return None
        return noted[0]


@dataclass(slots=True)
class _Progress:
    """What one order has, still needs, and has been told by owners itself."""

    demands: list[Demand]
    missing: list[int]
    held: list[Release] = field(default_factory=list[Release])
    learned: dict[bytes, int] = field(default_factory=dict[bytes, int])
    used: set[bytes] = field(default_factory=set[bytes])
    refused: tuple[int, Answer] | None = None

    def take(self, position: int, source: Source, request: Reserve, answer: Answer) -> None:
        """Note one answer."""
        status = answer.status
        if status in HELD or status == ReserveStatus.UNAVAILABLE:
            # Without an answer it may hold all the same: it is given back with the rest.
            self.held.append(Release(request.reservation_id, request.inventory_id))
        if status in HELD:
            self.missing[position] -= request.quantity
            self.learned[request.inventory_id] = answer.available
            self.used.add(source.warehouse_id)
        elif status == ReserveStatus.OUT_OF_STOCK:
            # Less than was asked for, whatever has come back since: so every no narrows the choice.
            self.learned[request.inventory_id] = min(answer.available, request.quantity - 1)
        elif status == ReserveStatus.UNKNOWN_PAIR:
            self.learned[request.inventory_id] = 0
        else:
            self.refuse(position, answer)

    def refuse(self, position: int, answer: Answer) -> None:
        """The order ends here; a no that stands goes before one that may be asked again.

        Of those that may be asked again the longest wait counts: before it is over, the order
        would be refused by that pair once more.
        """
        if self.refused is not None:
            before = self.refused[1]
            stands = before.status not in RETRYABLE
            asks_again = answer.status in RETRYABLE
            if stands or (asks_again and busy_for_ms(answer) <= busy_for_ms(before)):
                return
        self.refused = (position, answer)

    @property
    def short(self) -> Short | None:
        """What the order ends with, if it is refused."""
        if self.refused is None:
            return None
        position, (status, available) = self.refused
        demand = self.demands[position]
        if status in (ReserveStatus.OUT_OF_STOCK, ReserveStatus.OVER_LIMIT):
            # What this order holds of it comes back, too.
            held = demand.quantity - self.missing[position]
            available = min(available + held, demand.quantity - 1)
        return demand, Answer(status, available)


class Holder:
    """Holds orders' demands through the owners. One per process; it keeps nothing but hints."""

    def __init__(
        self,
        stock: StockClient,
        *,
        new_id: Callable[[], UUID],
        monotonic: Callable[[], float],
        ttl_s: float,
    ) -> None:
        self._stock = stock
        self._new_id = new_id
        self._monotonic = monotonic
        self._ttl_s = ttl_s
        self._hints = Hints()

    async def hold_all(
        self, order_id: UUID, customer_id: UUID, demands: Sequence[Demand]
    ) -> tuple[list[Release], Short | None]:
        """Hold every demand: (what is held, the first that could not be held and why).

        The warehouses are chosen by `domain.warehouse_choice`. Everything the plan wants is asked
        for at once; where a pair has less than was thought, the rest is planned again, from the
        warehouses that send something anyway as far as they can.
        """
        summed = _summed(demands)
        progress = _Progress(summed, [demand.quantity for demand in summed])
        order, customer = order_id.bytes, customer_id.bytes
        rounds_left = 1 + sum(len(demand.sources) for demand in summed)
        while progress.refused is None:
            positions = [n for n, missing in enumerate(progress.missing) if missing]
            parts = self._planned(progress, positions) if positions else None
            if parts is None:
                break
            if not rounds_left:  # There is more, but others were faster again and again.
                progress.refuse(positions[0], Answer(ReserveStatus.BUSY, 0))
                break
            rounds_left -= 1
            await self._ask(progress, positions, parts, order, customer)
        return progress.held, progress.short

    def _planned(self, progress: _Progress, positions: list[int]) -> Plan | None:
        """The plan for what is missing; None, and refused, if there is not enough."""
        wants = [Want(progress.missing[n], progress.demands[n].sources) for n in positions]
        known = progress.learned
        for position, want in zip(positions, wants, strict=True):
            there = within_reach(want, known)
            if there < want.quantity:
                progress.refuse(position, Answer(ReserveStatus.OUT_OF_STOCK, there))
                return None
        planned = plan(wants, self._with_hints(wants, known), progress.used)
        assert planned is not None, "each want is within reach, and no two have a pair in common"
        return planned

    def _with_hints(self, wants: list[Want], learned: dict[bytes, int]) -> dict[bytes, int]:
        """What is known of the wants' pairs, where hints leave enough of them to be had."""
        known = learned
        for want in wants:
            if len(want.sources) == 1:
                continue
            now = self._monotonic()
            hints = {
                source.inventory_id: hint
                for source in want.sources
                if (hint := self._hints.of(source.inventory_id, now)) is not None
            }
            if hints:
                hinted = {**hints, **learned}
                if within_reach(want, hinted) >= want.quantity:
                    known = {**hints, **known}
        return known

    async def _ask(
        self,
        progress: _Progress,
        positions: list[int],
        parts: Plan,
        order: bytes,
        customer: bytes,
    ) -> None:
        """One round: all reservations of a plan at once."""
        asked = [
            (position, part.source, self._reserve(part, order, customer))
            for position, split in zip(positions, parts, strict=True)
            for part in split
        ]
        futures = [self._stock.submit(request) for _, _, request in asked]
        for (position, source, request), future in zip(asked, futures, strict=True):
            answer = await future
            progress.take(position, source, request, answer)
            if len(progress.demands[position].sources) > 1 and (
                answer.status in HELD or answer.status == ReserveStatus.OUT_OF_STOCK
            ):
                self._hints.note(request.inventory_id, answer.available, self._monotonic())

    def _reserve(self, part: Part, order: bytes, customer: bytes) -> Reserve:
        pair = part.source.inventory_id
        return Reserve(self._new_id().bytes, order, pair, part.quantity, self._ttl_s, customer)


def _summed(demands: Sequence[Demand]) -> list[Demand]:
    """Lines that may come from the same pairs are one demand: each would pass alone (P1)."""
    by_pairs: dict[tuple[bytes, ...], Demand] = {}
    for demand in demands:
        pairs = tuple(source.inventory_id for source in demand.sources)
        known = by_pairs.get(pairs)
        if known is not None:
            demand = replace(demand, quantity=known.quantity + demand.quantity)  # noqa: PLW2901
        by_pairs[pairs] = demand
    return list(by_pairs.values())


__all__ = ["HINTS_MAX", "HINT_AGE_MAX_S", "Demand", "Hints", "Holder", "Short", "busy_for_ms"]
