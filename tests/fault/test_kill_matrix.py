"""The kill matrix: every step of a checkout × every process, `kill -9`, and twice in a row.

In each round a checkout is held at every step at once; then a process dies. Whatever was held goes
on or is recovered, every buyer gets one answer, and the audit is clean.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from domain.checkout_steps import PAUSE_POINTS, SAGA_POINTS, SETTLE_POINTS
from tests.fault.conftest import IMPATIENT
from tests.fault.held_checkouts import (
    COUPON,
    NOT_OVER_HTTP,
    PLAIN,
    THREE_D_SECURE,
    WAYS,
    Buyers,
    PauseFolder,
    everything_settled,
    statuses,
)
from tests.shop.running import Shop, eventually, opened_shop, run_command

pytestmark = [pytest.mark.fault, pytest.mark.timeout(300)]

SETTLED_WITHIN_S = 30.0
REPLICA = "ray::ServeReplica:checkout"
CARETAKER = "ray::_Caretaker"
_STOCK = 10_000
# Another address than the buyer's is fraud here: the one way to be sure of a score over HTTP.
_POLICY = "[checks.address_mismatch]\npoints = 100\n"
_RECOVERED = ("looked_up", "captured", "confirmed", "voided", "parked", "failed", "released")


@pytest.fixture(scope="module")
def pause_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pauses")


@pytest.fixture(scope="module")
def matrix_shop(tmp_path_factory: pytest.TempPathFactory, pause_dir: Path) -> Iterator[Shop]:
    home = tmp_path_factory.mktemp("matrix")
    policy = home / "policy.toml"
    policy.write_text(_POLICY)
    environment = {
        **IMPATIENT,
        "DOORBUSTER_PAUSE_DIR": str(pause_dir),
        "DOORBUSTER_FRAUD_POLICY": str(policy),
    }
    with opened_shop(home / "shop", environment) as shop:
        what = ("--label", "Ten", "--percent", "10", "--code", COUPON, "--home", str(shop.home))
        made = run_command("promotion", "add", "percent", *what, environment=environment)
        assert made.returncode == 0, made.stderr
        yield shop


@contextlib.asynccontextmanager
async def _buyers(shop: Shop, pause_dir: Path) -> AsyncIterator[Buyers]:
    hot = await shop.stock_up(_STOCK)
    limits = httpx.Limits(max_connections=200)
    async with httpx.AsyncClient(base_url=shop.url, timeout=60, limits=limits) as http:
        points = PauseFolder(pause_dir)
        try:
            yield Buyers(shop, hot, points, http)
        finally:
            points.let_go()


def _kill_owner_of(shop: Shop, buyers: Buyers) -> None:
    psutil.Process(shop.owner(buyers.hot.owner)["pid"]).kill()


# A payment provider in a process of its own belongs here as soon as the shop has one.
KILLS: dict[str, Callable[[Shop, Buyers], None]] = {
    "checkout replica": lambda shop, _: shop.process(REPLICA).kill(),
    "stock owner": _kill_owner_of,
    "caretaker": lambda shop, _: shop.process(CARETAKER).kill(),
    "Postgres": lambda shop, _: shop.process("postgres").kill(),
    "Redis": lambda shop, _: shop.process("redis-server").kill(),
}


def test_every_step_is_in_the_matrix_or_says_why_not() -> None:
    recovered = {f"settle.{point}" for point in _RECOVERED}
    assert WAYS.keys() | recovered | NOT_OVER_HTTP.keys() == PAUSE_POINTS.keys()
    assert WAYS.keys() < SAGA_POINTS.keys()
    assert recovered < SETTLE_POINTS.keys()


@pytest.mark.asyncio
@pytest.mark.parametrize("process", list(KILLS))
async def test_a_process_dies_while_checkouts_are_at_every_step(
    matrix_shop: Shop, pause_dir: Path, process: str, print_line: Callable[[str], None]
) -> None:
    shop = matrix_shop
    async with _buyers(shop, pause_dir) as buyers:
        await buyers.hold_at(*WAYS)
        struck = time.monotonic()
        await asyncio.to_thread(KILLS[process], shop, buyers)
        buyers.points.let_go()
        settled_s = await everything_settled(shop, struck, SETTLED_WITHIN_S)
        told = await buyers.answers()
        print_line(
            f"{process} died with checkouts at {len(WAYS)} steps: all settled after"
            f" {settled_s:.1f} s, {len(told)} confirmed"
        )
        await _check(shop, told)


@pytest.mark.asyncio
async def test_recovery_dies_at_every_step_and_once_more(
    matrix_shop: Shop, pause_dir: Path, print_line: Callable[[str], None]
) -> None:
    """The replica dies, the recovery of its orders dies, and so does the one after that."""
    shop = matrix_shop
    points = [f"settle.{point}" for point in _RECOVERED]
    async with _buyers(shop, pause_dir) as buyers:
        await _hold_for_recovery(buyers)
        # What comes up in their place finds all of it stalled, and has it all in one pass.
        for process in (REPLICA, CARETAKER):
            shop.process(process).kill()
        buyers.points.let_go()
        buyers.points.arm(*points)
        first = await _kill_recovery_at(shop, buyers.points, wanted=set(points))
        # All over again for what the first one left; it is further with some orders.
        buyers.points.let_go()
        buyers.points.arm(*points)
        second = await _kill_recovery_at(shop, buyers.points, wanted={"settle.looked_up"})
        with contextlib.suppress(AssertionError):  # a replica that is not back yet is dead enough
            shop.process(REPLICA).kill()
        struck = time.monotonic()
        buyers.points.let_go()
        settled_s = await everything_settled(shop, struck, SETTLED_WITHIN_S)
        told = await buyers.answers()
        print_line(
            f"recovery died at {len(first)} steps and then at {len(second)}: all settled"
            f" {settled_s:.1f} s after the last death, {len(told)} confirmed"
        )
        await _check(shop, told)


async def _hold_for_recovery(buyers: Buyers) -> None:
    """Enough orders of each kind that one can be held at each step of recovery.

    A pass of recovery that is held at its first order leaves the others alone meanwhile.
    """
    buyers.points.arm("settle.looked_up")
    await buyers.hold("recorded", PLAIN)
    await asyncio.to_thread(
        eventually,
        lambda: "settle.looked_up" in buyers.points.held(),
        within_s=SETTLED_WITHIN_S,
        what="recovery held",
    )
    for _ in range(4):
        await buyers.hold("authorized", PLAIN)
    for _ in range(2):
        await buyers.hold("authorized", THREE_D_SECURE)
    for _ in range(5):
        await buyers.hold("recorded", PLAIN)


async def _kill_recovery_at(shop: Shop, points: PauseFolder, wanted: set[str]) -> set[str]:
    """Once it is held wherever it is to be held, the caretaker dies; where it was held."""

    def held() -> set[str]:
        return {point for point in points.held() if point.startswith("settle.")}

    try:
        await asyncio.to_thread(
            eventually, lambda: wanted <= held(), within_s=SETTLED_WITHIN_S, what="recovery held"
        )
    except AssertionError as error:
        raise AssertionError(f"{error}, but not at {sorted(wanted - held())}") from None
    shop.process(CARETAKER).kill()
    return held()


async def _check(shop: Shop, told: list[str]) -> None:
    assert await statuses(shop, told) <= {"confirmed"}
    report = await asyncio.to_thread(shop.audit, told)
    assert report["ok"], report
