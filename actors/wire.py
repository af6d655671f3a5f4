"""Requests and answers as bytes between stock client and owner: fixed size, no objects."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any, cast

from domain.stock import (
    NOBODY,
    Answer,
    Extend,
    HandOver,
    Load,
    Movement,
    Release,
    Request,
    Reserve,
)

# kind, three ids (reservation or movement, order or extension, pair), quantity, ttl_s, customer: in
# the order of Reserve's own fields, so that most are made of what was unpacked as it is.
_REQUEST = struct.Struct("<B16s16s16sqd16s")
_ANSWER = struct.Struct("<iq")
_RESERVE, _RELEASE, _EXTEND, _MOVEMENT, _HAND_OVER, _LOAD = range(6)
_MOVEMENT_KIND_MAX = 255
_QUANTITY_MAX = 2**63 - 1
_new_tuple: Any = cast(Any, tuple).__new__  # a NamedTuple's own function costs more than all else


def pack_requests(requests: Sequence[Request]) -> bytes:
    """81 bytes each. A quantity that does not fit becomes 0, which every owner refuses."""
    pack = _REQUEST.pack
    return b"".join(
        [
            pack(
                _RESERVE,
                request.reservation_id,
                request.order_id,
                request.inventory_id,
                request.quantity if abs(request.quantity) <= _QUANTITY_MAX else 0,
                request.ttl_s,
                request.customer_id,
            )
            if type(request) is Reserve
            else _pack_other(request)
            for request in requests
        ]
    )


def _pack_other(request: Request) -> bytes:
    pack = _REQUEST.pack
    if type(request) is Release:
        ids = (request.reservation_id, NOBODY, request.inventory_id)
        return pack(_RELEASE, *ids, 0, 0.0, NOBODY)
    if type(request) is Extend:
        ids = (request.reservation_id, request.extension_id, request.inventory_id)
        return pack(_EXTEND, *ids, 0, request.ttl_s, NOBODY)
    if type(request) is Movement:
        ids = (request.movement_id, NOBODY, request.inventory_id)
        kind = request.kind if 0 <= request.kind <= _MOVEMENT_KIND_MAX else 0
        # A quantity that does not fit is no quantity of any kind.
        fits = abs(request.quantity) <= _QUANTITY_MAX
        quantity = request.quantity if fits else -_QUANTITY_MAX
        return pack(_MOVEMENT, *ids, quantity, float(kind), NOBODY)
    if type(request) is HandOver:
        return pack(_HAND_OVER, NOBODY, NOBODY, request.inventory_id, request.to, 0.0, NOBODY)
    assert type(request) is Load
    return pack(_LOAD, NOBODY, NOBODY, request.inventory_id, 0, 0.0, NOBODY)


def unpack_requests(packed: bytes) -> list[Request]:
    """The inverse of pack_requests. struct.error for bytes that are no requests."""
    return [
        _new_tuple(Reserve, fields[1:]) if fields[0] == _RESERVE else _unpack_other(fields)
        for fields in _REQUEST.iter_unpack(packed)
    ]


def _unpack_other(fields: tuple[Any, ...]) -> Request:
    kind, first, second, pair, quantity, ttl_s, _ = fields
    if kind == _RELEASE:
        return Release(first, pair)
    if kind == _EXTEND:
        return Extend(second, first, pair, ttl_s)
    if kind == _MOVEMENT:
        return Movement(first, pair, int(ttl_s), quantity)
    if kind == _HAND_OVER:
        return HandOver(pair, quantity)
    if kind == _LOAD:
        return Load(pair)
    raise struct.error(f"there is no request of kind {kind}")


def pack_answers(answers: Sequence[Answer]) -> bytes:
    """12 bytes each."""
    pack = _ANSWER.pack
    return b"".join([pack(status, available) for status, available in answers])


def unpack_answers(packed: bytes) -> list[Answer]:
    """The inverse of pack_answers."""
    return [_new_tuple(Answer, fields) for fields in _ANSWER.iter_unpack(packed)]
