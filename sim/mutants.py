"""Engines with one thing broken each: what proves that the simulator would notice.

A mutant replaces a method of the engine, or of the scripted database where the real one's
guarantee lives in SQL, for the length of a `with`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from unittest import mock

from actors.hold_watch import HoldWatch
from actors.settlement import INTERRUPTED, Settled, Settlement
from actors.stock_client import StockClient
from actors.stock_owner import StockOwner
from domain.orders import OpenOrder
from domain.stock import Answer, Closed, Hold, Pair, Request, Reserve, ReserveStatus
from domain.turn_log import TurnLog
from domain.turns import Instruction, Turn, TurnDecision
from sim.engine_rows import OrderRow
from sim.engine_tables import Tables, TurnWriting
from sim.scripted_database import DatabaseOfProcess

Patch = tuple[type, str, Any]
MUTANTS: dict[str, Callable[[], list[Patch]]] = {}


def _mutant(make: Callable[[], list[Patch]]) -> Callable[[], list[Patch]]:
    MUTANTS[make.__name__] = make
    return make


@contextlib.contextmanager
def mutated(name: str) -> Iterator[None]:
    """The engine as the mutant has it. KeyError for a name that is none."""
    with contextlib.ExitStack() as stack:
        for owner, method, replacement in MUTANTS[name]():
            stack.enter_context(mock.patch.object(owner, method, replacement))
        yield


@_mutant
def no_fence() -> list[Patch]:
    """An older generation may write."""
    return [(Tables, "fence", lambda *_: None)]


@_mutant
def reclaim_without_a_fence() -> list[Patch]:
    """Pairs are taken from an owner that is thought gone, and it may go on."""

    def reclaim(self: Tables, owner: str) -> list[bytes]:
        taken = [one for one, row in self.pairs.items() if row.owner_name == owner]
        for pair in taken:
            self.pairs[pair].owner_name = ""
        return taken

    return [(Tables, "reclaim", reclaim)]


@_mutant
def acknowledged_before_the_commit() -> list[Patch]:
    """The owner answers while its turn is still on its way."""
    write = DatabaseOfProcess.write_turn
    under_way: set[asyncio.Task[Any]] = set()

    async def write_turn(self: DatabaseOfProcess, turn: Turn) -> list[Closed]:
        task = asyncio.get_running_loop().create_task(write(self, turn))
        under_way.add(task)
        task.add_done_callback(
            lambda done: (under_way.discard(done), done.cancelled() or done.exception())
        )
        return []

    return [(DatabaseOfProcess, "write_turn", write_turn)]


@_mutant
def a_retry_has_another_id() -> list[Patch]:
    """The client repeats what it got no answer to, as something new."""
    call = StockClient._one_call  # pyright: ignore[reportPrivateUsage]
    seen: set[bytes] = set()

    async def one_call(
        self: StockClient, owner: str, requests: list[Request]
    ) -> list[Answer] | None:
        fresh: list[Request] = []
        for one in requests:
            if type(one) is not Reserve:
                fresh.append(one)
            elif one.reservation_id in seen:
                fresh.append(one._replace(reservation_id=b"new" + one.reservation_id[3:]))
            else:
                seen.add(one.reservation_id)
                fresh.append(one)
        return await call(self, owner, fresh)

    return [(StockClient, "_one_call", one_call)]


@_mutant
def no_answer_means_held() -> list[Patch]:
    """The client takes silence for consent."""
    ask = StockClient.ask

    async def hopeful(self: StockClient, requests: Sequence[Request]) -> list[Answer]:
        return [
            Answer(ReserveStatus.HELD, 0) if one.status == ReserveStatus.UNAVAILABLE else one
            for one in await ask(self, requests)
        ]

    return [(StockClient, "ask", hopeful)]


@_mutant
def elsewhere_is_passed_on() -> list[Patch]:
    """The client does not follow a pair to its new owner."""

    def follow(self: StockClient, request: Request, future: asyncio.Future[Answer]) -> None:
        future.set_result(Answer(ReserveStatus.ELSEWHERE, 0))

    return [(StockClient, "_follow", follow)]


@_mutant
def answers_in_another_order() -> list[Patch]:
    """Two callers of one turn get each other's answers."""
    decide = StockOwner._decide_and_write  # pyright: ignore[reportPrivateUsage]

    async def crossed(self: StockOwner, requests: list[Request]) -> list[Answer]:
        return (await decide(self, requests))[::-1]

    return [(StockOwner, "_decide_and_write", crossed)]


@_mutant
def pairs_kept_after_an_unclear_write() -> list[Patch]:
    """The owner goes on from memory, though it does not know what was written."""
    return [(StockOwner, "_forget", lambda *_: None)]


@_mutant
def holds_forgotten_on_loading() -> list[Patch]:
    """A restarted owner knows the row, and not the reservations that explain it."""
    take_in = StockOwner._take_in  # pyright: ignore[reportPrivateUsage]

    def without_holds(self: StockOwner, pair: Pair) -> None:
        pair.holds.clear()
        take_in(self, pair)

    return [(StockOwner, "_take_in", without_holds)]


@_mutant
def a_repeat_is_not_looked_up() -> list[Patch]:
    """The owner takes a repeat for a new request, and the database overwrites."""
    reserve = Pair.reserve

    def forgetful(self: Pair, request: Reserve, now: float) -> ReserveStatus:
        self.holds.pop(request.reservation_id, None)
        return reserve(self, request, now)

    insert = TurnWriting._insert  # pyright: ignore[reportPrivateUsage]

    def overwrite(self: TurnWriting) -> None:
        rows = self._tables.reservations  # pyright: ignore[reportPrivateUsage]
        for one in self._turn.reservation_ids:  # pyright: ignore[reportPrivateUsage]
            rows.pop(one, None)
        insert(self)

    return [(Pair, "reserve", forgetful), (TurnWriting, "_insert", overwrite)]


@_mutant
def handed_over_and_still_written() -> list[Patch]:
    """The old owner goes on with a pair that it has handed over."""

    def may_write(self: TurnWriting, row: Any, version: int) -> bool:
        return True

    forget = StockOwner._forget  # pyright: ignore[reportPrivateUsage]

    def keep_handed(self: StockOwner, ids: Sequence[bytes]) -> None:
        if len(ids) != 1:
            forget(self, ids)

    close = TurnDecision.close

    def no_elsewhere(self: TurnDecision, log: TurnLog, now: float) -> Turn:
        self._elsewhere.clear()  # pyright: ignore[reportPrivateUsage]
        return close(self, log, now)

    return [
        (TurnWriting, "_may_write", may_write),
        (StockOwner, "_forget", keep_handed),
        (TurnDecision, "close", no_elsewhere),
    ]


@_mutant
def given_back_twice() -> list[Patch]:
    """A release adds its units to the row once too often."""
    close = TurnWriting._close  # pyright: ignore[reportPrivateUsage]

    def twice(self: TurnWriting) -> list[Closed]:
        closed = close(self)
        return [*closed, *closed]

    return [(TurnWriting, "_close", twice)]


@_mutant
def released_whatever_its_state() -> list[Patch]:
    """A release takes back what is allocated."""
    return [(TurnWriting, "_may_close", lambda _, row: row.status in ("active", "allocated"))]


@_mutant
def expired_too_early() -> list[Patch]:
    """Holds run out half-way."""
    due = HoldWatch.due

    def hasty(self: HoldWatch, now: float, expires_at: Any, limit: int) -> Any:
        return due(self, now + 200.0, lambda one: _earlier(expires_at(one)), limit)

    def _earlier(until: float | None) -> float | None:
        return None if until is None else until - 200.0

    def expire(self: TurnDecision, due_: Sequence[tuple[bytes, bytes]]) -> None:
        for reservation_id, pair in due_:
            self.turn.expired_ids.append(reservation_id)
            self._touch(pair)  # pyright: ignore[reportPrivateUsage]

    return [(HoldWatch, "due", hasty), (TurnDecision, "expire", expire)]


@_mutant
def never_expired() -> list[Patch]:
    """Nobody gives back what was left lying."""
    return [
        (HoldWatch, "_push", lambda *_: None),
        (Tables, "abandoned", lambda *_: []),
    ]


@_mutant
def limits_counted_by_each_owner_alone() -> list[Patch]:
    """Two owners sell the same customer the same limited variant."""
    return [
        (Tables, "units_of", lambda *_: {}),
        (
            TurnWriting,
            "_count_units",
            _without_limits(TurnWriting._count_units),  # pyright: ignore[reportPrivateUsage]
        ),
    ]


def _without_limits(count: Callable[[TurnWriting, list[Closed]], None]) -> Any:
    def unlimited(self: TurnWriting, closed: list[Closed]) -> None:
        limits = self._turn.limits  # pyright: ignore[reportPrivateUsage]
        for customer, (units, _) in list(limits.items()):
            limits[customer] = (units, 10**9)
        count(self, closed)

    return unlimited


@_mutant
def a_movement_is_carried_out_again() -> list[Patch]:
    """A repeated delivery is received twice."""
    asked = Tables.instructions_of

    def always_pending(self: Tables, ids: Sequence[bytes]) -> dict[bytes, Instruction]:
        found = asked(self, ids)
        for one in found:
            self.instructions[one].status = "pending"
        return {one: row._replace(status="pending") for one, row in found.items()}

    return [(Tables, "instructions_of", always_pending)]


@_mutant
def confirmed_without_its_holds() -> list[Patch]:
    """An order is confirmed though its reservation has run out."""
    confirm = Tables.confirm

    def careless(self: Tables, order_id: bytes) -> str:
        status = confirm(self, order_id)
        if status == "not_held":
            self.orders[order_id].status = status = "confirmed"
        return status

    return [(Tables, "confirm", careless)]


@_mutant
def unwound_without_asking_the_provider() -> list[Patch]:
    """Recovery fails what stopped halfway, and somebody has paid for it."""

    async def settle(self: Settlement, order: OpenOrder) -> Settled:
        return await self._fail(order, INTERRUPTED, {})  # pyright: ignore[reportPrivateUsage]

    return [(Settlement, "settle", settle)]


@_mutant
def swept_before_its_time() -> list[Patch]:
    """The sweep gives back what is still being paid for."""
    abandoned = Tables.abandoned

    def hasty(self: Tables, orphaned_for_s: float, limit: int) -> list[tuple[bytes, bytes, bool]]:
        return abandoned(self, 1.0, limit)

    return [(Tables, "abandoned", hasty)]


@_mutant
def a_key_makes_a_second_order() -> list[Patch]:
    """The idempotency key is not unique."""

    def record(self: Tables, order_id: bytes, key: str, body: str, units: int) -> tuple[bytes, str]:
        self.orders.setdefault(order_id, OrderRow(key, body, units, self.unix()))
        return order_id, body

    return [(Tables, "record", record)]


@_mutant
def more_is_promised_than_there_is() -> list[Patch]:
    """The owner lets one unit too many go, and the database does not object."""

    def generous(self: Pair, request: Reserve, now: float) -> ReserveStatus:
        if request.reservation_id in self.holds or not 0 < request.quantity < 1_000:
            return (
                ReserveStatus.HELD
                if request.reservation_id in self.holds
                else ReserveStatus.INVALID
            )
        self.available -= request.quantity
        self.reserved += request.quantity
        self.holds[request.reservation_id] = Hold(request.order_id, request.quantity, now + 60.0)
        return ReserveStatus.HELD

    return [(Pair, "reserve", generous)]


@_mutant
def successor_without_the_log() -> list[Patch]:
    """A successor begins with the rows as it finds them, and forgets the log."""
    log_into_rows = Tables._log_into_rows  # pyright: ignore[reportPrivateUsage]

    def forget(self: Tables, owner: str, epoch: int) -> None:
        self.logged.pop(owner, None)
        log_into_rows(self, owner, epoch)

    return [(Tables, "_log_into_rows", forget)]


@_mutant
def taken_home_without_the_log() -> list[Patch]:
    """Pairs come home from an owner that is gone, without what only its log has."""
    reclaim = Tables.reclaim

    def rows_only(self: Tables, owner: str) -> list[bytes]:
        self.logged.pop(owner, None)
        return reclaim(self, owner)

    return [(Tables, "reclaim", rows_only)]


@_mutant
def loaded_without_the_log() -> list[Patch]:
    """A pair that is loaded again is taken to be what its row says."""
    return [(TurnLog, "take_in", lambda *_: None)]


@_mutant
def unsure_and_going_on() -> list[Patch]:
    """After a turn of which nobody knows whether it was written, the next is decided at once."""

    async def be_sure(self: StockOwner) -> None:
        self._unsure = False  # pyright: ignore[reportPrivateUsage]

    return [
        (StockOwner, "_be_sure", be_sure),
        (Tables, "follows", lambda *_: True),
    ]


@_mutant
def logged_twice() -> list[Patch]:
    """A row that is brought up to date leaves its entries in force."""
    written = TurnLog.written

    def forgetful(self: TurnLog, turn: Any, versions: list[int], now: float) -> None:
        rows, turn.pair_ids = turn.pair_ids, []
        written(self, turn, versions, now)
        turn.pair_ids = rows

    return [(TurnLog, "written", forgetful)]


@_mutant
def log_forgotten_too_early() -> list[Patch]:
    """The log is made shorter than the rows allow."""
    return [(TurnLog, "to_forget", lambda self: self.last_turn)]


@_mutant
def rows_left_behind() -> list[Patch]:
    """Nobody brings the rows up to date."""
    return [
        (TurnLog, "overdue", lambda *_: iter(())),
        (TurnLog, "due_in", lambda *_: None),
    ]


@_mutant
def numbers_of_its_own_only() -> list[Patch]:
    """An owner numbers its turns without a look at those of the owners before it."""
    return [(TurnLog, "next_number", lambda self: self.last_turn + 1)]
