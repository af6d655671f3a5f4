from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from actors.wire import pack_answers, pack_requests, unpack_answers, unpack_requests
from domain.stock import Answer, Release, Reserve

_ids = st.binary(min_size=16, max_size=16)
_int64 = st.integers(-(2**63) + 1, 2**63 - 1)
_reserves = st.builds(Reserve, _ids, _ids, _ids, _int64, st.floats(min_value=0, allow_nan=False))
_requests = st.one_of(_reserves, st.builds(Release, _ids, _ids))
_answers = st.builds(Answer, st.integers(0, 7), _int64)


@given(st.lists(_requests, max_size=20))
def test_requests_survive_the_way(requests: list[Reserve | Release]) -> None:
    packed = pack_requests(requests)
    assert len(packed) == 64 * len(requests)
    unpacked = unpack_requests(packed)
    assert unpacked == requests
    assert [type(one) for one in unpacked] == [type(one) for one in requests]


@given(st.lists(_answers, max_size=20))
def test_answers_survive_the_way(answers: list[Answer]) -> None:
    packed = pack_answers(answers)
    assert len(packed) == 12 * len(answers)
    assert unpack_answers(packed) == answers


@given(
    _reserves,
    st.sampled_from([-1.0, -0.001, float("-inf"), float("nan")]),
    st.sampled_from([2**63, -(2**70), 10**30]),
)
def test_what_no_owner_may_accept_arrives_as_something_it_refuses(
    request: Reserve, ttl_s: float, quantity: int
) -> None:
    [odd] = unpack_requests(pack_requests([request._replace(ttl_s=ttl_s)]))
    assert isinstance(odd, Reserve)
    assert odd.ttl_s == 0
    [huge] = unpack_requests(pack_requests([request._replace(quantity=quantity)]))
    assert isinstance(huge, Reserve)
    assert huge.quantity == 0
