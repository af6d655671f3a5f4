from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from actors.routing import Routing
from actors.stock_client import LocalTransport, StockClient, StockClientConfig
from domain.owners import pool_names
from domain.ports import Unavailable
from domain.stock import Answer, Release, ReleaseStatus, Reserve, ReserveStatus
from tests.actors.memory import Clock, Fault, MemoryJournal
from tests.actors.owners import a_pair, an_owner, new_id, release, reserve, running

pytestmark = pytest.mark.asyncio
ONE = Routing(("pool-0",))
HELD = Answer(ReserveStatus.HELD, 1)


class _Owners:
    """Owners that do as they are told; `script` gives each call's answers or raises."""

    def __init__(self, script: Callable[[int, str, list[Any]], Any] | None = None) -> None:
        self.calls: list[tuple[str, list[Reserve | Release]]] = []
        self._script = script

    async def call(self, owner: str, requests: list[Reserve | Release]) -> list[Answer]:
        self.calls.append((owner, requests))
        if self._script is None:
            return [HELD] * len(requests)
        answer = self._script(len(self.calls), owner, requests)
        return await answer if asyncio.iscoroutine(answer) else answer


def _client(transport: Any, routing: Routing = ONE, **config: Any) -> StockClient:
    quick = {"retry_first_s": 0.0001, "retry_max_s": 0.0002, **config}
    clock = config.pop("clock", None) or Clock()
    quick.pop("clock", None)
    return StockClient(transport, routing, monotonic=clock.unix, config=StockClientConfig(**quick))


async def test_many_callers_are_few_calls() -> None:
    journal = MemoryJournal(Clock().unix)
    owner, pair = an_owner(journal), a_pair(journal, 150)
    client = _client(LocalTransport({"pool-0": owner}))
    async with running(owner):
        answers = await asyncio.gather(*[client.reserve([reserve(pair)]) for _ in range(200)])
        held = [answer for [answer] in answers if answer.status == ReserveStatus.HELD]
    assert len(held) == 150
    assert journal.rows[pair].quantity == 0
    assert len(journal.turns) < 5


async def test_answers_keep_the_order_of_the_requests() -> None:
    owners = _Owners(lambda _n, _o, requests: [Answer(0, r.quantity) for r in requests])
    routing = Routing(pool_names(4))
    requests = [reserve(new_id(), n) for n in range(1, 50)]
    answers = await _client(owners, routing).reserve(requests)
    assert [answer.available for answer in answers] == list(range(1, 50))
    assert len({owner for owner, _ in owners.calls}) == 4
    for owner, sent in owners.calls:
        assert {routing.owner_of(one.inventory_id) for one in sent} == {owner}


async def test_a_batch_is_bounded() -> None:
    owners = _Owners()
    client = _client(owners, batch_max=8)
    await client.reserve([reserve(new_id()) for _ in range(30)])
    assert [len(sent) for _, sent in owners.calls] == [8, 8, 8, 6]


@pytest.mark.parametrize("failure", ["raises", "answers"])
async def test_what_is_not_decided_is_repeated_with_the_same_ids(failure: str) -> None:
    first, second = reserve(new_id()), reserve(new_id())

    def script(call: int, _: str, requests: list[Any]) -> list[Answer]:
        if call <= 2 and failure == "raises":
            raise Unavailable("away")
        if call <= 2:
            return (
                [HELD, *[Answer(ReserveStatus.UNAVAILABLE, 0)] * (len(requests) - 1)][
                    -len(requests) :
                ]
                if call == 1
                else [Answer(ReserveStatus.UNAVAILABLE, 0)] * len(requests)
            )
        return [HELD] * len(requests)

    owners = _Owners(script)
    assert await _client(owners).reserve([first, second]) == [HELD, HELD]
    # What was decided is not asked again.
    again = [second] if failure == "answers" else [first, second]
    assert [sent for _, sent in owners.calls] == [[first, second], again, again]


async def test_an_owner_that_does_not_answer_in_time_is_asked_again() -> None:
    def script(call: int, _: str, requests: list[Any]) -> Any:
        return asyncio.Event().wait() if call == 1 else [HELD] * len(requests)

    owners = _Owners(script)
    assert await _client(owners, call_timeout_s=0.001).reserve([reserve(new_id())]) == [HELD]
    assert owners.calls[0] == owners.calls[1]


async def test_at_the_deadline_the_outcome_is_unknown() -> None:
    clock = Clock()

    def script(_call: int, _owner: str, _requests: list[Any]) -> list[Answer]:
        clock.advance(3)
        raise Unavailable("away")

    owners = _Owners(script)
    client = _client(owners, clock=clock, deadline_s=8)
    [answer] = await client.release([Release(new_id(), new_id())])
    assert answer.status == ReleaseStatus.UNAVAILABLE
    assert len(owners.calls) == 3


async def test_over_its_bound_the_client_is_busy_at_once() -> None:
    go = asyncio.Event()

    async def wait(requests: list[Any]) -> list[Answer]:
        await go.wait()
        return [HELD] * len(requests)

    owners = _Owners(lambda _c, _o, requests: wait(requests))
    client = _client(owners, queue_max=5, batch_max=1, calls_in_flight_max=1)
    futures = [client.submit(reserve(new_id())) for _ in range(6)]
    assert futures[5].done()
    assert (await futures[5]).status == ReserveStatus.BUSY
    assert client.queued == 5
    go.set()
    assert await asyncio.gather(*futures[:5]) == [HELD] * 5
    assert client.queued == 0


async def test_busy_is_an_answer_and_not_repeated() -> None:
    owners = _Owners(lambda _c, _o, requests: [Answer(ReserveStatus.BUSY, 0)] * len(requests))
    [answer] = await _client(owners).reserve([reserve(new_id())])
    assert answer.status == ReserveStatus.BUSY
    assert len(owners.calls) == 1


async def test_a_lane_that_is_stuck_does_not_hold_up_the_others() -> None:
    routing = Routing(("slow", "quick"))
    by_owner: dict[str, Reserve] = {}
    while len(by_owner) < 2:
        request = reserve(new_id())
        by_owner[routing.owner_of(request.inventory_id)] = request
    go = asyncio.Event()

    async def answer(owner: str, requests: list[Any]) -> list[Answer]:
        if owner == "slow":
            await go.wait()
        return [HELD] * len(requests)

    client = _client(_Owners(lambda _c, owner, requests: answer(owner, requests)), routing)
    stuck = client.submit(by_owner["slow"])
    assert await client.submit(by_owner["quick"]) == HELD
    assert not stuck.done()
    go.set()
    assert await stuck == HELD


async def test_a_lost_answer_holds_once() -> None:
    """The whole way: the turn commits, its answer is lost, the client repeats."""
    journal = MemoryJournal(Clock().unix)
    owner, pair = an_owner(journal), a_pair(journal, 5)
    client = _client(LocalTransport({"pool-0": owner}))
    held = reserve(pair, 2)
    async with running(owner):
        journal.faults.plan("write_turn", Fault.AFTER, Fault.BEFORE)
        assert await client.reserve([held]) == [(ReserveStatus.HELD, 3)]
        journal.faults.plan("write_turn", Fault.AFTER)
        assert (await client.release([release(held)]))[0].status == ReleaseStatus.RELEASED
    assert journal.rows[pair].quantity == 5


async def test_taking_an_owner_away_moves_only_its_own_pairs() -> None:
    pairs = [new_id() for _ in range(300)]
    before, after = Routing(pool_names(4)), Routing(pool_names(3))
    for pair in pairs:
        owner = before.owner_of(pair)
        assert owner == "pool-3" or after.owner_of(pair) == owner
    counts = [sum(before.owner_of(one) == name for one in pairs) for name in pool_names(4)]
    assert min(counts) > 40
    with pytest.raises(ValueError, match="at least one owner"):
        Routing(())
