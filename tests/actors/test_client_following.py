"""How the client finds a pair that has moved, and what it says when it does not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from actors.routing import Routing
from actors.stock_client import StockClient, StockClientConfig
from domain.owners import owner_number, pool_names
from domain.ports import Unavailable
from domain.stock import Answer, Request, Reserve, ReserveStatus
from tests.actors.memory import Clock
from tests.actors.owners import new_id, reserve

pytestmark = pytest.mark.asyncio
HELD = Answer(ReserveStatus.HELD, 1)
BUSY = Answer(ReserveStatus.BUSY, 70)
UNAVAILABLE = Answer(ReserveStatus.UNAVAILABLE, 0)
HOME, HOT, OTHER = "pool-0", "hot-0", "hot-1"


def at(owner: str) -> Answer:
    """The pair is with that owner."""
    return Answer(ReserveStatus.ELSEWHERE, owner_number(owner))


class Owners:
    """What each owner says to whatever it is asked, one after the other; the last for ever.

    An exception is raised; a call takes `seconds` of the clock.
    """

    def __init__(self, clock: Clock, **says: list[Answer | Exception]) -> None:
        self.calls: list[tuple[str, list[Request]]] = []
        self.seconds = 0.0
        self._clock = clock
        self._says = {name.replace("_", "-"): answers for name, answers in says.items()}

    async def call(self, owner: str, requests: list[Request]) -> list[Answer]:
        self.calls.append((owner, list(requests)))
        self._clock.advance(self.seconds)
        says = self._says[owner]
        answer = says.pop(0) if len(says) > 1 else says[0]
        await asyncio.sleep(0)
        if isinstance(answer, Exception):
            raise answer
        return [answer] * len(requests)

    @property
    def asked(self) -> list[str]:
        """Who was asked, in order."""
        return [owner for owner, _ in self.calls]


def a_client(
    owners: Any, clock: Clock, routing: Routing | None = None, **config: Any
) -> StockClient:
    """A client that is quick to repeat."""
    quick = {"retry_first_s": 0.0001, "retry_max_s": 0.0002, **config}
    return StockClient(
        owners,
        routing or Routing((HOME,)),
        monotonic=clock.unix,
        config=StockClientConfig(**quick),
    )


async def test_a_pair_that_moved_is_followed_with_the_same_ids_and_found_at_once_next_time() -> (
    None
):
    clock = Clock()
    owners = Owners(clock, pool_0=[at(HOT)], hot_0=[HELD])
    client, pair = a_client(owners, clock), new_id()
    first, second = reserve(pair), reserve(pair)
    assert await client.reserve([first]) == [HELD]
    assert owners.calls == [(HOME, [first]), (HOT, [first])]
    assert await client.reserve([second]) == [HELD]
    assert owners.calls[2:] == [(HOT, [second])]


async def test_a_pair_that_came_home_is_found_there() -> None:
    clock = Clock()
    routing, pair = Routing((HOME,)), new_id()
    routing.learn(pair, owner_number(HOT))
    owners = Owners(clock, pool_0=[HELD], hot_0=[at(HOME)])
    client = a_client(owners, clock, routing)
    assert await client.reserve([reserve(pair)]) == [HELD]
    assert routing.owner_of(pair) == HOME
    assert await client.reserve([reserve(pair)]) == [HELD]
    assert owners.asked == [HOT, HOME, HOME]


async def test_of_one_call_only_what_moved_is_followed() -> None:
    clock, moved = Clock(), new_id()

    class Half(Owners):
        async def call(self, owner: str, requests: list[Request]) -> list[Answer]:
            self.calls.append((owner, list(requests)))
            away = owner == HOME
            return [at(HOT) if away and r.inventory_id == moved else HELD for r in requests]

    owners = Half(clock)
    stays, goes = reserve(new_id()), reserve(moved)
    assert await a_client(owners, clock).reserve([stays, goes, stays]) == [HELD] * 3
    assert owners.calls == [(HOME, [stays, goes, stays]), (HOT, [goes])]


async def test_two_owners_that_point_at_each_other_end_at_the_deadline_without_a_hot_loop() -> None:
    clock = Clock()
    owners = Owners(clock, hot_0=[at(OTHER)], hot_1=[at(HOT)], pool_0=[at(HOT)])
    owners.seconds = 0.05
    client = a_client(owners, clock, deadline_s=2.0)
    assert await client.reserve([reserve(new_id())]) == [UNAVAILABLE]
    assert 3 < len(owners.calls) <= 2.0 / 0.05 + 2
    assert client.queued == 0


async def test_following_is_paced_after_the_first_moves(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    owners = Owners(clock, hot_0=[at(OTHER)], hot_1=[at(HOT)], pool_0=[at(HOT)])
    pauses: list[float] = []
    loop = asyncio.get_running_loop()

    def call_later(delay: float, what: Callable[..., Any], *args: Any) -> Any:
        pauses.append(delay)
        clock.advance(delay)
        return loop.call_soon(what, *args)

    monkeypatch.setattr(loop, "call_later", call_later)
    client = a_client(owners, clock, deadline_s=8.0, call_timeout_s=1e6)
    client._config = StockClientConfig()  # pyright: ignore[reportPrivateUsage]
    assert await client.reserve([reserve(new_id())]) == [UNAVAILABLE]
    paces = [one for one in pauses if one < 1.0]  # not the timeouts of the calls
    assert paces[:6] == pytest.approx([0.02, 0.04, 0.08, 0.16, 0.32, 0.5])
    assert max(paces) == 0.5
    assert len(owners.calls) <= 3 + len(paces) + 1


async def test_a_dedicated_owner_that_is_gone_is_forgotten_and_its_pairs_homes_are_asked() -> None:
    clock, routing = Clock(), Routing(pool_names(2))
    pairs: dict[str, bytes] = {}
    while len(pairs) < 2:
        pair = new_id()
        pairs[routing.owner_of(pair)] = pair
    for pair in pairs.values():
        routing.learn(pair, owner_number(HOT))
    owners = Owners(clock, hot_0=[Unavailable("gone")], pool_0=[HELD], pool_1=[HELD])
    requests = [reserve(pair) for pair in pairs.values()]
    assert await a_client(owners, clock, routing).reserve(requests) == [HELD] * 2
    assert sorted(owners.asked) == [HOT, "pool-0", "pool-1"]
    assert {routing.owner_of(pair) for pair in pairs.values()} == set(pool_names(2))


async def test_a_dedicated_owner_that_is_away_but_has_its_pairs_is_asked_until_it_is_back() -> None:
    clock = Clock()
    gone = Unavailable("starting")
    owners = Owners(clock, pool_0=[at(HOT)], hot_0=[gone, gone, gone, HELD])
    asked = reserve(new_id())
    assert await a_client(owners, clock).reserve([asked]) == [HELD]
    assert owners.asked == [HOME, HOT] * 4
    assert all(sent == [asked] for _, sent in owners.calls)


@pytest.mark.parametrize("lost", ["the call", "the turn"])
async def test_busy_is_no_answer_to_what_may_have_been_decided(lost: str) -> None:
    """BUSY says that nothing was done. Whoever believes it gives nothing back."""
    clock = Clock()
    first = Unavailable("no answer") if lost == "the call" else UNAVAILABLE
    owners = Owners(clock, pool_0=[first, BUSY, BUSY, HELD])
    assert await a_client(owners, clock).reserve([reserve(new_id())]) == [HELD]
    assert len(owners.calls) == 4
    for_ever = Owners(clock, pool_0=[first, BUSY])
    for_ever.seconds = 1.0
    assert await a_client(for_ever, clock).reserve([reserve(new_id())]) == [UNAVAILABLE]


@pytest.mark.parametrize("first", ["lost", "undecided"])
async def test_nor_is_it_where_the_pair_has_gone_since(first: str) -> None:
    clock, routing, pair = Clock(), Routing((HOME,)), new_id()
    routing.learn(pair, owner_number(HOT))
    hot: list[Answer | Exception] = (
        [Unavailable("gone")] if first == "lost" else [UNAVAILABLE, at(HOME)]
    )
    owners = Owners(clock, hot_0=hot, pool_0=[BUSY])
    owners.seconds = 1.0
    client = a_client(owners, clock, routing)
    assert await client.reserve([reserve(pair)]) == [UNAVAILABLE]
    await asyncio.sleep(0)  # the callbacks of what was answered
    assert client._unsure == set()  # pyright: ignore[reportPrivateUsage]


async def test_busy_at_once_is_an_answer_there_too() -> None:
    clock = Clock()
    owners = Owners(clock, pool_0=[at(HOT)], hot_0=[BUSY])
    assert await a_client(owners, clock).reserve([reserve(new_id())]) == [BUSY]
    assert owners.asked == [HOME, HOT]


@pytest.mark.parametrize("gone", [False, True])
async def test_where_the_next_owners_lane_is_full_following_ends_there(gone: bool) -> None:
    """BUSY if nothing was done; of an unreachable owner nobody knows."""
    clock, routing, go = Clock(), Routing((HOME,)), asyncio.Event()
    moved, other = new_id(), new_id()
    source, target = (HOT, HOME) if gone else (HOME, HOT)
    routing.learn(moved, owner_number(source))
    routing.learn(other, owner_number(target))

    class Stuck(Owners):
        async def call(self, owner: str, requests: list[Request]) -> list[Answer]:
            if owner == target:
                await go.wait()
                return [HELD] * len(requests)
            return await super().call(owner, requests)

    said: list[Answer | Exception] = [Unavailable("gone") if gone else at(target)]
    owners = Stuck(clock, **{source.replace("-", "_"): said})
    client = a_client(owners, clock, routing, queue_max=1, batch_max=1, calls_in_flight_max=1)
    under_way = client.submit(reserve(other))
    await asyncio.sleep(0)
    waiting = client.submit(reserve(other))
    status = (await client.submit(reserve(moved))).status
    assert status == (ReserveStatus.UNAVAILABLE if gone else ReserveStatus.BUSY)
    go.set()
    assert await asyncio.gather(under_way, waiting) == [HELD] * 2
    await asyncio.sleep(0)  # the callbacks of what was answered
    assert client._unsure == set()  # pyright: ignore[reportPrivateUsage]


async def test_who_hung_up_is_not_followed() -> None:
    clock, routing, go = Clock(), Routing((HOME,)), asyncio.Event()
    pair = new_id()
    routing.learn(pair, owner_number(HOT))

    class Slow(Owners):
        async def call(self, owner: str, requests: list[Request]) -> list[Answer]:
            await go.wait()
            return await super().call(owner, requests)

    owners = Slow(clock, hot_0=[Unavailable("gone")], pool_0=[HELD])
    client = a_client(owners, clock, routing)
    gone, stays = client.submit(reserve(pair)), client.submit(reserve(pair))
    await asyncio.sleep(0)
    gone.cancel()
    go.set()
    assert await stays == HELD
    assert [len(sent) for _, sent in owners.calls] == [2, 1]
    await asyncio.sleep(0)  # the callbacks of what was answered
    assert client._unsure == set()  # pyright: ignore[reportPrivateUsage]
    assert client._following == {}  # pyright: ignore[reportPrivateUsage]


async def test_routing_is_bounded_and_forgets_only_the_owner_that_is_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("actors.routing._LEARNED_MAX", 3)
    routing = Routing((HOME,))
    pairs = [new_id() for _ in range(4)]
    for pair in pairs:
        routing.learn(pair, owner_number(HOT))
    assert [routing.owner_of(one) for one in pairs] == [HOME, HOT, HOT, HOT]
    routing.learn(pairs[1], owner_number(OTHER))  # known already: nobody has to leave for it
    assert [routing.owner_of(one) for one in pairs] == [HOME, OTHER, HOT, HOT]
    routing.forget(HOT)
    assert [routing.owner_of(one) for one in pairs] == [HOME, OTHER, HOME, HOME]


def _sent(calls: list[tuple[str, list[Request]]]) -> list[bytes]:
    return [one.reservation_id for _, sent in calls for one in sent if isinstance(one, Reserve)]


async def test_a_hundred_requests_follow_together() -> None:
    clock = Clock()
    owners = Owners(clock, pool_0=[at(HOT)], hot_0=[HELD])
    requests = [reserve(new_id()) for _ in range(100)]
    assert await a_client(owners, clock).reserve(requests) == [HELD] * 100
    assert owners.asked == [HOME, HOT]
    assert _sent(owners.calls) == [one.reservation_id for one in requests] * 2
