"""The loop on virtual time: asyncio's own ways, and no waiting."""

from __future__ import annotations

import asyncio

import pytest

from sim.virtual_time import NothingLeftError, VirtualLoop, run


def test_things_happen_at_their_time_and_in_the_order_they_were_planned_in() -> None:
    told: list[tuple[float, str]] = []

    async def main(loop: VirtualLoop) -> None:
        async def say(after: float, what: str) -> None:
            await loop.after(after)
            told.append((loop.time(), what))

        loop.call_later(3.0, lambda: told.append((loop.time(), "called")))
        loop.call_later(2.0, lambda: told.append((loop.time(), "never"))).cancel()
        await asyncio.gather(say(3.0, "last"), say(0.5, "second"), say(0.0, "first"))

    run(main)
    assert told == [(0.0, "first"), (0.5, "second"), (3.0, "called"), (3.0, "last")]


def test_who_waits_in_vain_is_told_in_time_and_leaves_no_trace() -> None:
    async def main(loop: VirtualLoop) -> float:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(5.0):
                await loop.after(3_600.0)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.Event().wait(), 1.0)
        return loop.time()

    assert run(main) == 6.0


def test_a_callback_that_fails_fails_alone() -> None:
    async def main(loop: VirtualLoop) -> str:
        loop.call_soon(lambda: 1 // 0)
        await loop.after(1.0)
        return "goes on"

    assert run(main) == "goes on"


def test_waiting_for_what_never_comes_is_an_error_and_no_standstill() -> None:
    async def main(loop: VirtualLoop) -> None:
        await asyncio.Event().wait()

    with pytest.raises(NothingLeftError):
        run(main)
