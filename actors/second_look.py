"""Answers that only the database can give: repeats of what was settled long ago (P4)."""

from __future__ import annotations

from collections.abc import Container, Sequence

from domain.ports import StockJournal
from domain.stock import (
    NOBODY,
    Answer,
    Extend,
    ExtendStatus,
    Known,
    Release,
    ReleaseStatus,
    Request,
    Reserve,
    ReserveStatus,
)


async def look_again(
    journal: StockJournal,
    requests: Sequence[Request],
    answers: list[Answer],
    *,
    closed: Container[bytes] | None,
    owner: str,
    epoch: int,
) -> list[Answer]:
    """The answers, mended by what the database has.

    A release that closed nothing was not held any more, or is the repeat of one that did. Who is
    refused for want of stock may have had it long ago. What was to be extended may have been
    allocated meanwhile. `closed` are the reservations that the turn closed; where nothing was
    written (None) the fence is asked as well: a stale owner may not even say no (P5). Raises
    StaleEpoch, and Unavailable.
    """
    unclear: list[tuple[int, bytes]] = []
    for position, request in enumerate(requests):
        kind, status = type(request), answers[position].status
        if kind is Reserve and status == ReserveStatus.HELD:
            continue  # most of them
        if isinstance(request, Reserve | Release | Extend) and _is_unclear(
            request, status, closed or ()
        ):
            unclear.append((position, request.reservation_id))
    if not requests or (closed is not None and not unclear):
        return answers
    ids = [reservation_id for _, reservation_id in unclear]
    seen = await (
        journal.find(ids) if closed is not None else journal.find_as_owner(ids, owner, epoch)
    )
    for position, reservation_id in unclear:
        status, available = answers[position]
        found = seen.get(reservation_id)
        answers[position] = Answer(_as_seen(requests[position], status, found), available)
    return answers


def _is_unclear(request: Reserve | Release | Extend, status: int, closed: Container[bytes]) -> bool:
    if type(request) is Reserve:
        return status in (ReserveStatus.OUT_OF_STOCK, ReserveStatus.OVER_LIMIT)
    if type(request) is Release:
        return status == ReleaseStatus.RELEASED and request.reservation_id not in closed
    return status != ExtendStatus.ELSEWHERE


def _as_seen(request: Request, status: int, found: Known | None) -> int:
    """The status of an unclear answer, once the database has been asked."""
    if type(request) is Reserve:
        return status if found is None else found.first_answer(request)
    if type(request) is Release:
        released = found is not None and found.status == "released"
        return ReleaseStatus.RELEASED if released else ReleaseStatus.NOT_HELD
    assert type(request) is Extend
    if found is not None and found.hold.extension_id == request.extension_id != NOBODY:
        return ExtendStatus.EXTENDED
    return ExtendStatus.NOT_HELD if status == ExtendStatus.EXTENDED else status
