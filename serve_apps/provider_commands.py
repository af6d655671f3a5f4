"""`doorbuster provider`: the simulated payment provider as a server of its own, to be broken.

Its books are in the shop's database, where the audit reads them; a home of its own gives it one of
its own.
"""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import typer
from rich.console import Console
from rich.markup import escape

from serve_apps.settings import Settings
from serve_apps.shop_process import databases
from serve_apps.supervisor import AlreadyRunningError, read_run_file
from sim.provider_faults import FaultKind, FaultRates, Latency
from sim.provider_process import BooksLostError, ProviderOptions, RunningProvider, run_until_stopped
from sim.stripe_webhooks import WebhookFaults
from storage.embedded import ServerStartError
from storage.postgres import MigrationError, migrate, open_pool

POOL_MAX = 8
_errors = Console(stderr=True)

_Home = Annotated[
    Path | None, typer.Option("--home", help="Folder of the shop whose database to use.")
]
_Host = Annotated[str, typer.Option(help="Address to listen on.")]
_Port = Annotated[int, typer.Option(min=0, max=65_535, help="0: any that is free.")]
_Latency = Annotated[float, typer.Option(min=0, max=60_000, help="What every call takes.")]
_Jitter = Annotated[
    float, typer.Option(min=0, max=60_000, help="Median of a log-normal part on top.")
]
_Sigma = Annotated[float, typer.Option(min=0, max=5, help="Spread of that part.")]
_SpikeRate = Annotated[
    float, typer.Option(min=0, max=1, help="Share of calls that take a spike longer.")
]
_Spike = Annotated[float, typer.Option(min=0, max=60_000, help="The spike.")]
_FaultRate = Annotated[
    float, typer.Option(min=0, max=1, help="Share of calls that go wrong, in all ways alike.")
]
_Fault = Annotated[
    list[str] | None,
    typer.Option("--fault", metavar="KIND=RATE", help="One way to go wrong; repeatable."),
]
_Seed = Annotated[int, typer.Option(min=0, help="Of all chances.")]
_Lag = Annotated[float, typer.Option(min=0, help="How far searches are behind.")]
_Settle = Annotated[
    float | None, typer.Option(min=0, help="Settle bank transfers after so long. [never]")
]
_HookUrl = Annotated[str, typer.Option(help="Where events go. [nowhere]")]
_HookSecret = Annotated[
    str, typer.Option(envvar="DOORBUSTER_STRIPE_WEBHOOK_SECRET", help="Signs events.")
]
_HookFaults = Annotated[
    float, typer.Option(min=0, max=1, help="Late, doubled, swapped, lost: chance of each.")
]
_HookLate = Annotated[float, typer.Option(min=0, help="How late.")]


def provider(
    home: _Home = None,
    host: _Host = "127.0.0.1",
    port: _Port = 8100,
    latency_ms: _Latency = 0.0,
    latency_jitter_ms: _Jitter = 0.0,
    latency_sigma: _Sigma = 0.5,
    spike_rate: _SpikeRate = 0.0,
    spike_ms: _Spike = 1_000.0,
    fault_rate: _FaultRate = 0.0,
    fault: _Fault = None,
    seed: _Seed = 0,
    search_lag_ms: _Lag = 0.0,
    settle_after_s: _Settle = None,
    webhook_url: _HookUrl = "",
    webhook_secret: _HookSecret = "whsec_simulated",
    webhook_fault_rate: _HookFaults = 0.0,
    webhook_late_ms: _HookLate = 2_000.0,
) -> None:
    """Run the simulated payment provider as a server that speaks Stripe's API. Ctrl-C stops it.

    Start the shop first, if it is to use the shop's database.
    """
    with _told():
        _check_finite("--search-lag-ms", search_lag_ms)
        _check_finite("--settle-after-s", settle_after_s or 0.0)
        _check_finite("--webhook-late-ms", webhook_late_ms)
        latency = Latency(
            fixed_s=latency_ms / 1_000,
            jitter_s=latency_jitter_ms / 1_000,
            sigma=latency_sigma,
            spike_rate=spike_rate,
            spike_s=spike_ms / 1_000,
        )
        hooks = WebhookFaults.spread(webhook_fault_rate, seed=seed)
        options = ProviderOptions(
            host=host,
            port=port,
            latency=latency,
            rates=_rates(fault_rate, fault or []),
            seed=seed,
            search_lag_s=search_lag_ms / 1_000,
            settle_after_s=settle_after_s,
            webhook_url=_url(webhook_url),
            webhook_secret=webhook_secret,
            webhook_faults=replace(hooks, late_s=webhook_late_ms / 1_000),
        )
        _run(Settings(home=home) if home is not None else Settings(), options)


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """What a user can mend is told in one line instead of a traceback."""
    told = (AlreadyRunningError, BooksLostError, MigrationError, ServerStartError)
    try:
        yield
    except (*told, OSError, ValueError) as error:
        said = escape(str(error))
        _errors.print(f"[bold red]doorbuster:[/] {said}", highlight=False, soft_wrap=True)
        raise typer.Exit(1) from error


def _check_finite(option: str, number: float) -> None:
    """Raises ValueError: what is compared with bounds lets NaN through."""
    if not math.isfinite(number):
        raise ValueError(f"{option} {number}: say a number")


def _url(text: str) -> str:
    """An address that events can be sent to, or none. Raises ValueError."""
    try:
        url = urlsplit(text)
        usable = url.scheme in ("http", "https") and url.hostname and url.port != 0
    except ValueError as error:  # brackets that do not match, a port that is none
        raise ValueError(f"--webhook-url {text}: {error}") from None
    if text and not usable:
        raise ValueError(f"--webhook-url {text}: say http://… or https://…, with a host")
    return text


def _rates(rate: float, said: list[str]) -> FaultRates:
    """Every fault alike, but for those that are named. Raises ValueError."""
    of: dict[FaultKind, float] = dict(FaultRates.spread(rate).of) if rate else {}
    for one in said:
        kind, _, share = one.partition("=")
        try:
            of[kind] = float(share)  # pyright: ignore[reportArgumentType] - FaultRates checks
        except ValueError:
            raise ValueError(f"--fault {one}: say KIND=RATE, such as silent_after=0.01") from None
    return FaultRates(of=of)


def _run(settings: Settings, options: ProviderOptions) -> None:
    if not settings.embedded_database():
        _serve(settings.database_url, options, lambda: False)
        return
    shops = read_run_file(settings.home) is not None
    with databases(settings) as filled:
        _serve(filled.database_url, options, lambda: shops and read_run_file(settings.home) is None)


def _serve(url: str, options: ProviderOptions, is_closed: Callable[[], bool]) -> None:
    import uvloop

    # Its pool would tell of each try to connect again, in full; the watch tells what matters.
    logging.getLogger("asyncpg").setLevel(logging.CRITICAL)

    async def work() -> None:
        await migrate(url)
        pool = await open_pool(url, max_size=POOL_MAX, application="payment provider", by_key=True)
        try:
            await run_until_stopped(pool, options, _tell, is_closed=is_closed)
        finally:
            await pool.close()

    uvloop.run(work())


def _tell(running: RunningProvider) -> None:
    _errors.print(f"payment provider {running.base_url}", highlight=False)
    _errors.print("Any sk_test_… key opens it. Ctrl-C stops it.", highlight=False)
