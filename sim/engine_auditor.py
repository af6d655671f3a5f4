"""The auditor of the simulated engine: knows requests and answers, and the rows at the end.

Written without a look at how the engine decides. What it cannot know for certain (when a request
took effect, when a hold ran out on a clock that jumps) it takes in the engine's favour, so what
it objects to is wrong under every reading.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from domain.payments import ChargeState
from domain.stock import (
    NOBODY,
    Answer,
    Extend,
    ExtendStatus,
    Movement,
    Release,
    ReleaseStatus,
    Request,
    Reserve,
    ReserveStatus,
)
from sim.engine_tables import Tables

_HELD = (ReserveStatus.HELD, ReserveStatus.BACKORDERED)
_UNDECIDED = (ReserveStatus.BUSY, ReserveStatus.UNAVAILABLE)


class Violation(NamedTuple):
    """A broken promise: which, what happened, and the ids it is about."""

    promise: str
    text: str
    about: tuple[bytes, ...]


@dataclass(slots=True)
class _Seen:
    """What is known of one reservation."""

    request: Reserve
    sent_at: float
    held_at: float | None = None
    surely_until: float = 0.0
    """It is held at least so long, once it is held."""
    release_sent: float | None = None
    released_at: float | None = None
    closed_at: float | None = None
    confirmed_at: float | None = None
    backordered: bool = False
    confirming: bool = False
    extension: bytes | None = None


@dataclass
class Auditor:
    """Told of everything that callers send and hear; `jump_s` bounds the clocks' errors."""

    jump_s: float
    seen: dict[bytes, _Seen] = field(default_factory=dict)
    of_order: dict[bytes, list[bytes]] = field(default_factory=dict)
    initial: dict[bytes, int] = field(default_factory=dict)
    brought: dict[bytes, list[tuple[float, bytes, int]]] = field(default_factory=dict)
    """By pair: (when asked, id, units that may have come in)."""
    moved: dict[bytes, Movement] = field(default_factory=dict)
    limits: dict[bytes, tuple[bytes, int]] = field(default_factory=dict)
    """(variant, limit per customer) by pair."""
    orders: dict[bytes, int] = field(default_factory=dict)
    """Units of the orders that were told to be confirmed."""
    violations: list[Violation] = field(default_factory=list)
    answers: int = 0

    def complain(self, promise: str, text: str) -> None:
        """Something is wrong that has no ids."""
        self.violations.append(Violation(promise, text, ()))

    def sent(self, request: Request, at: float) -> None:
        """A caller sends a request (again)."""
        if type(request) is Reserve:
            if request.reservation_id not in self.seen:
                self.seen[request.reservation_id] = _Seen(request, at)
                self.of_order.setdefault(request.order_id, []).append(request.reservation_id)
        elif type(request) is Release:
            one = self.seen.get(request.reservation_id)
            if one is not None and one.release_sent is None:
                one.release_sent = at
        elif type(request) is Movement and request.movement_id not in self.moved:
            self.moved[request.movement_id] = request
            gain = max(0, request.quantity)
            self.brought.setdefault(request.inventory_id, []).append(
                (at, request.movement_id, gain)
            )

    def answered(self, request: Request, answer: Answer, sent_at: float, at: float) -> None:
        """A caller hears the answer to a request that it sent at `sent_at`."""
        self.answers += 1
        if answer.status in _UNDECIDED:
            return
        if answer.status == ReserveStatus.ELSEWHERE:
            self._object("P4", "a caller was told ELSEWHERE by its own client", request)
        elif type(request) is Reserve:
            self._reserved(request, answer, sent_at, at)
        elif type(request) is Release:
            self._released(request, answer, at)
        elif type(request) is Extend:
            self._extended(request, answer, sent_at, at)

    def confirm_sent(self, order_id: bytes) -> None:
        """An order's own transaction is on its way."""
        for one in self._of(order_id):
            one.confirming = True

    def confirmed(self, order_id: bytes, status: str, units: int, at: float) -> None:
        """What came of it.

        Of several reservations it is not known which were confirmed: a late double may have
        been held without anybody's knowledge. Then only their sum is looked at, at the end.
        """
        if status != "confirmed":
            return
        self.orders.setdefault(order_id, units)
        of_order = self._of(order_id)
        if len(of_order) == 1 and of_order[0].confirmed_at is None:
            [one] = of_order
            one.confirmed_at = at
            if one.released_at is not None:
                self._object("P4", "confirmed after it was released", one.request)

    def unwinding(self, order_id: bytes, at: float) -> None:
        """An order has failed: its holds may be given back from now on."""
        for one in self._of(order_id):
            if one.release_sent is None:
                one.release_sent = at

    def swept(self, request: Release, at: float) -> None:
        """The sweep gives a hold back: its right, once the time is over that its holder was sure of.

        An extension that is under way just then may come too late.
        """
        one = self.seen.get(request.reservation_id)
        if one is None or one.release_sent is not None:
            return
        sure = one.sent_at + one.request.ttl_s - self.jump_s
        if at >= max(sure, one.surely_until):
            one.release_sent = at

    def charged(self, charges: Mapping[str, ChargeState], tables: Tables) -> None:
        """What the payment provider has in its books at the end (P7)."""
        for transaction_id, charge in charges.items():
            order_id = bytes.fromhex(transaction_id)
            order = tables.orders[order_id]
            text = f"the charge is {charge.status}, its order is {order.status}"
            if (charge.status == "captured") != (order.status == "confirmed"):
                self.violations.append(Violation("P7", text, (order_id,)))
            elif charge.status == "authorized" or order.status == "pending":
                self.violations.append(Violation("P7", f"left halfway: {text}", (order_id,)))
            elif charge.status == "captured" and charge.amount_minor != order.units:
                self.violations.append(Violation("P7", "it is not the order's total", (order_id,)))

    def _of(self, order_id: bytes) -> list[_Seen]:
        return [self.seen[one] for one in self.of_order.get(order_id, ())]

    def _reserved(self, request: Reserve, answer: Answer, sent_at: float, at: float) -> None:
        one = self.seen[request.reservation_id]
        status = answer.status
        if request[:4] != one.request[:4]:
            if status in _HELD and one.held_at is not None:
                self._object("P4", "other content under a known id was held", request)
            return
        if request.quantity <= 0 or not 1.0 <= request.ttl_s <= 3_600.0:
            if status in _HELD:
                self._object("P4", "a request that is no request was held", request)
            return
        if status in _HELD:
            if one.closed_at is not None and sent_at > one.closed_at:
                self._object("P4", "held again after it was closed", request)
            if one.released_at is not None and sent_at > one.released_at:
                self._object("P4", "held again after it was released", request)
            if one.held_at is None:
                one.held_at = at
                one.backordered = status == ReserveStatus.BACKORDERED
                one.surely_until = one.sent_at + request.ttl_s - self.jump_s
        elif status == ReserveStatus.CLOSED:
            if one.confirmed_at is not None:
                self._object("P4", "closed after it was confirmed", request)
            elif one.release_sent is None and at < one.surely_until:
                self._object("P4", "closed before its time and without a release", request)
            one.closed_at = at if one.closed_at is None else one.closed_at
        elif one.held_at is not None and sent_at > one.held_at:
            name = ReserveStatus(status).name
            self._object("P4", f"held before, {name} on a repeat", request)

    def _released(self, request: Release, answer: Answer, at: float) -> None:
        one = self.seen.get(request.reservation_id)
        if one is None:
            if answer.status == ReleaseStatus.RELEASED:
                self._object("P4", "released what was never asked for", request)
            return
        if answer.status == ReleaseStatus.RELEASED:
            if one.confirmed_at is not None:
                self._object("P4", "released after it was confirmed", request)
            one.released_at = at if one.released_at is None else one.released_at
        elif one.released_at is not None:
            self._object("P4", "released before, NOT_HELD on a repeat", request)

    def _extended(self, request: Extend, answer: Answer, sent_at: float, at: float) -> None:
        one = self.seen.get(request.reservation_id)
        if one is None:
            return
        if answer.status == ExtendStatus.EXTENDED:
            if one.extension not in (None, request.extension_id):
                self._object("P4", "extended twice", request)
            if one.extension is None:
                one.extension = request.extension_id
                if one.held_at is not None:
                    until = sent_at + request.ttl_s - self.jump_s
                    one.surely_until = max(one.surely_until, until)
        elif one.extension == request.extension_id:
            self._object("P4", "extended before, not on a repeat", request)
        elif answer.status == ExtendStatus.NOT_HELD and self._surely_held(one, sent_at, at):
            self._object("P4", "it is held, and not to be extended", request)

    @staticmethod
    def _surely_held(one: _Seen, since: float, until: float) -> bool:
        held = one.held_at is not None and one.held_at <= since and until < one.surely_until
        return held and one.release_sent is None and not one.confirming

    # -- at the end -----------------------------------------------------------------------------

    def close(self, tables: Tables, generations: Sequence[tuple[int, str, int]]) -> list[Violation]:
        """Look at the rows and the write log; everything that is wrong."""
        self._never_oversold()
        self._limits_kept()
        self._survived(tables)
        self._conserved(tables)
        self._one_writer(tables, generations)
        self._nothing_left(tables)
        return self.violations

    def _sure(self, one: _Seen) -> tuple[float, float] | None:
        """From when to when a reservation was certainly held."""
        if one.held_at is None or one.backordered:
            return None
        if one.confirmed_at is not None:
            return one.held_at, float("inf")
        until = one.surely_until
        if one.release_sent is not None:
            until = min(until, one.release_sent)
        return (one.held_at, until) if until > one.held_at else None

    def _never_oversold(self) -> None:
        by_pair: dict[bytes, list[tuple[float, int, int, bytes]]] = {}
        for reservation_id, one in self.seen.items():
            sure = self._sure(one)
            if sure is None:
                continue
            events = by_pair.setdefault(one.request.inventory_id, [])
            events.append((sure[0], 1, one.request.quantity, reservation_id))
            events.append((sure[1], 0, -one.request.quantity, reservation_id))
        for pair, events in by_pair.items():
            events += [(at, -1, -units, one) for at, one, units in self.brought.get(pair, ())]
            held = -self.initial[pair]
            for at, _, units, reservation_id in sorted(events):
                held += units
                if held > 0:
                    text = f"{held} units too many were held at {at:.3f}"
                    self.violations.append(Violation("P1", text, (pair, reservation_id)))
                    break

    def _limits_kept(self) -> None:
        by_customer: dict[tuple[bytes, bytes], list[tuple[float, int, int, bytes]]] = {}
        for reservation_id, one in self.seen.items():
            request, sure = one.request, self._sure(one)
            if request.inventory_id not in self.limits or sure is None:
                continue
            variant, _ = self.limits[request.inventory_id]
            events = by_customer.setdefault((variant, request.customer_id), [])
            events.append((sure[0], 1, request.quantity, reservation_id))
            events.append((sure[1], 0, -request.quantity, reservation_id))
        most_of = dict(self.limits.values())
        for (variant, customer), events in by_customer.items():
            held = 0
            for at, _, units, reservation_id in sorted(events):
                held += units
                if held > most_of[variant]:
                    text = f"a customer had {held} at {at:.3f}, over the limit"
                    self.violations.append(Violation("P4", text, (customer, reservation_id)))
                    break

    def _survived(self, tables: Tables) -> None:
        for reservation_id, one in self.seen.items():
            row = tables.reservations.get(reservation_id)
            if one.held_at is not None:
                if row is None:
                    self._object("P3", "told that it holds, and it is not there", one.request)
                elif (row.order_id, row.inventory_id, row.quantity) != (
                    one.request.order_id,
                    one.request.inventory_id,
                    one.request.quantity,
                ):
                    self._object("P10", "it is there with other content", one.request)
            if one.confirmed_at is not None and row is not None and row.status != "allocated":
                self._object("P10", f"confirmed, and now {row.status}", one.request)
            if one.released_at is not None and row is not None and row.status != "released":
                self._object("P10", f"told released, and it is {row.status}", one.request)

        for line in tables.log:
            for reservation_id, status in line.closed:
                one = self.seen.get(reservation_id)
                if one is not None and status == "expired" and line.at < one.surely_until:
                    self._object("P4", f"expired at {line.at:.3f}, before its time", one.request)
        for order_id, units in self.orders.items():
            rows = [tables.reservations[one] for one in tables.of_order.get(order_id, ())]
            allocated = sum(row.quantity for row in rows if row.status == "allocated")
            if allocated != units:
                text = f"an order of {units} units was confirmed, {allocated} are allocated"
                self.violations.append(Violation("P10", text, (order_id,)))

    def _conserved(self, tables: Tables) -> None:
        come: dict[bytes, int] = dict(self.initial)
        for line in tables.ledger:
            come[line.inventory_id] += line.change
            if line.balance < 0:
                self.violations.append(Violation("P2", "a balance below 0", (line.inventory_id,)))
        held: dict[bytes, int] = {}
        waiting: dict[bytes, int] = {}
        units: dict[tuple[bytes, bytes], int] = {}
        for row in tables.reservations.values():
            if row.status not in ("active", "allocated"):
                continue
            where = waiting if row.backordered else held
            where[row.inventory_id] = where.get(row.inventory_id, 0) + row.quantity
            if row.customer_id not in (None, NOBODY):
                assert row.customer_id is not None
                key = (tables.pairs[row.inventory_id].variant_id, row.customer_id)
                units[key] = units.get(key, 0) + row.quantity
        for pair, row in tables.pairs.items():
            behind = tables.taken_beyond_row(pair)
            if behind:
                text = f"its row is {behind} units behind after a quiet while"
                self.violations.append(Violation("P2", text, (pair,)))
            reserved = row.reserved + behind
            facts = (row.quantity + row.reserved, reserved, row.backordered)
            if facts != (come[pair], held.get(pair, 0), waiting.get(pair, 0)):
                text = f"(on hand, reserved, waiting) is {facts}, the books say "
                text += f"{(come[pair], held.get(pair, 0), waiting.get(pair, 0))}"
                self.violations.append(Violation("P2", text, (pair,)))
            if row.quantity - behind < 0:
                self.violations.append(Violation("P1", "available is below 0", (pair,)))
        known = {key: count for key, count in tables.customer_units.items() if count}
        if known != units:
            wrong = next(iter(known.items() ^ units.items()))
            text = f"a customer is said to have {known.get(wrong[0])}, has {units.get(wrong[0])}"
            self.violations.append(Violation("P2", text, wrong[0]))
        lines = Counter(line.instruction_id for line in tables.ledger)
        for movement_id, asked in self.moved.items():
            if lines[movement_id] > 1:
                self.violations.append(Violation("P2", "moved twice", (asked.inventory_id,)))

    def _one_writer(self, tables: Tables, generations: Sequence[tuple[int, str, int]]) -> None:
        """Each write by the newest generation of the owner that had the pair, one after another."""
        newest: dict[str, int] = {}
        began = list(generations)
        with_owner: dict[bytes, str] = {}
        version: dict[bytes, int] = {}
        for position, line in enumerate(tables.log):
            while began and began[0][0] <= position:
                _, owner, epoch = began.pop(0)
                newest[owner] = max(newest.get(owner, 0), epoch)
            if line.epoch < newest.get(line.owner, 0):
                text = f"{line.owner} wrote as epoch {line.epoch} at {line.at:.3f}"
                text += f", after epoch {newest[line.owner]} began"
                self.violations.append(
                    Violation("P5", text, tuple(one.inventory_id for one in line.pairs[:1]))
                )
            for one in line.pairs:
                pair = one.inventory_id
                if with_owner.get(pair, "") not in ("", line.owner):
                    text = f"{line.owner} wrote a pair of {with_owner[pair]} at {line.at:.3f}"
                    self.violations.append(Violation("P5", text, (pair,)))
                if one.version != version.get(pair, 0) + (not one.logged):
                    text = f"version {one.version} follows {version.get(pair, 0)}"
                    self.violations.append(Violation("P5", text, (pair,)))
                version[pair] = one.version
                if one.after < 0:
                    text = f"below 0 after a turn at {line.at:.3f}"
                    self.violations.append(Violation("P1", text, (pair,)))
                if one.handed_to is not None:
                    with_owner[pair] = one.handed_to

    def _nothing_left(self, tables: Tables) -> None:
        """After a quiet while nothing is overdue, and no decision is owed."""
        now = tables.unix()
        for reservation_id, row in tables.reservations.items():
            if row.status == "active" and row.expires_at < now - 5.0:
                late = now - row.expires_at
                self.violations.append(
                    Violation("P4", f"overdue by {late:.1f} s, still held", (reservation_id,))
                )

    def _object(self, promise: str, text: str, request: Request) -> None:
        about = [request.inventory_id]
        about += [one for one in request if isinstance(one, bytes) and one != NOBODY]
        self.violations.append(Violation(promise, text, tuple(about)))
