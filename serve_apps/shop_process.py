"""A shop as other commands see it: start one in the background, use one, look into its books."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

from domain.catalog import Product
from domain.promises import AuditReport
from serve_apps.settings import Settings
from serve_apps.supervisor import (
    READY_TIMEOUT_S,
    AlreadyRunningError,
    NotReadyError,
    NotRunningError,
    RunFile,
    hold,
    read_run_file,
    servers,
    stop_shop,
    wait_until_ready,
)
from sim.catalog import WAREHOUSES, generate_catalog
from storage.audit import audit
from storage.postgres import open_pool
from storage.resealing import Resealing

if TYPE_CHECKING:
    from serve_apps.composition import Parts  # brings Ray, which most commands do without

SAMPLE_SEED = 7
SAMPLE_PRODUCTS = 2_000
IMPORT_BATCH = 500
OUTBOX_TIMEOUT_S = 20.0
OUTBOX_POLL_S = 0.1
_SAYS = "doorbuster:"
_LAST_WORDS_MAX = 64 * 1024  # bytes of the log


@dataclass(frozen=True, slots=True)
class StartedShop:
    """A shop that this command uses; `seconds_to_ready` is 0 if it ran before."""

    run: RunFile
    seconds_to_ready: float


def start_detached(settings: Settings, *, empty: bool) -> RunFile:
    """Start a shop that outlives this process and wait until it is ready.

    Raises AlreadyRunningError if one runs in this home, NotReadyError if it does not come up.
    """
    if (run := read_run_file(settings.home)) is not None:
        raise AlreadyRunningError(
            f"a shop runs already in {settings.home}, at {run.base_url} (pid {run.pid})"
        )
    logs = settings.home / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "doorbuster", "up", "--home", str(settings.home)]
    command += ["--port", str(settings.port), *(["--empty"] if empty else [])]
    with (logs / "supervisor.log").open("ab") as log:
        written_before = log.tell()
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env=os.environ.copy(),
        )
    try:
        return wait_until_ready(
            settings.home, alive=lambda: process.poll() is None, timeout_s=READY_TIMEOUT_S
        )
    except NotReadyError as error:
        if process.poll() is None:
            raise
        why = _last_words(logs / "supervisor.log", written_before)
        raise NotReadyError(why or f"{error} (it ended with status {process.returncode})") from None


def _last_words(log: Path, since: int) -> str:
    """What a command said last before it failed; empty if nothing. `since`: bytes to pass over."""
    with log.open("rb") as file:
        file.seek(max(since, file.seek(0, os.SEEK_END) - _LAST_WORDS_MAX))
        lines = file.read().decode(errors="replace").splitlines()
    said = [line.removeprefix(_SAYS).strip() for line in lines if line.startswith(_SAYS)]
    return said[-1] if said else ""


@contextlib.contextmanager
def running_shop(settings: Settings, *, empty: bool = True) -> Iterator[StartedShop]:
    """The shop of this home: the one that runs, or one that is started and stopped here."""
    run = read_run_file(settings.home)
    if run is not None:
        yield StartedShop(run, 0.0)
        return
    started = time.monotonic()
    run = start_detached(settings, empty=empty)
    try:
        yield StartedShop(run, round(time.monotonic() - started, 2))
    finally:
        with contextlib.suppress(NotRunningError):
            stop_shop(settings.home)


@contextlib.contextmanager
def databases(settings: Settings) -> Iterator[Settings]:
    """Settings with the URLs of the home's databases, which are up inside the `with`.

    A running shop's are used; without one, embedded servers are started for the moment.
    """
    run = read_run_file(settings.home)
    if run is not None:
        urls = {"database_url": run.database_url, "redis_url": run.redis_url}
        yield settings.model_copy(update=urls)
        return
    with hold(settings.home), servers(settings) as (filled, _):
        yield filled


async def seal_what_is_clear(settings: Settings) -> int:
    """Seal orders' personal data from before there were keys; how many orders.

    Raises KeyRingError if the keys cannot be read, or are not those of the newest order.
    """
    ring = settings.data_key_ring()
    pool = await open_pool(settings.database_url, application="doorbuster keys")
    try:
        resealing = Resealing(pool, ring)
        await resealing.check_newest()
        return (await resealing.seal_the_clear()).orders
    finally:
        await pool.close()


async def add_products(parts: Parts, products: Sequence[Product]) -> None:
    """Put generated products, and the warehouses that hold them, into the catalog."""
    await parts.catalog.add_warehouses(WAREHOUSES)
    for begin in range(0, len(products), IMPORT_BATCH):
        await parts.catalog.import_products(products[begin : begin + IMPORT_BATCH])


async def add_sample_if_empty(settings: Settings) -> int:
    """Fill an empty catalog with the generated one; how many products were added."""
    from serve_apps.composition import open_parts

    async with open_parts(settings, "sample catalog") as parts:
        if await parts.catalog.count():
            return 0
        products = list(generate_catalog(SAMPLE_SEED, SAMPLE_PRODUCTS))
        await add_products(parts, products)
        return len(products)


async def audit_shop(
    parts: Parts, *, acknowledged: Sequence[UUID] = (), settle: bool = True
) -> AuditReport:
    """Check the promises. With `settle`, the outbox gets a moment to empty first."""
    if settle:
        await _outbox_empty(parts)
    return await audit(
        parts.pool,
        parts.providers,
        bus=parts.bus,
        acknowledged=acknowledged,
        now=datetime.now(UTC),
    )


async def _outbox_empty(parts: Parts) -> None:
    """As long as it takes, up to OUTBOX_TIMEOUT_S; the audit then says what is missing."""
    deadline = time.monotonic() + OUTBOX_TIMEOUT_S
    while time.monotonic() < deadline:
        if not (await parts.orders.counts())["outbox_pending"]:
            return
        await asyncio.sleep(OUTBOX_POLL_S)


def no_shop(home: Path) -> str:
    """What to say where `has_data` is false."""
    return f"there is no shop in {home}; name its folder with --home or DOORBUSTER_HOME"


def has_data(home: Path, settings: Settings) -> bool:
    """True if there is a shop to look into: data in the home, or databases of its own."""
    return (home / "postgres" / "PG_VERSION").exists() or not settings.embedded_database()
