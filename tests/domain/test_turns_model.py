"""Turns over several pairs, and the turn log, against a naive model."""

from __future__ import annotations

import copy
from collections import Counter
from typing import Any

import hypothesis
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from domain.stock import (
    EXTENSION_S_MAX,
    MOVEMENT_QUANTITY_MAX,
    NOBODY,
    RESERVE_QUANTITY_MAX,
    TTL_S_MAX,
    TTL_S_MIN,
    Answer,
    Extend,
    HandOver,
    Hold,
    Known,
    Load,
    Movement,
    MovementKind,
    MovementStatus,
    Pair,
    PairStatus,
    Release,
    ReleaseStatus,
    Request,
    Reserve,
    ReserveStatus,
)
from domain.turn_log import LogBounds, TurnLog
from domain.turns import Instruction, Turn, TurnDecision
from tests.domain.stock_model import Model, Reservation
from tests.domain.turn_names import (
    CUSTOMERS,
    EXTENSIONS,
    HOT,
    LIMITED,
    MOVEMENTS,
    ORDERS,
    OWNER,
    PAIRS,
    POLICIES,
    RESERVATIONS,
    UNKNOWN,
    VARIANTS,
)

# Mostly what buyers do; now and then what they must not.
_quantities = st.sampled_from(
    [*[1, 2, 3, 4] * 6, 6, 0, -1, RESERVE_QUANTITY_MAX + 1, 10**12, -(10**12)]
)
_ttls = st.sampled_from(
    [
        *[TTL_S_MIN, 60.0] * 8,
        TTL_S_MAX,
        0.0,
        TTL_S_MAX + 1,
        EXTENSION_S_MAX + 1,
        float("nan"),
        float("inf"),
    ]
)
_pairs = st.sampled_from([*PAIRS * 6, UNKNOWN])
_reservations = st.sampled_from(RESERVATIONS)
_reserves = st.builds(
    lambda one, order, pair, quantity, ttl: Reserve(
        one, order, pair, quantity, ttl, CUSTOMERS[order]
    ),
    *(_reservations, st.sampled_from(ORDERS), _pairs, _quantities, _ttls),
)
_movements = st.builds(
    lambda one, more: (one, more), st.sampled_from(MOVEMENTS), st.sampled_from([*[0] * 9, 1])
)
_hand_overs = st.builds(HandOver, _pairs, st.sampled_from([0, 1, HOT, 10**12, -1]))
_others = st.one_of(_hand_overs, st.builds(Load, _pairs))
_releases = st.builds(Release, _reservations, _pairs)
_extends = st.builds(Extend, st.sampled_from(EXTENSIONS), _reservations, _pairs, _ttls)
_requests = st.sampled_from(
    [*[_reserves] * 6, *[_releases] * 3, *[_extends] * 3, *[_movements] * 3, _others]
).flatmap(lambda kind: kind)
_instructions = st.builds(
    Instruction,
    st.sampled_from(PAIRS),
    st.sampled_from([*MovementKind, MovementKind.RECEIVE, MovementKind.RECEIVE]),
    st.sampled_from([*[1, 2, 3, 5] * 3, 12, 0, -1, -2, MOVEMENT_QUANTITY_MAX + 1, 10**12]),
    st.just("pending"),
)


class TurnsAgainstModel(RuleBasedStateMachine):
    """Turns as an owner drives them; what is written is kept in rows, by the turn's own sums."""

    @initialize(
        on_hand=st.tuples(*[st.integers(0, 6)] * 3),
        instructions=st.tuples(*[_instructions] * len(MOVEMENTS)),
    )
    def open(self, on_hand: tuple[int, ...], instructions: tuple[Instruction, ...]) -> None:
        self.now = 1_000.0
        stock = dict(zip(PAIRS, on_hand, strict=True))
        asked = dict(zip(MOVEMENTS[:-4], instructions, strict=False))  # four were never asked for
        self.model = Model(VARIANTS, POLICIES, stock, asked)
        self.pairs = {
            one: Pair(one, VARIANTS[one], stock[one], 0, policy=POLICIES[one]) for one in PAIRS
        }
        self.log = TurnLog(LogBounds(units_min=2, pairs_max=2, behind_max_s=30.0, forget_from=2))
        self.logged: list[tuple[int, bytes, int]] = []
        """(turn, pair, units taken): the log as the database has it."""
        self.logged_to = dict.fromkeys(PAIRS, 0)
        self.rows = {one: [stock[one], 0, 0, 0] for one in PAIRS}
        """(quantity, reserved, backordered, version) as the turns' sums have moved them."""
        self.received = dict(stock)
        self.away: set[bytes] = set()
        self.to_serve: set[bytes] = set()

    @rule(
        asked=st.lists(_requests, min_size=1, max_size=8),
        seconds=st.sampled_from([0.0, 0.0, 0.5, 1.0, 30.0, 60.0]),
    )
    def turn(self, asked: list[Any], seconds: float) -> None:
        self.now += seconds
        requests = [self._request(one) for one in asked]
        known: dict[bytes, Known | None] = {}
        while True:
            pairs, model = copy.deepcopy(self.pairs), copy.deepcopy(self.model)
            due = self._due()
            decision = TurnDecision(
                Turn(OWNER, 1),
                now=self.now,
                pairs={one: pair for one, pair in pairs.items() if one not in self.away},
                elsewhere=dict.fromkeys(self.away, HOT),
                home_of=dict.fromkeys([*PAIRS, UNKNOWN], OWNER),
                known=known,
                units={
                    (variant, customer): self.model.units(variant, customer)
                    for variant in set(VARIANTS.values())
                    for customer in set(CUSTOMERS.values())
                },
                instructions=self.model.instructions,
            )
            decision.serve(self.to_serve)
            answers = decision.answer(requests)
            decision.expire(due)
            turn = decision.close(self.log, self.now)
            twice = self._written_twice(turn)
            if not twice:
                break
            known |= twice
        self._compare(model, requests, answers, known)
        self.pairs, self.model, self.to_serve = pairs, model, set()
        self._write(turn, requests)

    @rule(pair=st.sampled_from(PAIRS))
    def load_again(self, pair: bytes) -> None:
        """A pair is loaded from its row and what the owner knows of the log."""
        if pair in self.away:
            return
        known = self.pairs[pair]
        known.available, known.reserved = self.rows[pair][:2]
        self.log.take_in(known)

    @rule()
    def begin_again(self) -> None:
        """A successor has all rows brought up to date, and knows of no log."""
        for pair in PAIRS:
            if behind := self._behind(pair):
                self.rows[pair][0] -= behind
                self.rows[pair][1] += behind
                self.rows[pair][3] += 1
                self.pairs[pair].version += 1
        self.logged = []
        number = self.log.last_turn + 1
        self.logged_to = dict.fromkeys(PAIRS, number)
        self.log.begin(number)

    def _behind(self, pair: bytes) -> int:
        """Units that the log has beyond the row."""
        logged_to = self.logged_to[pair]
        return sum(taken for turn, one, taken in self.logged if one == pair and turn > logged_to)

    @rule(one=_reservations)
    def confirm(self, one: bytes) -> None:
        """An order takes its hold along, without a word to the owner."""
        for found in self.model.reservations:
            if found.reservation_id == one and found.status == "active":
                found.status = "allocated"

    @rule(pair=st.sampled_from(PAIRS))
    def come_home(self, pair: bytes) -> None:
        """A pair that was handed over is taken home, and loaded."""
        if pair not in self.away:
            return
        self.away.remove(pair)
        open_ = [one for one in self.model.of(pair) if one.status == "active"]
        for one in self.model.of(pair):
            one.remembered = one.status == "active"
        waiting = {one.reservation_id: one.quantity for one in self.model.waiting(pair)}
        quantity, reserved, backordered, version = self.rows[pair]
        assert not self._behind(pair), "who takes a pair over must find all of it in the row"
        self.pairs[pair] = Pair(
            *(pair, VARIANTS[pair], quantity, version, reserved),
            {one.reservation_id: _hold(one) for one in open_},
            POLICIES[pair],
            waiting or None,
            backordered,
        )
        if waiting:
            self.to_serve.add(pair)

    @invariant()
    def memory_rows_and_model_agree(self) -> None:
        for one in PAIRS:
            model = self.model
            sums = (model.available(one), model.reserved(one), model.backordered(one))
            quantity, reserved, backordered, _ = self.rows[one]
            behind = self._behind(one)
            now = (quantity - behind, reserved + behind, backordered)
            assert now == sums, "the turn's sums"
            assert self.log.taken_of(one) == behind
            if one not in self.away:
                pair = self.pairs[one]
                assert (pair.available, pair.reserved, pair.backordered) == sums, "memory"
                assert list(pair.waiting or {}) == [r.reservation_id for r in model.waiting(one)]
                assert pair.sellable == model.sellable(one)
                assert pair.version == self.rows[one][3]

    @invariant()
    def nothing_is_oversold_or_lost(self) -> None:
        """P1 and P2."""
        for one in PAIRS:
            available, reserved, backordered, _ = self.rows[one]
            assert min(available, reserved, backordered) >= 0
            assert available + reserved == self.received[one]
            assert backordered <= POLICIES[one].backorder_max

    @invariant()
    def no_customer_has_more_than_the_limit(self) -> None:
        for customer in set(CUSTOMERS.values()) - {NOBODY}:
            assert self.model.units(VARIANTS[PAIRS[0]], customer) <= LIMITED.customer_max

    def _request(self, one: Any) -> Any:
        if type(one) is not tuple:
            return one
        movement_id, more = one
        asked = self.model.instructions.get(movement_id)
        pair, kind, quantity, _ = asked or Instruction(PAIRS[0], MovementKind.RECEIVE, 1, "")
        return Movement(movement_id, pair, kind, quantity + more)

    def _due(self) -> list[tuple[bytes, bytes]]:
        return [
            (reservation_id, one)
            for one, pair in self.pairs.items()
            for reservation_id, held in pair.holds.items()
            if one not in self.away and held.expires_at <= self.now
        ]

    def _written_twice(self, turn: Turn) -> dict[bytes, Known | None]:
        """What the database refuses, as the owner then looks it up."""
        there = {one.reservation_id: one for one in self.model.reservations}
        counted = Counter(turn.reservation_ids)
        return {
            one: Known(there[one].status, there[one].pair, _hold(there[one]))
            if one in there
            else None
            for one, count in counted.items()
            if count > 1 or one in there
        }

    def _compare(
        self,
        model: Model,
        requests: list[Request],
        answers: list[Answer],
        known: dict[bytes, Known | None],
    ) -> None:
        for pair in self.to_serve - self.away:
            model.serve(pair)
        elsewhere = dict.fromkeys(self.away, HOT)
        moved: dict[bytes, MovementStatus] = {}
        assert len(answers) == len(requests)
        for request, answer in zip(requests, answers, strict=True):
            pair = request.inventory_id
            if pair in elsewhere:
                to = request.to if isinstance(request, HandOver) else None
                assert answer == ((PairStatus.DONE, 0) if to == HOT else (8, HOT))
                continue
            status = self._expected(model, request, known, moved)
            assert answer.status == status, request
            if isinstance(request, HandOver) and status == PairStatus.DONE and request.to == HOT:
                elsewhere[pair] = HOT
            if pair != UNKNOWN and status != ReserveStatus.OVER_LIMIT:
                plain = model.available if isinstance(request, Movement) else model.sellable
                assert answer.available == plain(pair)

    def _expected(
        self,
        model: Model,
        request: Request,
        known: dict[bytes, Known | None],
        moved: dict[bytes, MovementStatus],
    ) -> int:
        unknown = request.inventory_id == UNKNOWN
        if isinstance(request, Release):
            return ReleaseStatus.NOT_HELD if unknown else ReleaseStatus.RELEASED
        if unknown:
            return ReserveStatus.UNKNOWN_PAIR  # the same number for all kinds
        match request:
            case Reserve():
                status: int = model.reserve(request, self.now, known)
            case Extend():
                status = model.extend(request, self.now)
            case HandOver():
                status = PairStatus.DONE if request.to in (0, HOT) else PairStatus.INVALID
            case Load():
                status = PairStatus.DONE
            case Movement():
                status = self._moved(model, request, moved)
        return status

    def _moved(
        self, model: Model, request: Movement, moved: dict[bytes, MovementStatus]
    ) -> MovementStatus:
        asked = model.instructions.get(request.movement_id)
        if asked is None:
            return MovementStatus.INVALID
        if tuple(asked[:3]) != tuple(request[1:]):
            return MovementStatus.CONFLICT
        if asked.status == "done":
            return MovementStatus.RECORDED
        if request.movement_id not in moved:
            before = model.on_hand[request.inventory_id]
            moved[request.movement_id] = model.move(request)
            self.received[request.inventory_id] += model.on_hand[request.inventory_id] - before
        return moved[request.movement_id]

    def _write(self, turn: Turn, requests: list[Request]) -> None:
        """Rows by the turn's sums; the model by what was asked; then memory, as an owner does."""
        columns = (turn.pair_versions, turn.pair_taken, turn.pair_moved, turn.pair_backordered)
        assert len(set(turn.pair_ids)) == len(turn.pair_ids)
        for one, version, taken, moved, backordered in zip(turn.pair_ids, *columns, strict=True):
            row = self.rows[one]
            assert row[3] == version
            self.rows[one] = [
                *(row[0] - taken + moved, row[1] + taken, row[2] + backordered, version + 1)
            ]
            self.pairs[one].version += 1
        for movement_id, pair, _, on_hand in turn.movements:
            done = self.model.instructions[movement_id]
            assert (done.inventory_id, done.status) == (pair, "pending")
            self.model.instructions[movement_id] = done._replace(status="done")
            assert on_hand >= 0
        versions = [self.pairs[one].version for one in turn.logged_ids]
        assert not set(turn.logged_ids) & set(turn.pair_ids)
        for one, taken in zip(turn.logged_ids, turn.logged_taken, strict=True):
            assert self.pairs[one].available >= 2
            self.logged.append((turn.number, one, taken))
        if not turn.empty:
            assert (turn.previous, turn.number) == (self.log.last_turn, self.log.last_turn + 1)
            self.logged = [one for one in self.logged if one[0] > turn.logged_until]
            self.logged_to |= dict.fromkeys(turn.pair_ids, turn.number)
            self.log.written(turn, versions, self.now)
        self._close(turn)
        self.away |= turn.handed_to.keys()

    def _close(self, turn: Turn) -> None:
        overdue = {
            one.reservation_id
            for one in self.model.reservations
            if one.pair not in self.away and one.remembered and one.bound
            if one.expires_at <= self.now and one.reservation_id not in turn.released_ids
        }
        assert set(turn.expired_ids) == overdue
        closing = [*turn.released_ids, *turn.expired_ids]
        for one in self.model.reservations:
            pair = self.pairs[one.pair]
            closes = one.reservation_id in closing and one.pair in turn.pair_ids
            if closes and one.status == "active":
                self._give_back(one, pair)
                one.status = "closed"
                pair.holds.pop(one.reservation_id, None)
                if pair.waiting:
                    self.to_serve.add(one.pair)
            elif one.reservation_id in turn.expired_ids and one.bound:
                pair.holds.pop(one.reservation_id, None)  # allocated meanwhile
                one.remembered = False

    def _give_back(self, one: Reservation, pair: Pair) -> None:
        row = self.rows[one.pair]
        if one.waits:
            row[2] -= one.quantity
            pair.stop_waiting(one.reservation_id)
        else:
            row[0] += one.quantity
            row[1] -= one.quantity
            pair.available += one.quantity
            pair.reserved -= one.quantity


def _hold(one: Reservation) -> Hold:
    return Hold(
        *(one.order_id, one.quantity, one.expires_at, one.waits, one.extension_id, one.customer)
    )


TurnsAgainstModel.TestCase.settings = hypothesis.settings(
    max_examples=100, stateful_step_count=30, deadline=None
)
TestTurnsAgainstModel = TurnsAgainstModel.TestCase
