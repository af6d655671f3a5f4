"""The stock client: how everyone else talks to the owners.

Requests of many callers to one owner travel together. A call that fails or that the owner
could not answer is repeated with the same ids until the caller's deadline; the owner makes
repeats harmless (P4). Over its bound the client answers BUSY at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, cast

import structlog

from actors.coalescer import Coalescer, Overloaded
from actors.routing import Routing
from domain.ports import Unavailable
from domain.stock import Answer, Release, ReleaseStatus, Reserve, ReserveStatus

_log = structlog.get_logger(__name__)
_UNAVAILABLE = Answer(ReserveStatus.UNAVAILABLE, 0)
_BUSY = Answer(ReserveStatus.BUSY, 0)


class OwnerTransport(Protocol):
    """Carries one batch to an owner and its answers back. Raises Unavailable."""

    async def call(self, owner: str, requests: list[Reserve | Release]) -> list[Answer]:
        """Answers in the order of the requests."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class StockClientConfig:
    """Bounds of the client."""

    batch_max: int = 1_024
    """Requests in one call."""
    calls_in_flight_max: int = 1
    """Calls under way to one owner; more make turns smaller, not faster (docs/benchmarks.md)."""
    batch_spacing_s: float = 0.0
    """Least time between two calls to one owner (see Coalescer)."""
    queue_max: int = 20_000
    """Requests waiting per owner."""
    call_timeout_s: float = 5.0
    """One call, after which it is repeated."""
    deadline_s: float = 8.0
    """All tries together."""
    retry_first_s: float = 0.02
    retry_max_s: float = 0.5


class StockClient:
    """Reserves and releases through the owners."""

    def __init__(
        self,
        transport: OwnerTransport,
        routing: Routing,
        *,
        monotonic: Callable[[], float],
        config: StockClientConfig | None = None,
    ) -> None:
        self._config = config or StockClientConfig()
        self._transport = transport
        self._routing = routing
        self._monotonic = monotonic
        self._lanes: dict[str, Coalescer[Reserve | Release, Answer]] = {
            owner: self._lane(owner) for owner in routing.owners
        }

    async def reserve(self, requests: Sequence[Reserve]) -> list[Answer]:
        """Ask for each reservation; answers in order, ReserveStatus in `status`.

        The answers are independent: who wants all or none releases what was held.
        """
        futures = [self.submit(request) for request in requests]
        return [await future for future in futures]

    async def release(self, requests: Sequence[Release]) -> list[Answer]:
        """Give reservations back; ReleaseStatus in `status`. Safe to repeat."""
        futures = [self.submit(request) for request in requests]
        return [await future for future in futures]

    @property
    def queued(self) -> int:
        """Requests that wait to be sent."""
        return sum(lane.queued for lane in self._lanes.values())

    def submit(self, request: Reserve | Release) -> asyncio.Future[Answer]:
        """The answer's future; the request is on its way when the caller next waits."""
        lane = self._lanes[self._routing.owner_of(request.inventory_id)]
        try:
            return lane.submit(request)
        except Overloaded:
            future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
            future.set_result(_BUSY)
            return future

    def _lane(self, owner: str) -> Coalescer[Reserve | Release, Answer]:
        async def work(requests: list[Reserve | Release]) -> list[Answer]:
            return await self._until_answered(owner, requests)

        return Coalescer(
            work,
            batch_max=self._config.batch_max,
            queue_max=self._config.queue_max,
            in_flight_max=self._config.calls_in_flight_max,
            spacing_s=self._config.batch_spacing_s,
        )

    async def _until_answered(self, owner: str, requests: list[Reserve | Release]) -> list[Answer]:
        """Repeat what stays without a decision, with the same ids, until the deadline."""
        config = self._config
        answers: list[Answer] = [_UNAVAILABLE] * len(requests)
        open_positions = list(range(len(requests)))
        deadline = self._monotonic() + config.deadline_s
        pause = config.retry_first_s
        while True:
            sent = [requests[position] for position in open_positions]
            got = await self._one_call(owner, sent)
            if got is not None:
                for position, answer in zip(open_positions, got, strict=True):
                    answers[position] = answer
                open_positions = [
                    position
                    for position in open_positions
                    if answers[position].status
                    in (ReserveStatus.UNAVAILABLE, ReleaseStatus.UNAVAILABLE)
                ]
            if not open_positions or self._monotonic() + pause >= deadline:
                return answers
            await asyncio.sleep(pause)
            pause = min(pause * 2, config.retry_max_s)

    async def _one_call(self, owner: str, requests: list[Reserve | Release]) -> list[Answer] | None:
        try:
            async with asyncio.timeout(self._config.call_timeout_s):
                return await self._transport.call(owner, requests)
        except (Unavailable, TimeoutError) as error:
            _log.warning("owner_call_failed", owner=owner, reason=str(error) or "no answer in time")
            return None


class LocalTransport:
    """Owners in this very process: for tests, and to measure what the wire costs."""

    def __init__(self, owners: dict[str, object]) -> None:
        self._owners = owners

    async def call(self, owner: str, requests: list[Reserve | Release]) -> list[Answer]:
        from actors.stock_owner import StockOwner

        return await cast(StockOwner, self._owners[owner]).call(requests)
