"""`doorbuster provider`: the simulated payment provider as a server of its own, to be broken.

Its books are in the shop's database, where the audit reads them; a home of its own gives it one of
its own.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from serve_apps.settings import Settings
from serve_apps.shop_process import databases
from serve_apps.supervisor import AlreadyRunningError
from sim.provider_faults import FaultKind, FaultRates, Latency
from sim.provider_process import ProviderOptions, RunningProvider, run_until_stopped
from sim.stripe_webhooks import WebhookFaults
from storage.embedded import ServerStartError
from storage.postgres import MigrationError, migrate, open_pool

POOL_MAX = 8
_errors = Console(stderr=True)


def add_provider_command(app: typer.Typer) -> None:
    """Make `provider` a command of `app`."""
    app.command("provider")(provider)


def provider(
    home: Annotated[
        Path | None, typer.Option("--home", help="Folder of the shop whose database to use.")
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65_535, help="0: any that is free.")] = 8100,
    latency_ms: Annotated[
        float, typer.Option(min=0, max=60_000, help="What every call takes.")
    ] = 0.0,
    latency_jitter_ms: Annotated[
        float, typer.Option(min=0, max=60_000, help="Median of a log-normal part on top.")
    ] = 0.0,
    latency_sigma: Annotated[float, typer.Option(min=0, max=5, help="Spread of that part.")] = 0.5,
    spike_rate: Annotated[
        float, typer.Option(min=0, max=1, help="Share of calls that take a spike longer.")
    ] = 0.0,
    spike_ms: Annotated[float, typer.Option(min=0, max=60_000, help="The spike.")] = 1_000.0,
    fault_rate: Annotated[
        float, typer.Option(min=0, max=1, help="Share of calls that go wrong, in all ways alike.")
    ] = 0.0,
    fault: Annotated[
        list[str] | None,
        typer.Option("--fault", metavar="KIND=RATE", help="One way to go wrong, repeatable."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of all chances.")] = 0,
    search_lag_ms: Annotated[float, typer.Option(min=0, help="How far searches are behind.")] = 0.0,
    settle_after_s: Annotated[
        float | None, typer.Option(min=0, help="Settle bank transfers after so long. [never]")
    ] = None,
    webhook_url: Annotated[str, typer.Option(help="Where events go. [nowhere]")] = "",
    webhook_secret: Annotated[
        str, typer.Option(envvar="DOORBUSTER_STRIPE_WEBHOOK_SECRET", help="Signs them.")
    ] = "whsec_simulated",
    webhook_fault_rate: Annotated[
        float, typer.Option(min=0, max=1, help="Late, doubled, swapped, lost: chance of each.")
    ] = 0.0,
    webhook_late_ms: Annotated[float, typer.Option(min=0, help="How late.")] = 2_000.0,
) -> None:
    """Run the simulated payment provider as a server that speaks Stripe's API. Ctrl-C stops it.

    Start the shop first, if it is to use the shop's database.
    """
    try:
        options = ProviderOptions(
            host=host,
            port=port,
            latency=Latency(
                fixed_s=latency_ms / 1_000,
                jitter_s=latency_jitter_ms / 1_000,
                sigma=latency_sigma,
                spike_rate=spike_rate,
                spike_s=spike_ms / 1_000,
            ),
            rates=_rates(fault_rate, fault or []),
            seed=seed,
            search_lag_s=search_lag_ms / 1_000,
            settle_after_s=settle_after_s,
            webhook_url=webhook_url,
            webhook_secret=webhook_secret,
            webhook_faults=WebhookFaults(
                late=webhook_fault_rate,
                doubled=webhook_fault_rate,
                swapped=webhook_fault_rate,
                lost=webhook_fault_rate,
                late_s=webhook_late_ms / 1_000,
                seed=seed,
            ),
        )
        settings = Settings(home=home) if home is not None else Settings()
        if settings.embedded_database():
            with databases(settings) as filled:
                _run(filled.database_url, options)
        else:
            _run(settings.database_url, options)
    except (AlreadyRunningError, MigrationError, ServerStartError, OSError, ValueError) as error:
        _errors.print(f"[bold red]doorbuster:[/] {escape(str(error))}", highlight=False)
        raise typer.Exit(1) from error


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


def _run(url: str, options: ProviderOptions) -> None:
    import uvloop

    async def work() -> None:
        await migrate(url)
        pool = await open_pool(url, max_size=POOL_MAX, application="payment provider", by_key=True)
        try:
            await run_until_stopped(pool, options, _tell)
        finally:
            await pool.close()

    uvloop.run(work())


def _tell(running: RunningProvider) -> None:
    _errors.print(f"payment provider {running.base_url}", highlight=False)
    _errors.print("Any sk_test_… key opens it. Ctrl-C stops it.", highlight=False)
