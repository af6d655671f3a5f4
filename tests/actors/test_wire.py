from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.wire import pack_answers, pack_requests, unpack_answers, unpack_requests
from domain.stock import (
    Answer,
    Extend,
    HandOver,
    Load,
    Movement,
    MovementKind,
    MovementStatus,
    Pair,
    Release,
    Request,
    Reserve,
    ReserveStatus,
)

_ids = st.binary(min_size=16, max_size=16)
_int64 = st.integers(-(2**63) + 1, 2**63 - 1)
_ttls = st.floats(allow_nan=False)
_reserves = st.builds(Reserve, _ids, _ids, _ids, _int64, _ttls, _ids)
_requests = st.one_of(
    _reserves,
    st.builds(Release, _ids, _ids),
    st.builds(Extend, _ids, _ids, _ids, _ttls),
    st.builds(Movement, _ids, _ids, st.integers(0, 255), _int64),
    st.builds(HandOver, _ids, _int64),
    st.builds(Load, _ids),
)
_answers = st.builds(Answer, st.integers(0, 10), _int64)


@given(st.lists(_requests, max_size=20))
def test_requests_survive_the_way(requests: list[Request]) -> None:
    packed = pack_requests(requests)
    assert len(packed) == 81 * len(requests)
    unpacked = unpack_requests(packed)
    assert unpacked == requests
    assert [type(one) for one in unpacked] == [type(one) for one in requests]


@given(st.lists(_answers, max_size=20))
def test_answers_survive_the_way(answers: list[Answer]) -> None:
    packed = pack_answers(answers)
    assert len(packed) == 12 * len(answers)
    assert unpack_answers(packed) == answers


@given(_reserves, st.sampled_from([float("-inf"), float("nan"), float("inf")]))
def test_a_time_that_is_none_is_refused_when_it_arrives(request: Reserve, ttl_s: float) -> None:
    [odd] = unpack_requests(pack_requests([request._replace(ttl_s=ttl_s, quantity=1)]))
    assert isinstance(odd, Reserve)
    pair = Pair(odd.inventory_id, b"v" * 16, available=5, version=1)
    assert pair.reserve(odd, now=0.0) == ReserveStatus.INVALID


@given(st.sampled_from([2**63, -(2**70), 10**30]), _ids)
def test_a_quantity_that_does_not_fit_is_refused_when_it_arrives(quantity: int, one: bytes) -> None:
    [huge] = unpack_requests(pack_requests([Reserve(one, one, one, quantity, 60.0)]))
    assert isinstance(huge, Reserve)
    pair = Pair(one, one, available=5, version=1)
    assert pair.reserve(huge, now=0.0) == ReserveStatus.INVALID
    for kind in MovementKind:
        [moved] = unpack_requests(pack_requests([Movement(one, one, kind, quantity)]))
        assert isinstance(moved, Movement)
        assert pair.move(moved) == (MovementStatus.INVALID, 0)


def test_a_kind_of_request_that_is_none_is_refused() -> None:
    packed = pack_requests([Load(b"p" * 16)])
    with pytest.raises(struct.error, match="kind 9"):
        unpack_requests(b"\x09" + packed[1:])
