"""The stock owner: the one place where a pair's reservations are decided.

A plain class around one loop. A turn: gather what has arrived, load the pairs that are not
known yet, decide everything in memory without an `await` in between (`domain.turns`), write the
turn in one transaction under the fence, answer. While a turn is being committed the next one
gathers.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field

import structlog

from actors.hold_watch import HoldWatch, Watched
from actors.mailbox import Call, Mailbox
from actors.owner_metrics import OwnerMetrics
from actors.second_look import look_again
from domain.board_ports import AvailabilityBoard, MetricsBoard
from domain.owners import Homes, owner_number
from domain.ports import (
    DuplicateReservation,
    LimitPassed,
    StaleEpoch,
    StockJournal,
    Unavailable,
    VersionConflict,
)
from domain.stock import (
    NOBODY,
    Answer,
    Closed,
    HandOver,
    Known,
    Load,
    Movement,
    Pair,
    Request,
    Reserve,
    ReserveStatus,
)
from domain.turn_log import LogBounds, TurnLog
from domain.turns import CustomerOfVariant, Instruction, Turn, TurnDecision

_log = structlog.get_logger(__name__)
_EXPIRED_PER_TURN_MAX = 1_000
_SIDE_JOBS_END_S = 1.0
_ATTEMPTS_PER_TURN = 3  # a version conflict or a repeated id costs one each
_PAUSE_AFTER_FAILURE_S = 0.05  # what is due is tried again at once; Postgres is not hammered


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnerConfig:
    """How an owner works."""

    turn_max: int = 2_048
    """Requests decided in one turn."""
    queue_max: int = 20_000
    """Requests waiting; beyond a fair part of it callers are told to come back."""
    pairs_max: int = 200_000
    """Pairs kept in memory; the first loaded without holds leave first."""
    publish_every_s: float = 0.1
    """How often availability is published for readers, at most; nothing changed, nothing is."""
    report_every_s: float = 1.0
    """How often the owner's own figures are published."""
    tidy_every_s: float = 1.0
    """How often settled holds are forgotten."""
    settled_after_s: float = 30.0
    """Age at which a hold is looked up; a checkout's repeats are over by then."""
    look_every_s: float = 1.0
    """How often the clock that reservations expire by is looked at: it may jump."""
    load_max: int = 1_000
    """Pairs loaded with one query."""
    log: LogBounds = field(default_factory=LogBounds)
    """How far the pairs' rows may be behind the turn log."""


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
        homes: Homes,
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
        self._homes = homes
        self._node = node
        self._pid = pid
        self._pairs: dict[bytes, Pair] = {}
        self._mailbox = Mailbox(self._config.queue_max, clocks.monotonic)
        self._stopped = False
        self._arrived = asyncio.Event()
        self._watch = HoldWatch()
        self._to_serve: dict[bytes, None] = {}
        self._lost: set[bytes] = set()  # pairs of turns that were not written; their holds are due
        self._unpublished: dict[bytes, None] = {}
        self._changed = asyncio.Event()
        self._log = TurnLog(self._config.log)
        self._limits_known = False  # whether a pair with a limit per customer was ever loaded
        self._unsure = False  # whether the last turn was written
        self.metrics = OwnerMetrics(clocks.monotonic)

    async def call(self, requests: Sequence[Request], caller: Hashable = None) -> list[Answer]:
        """Answer every request, in order, after its turn is in Postgres (P3).

        `caller` is whose queue they wait in. Raises Unavailable when the owner has stopped: it
        was decided or not, ask its successor.
        """
        if self._stopped:
            raise Unavailable(f"owner {self.name} has stopped")
        future: asyncio.Future[list[Answer]] = asyncio.get_running_loop().create_future()
        if not self._mailbox.put(caller, Call(requests, future)):
            busy = Answer(ReserveStatus.BUSY, self._mailbox.retry_after_ms)
            return [busy] * len(requests)
        self._arrived.set()
        return await future

    async def start(self) -> None:
        """Begin a new generation: from here on, older incarnations cannot write (P5)."""
        self.epoch = await self._journal.raise_epoch(
            self.name, self._node, self._pid, pool_size=len(self._homes.owners)
        )
        self._unsure = True  # what its predecessor logged is not in the rows yet
        _log.info("owner_started", owner=self.name, epoch=self.epoch)

    async def run(self) -> None:
        """Turns for ever; returns by raising StaleEpoch when a newer incarnation exists."""
        if not self.epoch:
            await self.start()
        side_jobs = [
            asyncio.create_task(self._publish_changes()),
            asyncio.create_task(self._every(self._config.report_every_s, self._report)),
            asyncio.create_task(self._every(self._config.tidy_every_s, self._tidy)),
        ]
        try:
            while True:
                await self._wait_for_work()
                await self._turn(self._mailbox.take(self._config.turn_max))
        finally:
            for job in side_jobs:
                job.cancel()
            self._stopped = True
            self._refuse(self._mailbox.clear())
            # Bounded: a client library may swallow the cancellation, and a stale owner must end.
            await asyncio.wait(side_jobs, timeout=_SIDE_JOBS_END_S)

    async def _wait_for_work(self) -> None:
        while not self._mailbox and not self._to_serve:
            next_expiry = self._watch.next_expiry
            wait_s = self._log.due_in(self._clocks.monotonic())
            if next_expiry is not None:
                until_expiry_s = next_expiry - self._clocks.unix()
                until_expiry_s = min(until_expiry_s, self._config.look_every_s)
                wait_s = until_expiry_s if wait_s is None else min(wait_s, until_expiry_s)
            if self._unsure or (wait_s is not None and wait_s <= 0):
                return
            self._arrived.clear()
            try:
                async with asyncio.timeout(wait_s):
                    await self._arrived.wait()
            except TimeoutError:
                continue

    async def _turn(self, calls: list[Call]) -> None:
        requests = [request for call in calls for request in call.requests]
        try:
            answers = await self._decide_and_write(requests)
        except Unavailable as error:
            _log.warning("turn_not_written", owner=self.name, reason=str(error))
            await asyncio.sleep(_PAUSE_AFTER_FAILURE_S)
            answers = [Answer(ReserveStatus.UNAVAILABLE, 0)] * len(requests)
        except BaseException:
            self._refuse(calls)
            raise
        self.metrics.turn(requests)
        begin = 0
        for call in calls:
            end = begin + len(call.requests)
            if not call.answered.done():
                call.answered.set_result(answers[begin:end])
            begin = end

    async def _decide_and_write(self, requests: list[Request]) -> list[Answer]:
        await self._be_sure()
        self._lose([one.inventory_id for one in requests if type(one) is Load])
        known: dict[bytes, Known | None] = {}
        for _ in range(_ATTEMPTS_PER_TURN):
            now = self._clocks.unix()
            due = self._watch.due(now, self._expires_at, _EXPIRED_PER_TURN_MAX)
            try:
                elsewhere = await self._load_missing(requests, due)
                decision = await self._prepare(requests, elsewhere, known, now)
            except BaseException:
                self._watch.put_back(due)
                raise
            to_serve, self._to_serve = self._to_serve, {}
            # From here to the turn's end nothing waits.
            decision.serve(to_serve)
            answers = decision.answer(requests)
            decision.expire(due)
            turn = decision.close(self._log, self._clocks.monotonic())
            if turn.empty:
                return await self._look_again(requests, answers, None)
            try:
                committing = self._clocks.monotonic()
                closed = await self._journal.write_turn(turn)
            except (VersionConflict, LimitPassed, DuplicateReservation) as conflict:
                self._take_back(turn, due, to_serve)
                self._unsure = isinstance(conflict, VersionConflict)
                _log.info("turn_decided_again", owner=self.name, reason=type(conflict).__name__)
                if isinstance(conflict, DuplicateReservation):
                    known |= await self._settled_before(turn)
                await self._be_sure()
                continue
            except BaseException:
                # Whether it was written is not known: what is in memory may be wrong.
                self._unsure = True
                self._take_back(turn, due, to_serve)
                raise
            self.metrics.commit(turn, self._clocks.monotonic() - committing)
            self._settle(turn, closed)
            return await self._look_again(requests, answers, {one[0] for one in closed})
        raise Unavailable(f"the pairs of this turn changed {_ATTEMPTS_PER_TURN} times meanwhile")

    async def _be_sure(self) -> None:
        """Have all rows up to date, and make a turn of which nothing is known impossible, if it
        was not written: no later one may be decided before that."""
        if not self._unsure:
            return
        number = await self._journal.checkpoint(self.name, self.epoch)
        self._lose(self._log.begin(number))
        self._unsure = False

    async def _prepare(
        self,
        requests: list[Request],
        elsewhere: dict[bytes, int],
        known: dict[bytes, Known | None],
        due_at: float,
    ) -> TurnDecision:
        """A decision with all that it needs to know at hand."""
        units: dict[CustomerOfVariant, int] = {}
        instructions: dict[bytes, Instruction] = {}
        if limited := self._limited(requests):
            units = await self._journal.units_of(limited)
        movements = [one.movement_id for one in requests if type(one) is Movement]
        if movements:
            instructions = await self._journal.instructions(movements)
        handed = [one.inventory_id for one in requests if type(one) is HandOver]
        return TurnDecision(
            Turn(self.name, self.epoch),
            now=max(due_at, self._clocks.unix()),  # what is due stays due if the clock jumps
            pairs=self._pairs,
            elsewhere=elsewhere,
            home_of={one: self._homes.home_of(one) for one in handed},
            known=known,
            units=units,
            instructions=instructions,
        )

    def _limited(self, requests: list[Request]) -> list[CustomerOfVariant]:
        """The customers of this turn whose units count, each once."""
        if not self._limits_known:
            return []
        found: dict[CustomerOfVariant, None] = {}
        for request in requests:
            pair = self._pairs.get(request.inventory_id)
            if pair is None or not pair.policy.customer_max or type(request) is not Reserve:
                continue
            if request.customer_id != NOBODY:
                found[pair.variant_id, request.customer_id] = None
        return list(found)

    def _settle(self, turn: Turn, closed: Sequence[Closed]) -> None:
        """The turn is written: bring memory to where the rows are."""
        pairs = self._pairs
        now = self._clocks.monotonic()
        self._log.written(turn, [pairs[one].version for one in turn.logged_ids], now)
        for inventory_id in turn.pair_ids:
            if inventory_id in pairs:  # else it only was late
                pairs[inventory_id].version += 1
                self._unpublished[inventory_id] = None
        self._unpublished |= dict.fromkeys(turn.logged_ids)
        self._watch.add_written(
            zip(turn.expires_at, turn.reservation_ids, turn.reserved_pairs, strict=True), now
        )
        for reservation_id, inventory_id, quantity, backordered in closed:
            pair = pairs.get(inventory_id)
            if pair is None:
                continue  # released under another pair's name: the rows know
            pair.holds.pop(reservation_id, None)
            if backordered:
                pair.stop_waiting(reservation_id)
            else:
                pair.available += quantity
                pair.reserved -= quantity
            if pair.waiting:
                self._to_serve[inventory_id] = None
        if turn.expired_ids:
            # Asked to expire but allocated meanwhile: no longer ours to watch.
            for inventory_id in turn.pair_ids:
                holds = pairs[inventory_id].holds if inventory_id in pairs else {}
                for reservation_id in turn.expired_ids if holds else ():
                    holds.pop(reservation_id, None)
        if turn.extensions:
            self._watch_extended(turn)
        self._forget(list(turn.handed_to))
        self._changed.set()

    def _watch_extended(self, turn: Turn) -> None:
        extended = {reservation_id: until for reservation_id, _, until in turn.extensions}
        for inventory_id in turn.pair_ids:
            pair = self._pairs.get(inventory_id)
            for reservation_id in pair.holds.keys() & extended.keys() if pair else ():
                self._watch.add(extended[reservation_id], reservation_id, inventory_id)

    async def _look_again(
        self, requests: list[Request], answers: list[Answer], closed: set[bytes] | None
    ) -> list[Answer]:
        return await look_again(
            self._journal, requests, answers, closed=closed, owner=self.name, epoch=self.epoch
        )

    def _expires_at(self, watched: Watched) -> float | None:
        """When a hold that is still open runs out; of a pair that a turn lost, it is time to look."""
        reservation_id, inventory_id = watched
        pair = self._pairs.get(inventory_id)
        if pair is None:
            return 0.0 if inventory_id in self._lost else None
        held = pair.holds.get(reservation_id)
        return held.expires_at if held is not None else None

    async def _load_missing(self, requests: list[Request], due: list[Watched]) -> dict[bytes, int]:
        """Load what the turn needs; the number of the owner of each pair that has another."""
        pairs = self._pairs
        wanted = {one.inventory_id: None for one in requests if one.inventory_id not in pairs}
        # Pairs whose turn could not be written are not in memory, and nobody may ask for them.
        wanted |= {inventory_id: None for _, inventory_id in due if inventory_id not in pairs}
        wanted |= {one: None for one in self._to_serve if one not in pairs}
        if not wanted:
            return {}
        if len(pairs) + len(wanted) > self._config.pairs_max:
            spared = {request.inventory_id for request in requests}
            self._make_room(len(wanted), spared | self._to_serve.keys())
        elsewhere: dict[bytes, int] = {}
        missing = list(wanted)
        for begin in range(0, len(missing), self._config.load_max):
            loaded = await self._journal.load(missing[begin : begin + self._config.load_max])
            self._lost.difference_update(missing[begin : begin + self._config.load_max])
            for pair in loaded:
                owner = pair.owner or self._homes.home_of(pair.inventory_id)
                if owner == self.name:
                    self._take_in(pair)
                else:
                    elsewhere[pair.inventory_id] = owner_number(owner)
        return elsewhere

    def _take_in(self, pair: Pair) -> None:
        self._log.take_in(pair)
        self._limits_known = self._limits_known or bool(pair.policy.customer_max)
        self._pairs[pair.inventory_id] = pair
        self._unpublished[pair.inventory_id] = None
        for reservation_id, hold in pair.holds.items():
            self._watch.add(hold.expires_at, reservation_id, pair.inventory_id)
        if pair.waiting:
            self._to_serve[pair.inventory_id] = None
        self._changed.set()

    def _make_room(self, wanted: int, spared: set[bytes]) -> None:
        """Drop the pairs that were loaded first and hold nothing; they can be loaded again."""
        idle = [key for key, pair in self._pairs.items() if not pair.holds and key not in spared]
        for key in idle[: max(wanted, self._config.pairs_max // 10)]:
            del self._pairs[key]

    async def _settled_before(self, turn: Turn) -> dict[bytes, Known | None]:
        """What the database has of the turn's ids; None for those that are twice in the turn."""
        # An id that names two reservations within the turn names neither.
        twice = [one for one, count in Counter(turn.reservation_ids).items() if count > 1]
        return dict.fromkeys(twice) | await self._journal.find(turn.reservation_ids)

    def _take_back(self, turn: Turn, due: list[Watched], to_serve: dict[bytes, None]) -> None:
        """The turn is not written: forget what it did, and what had to be done is to be done."""
        self._lose(turn.pair_ids)
        self._lose(turn.logged_ids)
        self._watch.put_back(due)
        self._to_serve = to_serve | self._to_serve

    def _lose(self, inventory_ids: Sequence[bytes]) -> None:
        """Forget pairs whose rows are not what memory has; their holds are watched on."""
        self._forget(inventory_ids)
        self._lost.update(inventory_ids)

    def _forget(self, inventory_ids: Sequence[bytes]) -> None:
        for inventory_id in inventory_ids:
            self._pairs.pop(inventory_id, None)

    def _refuse(self, calls: list[Call]) -> None:
        for call in calls:
            if not call.answered.done():
                call.answered.set_exception(Unavailable(f"owner {self.name} has stopped"))

    async def _publish_changes(self) -> None:
        """Tell readers, when there is something to tell and not too often."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            await self._carry_out(self._publish)
            await asyncio.sleep(self._config.publish_every_s)

    async def _publish(self) -> None:
        ids, self._unpublished = self._unpublished, {}
        pairs = [self._pairs[one] for one in ids if one in self._pairs]
        try:
            await self._board.publish({(p.variant_id, p.inventory_id): p.sellable for p in pairs})
        except BaseException:
            self._unpublished = ids | self._unpublished
            self._changed.set()
            raise

    async def _tidy(self) -> None:
        """Forget holds that Postgres has settled meanwhile; they can never open again."""
        moment = self._clocks.monotonic() - self._config.settled_after_s
        while old := self._watch.written_before(moment, self._config.load_max):
            ids = [reservation_id for group in old for reservation_id, _ in group.members]
            settled = set(await self._journal.settled(ids))
            for group in old:
                for reservation_id, inventory_id in group.members if settled else ():
                    if reservation_id in settled and inventory_id in self._pairs:
                        self._pairs[inventory_id].holds.pop(reservation_id, None)
                self._watch.drop(group, settled)
        self._watch.compact(self._expires_at)

    async def _report(self) -> None:
        figures = self.metrics.take(self._pairs, len(self._watch))
        about = {"node": self._node, "pid": self._pid, "epoch": self.epoch}
        about["queue"] = self._mailbox.queued
        await self._metrics_board.publish("owners", self.name, {**about, **figures})

    async def _every(self, seconds: float, job: Callable[[], object]) -> None:
        while True:
            await asyncio.sleep(seconds)
            await self._carry_out(job)

    async def _carry_out(self, job: Callable[[], object]) -> None:
        """A side job that readers live from; when it fails, selling goes on."""
        try:
            await job()  # type: ignore[misc]
        except Exception as error:
            _log.warning("side_job_failed", owner=self.name, reason=repr(error))


__all__ = ["OwnerClocks", "OwnerConfig", "StaleEpoch", "StockOwner"]
