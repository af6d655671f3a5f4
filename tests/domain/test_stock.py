"""A pair against a naive model: a list of everything that was ever asked for."""

from __future__ import annotations

from dataclasses import dataclass

import hypothesis
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from domain.stock import (
    RESERVE_QUANTITY_MAX,
    TTL_S_MAX,
    TTL_S_MIN,
    Extend,
    ExtendStatus,
    Pair,
    Reserve,
    ReserveStatus,
)
from domain.turns import Turn

_ORDERS = [bytes([n]) * 16 for n in range(3)]
_RESERVATIONS = [bytes([100 + n]) * 16 for n in range(6)]
_PAIR = b"p" * 16


@dataclass
class _Held:
    order_id: bytes
    quantity: int
    expires_at: float


class PairAgainstModel(RuleBasedStateMachine):
    """Reserves, and closes as an owner does when a turn is written."""

    @initialize(available=st.integers(0, 20))
    def open(self, available: int) -> None:
        self.received = available
        self.pair = Pair(_PAIR, b"v" * 16, available, 0)
        self.held: dict[bytes, _Held] = {}
        self.now = 1_000.0

    @rule(
        reservation=st.sampled_from(_RESERVATIONS),
        order=st.sampled_from(_ORDERS),
        quantity=st.one_of(st.integers(-2, 12), st.sampled_from([RESERVE_QUANTITY_MAX + 1, 2**62])),
        ttl_s=st.sampled_from(
            [0.0, TTL_S_MIN, 60.0, TTL_S_MAX, TTL_S_MAX + 1, float("nan"), float("inf")]
        ),
    )
    def reserve(self, reservation: bytes, order: bytes, quantity: int, ttl_s: float) -> None:
        before = (self.pair.available, dict(self.pair.holds))
        request = Reserve(reservation, order, _PAIR, quantity, ttl_s)
        status = self.pair.reserve(request, self.now)
        assert status == self._expected(request)
        if status == ReserveStatus.HELD and reservation not in self.held:
            self.held[reservation] = _Held(order, quantity, self.now + ttl_s)
        else:
            assert (self.pair.available, self.pair.holds) == before

    def _expected(self, request: Reserve) -> ReserveStatus:
        known = self.held.get(request.reservation_id)
        if known is not None:
            same = (known.order_id, known.quantity) == (request.order_id, request.quantity)
            return ReserveStatus.HELD if same else ReserveStatus.CONFLICT
        if request.quantity not in range(1, RESERVE_QUANTITY_MAX + 1):
            return ReserveStatus.INVALID
        if not TTL_S_MIN <= request.ttl_s <= TTL_S_MAX:
            return ReserveStatus.INVALID
        left = self.received - sum(one.quantity for one in self.held.values())
        return ReserveStatus.HELD if request.quantity <= left else ReserveStatus.OUT_OF_STOCK

    @rule(reservation=st.sampled_from(_RESERVATIONS))
    def close(self, reservation: bytes) -> None:
        if self.held.pop(reservation, None) is not None:
            self.pair.available += self.pair.holds.pop(reservation).quantity

    @rule(seconds=st.floats(0, 100))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def nothing_is_oversold_or_lost(self) -> None:
        """P1 and P2."""
        assert self.pair.available >= 0
        held = sum(hold.quantity for hold in self.pair.holds.values())
        assert self.pair.available + held == self.received

    @invariant()
    def the_holds_are_those_of_the_model(self) -> None:
        assert {
            key: _Held(hold.order_id, hold.quantity, hold.expires_at)
            for key, hold in self.pair.holds.items()
        } == self.held


PairAgainstModel.TestCase.settings = hypothesis.settings(
    max_examples=60, stateful_step_count=40, deadline=None
)
TestPairAgainstModel = PairAgainstModel.TestCase


def test_a_turn_is_empty_until_something_is_to_be_written() -> None:
    assert Turn("pool-0", 1).empty
    assert not Turn("pool-0", 1, pair_ids=[_RESERVATIONS[0]]).empty


def test_more_time_is_never_less_than_there_was() -> None:
    pair = Pair(_PAIR, b"v" * 16, available=5, version=1)
    held = Reserve(_RESERVATIONS[0], _ORDERS[0], _PAIR, 1, 600.0)
    assert pair.reserve(held, now=0.0) == ReserveStatus.HELD
    asked = Extend(b"e" * 16, held.reservation_id, _PAIR, 120.0)
    assert pair.extend(asked, now=10.0) == ExtendStatus.EXTENDED
    assert pair.holds[held.reservation_id].expires_at == 600.0
    assert pair.extend(asked, now=590.0) == ExtendStatus.EXTENDED
    assert pair.holds[held.reservation_id].expires_at == 600.0
    other = asked._replace(extension_id=b"f" * 16)
    assert pair.extend(other, now=20.0) == ExtendStatus.CONFLICT
