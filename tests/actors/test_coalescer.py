from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from actors.coalescer import Coalescer, Overloaded

pytestmark = pytest.mark.asyncio


class _Work:
    """Doubles numbers; keeps each batch until it is let go."""

    def __init__(self, *, open_: bool = True) -> None:
        self.batches: list[list[int]] = []
        self.away = self.away_max = 0
        self.gate = asyncio.Event()
        self.begun = asyncio.Event()
        if open_:
            self.gate.set()

    async def __call__(self, items: list[int]) -> Sequence[int]:
        self.batches.append(items)
        self.away += 1
        self.away_max = max(self.away, self.away_max)
        self.begun.set()
        await self.gate.wait()
        self.away -= 1
        if -1 in items:
            raise ValueError("no negative numbers")
        return [item * 2 for item in items][: None if -2 not in items else 1]


async def test_what_arrives_together_travels_together() -> None:
    work = _Work()
    coalescer = Coalescer(work)
    assert await asyncio.gather(*[coalescer.submit(n) for n in range(5)]) == [0, 2, 4, 6, 8]
    assert work.batches == [[0, 1, 2, 3, 4]]


async def test_what_arrives_while_a_batch_is_away_forms_the_next_one() -> None:
    work = _Work(open_=False)
    coalescer = Coalescer(work)
    futures = [coalescer.submit(1)]
    await work.begun.wait()
    futures += [coalescer.submit(2), coalescer.submit(3)]
    await asyncio.sleep(0)
    assert work.batches == [[1]]
    assert coalescer.queued == 2
    work.gate.set()
    assert await asyncio.gather(*futures) == [2, 4, 6]
    assert work.batches == [[1], [2, 3]]


async def test_the_bounds_hold() -> None:
    work = _Work(open_=False)
    coalescer = Coalescer(work, batch_max=3, queue_max=4, in_flight_max=2)
    futures = [coalescer.submit(n) for n in range(4)]
    with pytest.raises(Overloaded):
        coalescer.submit(99)
    await work.begun.wait()
    await asyncio.sleep(0)
    assert work.batches == [[0, 1, 2], [3]]
    futures += [coalescer.submit(n) for n in range(4, 8)]
    with pytest.raises(Overloaded):
        coalescer.submit(99)
    work.gate.set()
    assert await asyncio.gather(*futures) == [n * 2 for n in range(8)]
    assert max(len(batch) for batch in work.batches) == 3
    assert work.away_max == 2
    assert coalescer.queued == 0


@pytest.mark.parametrize(("poison", "error"), [(-1, "no negative"), (-2, "zip")])
async def test_an_exception_reaches_all_of_its_batch_and_no_other(poison: int, error: str) -> None:
    work = _Work()
    coalescer = Coalescer(work, batch_max=3)
    numbers = [1, poison, 2, 3, 4]
    got = await asyncio.gather(*[coalescer.submit(n) for n in numbers], return_exceptions=True)
    failed = [one for one in got if isinstance(one, ValueError)]
    assert all(error in str(one) for one in failed)
    # With too few answers, those that came are given out; the others hear of it.
    assert len(failed) == (3 if poison == -1 else 2)
    assert got[3:] == [6, 8]
    assert await coalescer.submit(5) == 10


async def test_an_exception_among_the_answers_reaches_who_asked_alone() -> None:
    async def choosy(items: list[int]) -> list[int | Exception]:
        return [ValueError(str(item)) if item == 2 else item * 10 for item in items]

    coalescer: Coalescer[int, int] = Coalescer(choosy)
    answers = await asyncio.gather(
        *[coalescer.submit(item) for item in range(4)], return_exceptions=True
    )
    assert [str(answer) for answer in answers] == ["0", "10", "2", "30"]
    assert isinstance(answers[2], ValueError)


async def test_a_waiter_that_hangs_up_does_not_hurt_the_others() -> None:
    work = _Work(open_=False)
    coalescer = Coalescer(work)
    first, second = coalescer.submit(1), coalescer.submit(2)
    await work.begun.wait()
    waiting, other = coalescer.submit(3), coalescer.submit(4)
    first.cancel()
    waiting.cancel()
    work.gate.set()
    assert (await second, await other) == (4, 8)
    assert coalescer.queued == 0


async def test_nobody_asks_for_a_failure_after_hanging_up() -> None:
    coalescer = Coalescer(_Work())
    gone, stays = coalescer.submit(-1), coalescer.submit(1)
    gone.cancel()
    with pytest.raises(ValueError, match="negative"):
        await stays


async def test_spacing_makes_batches_grow_instead_of_their_number() -> None:
    work = _Work()
    coalescer = Coalescer(work, spacing_s=0.05)
    assert await coalescer.submit(1) == 2  # the first of a quiet time leaves at once
    first, second = coalescer.submit(2), coalescer.submit(3)
    await asyncio.sleep(0)
    assert work.batches == [[1]]
    assert await asyncio.gather(first, second) == [4, 6]
    assert work.batches == [[1], [2, 3]]


async def test_while_a_batch_is_away_only_a_large_one_follows() -> None:
    batches: list[list[int]] = []
    back = asyncio.Event()

    async def work(items: list[int]) -> list[int]:
        batches.append(items)
        await back.wait()
        return items

    lane = Coalescer(work, in_flight_max=2, another_from=3)
    futures = [lane.submit(0)]
    await asyncio.sleep(0)
    futures += [lane.submit(number) for number in (1, 2)]
    await asyncio.sleep(0)
    assert batches == [[0]]
    futures.append(lane.submit(3))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert batches == [[0], [1, 2, 3]]
    futures.append(lane.submit(4))
    back.set()
    assert [await future for future in futures] == [0, 1, 2, 3, 4]


async def test_what_is_not_answered_here_goes_elsewhere_with_its_future() -> None:
    async def work(items: list[int]) -> list[int | None]:
        return [None if item == 1 else item for item in items]

    lane = Coalescer(work, elsewhere=lambda item, future: future.set_result(item * 10))
    futures = [lane.submit(number) for number in range(3)]
    assert [await future for future in futures] == [0, 10, 2]
