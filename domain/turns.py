"""A turn of an owner: what was asked, decided whole and in order, and what of it is written.

Pure: the pairs come in loaded, the answers and the turn go out, and nothing in here waits
(house rule 11). What is decided here becomes true only when the turn is in Postgres.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, cast

from domain.owners import is_dedicated, is_number, owner_name, owner_number
from domain.stock import (
    NOBODY,
    Answer,
    Extend,
    ExtendStatus,
    HandOver,
    Known,
    Load,
    Movement,
    MovementStatus,
    Pair,
    PairStatus,
    Release,
    ReleaseStatus,
    Request,
    Reserve,
    ReserveStatus,
)
from domain.turn_log import TurnLog

CustomerOfVariant = tuple[bytes, bytes]
"""(variant_id, customer_id)"""

HOME = ""
"""How a row says that the pool's owner has it."""
_ROWS_PER_TURN_MIN = 64
"""Rows that have been behind for too long are written with a turn, so many at least."""
# Looking a member up, and a NamedTuple's own function, cost as much as deciding.
_HELD, _BACKORDERED = ReserveStatus.HELD, ReserveStatus.BACKORDERED
_new_tuple: Any = cast(Any, tuple).__new__


class Instruction(NamedTuple):
    """A movement as it was asked for: `status` is pending, done or refused."""

    inventory_id: bytes
    kind: int
    quantity: int
    status: str


@dataclass(slots=True)
class Turn:
    """What one turn writes. Parallel lists, as they go to the database."""

    owner: str
    epoch: int
    previous: int = 0
    """The number of the turn that this one follows."""
    number: int = 1
    reservation_ids: list[bytes] = field(default_factory=list[bytes])
    order_ids: list[bytes] = field(default_factory=list[bytes])
    reserved_pairs: list[bytes] = field(default_factory=list[bytes])
    quantities: list[int] = field(default_factory=list[int])
    expires_at: list[float] = field(default_factory=list[float])
    customer_ids: list[bytes | None] = field(default_factory=list[bytes | None])
    """Of reservations that count against a limit; else None."""
    backordered: list[bool] = field(default_factory=list[bool])

    limits: dict[CustomerOfVariant, tuple[int, int]] = field(
        default_factory=dict[CustomerOfVariant, tuple[int, int]]
    )
    """(units more, the most there may be) of customers with a limit."""
    extensions: list[tuple[bytes, bytes, float]] = field(
        default_factory=list[tuple[bytes, bytes, float]]
    )
    """(reservation_id, extension_id, new expiry in Unix seconds)"""
    movements: list[tuple[bytes, bytes, int, int]] = field(
        default_factory=list[tuple[bytes, bytes, int, int]]
    )
    """(movement_id, inventory_id, change of the stock on hand, units on hand after it)"""
    served: list[bytes] = field(default_factory=list[bytes])
    """Reservations that waited for stock and have got it."""
    released_ids: list[bytes] = field(default_factory=list[bytes])
    expired_ids: list[bytes] = field(default_factory=list[bytes])

    pair_ids: list[bytes] = field(default_factory=list[bytes])
    """Pairs whose rows are brought up to date."""
    pair_versions: list[int] = field(default_factory=list[int])
    pair_taken: list[int] = field(default_factory=list[int])
    """Units that went from available to reserved, with those that only the log has so far."""
    pair_moved: list[int] = field(default_factory=list[int])
    """Change of the stock on hand."""
    pair_backordered: list[int] = field(default_factory=list[int])
    """Units more (or fewer) that are promised beyond the stock."""
    handed_to: dict[bytes, str] = field(default_factory=dict[bytes, str])
    """Pairs that get another owner: a dedicated one's name, or HOME."""

    logged_ids: list[bytes] = field(default_factory=list[bytes])
    """Pairs whose rows stay as they are: what is taken from them goes into the log."""
    logged_taken: list[int] = field(default_factory=list[int])
    logged_until: int = 0
    """The rows have what turns up to this one took: the log can forget it. 0: leave it."""

    @property
    def empty(self) -> bool:
        """True if nothing has to be written."""
        return not self.pair_ids and not self.logged_ids

    @property
    def plain(self) -> bool:
        """True if it only takes stock, for nobody with a limit."""
        return not (
            self.limits
            or self.released_ids
            or self.expired_ids
            or self.extensions
            or self.movements
            or self.served
            or self.handed_to
            or any(self.pair_moved)
            or any(self.pair_backordered)
            or any(self.backordered)
        )


@dataclass(slots=True)
class _Change:
    """What a turn does to one pair."""

    plain: bool = True
    """Stock is taken, and nothing else happens to it."""
    taken: int = 0
    moved: int = 0
    backordered: int = 0


class TurnDecision:
    """Decides one turn over loaded pairs; changes them as it goes."""

    def __init__(
        self,
        turn: Turn,
        *,
        now: float,
        pairs: Mapping[bytes, Pair],
        elsewhere: Mapping[bytes, int],
        home_of: Mapping[bytes, str] | None = None,
        known: Mapping[bytes, Known | None] | None = None,
        units: dict[CustomerOfVariant, int] | None = None,
        instructions: Mapping[bytes, Instruction] | None = None,
    ) -> None:
        """`now` in Unix seconds. `elsewhere` has the owner's number of asked-for pairs that are
        not this owner's; `known` what the database has of ids asked for, None for an id that names
        two reservations; `units` what customers hold and own of limited variants; `instructions`
        the movements asked for; `home_of` the home of each pair to be handed over."""
        self.turn = turn
        self._now = now
        self._pairs = pairs
        self._elsewhere = dict(elsewhere)
        self._home_of = home_of or {}
        self._known = known or {}
        self._units = units or {}
        self._instructions = instructions or {}
        self._moved: dict[bytes, MovementStatus] = {}
        self._changes: dict[bytes, _Change] = {}

    def serve(self, inventory_ids: Iterable[bytes]) -> None:
        """Give what came free since the last turn to who waits for it."""
        for inventory_id in inventory_ids:
            pair = self._pairs.get(inventory_id)
            if pair is not None:
                self._serve_waiting(pair)

    def answer(self, requests: Sequence[Request]) -> list[Answer]:
        """The answers, in order. They hold once the turn is written."""
        answers: list[Answer] = []
        pairs, elsewhere, reserve = self._pairs, self._elsewhere, self._reserve
        for request in requests:
            inventory_id = request.inventory_id
            if elsewhere and inventory_id in elsewhere:
                answers.append(self._not_here(request, elsewhere[inventory_id]))
                continue
            pair = pairs.get(inventory_id)
            if type(request) is Reserve:
                answers.append(reserve(request, pair))
            elif type(request) is Release:
                answers.append(self._release(request, pair))
            elif type(request) is Extend:
                answers.append(self._extend(request, pair))
            elif type(request) is Movement:
                answers.append(self._move(request, pair))
            elif type(request) is HandOver:
                answers.append(self._hand_over(request, pair))
            else:
                assert type(request) is Load
                answers.append(
                    Answer(PairStatus.UNKNOWN_PAIR, 0)
                    if pair is None
                    else Answer(PairStatus.DONE, pair.sellable)
                )
        return answers

    def expire(self, due: Sequence[tuple[bytes, bytes]]) -> None:
        """Let (reservation_id, inventory_id) go whose time is over."""
        # Who releases what runs out in this very turn has released it, on a repeat too (P4).
        released = set(self.turn.released_ids) if due else ()
        for reservation_id, inventory_id in due:
            pair = self._pairs.get(inventory_id)
            held = pair.holds.get(reservation_id) if pair is not None else None
            if held is None or held.expires_at > self._now or reservation_id in released:
                continue  # extended in this very turn, perhaps
            self.turn.expired_ids.append(reservation_id)
            self._touch(inventory_id)

    def close(self, log: TurnLog, now: float) -> Turn:
        """The turn, with one entry for each pair that it changes; `now` in monotonic seconds.

        What only takes stock goes into the log where that is admitted, and some of those rows
        that have been behind for too long are brought up to date along with it.
        """
        turn = self.turn
        turn.previous, turn.number = log.last_turn, log.next_number()
        pairs, changes = self._pairs, self._changes
        late = dict(log.overdue(now, max(_ROWS_PER_TURN_MIN, 2 * len(changes))))
        for inventory_id, change in changes.items():
            pair = pairs[inventory_id]
            if change.plain and inventory_id not in late and log.admits(pair):
                turn.logged_ids.append(inventory_id)
                turn.logged_taken.append(change.taken)
            else:
                self._write_row(inventory_id, pair.version, log.taken_of(inventory_id), change)
        for inventory_id, version in late.items():
            if inventory_id not in changes:
                self._write_row(inventory_id, version, log.taken_of(inventory_id), _Change())
        if not turn.empty:
            turn.logged_until = log.to_forget()
        return turn

    def _write_row(self, inventory_id: bytes, version: int, logged: int, change: _Change) -> None:
        turn = self.turn
        turn.pair_ids.append(inventory_id)
        turn.pair_versions.append(version)
        turn.pair_taken.append(logged + change.taken)
        turn.pair_moved.append(change.moved)
        turn.pair_backordered.append(change.backordered)

    def _touch(self, inventory_id: bytes) -> _Change:
        """For more than taking stock: the row is written, whatever was logged of it."""
        change = self._changes.get(inventory_id)
        if change is None:
            change = self._changes[inventory_id] = _Change()
        change.plain = False
        return change

    def _not_here(self, request: Request, owner: int) -> Answer:
        if type(request) is HandOver and request.to == owner:
            return Answer(PairStatus.DONE, 0)  # done before
        return Answer(ReserveStatus.ELSEWHERE, owner)

    def _reserve(self, request: Reserve, pair: Pair | None) -> Answer:
        if pair is None:
            return Answer(ReserveStatus.UNKNOWN_PAIR, 0)
        reservation_id = request.reservation_id
        if reservation_id in self._known:
            known = self._known[reservation_id]
            status = known.first_answer(request) if known else ReserveStatus.CONFLICT
            return Answer(status, pair.sellable)
        limit = pair.policy.customer_max
        customer: CustomerOfVariant | None = None
        if limit and reservation_id not in pair.holds and request.in_bounds:
            if request.customer_id == NOBODY:
                return Answer(ReserveStatus.INVALID, pair.sellable)
            customer = (pair.variant_id, request.customer_id)
            left = max(0, limit - self._units.get(customer, 0))
            if request.quantity > left:
                return Answer(ReserveStatus.OVER_LIMIT, left)
        held_before = len(pair.holds)
        status = pair.reserve(request, self._now)
        if len(pair.holds) > held_before:
            self._write_reservation(request, status, customer, limit)
        return _new_tuple(Answer, (status, pair.sellable))

    def _write_reservation(
        self,
        request: Reserve,
        status: ReserveStatus,
        customer: CustomerOfVariant | None,
        limit: int,
    ) -> None:
        turn = self.turn
        reservation_id, order_id, inventory_id, quantity, ttl_s, _ = request
        turn.reservation_ids.append(reservation_id)
        turn.order_ids.append(order_id)
        turn.reserved_pairs.append(inventory_id)
        turn.quantities.append(quantity)
        turn.expires_at.append(self._now + ttl_s)
        turn.customer_ids.append(customer[1] if customer else None)
        turn.backordered.append(status is _BACKORDERED)
        if status is _HELD:
            change = self._changes.get(inventory_id)
            if change is None:
                change = self._changes[inventory_id] = _Change()
            change.taken += quantity
        else:
            self._touch(inventory_id).backordered += quantity
        if customer:
            self._units[customer] = self._units.get(customer, 0) + quantity
            turn.limits[customer] = (turn.limits.get(customer, (0, 0))[0] + quantity, limit)

    def _release(self, request: Release, pair: Pair | None) -> Answer:
        if pair is None:
            return Answer(ReleaseStatus.NOT_HELD, 0)
        # Postgres decides whether it is still held; the owner may have forgotten it.
        self.turn.released_ids.append(request.reservation_id)
        self._touch(request.inventory_id)
        return Answer(ReleaseStatus.RELEASED, pair.sellable)

    def _extend(self, request: Extend, pair: Pair | None) -> Answer:
        if pair is None:
            return Answer(ExtendStatus.UNKNOWN_PAIR, 0)
        before = pair.holds.get(request.reservation_id)
        status = pair.extend(request, self._now)
        after = pair.holds.get(request.reservation_id)
        if after is not None and after is not before:
            self.turn.extensions.append(
                (request.reservation_id, request.extension_id, after.expires_at)
            )
            self._touch(request.inventory_id)
        return Answer(status, pair.sellable)

    def _move(self, request: Movement, pair: Pair | None) -> Answer:
        if pair is None:
            return Answer(MovementStatus.UNKNOWN_PAIR, 0)
        status = self._asked_before(request)
        if status is not None:
            return Answer(status, pair.available)
        status, change = pair.move(request)
        if status == MovementStatus.RECORDED:
            on_hand = pair.available + pair.reserved
            self.turn.movements.append((request.movement_id, request.inventory_id, change, on_hand))
            self._touch(request.inventory_id).moved += change
            self._serve_waiting(pair)
        self._moved[request.movement_id] = status
        return Answer(status, pair.available)

    def _asked_before(self, request: Movement) -> MovementStatus | None:
        """What is to be said of a movement without moving anything; None: decide it."""
        asked = self._instructions.get(request.movement_id)
        if asked is None:
            return MovementStatus.INVALID
        if asked[:3] != (request.inventory_id, request.kind, request.quantity):
            return MovementStatus.CONFLICT
        settled = {"done": MovementStatus.RECORDED, "refused": MovementStatus.SHORT}
        return settled.get(asked.status, self._moved.get(request.movement_id))

    def _serve_waiting(self, pair: Pair) -> None:
        for reservation_id, quantity in pair.serve_waiting():
            self.turn.served.append(reservation_id)
            change = self._touch(pair.inventory_id)
            change.taken += quantity
            change.backordered -= quantity

    def _hand_over(self, request: HandOver, pair: Pair | None) -> Answer:
        if pair is None:
            return Answer(PairStatus.UNKNOWN_PAIR, 0)
        inventory_id = request.inventory_id
        if not is_number(request.to):
            return Answer(PairStatus.INVALID, pair.sellable)
        to = owner_name(request.to)
        if to == self.turn.owner:
            return Answer(PairStatus.DONE, pair.sellable)
        if not is_dedicated(to) and to != self._home_of.get(inventory_id):
            return Answer(PairStatus.INVALID, pair.sellable)  # the pool has one home for it
        self.turn.handed_to[inventory_id] = to if is_dedicated(to) else HOME
        self._touch(inventory_id)
        self._elsewhere[inventory_id] = owner_number(to)
        return Answer(PairStatus.DONE, pair.sellable)
