"""Requests and answers as bytes between stock client and owner: fixed size, no objects."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from domain.stock import Answer, Release, Reserve

# reservation_id, order_id, inventory_id, quantity, ttl_s; a release has no order and no TTL.
_REQUEST = struct.Struct("<16s16s16sqd")
_ANSWER = struct.Struct("<iq")
_NO_ORDER = bytes(16)
_RELEASE = -1.0
_QUANTITY_MAX = 2**63 - 1


def pack_requests(requests: Sequence[Reserve | Release]) -> bytes:
    """64 bytes each. A quantity that does not fit becomes 0, which every owner refuses."""
    pack = _REQUEST.pack
    return b"".join(
        [
            pack(request.reservation_id, _NO_ORDER, request.inventory_id, 0, _RELEASE)
            if isinstance(request, Release)
            else pack(
                request.reservation_id,
                request.order_id,
                request.inventory_id,
                request.quantity if abs(request.quantity) <= _QUANTITY_MAX else 0,
                request.ttl_s if request.ttl_s >= 0 else 0.0,  # NaN too: it would read as a release
            )
            for request in requests
        ]
    )


def unpack_requests(packed: bytes) -> list[Reserve | Release]:
    """The inverse of pack_requests."""
    return [
        Reserve(reservation_id, order_id, inventory_id, quantity, ttl_s)
        if ttl_s >= 0
        else Release(reservation_id, inventory_id)
        for reservation_id, order_id, inventory_id, quantity, ttl_s in _REQUEST.iter_unpack(packed)
    ]


def pack_answers(answers: Sequence[Answer]) -> bytes:
    """12 bytes each."""
    pack = _ANSWER.pack
    return b"".join([pack(status, available) for status, available in answers])


def unpack_answers(packed: bytes) -> list[Answer]:
    """The inverse of pack_answers."""
    return [Answer(status, available) for status, available in _ANSWER.iter_unpack(packed)]
