"""The stock owner: the one place where a pair's reservations are decided.

A plain class around one loop. A turn: gather what has arrived, load the pairs that are not
known yet, decide everything in memory without an `await` in between, write the turn in one
transaction under the fence, answer. While a turn is being committed the next one gathers.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog

from actors.hold_watch import HoldWatch
from actors.owner_metrics import OwnerMetrics
from domain.ports import (
    AvailabilityBoard,
    DuplicateReservation,
    MetricsBoard,
    StaleEpoch,
    StockJournal,
    Unavailable,
    VersionConflict,
)
from domain.stock import Answer, Pair, Release, ReleaseStatus, Reserve, ReserveStatus, Turn

_log = structlog.get_logger(__name__)
Request = Reserve | Release
_EXPIRED_PER_TURN_MAX = 1_000
_SIDE_JOBS_END_S = 1.0
_ATTEMPTS_PER_TURN = 3  # a version conflict or a repeated id costs one each


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnerConfig:
    """How an owner works."""

    turn_max: int = 2_048
    """Requests decided in one turn."""
    queue_max: int = 20_000
    """Requests waiting; beyond it callers are told to come back."""
    pairs_max: int = 200_000
    """Pairs kept in memory; the first loaded without holds leave first."""
    publish_every_s: float = 0.1
    """How often availability is published for readers."""
    report_every_s: float = 1.0
    """How often the owner's own figures are published."""
    tidy_every_s: float = 1.0
    """How often settled holds are forgotten."""
    settled_after_s: float = 30.0
    """Age at which a hold is looked up; a checkout's repeats are over by then."""
    load_max: int = 1_000
    """Pairs loaded with one query."""


@dataclass(frozen=True, slots=True)
class OwnerClocks:
    """Time, passed in: `unix` in seconds since 1970, `monotonic` for elapsed seconds."""

    unix: Callable[[], float]
    monotonic: Callable[[], float]


class StockOwner:
    """Decides for its pairs. `call` is its only door; `run` its only loop."""

    def __init__(
        self,
        name: str,
        *,
        journal: StockJournal,
        board: AvailabilityBoard,
        metrics: MetricsBoard,
        clocks: OwnerClocks,
        node: str,
        pid: int,
        config: OwnerConfig | None = None,
    ) -> None:
        self.name = name
        self.epoch = 0
        self._config = config or OwnerConfig()
        self._journal = journal
        self._board = board
        self._metrics_board = metrics
        self._clocks = clocks
        self._node = node
        self._pid = pid
        self._pairs: dict[bytes, Pair] = {}
        self._mailbox: deque[tuple[Sequence[Request], asyncio.Future[list[Answer]]]] = deque()
        self._queued = 0
        self._stopped = False
        self._arrived = asyncio.Event()
        self._watch = HoldWatch()
        self._unpublished: set[bytes] = set()
        self.metrics = OwnerMetrics(clocks.monotonic)

    async def call(self, requests: Sequence[Request]) -> list[Answer]:
        """Answer every request, in order, after its turn is in Postgres (P3).

        Raises Unavailable when the owner has stopped: it was decided or not, ask its successor.
        """
        if self._stopped:
            raise Unavailable(f"owner {self.name} has stopped")
        if self._queued + len(requests) > self._config.queue_max:
            return [Answer(ReserveStatus.BUSY, 0)] * len(requests)
        future: asyncio.Future[list[Answer]] = asyncio.get_running_loop().create_future()
        self._mailbox.append((requests, future))
        self._queued += len(requests)
        self._arrived.set()
        return await future

    async def start(self) -> None:
        """Begin a new generation: from here on, older incarnations cannot write (P5)."""
        self.epoch = await self._journal.raise_epoch(self.name, self._node, self._pid)
        _log.info("owner_started", owner=self.name, epoch=self.epoch)

    async def run(self) -> None:
        """Turns for ever; returns by raising StaleEpoch when a newer incarnation exists."""
        if not self.epoch:
            await self.start()
        side_jobs = [
            asyncio.create_task(self._every(self._config.publish_every_s, self._publish)),
            asyncio.create_task(self._every(self._config.report_every_s, self._report)),
            asyncio.create_task(self._every(self._config.tidy_every_s, self._tidy)),
        ]
        try:
            while True:
                await self._wait_for_work()
                await self._turn(self._gather())
        finally:
            for job in side_jobs:
                job.cancel()
            self._stopped = True
            self._refuse_waiting()
            # Bounded: a client library may swallow the cancellation, and a stale owner must end.
            await asyncio.wait(side_jobs, timeout=_SIDE_JOBS_END_S)

    async def _wait_for_work(self) -> None:
        if self._mailbox:
            return
        self._arrived.clear()
        now = self._clocks.unix()
        next_expiry = self._watch.next_expiry
        timeout = None if next_expiry is None else max(0.0, next_expiry - now)
        try:
            async with asyncio.timeout(timeout):
                await self._arrived.wait()
        except TimeoutError:
            return

    def _gather(self) -> list[tuple[Sequence[Request], asyncio.Future[list[Answer]]]]:
        batch: list[tuple[Sequence[Request], asyncio.Future[list[Answer]]]] = []
        size = 0
        while self._mailbox and size < self._config.turn_max:
            batch.append(self._mailbox.popleft())
            size += len(batch[-1][0])
        self._queued -= size
        return batch

    async def _turn(
        self, batch: list[tuple[Sequence[Request], asyncio.Future[list[Answer]]]]
    ) -> None:
        requests = [request for call, _ in batch for request in call]
        try:
            answers = await self._decide_and_write(requests)
        except Unavailable as error:
            _log.warning("turn_not_written", owner=self.name, reason=str(error))
            answers = [Answer(ReserveStatus.UNAVAILABLE, 0)] * len(requests)
        except BaseException:
            for _, future in batch:
                if not future.done():
                    future.set_exception(Unavailable(f"owner {self.name} has stopped"))
            raise
        self.metrics.turn(len(requests))
        begin = 0
        for call, future in batch:
            end = begin + len(call)
            if not future.done():
                future.set_result(answers[begin:end])
            begin = end

    async def _decide_and_write(self, requests: list[Request]) -> list[Answer]:
        known: dict[bytes, int] = {}
        for _ in range(_ATTEMPTS_PER_TURN):
            expired = self._due()
            await self._load_missing(requests, expired)
            turn, answers = self._decide(requests, expired, known)
            if turn.empty:
                return answers
            try:
                committing = self._clocks.monotonic()
                closed = await self._journal.write_turn(turn)
            except (VersionConflict, DuplicateReservation) as conflict:
                self._forget(turn.pair_ids)
                _log.info("turn_decided_again", owner=self.name, reason=type(conflict).__name__)
                if isinstance(conflict, DuplicateReservation):
                    known = await self._settled_before(turn)
                continue
            except BaseException:
                # Whether it was written is not known: what is in memory may be wrong.
                self._forget(turn.pair_ids)
                raise
            self.metrics.commit(turn, self._clocks.monotonic() - committing)
            self._settle(turn, closed)
            return await self._with_closed(requests, answers, {one[0] for one in closed})
        raise Unavailable(f"the pairs of this turn changed {_ATTEMPTS_PER_TURN} times meanwhile")

    def _decide(
        self, requests: list[Request], expired: list[tuple[bytes, bytes]], known: dict[bytes, int]
    ) -> tuple[Turn, list[Answer]]:
        """Decide the whole turn. Nothing in here waits (house rule 11)."""
        now = self._clocks.unix()
        turn = Turn(self.name, self.epoch)
        taken: dict[bytes, int] = {}
        pairs = self._pairs
        answers: list[Answer] = []
        for request in requests:
            inventory_id = request.inventory_id
            pair = pairs.get(inventory_id)
            if isinstance(request, Release):
                if pair is None:
                    answers.append(Answer(ReleaseStatus.NOT_HELD, 0))
                    continue
                turn.released_ids.append(request.reservation_id)
                taken.setdefault(inventory_id, 0)
                answers.append(Answer(ReleaseStatus.RELEASED, pair.available))
                continue
            if pair is None:
                answers.append(Answer(ReserveStatus.UNKNOWN_PAIR, 0))
                continue
            if request.reservation_id in known:
                answers.append(Answer(known[request.reservation_id], pair.available))
                continue
            fresh = request.reservation_id not in pair.holds
            status = pair.reserve(request, now)
            if fresh and status == ReserveStatus.HELD:
                turn.reservation_ids.append(request.reservation_id)
                turn.order_ids.append(request.order_id)
                turn.reserved_pairs.append(inventory_id)
                turn.quantities.append(request.quantity)
                turn.expires_at.append(now + request.ttl_s)
                taken[inventory_id] = taken.get(inventory_id, 0) + request.quantity
            answers.append(Answer(status, pair.available))
        # Who releases what runs out in this very turn has released it, on a repeat too (P4).
        released = set(turn.released_ids) if expired else ()
        for reservation_id, inventory_id in expired:
            if reservation_id in released:
                continue
            turn.expired_ids.append(reservation_id)
            taken.setdefault(inventory_id, 0)
        for inventory_id, quantity in taken.items():
            turn.pair_ids.append(inventory_id)
            turn.pair_versions.append(pairs[inventory_id].version)
            turn.pair_taken.append(quantity)
        return turn, answers

    def _settle(self, turn: Turn, closed: Sequence[tuple[bytes, bytes, int]]) -> None:
        """The turn is written: bring memory to where the rows are."""
        pairs = self._pairs
        for inventory_id in turn.pair_ids:
            pairs[inventory_id].version += 1
            self._unpublished.add(inventory_id)
        now = self._clocks.monotonic()
        for position, reservation_id in enumerate(turn.reservation_ids):
            pair_id = turn.reserved_pairs[position]
            self._watch.add_fresh(turn.expires_at[position], reservation_id, pair_id, now)
        for reservation_id, inventory_id, quantity in closed:
            pair = pairs[inventory_id]
            pair.available += quantity
            pair.holds.pop(reservation_id, None)
        for inventory_id in turn.pair_ids:
            holds = pairs[inventory_id].holds
            # Asked to expire but allocated meanwhile: no longer ours to watch.
            for reservation_id in turn.expired_ids:
                holds.pop(reservation_id, None)

    async def _with_closed(
        self, requests: list[Request], answers: list[Answer], closed: set[bytes]
    ) -> list[Answer]:
        """A release that closed nothing was not held any more, or is the repeat of one that did."""
        unclear = [
            (position, request.reservation_id)
            for position, request in enumerate(requests)
            if isinstance(request, Release) and request.reservation_id not in closed
        ]
        if unclear:
            seen = await self._journal.find([reservation_id for _, reservation_id in unclear])
            for position, reservation_id in unclear:
                if reservation_id not in seen or seen[reservation_id][0] != "released":
                    available = answers[position].available
                    answers[position] = Answer(ReleaseStatus.NOT_HELD, available)
        return answers

    def _due(self) -> list[tuple[bytes, bytes]]:
        """(reservation_id, inventory_id) of holds whose time is over, a bounded number."""
        return self._watch.due(self._clocks.unix(), self._is_open, _EXPIRED_PER_TURN_MAX)

    def _is_open(self, watched: tuple[bytes, bytes]) -> bool:
        reservation_id, inventory_id = watched
        pair = self._pairs.get(inventory_id)
        return pair is not None and reservation_id in pair.holds

    async def _load_missing(
        self, requests: list[Request], expired: list[tuple[bytes, bytes]]
    ) -> None:
        pairs = self._pairs
        wanted = {r.inventory_id for r in requests if r.inventory_id not in pairs}
        wanted.update(inventory_id for _, inventory_id in expired if inventory_id not in pairs)
        if not wanted:
            return
        if len(pairs) + len(wanted) > self._config.pairs_max:
            self._make_room(len(wanted), {request.inventory_id for request in requests})
        missing = list(wanted)
        for begin in range(0, len(missing), self._config.load_max):
            for pair in await self._journal.load(missing[begin : begin + self._config.load_max]):
                pairs[pair.inventory_id] = pair
                self._unpublished.add(pair.inventory_id)
                for reservation_id, hold in pair.holds.items():
                    self._watch.add(hold.expires_at, reservation_id, pair.inventory_id)

    def _make_room(self, wanted: int, spared: set[bytes]) -> None:
        """Drop the pairs that were loaded first and hold nothing; they can be loaded again."""
        idle = [key for key, pair in self._pairs.items() if not pair.holds and key not in spared]
        for key in idle[: max(wanted, self._config.pairs_max // 10)]:
            del self._pairs[key]

    async def _settled_before(self, turn: Turn) -> dict[bytes, int]:
        """Answers for ids of the turn that are in the database already, or twice in the turn."""
        seen = await self._journal.find(turn.reservation_ids)
        content = {
            reservation_id: (inventory_id, order_id, quantity)
            for reservation_id, inventory_id, order_id, quantity in zip(
                turn.reservation_ids,
                turn.reserved_pairs,
                turn.order_ids,
                turn.quantities,
                strict=True,
            )
        }
        # An id that names two reservations within the turn names neither.
        twice = [one for one, count in Counter(turn.reservation_ids).items() if count > 1]
        answers: dict[bytes, int] = dict.fromkeys(twice, ReserveStatus.CONFLICT)
        for reservation_id, (status, inventory_id, hold) in seen.items():
            if (inventory_id, hold.order_id, hold.quantity) != content[reservation_id]:
                answers[reservation_id] = ReserveStatus.CONFLICT
            elif status in ("active", "allocated", "shipped"):
                answers[reservation_id] = ReserveStatus.HELD
            else:
                answers[reservation_id] = ReserveStatus.CLOSED
        return answers

    def _forget(self, inventory_ids: Sequence[bytes]) -> None:
        for inventory_id in inventory_ids:
            self._pairs.pop(inventory_id, None)

    def _refuse_waiting(self) -> None:
        while self._mailbox:
            _, future = self._mailbox.popleft()
            if not future.done():
                future.set_exception(Unavailable(f"owner {self.name} has stopped"))
        self._queued = 0

    async def _publish(self) -> None:
        ids, self._unpublished = self._unpublished, set()
        pairs = [self._pairs[one] for one in ids if one in self._pairs]
        try:
            await self._board.publish({(p.variant_id, p.inventory_id): p.available for p in pairs})
        except BaseException:
            self._unpublished |= ids
            raise

    async def _tidy(self) -> None:
        """Forget holds that Postgres has settled meanwhile; they can never open again."""
        moment = self._clocks.monotonic() - self._config.settled_after_s
        while old := self._watch.written_before(moment, self._config.load_max):
            seen = await self._journal.find([reservation_id for reservation_id, _ in old])
            for reservation_id, inventory_id in old:
                status = seen[reservation_id][0] if reservation_id in seen else "active"
                if status != "active" and inventory_id in self._pairs:
                    self._pairs[inventory_id].holds.pop(reservation_id, None)
        self._watch.compact(self._is_open)

    async def _report(self) -> None:
        figures = self.metrics.take(self._pairs, len(self._watch))
        about = {"node": self._node, "pid": self._pid, "epoch": self.epoch, "queue": self._queued}
        await self._metrics_board.publish("owners", self.name, {**about, **figures})

    async def _every(self, seconds: float, job: Callable[[], object]) -> None:
        """A side job that readers live from; when it fails, selling goes on."""
        while True:
            await asyncio.sleep(seconds)
            try:
                await job()  # type: ignore[misc]
            except Exception as error:
                _log.warning("side_job_failed", owner=self.name, reason=repr(error))


__all__ = ["OwnerClocks", "OwnerConfig", "StaleEpoch", "StockOwner"]
