"""The kill matrix: every step of a checkout × every process, `kill -9`, and twice in a row.

In each round a checkout is held at every step at once; then a process dies. Whatever was held goes
on or is recovered, every buyer gets one answer, and the audit is clean.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import pytest

from domain.checkout_steps import PAUSE_POINTS
from tests.fault.conftest import IMPATIENT, STALLED_AFTER_S
from tests.fault.held_checkouts import (
    COUPON,
    IN_REVIEW,
    IN_TIME,
    PLAIN,
    THREE_D_SECURE,
    WAYS,
    Buyers,
    PauseFolder,
    all_stalled,
    everything_settled,
    holds_run_out,
    statuses,
    unknown_charges,
)
from tests.fault.operators import Operators, operator_token
from tests.fault.payment_provider import PaymentProvider, provider_apart, restarted
from tests.shop.running import Shop, eventually, opened_shop, run_command

pytestmark = [pytest.mark.fault, pytest.mark.timeout(300)]

SETTLED_WITHIN_S = 30.0
REPLICA = "ray::ServeReplica:checkout"
FRAUD_REPLICA = "ray::ServeReplica:fraud"
CARETAKER = "ray::_Caretaker"
HOLD_S = 15.0
"""How long stock is held here: a test waits for the end of a hold."""
SILENT_WITHIN_S = 40.0
"""How long a checkout asks a silent owner at most, with time to spare (StockClientConfig)."""
_STOCK = 10_000
_RUSH = 20
# Another address than the buyer's is looked at here, and nothing else is: sure over HTTP.
_POLICY = """
model_points = 0
[checks.address_mismatch]
points = 45
[checks.new_payment_method]
points = 0
"""
_RECOVERED = ("looked_up", "captured", "confirmed", "voided", "parked", "failed", "released")


@dataclass(frozen=True, slots=True, kw_only=True)
class Matrix:
    """The shop, the folder that holds its processes, and the provider that it calls Stripe."""

    shop: Shop
    provider: PaymentProvider
    pause_dir: Path
    operator: str
    """An operator's token."""


@pytest.fixture(scope="module")
def matrix(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Matrix]:
    home, pause_dir = tmp_path_factory.mktemp("matrix"), tmp_path_factory.mktemp("pauses")
    policy = home / "policy.toml"
    policy.write_text(_POLICY)
    with provider_apart(home / "provider") as provider:
        environment = {
            **IMPATIENT,
            **provider.environment,
            "DOORBUSTER_PAUSE_DIR": str(pause_dir),
            "DOORBUSTER_FRAUD_POLICY": str(policy),
            "DOORBUSTER_RESERVATION_TTL_S": str(HOLD_S),
        }
        with opened_shop(home / "shop", environment) as shop:
            what = ("--label", "Ten", "--percent", "10", "--code", COUPON, "--home", str(shop.home))
            made = run_command("promotion", "add", "percent", *what, environment=environment)
            assert made.returncode == 0, made.stderr
            provider.wait_until_ready()
            yield Matrix(
                shop=shop, provider=provider, pause_dir=pause_dir, operator=operator_token(shop)
            )


@contextlib.asynccontextmanager
async def _buyers(matrix: Matrix) -> AsyncIterator[Buyers]:
    shop = matrix.shop
    hot = await shop.stock_up(_STOCK)
    limits = httpx.Limits(max_connections=200)
    async with httpx.AsyncClient(base_url=shop.url, timeout=60, limits=limits) as http:
        points = PauseFolder(matrix.pause_dir)
        try:
            yield Buyers(
                shop=shop,
                hot=hot,
                points=points,
                http=http,
                provider=matrix.provider,
                operators=Operators(http, matrix.operator),
            )
        finally:
            points.let_go()


@contextlib.contextmanager
def _asleep(process: psutil.Process) -> Iterator[None]:
    """A process that stands still for the length of a `with`."""
    process.suspend()
    try:
        yield
    finally:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.resume()


def _kill_owner_of(shop: Shop, buyers: Buyers) -> None:
    psutil.Process(shop.owner(buyers.hot.owner)["pid"]).kill()


# The payment provider has a test of its own: nobody but its operator starts it again.
KILLS: dict[str, Callable[[Shop, Buyers], None]] = {
    "checkout replica": lambda shop, _: shop.process(REPLICA).kill(),
    "fraud replica": lambda shop, _: shop.process(FRAUD_REPLICA).kill(),
    "stock owner": _kill_owner_of,
    "caretaker": lambda shop, _: shop.process(CARETAKER).kill(),
    "Postgres": lambda shop, _: shop.process("postgres").kill(),
    "Redis": lambda shop, _: shop.process("redis-server").kill(),
}


def test_every_step_is_in_the_matrix() -> None:
    recovered = [f"settle.{point}" for point in _RECOVERED]
    everywhere = [*WAYS, *IN_TIME, *recovered, *IN_REVIEW]
    assert sorted(everywhere) == sorted(PAUSE_POINTS)


@pytest.mark.asyncio
@pytest.mark.parametrize("process", list(KILLS))
async def test_a_process_dies_while_checkouts_are_at_every_step(
    matrix: Matrix, process: str, print_line: Callable[[str], None]
) -> None:
    async with _buyers(matrix) as buyers:
        await buyers.hold_at(*WAYS)
        await buyers.hold_reviews()
        struck = time.monotonic()
        await asyncio.to_thread(KILLS[process], matrix.shop, buyers)
        buyers.points.let_go()
        settled_s, told = await _settled(buyers, struck)
        steps = len(WAYS) + len(IN_REVIEW)
        print_line(
            f"{process} died with checkouts at {steps} steps: all settled after"
            f" {settled_s:.1f} s, {len(told)} confirmed"
        )
        await _check(matrix, told)


@pytest.mark.asyncio
async def test_the_payment_provider_dies_while_all_are_at_every_step(
    matrix: Matrix, print_line: Callable[[str], None]
) -> None:
    """Checkouts, operators and recovery meet a closed port; some calls break off halfway."""
    points = {f"settle.{point}" for point in _RECOVERED}
    async with _buyers(matrix) as buyers:
        # What comes to it after its sleep is stalled, all in one pass.
        with _asleep(matrix.shop.process(CARETAKER)):
            await buyers.hold_at(*WAYS)
            await buyers.hold_reviews()
            await _hold_one_for_each_step_of_recovery(buyers)
            await all_stalled(matrix.shop, STALLED_AFTER_S)
            buyers.points.arm(*points)
        await _recovery_is_held(buyers.points, points)
        await buyers.rush(_RUSH)
        matrix.provider.kill()
        died = time.monotonic()
        buyers.points.let_go()
        await restarted(matrix.provider)
        back = time.monotonic()
        settled_s, told = await _settled(buyers, back)
        print_line(
            f"the payment provider died with checkouts at {len(WAYS) + len(IN_REVIEW)} steps and"
            f" recovery at {len(points)}, and was away for {back - died:.1f} s: all settled"
            f" {settled_s:.1f} s after that, {len(told)} confirmed"
        )
        await _check(matrix, told)


@pytest.mark.asyncio
async def test_the_replica_dies_at_the_steps_that_take_time(
    matrix: Matrix, print_line: Callable[[str], None]
) -> None:
    """One checkout's hold ran out before it was confirmed; another's owner did not answer."""
    shop = matrix.shop
    async with _buyers(matrix) as buyers:
        names = [owner["name"] for owner in shop.overview()["owners"]]
        silent = next(name for name in names if name != buyers.hot.owner)
        elsewhere = await shop.stock_up(_STOCK, owner=silent)
        # Recovery would be faster, and the directory replaces owners that are silent.
        with (
            _asleep(shop.process(CARETAKER)),
            _asleep(psutil.Process(shop.owner(silent)["pid"])),
        ):
            buyers.points.arm("withdrawn", "refunded")
            await buyers.hold("captured", PLAIN)
            await buyers.buy(PLAIN, elsewhere)
            await holds_run_out(shop, buyers.hot, within_s=HOLD_S + SETTLED_WITHIN_S)
            buyers.points.release("captured")
            await buyers.passed("refunded")
            await buyers.passed("withdrawn", SILENT_WITHIN_S)
            shop.process(REPLICA).kill()
        struck = time.monotonic()
        buyers.points.let_go()
        settled_s, told = await _settled(buyers, struck)
        print_line(
            f"checkout replica died at {' and '.join(IN_TIME)}: all settled after"
            f" {settled_s:.1f} s, {len(told)} confirmed"
        )
        await _check(matrix, told)


@pytest.mark.asyncio
async def test_recovery_dies_at_every_step_and_once_more(
    matrix: Matrix, print_line: Callable[[str], None]
) -> None:
    """The replica dies, the recovery of its orders dies, and so does the one after that."""
    shop = matrix.shop
    points = [f"settle.{point}" for point in _RECOVERED]
    async with _buyers(matrix) as buyers:
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
        settled_s, told = await _settled(buyers, struck)
        print_line(
            f"recovery died at {len(first)} steps and then at {len(second)}: all settled"
            f" {settled_s:.1f} s after the last death, {len(told)} confirmed"
        )
        await _check(matrix, told)


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
    await _hold_one_for_each_step_of_recovery(buyers)


async def _hold_one_for_each_step_of_recovery(buyers: Buyers) -> None:
    for _ in range(4):
        await buyers.hold("authorized", PLAIN)
    for _ in range(2):
        await buyers.hold("authorized", THREE_D_SECURE)
    for _ in range(5):
        await buyers.hold("recorded", PLAIN)


async def _kill_recovery_at(shop: Shop, points: PauseFolder, wanted: set[str]) -> set[str]:
    """Once it is held wherever it is to be held, the caretaker dies; where it was held."""
    held = await _recovery_is_held(points, wanted)
    shop.process(CARETAKER).kill()
    return held


async def _recovery_is_held(points: PauseFolder, wanted: set[str]) -> set[str]:
    """Wait until it is held wherever it is to be held; where it is."""

    def held() -> set[str]:
        return {point for point in points.held() if point.startswith("settle.")}

    try:
        await asyncio.to_thread(
            eventually, lambda: wanted <= held(), within_s=SETTLED_WITHIN_S, what="recovery held"
        )
    except AssertionError as error:
        raise AssertionError(f"{error}, but not at {sorted(wanted - held())}") from None
    return held()


async def _settled(buyers: Buyers, since: float) -> tuple[float, list[str]]:
    """Once all is at its end: how long after a moment that was, and the orders that were told."""
    settled_s = await everything_settled(buyers, since, SETTLED_WITHIN_S)
    return settled_s, await buyers.answers()


async def _check(matrix: Matrix, told: list[str]) -> None:
    assert await statuses(matrix.shop, told) <= {"confirmed"}
    assert await unknown_charges(matrix.shop, matrix.provider) == set()
    report = await asyncio.to_thread(matrix.shop.audit, told)
    assert report["ok"], report
