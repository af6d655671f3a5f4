"""The stock client: how everyone else talks to the owners.

Requests of many callers to one owner travel together. A call that fails or that the owner
could not answer is repeated with the same ids until the caller's deadline; the owner makes
repeats harmless (P4). A pair that has moved to another owner is followed there, again with the
same ids. Over its bound the client answers BUSY at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, cast

import structlog

from actors.coalescer import Coalescer, Overloaded
from actors.routing import Routing
from domain.owners import is_dedicated
from domain.ports import Unavailable
from domain.stock import Answer, Extend, Release, Request, Reserve, ReserveStatus

_log = structlog.get_logger(__name__)
_UNAVAILABLE = Answer(ReserveStatus.UNAVAILABLE, 0)
BUSY_RETRY_AFTER_MS = 250
_BUSY = Answer(ReserveStatus.BUSY, BUSY_RETRY_AFTER_MS)
_NOT_DECIDED = frozenset({ReserveStatus.BUSY, ReserveStatus.UNAVAILABLE, ReserveStatus.ELSEWHERE})
_MOVES_AT_ONCE = 3  # a request follows its pair without waiting; hand-overs are seconds apart
Result = asyncio.Future[Answer]


class OwnerTransport(Protocol):
    """Carries one batch to an owner and its answers back. Raises Unavailable."""

    async def call(self, owner: str, requests: list[Request]) -> list[Answer]:
        """Answers in the order of the requests."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class StockClientConfig:
    """Bounds of the client."""

    batch_max: int = 1_024
    """Requests in one call."""
    calls_in_flight_max: int = 2
    """Calls under way to one owner: while one is being committed the next is on its way."""
    second_call_from: int = 64
    """Requests that a further call carries at least; fewer wait for the first to return."""
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
    """Reserves, extends and releases through the owners."""

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
        self._lanes: dict[str, Coalescer[Request, Answer]] = {}
        self._following: dict[Result, tuple[int, float]] = {}
        self._unsure: set[Request] = set()  # followed, and perhaps decided where they were before

    async def reserve(self, requests: Sequence[Reserve]) -> list[Answer]:
        """Ask for each reservation; answers in order, ReserveStatus in `status`.

        The answers are independent: who wants all or none releases what was held.
        """
        return await self.ask(requests)

    async def release(self, requests: Sequence[Release]) -> list[Answer]:
        """Give reservations back; ReleaseStatus in `status`. Safe to repeat."""
        return await self.ask(requests)

    async def extend(self, requests: Sequence[Extend]) -> list[Answer]:
        """More time for reservations, once each; ExtendStatus in `status`. Safe to repeat."""
        return await self.ask(requests)

    async def ask(self, requests: Sequence[Request]) -> list[Answer]:
        """Answers in order, whatever is asked. Never ELSEWHERE: pairs are followed."""
        futures = [self.submit(request) for request in requests]
        return [await future for future in futures]

    @property
    def queued(self) -> int:
        """Requests that wait to be sent."""
        return sum(lane.queued for lane in self._lanes.values())

    def submit(self, request: Request) -> Result:
        """The answer's future; the request is on its way when the caller next waits."""
        owner = self._routing.owner_of(request.inventory_id)
        lane = self._lanes.get(owner) or self._new_lane(owner)
        try:
            return lane.submit(request)
        except Overloaded:
            future: Result = asyncio.get_running_loop().create_future()
            future.set_result(_BUSY)
            return future

    def _new_lane(self, owner: str) -> Coalescer[Request, Answer]:
        async def work(requests: list[Request]) -> list[Answer | None]:
            return await self._until_answered(owner, requests)

        lane = self._lanes[owner] = Coalescer(
            work,
            elsewhere=self._follow,
            batch_max=self._config.batch_max,
            queue_max=self._config.queue_max,
            in_flight_max=self._config.calls_in_flight_max,
            another_from=self._config.second_call_from,
            spacing_s=self._config.batch_spacing_s,
        )
        return lane

    def _follow(self, request: Request, future: Result) -> None:
        """Ask again where the pair is now, within the deadline; the future stays the caller's."""
        if future.done():
            self._unsure.discard(request)
            return
        config, now = self._config, self._monotonic()
        moves, deadline = self._following.get(future, (0, now + config.deadline_s))
        if not moves:
            future.add_done_callback(lambda done: self._followed(request, done))
        self._following[future] = (moves + 1, deadline)
        pause = 0.0
        if moves >= _MOVES_AT_ONCE:
            pause = min(config.retry_first_s * 2 ** (moves - _MOVES_AT_ONCE), config.retry_max_s)
        if now + pause >= deadline:
            future.set_result(_UNAVAILABLE)
        elif pause:
            asyncio.get_running_loop().call_later(pause, self._send_again, request, future)
        else:
            self._send_again(request, future)

    def _followed(self, request: Request, future: Result) -> None:
        self._following.pop(future, None)
        self._unsure.discard(request)

    def _send_again(self, request: Request, future: Result) -> None:
        if future.done():
            return
        owner = self._routing.owner_of(request.inventory_id)
        try:
            (self._lanes.get(owner) or self._new_lane(owner)).add(request, future)
        except Overloaded:
            future.set_result(_UNAVAILABLE if request in self._unsure else _BUSY)

    async def _until_answered(self, owner: str, requests: list[Request]) -> list[Answer | None]:
        """Repeat what stays without a decision, with the same ids, until the deadline.

        None for what is to be asked elsewhere. BUSY means that nothing was done: it is no answer
        to who may have been decided by an earlier try, whose answer was lost.
        """
        config = self._config
        answers: list[Answer | None] = [_UNAVAILABLE] * len(requests)
        open_positions = list(range(len(requests)))
        unsure: set[int] = set()
        if self._unsure:
            unsure.update(one for one in open_positions if requests[one] in self._unsure)
        deadline = self._monotonic() + config.deadline_s
        pause = config.retry_first_s
        while True:
            sent = [requests[position] for position in open_positions]
            got = await self._one_call(owner, sent)
            if got is not None:
                open_positions = self._take(requests, open_positions, got, answers, unsure)
            elif is_dedicated(owner):
                # It may have given its pairs back and be gone; their homes know.
                self._routing.forget(owner)
                for position in open_positions:
                    answers[position] = None
                    self._unsure.add(requests[position])
                return answers
            else:
                unsure.update(open_positions)
            if not open_positions or self._monotonic() + pause >= deadline:
                return answers
            await asyncio.sleep(pause)
            pause = min(pause * 2, config.retry_max_s)

    def _take(
        self,
        requests: list[Request],
        positions: list[int],
        got: list[Answer],
        answers: list[Answer | None],
        unsure: set[int],
    ) -> list[int]:
        """Keep what an owner said; the positions that are still open."""
        still_open: list[int] = []
        for position, answer in zip(positions, got, strict=True):
            status = answer[0]
            if status not in _NOT_DECIDED:
                answers[position] = answer
                continue
            if status == ReserveStatus.ELSEWHERE:
                self._routing.learn(requests[position].inventory_id, answer.available)
                answers[position] = None
                if position in unsure:
                    self._unsure.add(requests[position])
                continue
            if status == ReserveStatus.UNAVAILABLE:
                unsure.add(position)
            if status == ReserveStatus.UNAVAILABLE or (
                status == ReserveStatus.BUSY and position in unsure
            ):
                still_open.append(position)
            else:
                answers[position] = answer
        return still_open

    async def _one_call(self, owner: str, requests: list[Request]) -> list[Answer] | None:
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

    async def call(self, owner: str, requests: list[Request]) -> list[Answer]:
        from actors.stock_owner import StockOwner

        if owner not in self._owners:
            raise Unavailable(f"there is no owner {owner} here")
        return await cast(StockOwner, self._owners[owner]).call(requests, self)
