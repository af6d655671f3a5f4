"""The payment providers of one process: who takes cards, who stands in, and the shop's ledger."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import asyncpg
import structlog

from actors.failover import Failover
from actors.retry import RetryPolicy, until_reached
from domain.payments import ChargeRequest, ChargeState, ProviderEvent
from domain.ports import MethodVault, PaymentProvider, WebhookSource
from domain.promises import Charge
from serve_apps.credit_parts import ledger_over
from serve_apps.settings import Settings
from sim.provider import SimulatedProvider
from sim.provider_faults import FaultPlan, FaultRates
from storage.charges import ChargesOnRecord, not_on_record

if TYPE_CHECKING:
    # Imported where they are used: their clients are large, and most processes need none.
    from gateways.braintree_gateway import BraintreeGateway
    from gateways.stripe_gateway import StripeGateway

AUDIT_RETRY: Final = RetryPolicy(deadline_s=30.0, first_s=0.1, max_s=5.0)
"""Of an audit's questions: nobody waits at a counter, and one that fails ends the audit."""
_log = structlog.get_logger(__name__)

KEEPING_MAX = 256
"""Events of the simulated provider that are being written down at once.

One takes a statement and a connection of the pool. With the database away every one waits for its
timeout, so without a bound a rush of charges would leave as many tasks waiting as there were charges.
"""


class PaymentProviders:
    """Stripe if there is a key for it, else the simulated provider; a second one if configured."""

    def __init__(
        self,
        settings: Settings,
        pool: asyncpg.Pool,
        on_event: Callable[[str, ProviderEvent], Awaitable[object]],
    ) -> None:
        """`on_event` keeps what the simulated provider tells by itself: (its name, the event)."""
        spacing_s = settings.batch_spacing_ms / 1_000
        self._pool = pool
        self.ledger = ledger_over(pool, batch_spacing_s=spacing_s)
        self.simulated = SimulatedProvider(
            pool,
            latency_s=settings.provider_latency_ms / 1_000,
            batch_spacing_s=spacing_s,
            faults=_faults(settings),
            on_event=self._keep,
        )
        self._on_event = on_event
        self._keeping: set[asyncio.Future[object]] = set()
        self.events_dropped_total = 0
        self.stripe = _stripe(settings)
        self.first: PaymentProvider = self.stripe or self.simulated
        self.second = _second(settings)
        self.failover = Failover(self.first, self.second, monotonic=time.monotonic)
        all_ = (self.first, self.second, self.ledger)
        self.by_name: dict[str, PaymentProvider] = {one.name: one for one in all_ if one}

    @property
    def webhooks(self) -> dict[str, WebhookSource]:
        """Those that tell by themselves when something happens."""
        return {self.stripe.name: self.stripe} if self.stripe else {}

    @property
    def vaults(self) -> dict[str, MethodVault]:
        """Those that keep means of payment for later."""
        return {self.first.name: self.stripe or self.simulated}

    def charges(self) -> AsyncIterator[Charge]:
        """Every charge at every provider, for the audit (ProviderBooks)."""
        return self._charges()

    async def _charges(self) -> AsyncIterator[Charge]:
        simulated = self.simulated.charges()
        if self.stripe is not None:
            # `doorbuster provider` may be what answers as Stripe, with its books in this database.
            simulated = not_on_record(self._pool, self.stripe.name, simulated)
        for books in (simulated, self.ledger.charges()):
            async for charge in books:
                yield charge
        for provider in (self.stripe, self.second):
            if provider is not None:
                on_record = ChargesOnRecord(self._pool, provider.name, _patiently(provider))
                async for charge in on_record.charges():
                    yield charge

    def _keep(self, event: ProviderEvent) -> None:
        # Should it be lost: an order that waits is looked at every few seconds anyway.
        if len(self._keeping) >= KEEPING_MAX:
            if self.events_dropped_total % KEEPING_MAX == 0:  # not a line for each of a flood
                _log.warning(
                    "provider_event_not_kept",
                    reason=f"{KEEPING_MAX} are being written down; is the database away?",
                    dropped_total=self.events_dropped_total + 1,
                )
            self.events_dropped_total += 1
            return
        kept = asyncio.ensure_future(self._on_event(self.simulated.name, event))
        self._keeping.add(kept)
        kept.add_done_callback(self._kept)

    def _kept(self, kept: asyncio.Future[object]) -> None:
        self._keeping.discard(kept)
        if not kept.cancelled() and (error := kept.exception()) is not None:
            _log.warning("provider_event_not_kept", reason=repr(error))

    async def close(self) -> None:
        """Give the connections back."""
        for provider in (self.stripe, self.second):
            if provider is not None:
                await provider.close()


def _patiently(
    provider: PaymentProvider,
) -> Callable[[ChargeRequest], Awaitable[ChargeState | None]]:
    """The provider's lookup, asked again as long as AUDIT_RETRY says. Raises Unavailable."""

    async def lookup(charge: ChargeRequest) -> ChargeState | None:
        return await until_reached(
            lambda: provider.lookup(charge), monotonic=time.monotonic, policy=AUDIT_RETRY
        )

    return lookup


def _stripe(settings: Settings) -> StripeGateway | None:
    if not settings.stripe_api_key:
        return None
    from gateways.stripe_gateway import StripeGateway

    return StripeGateway(
        settings.stripe_api_key,
        settings.stripe_webhook_secret or None,
        settings.stripe_base_url or None,
        now=lambda: datetime.now(UTC),
        timeout_s=settings.stripe_timeout_s,
        transfer_country=settings.stripe_transfer_country,
    )


def _second(settings: Settings) -> BraintreeGateway | None:
    if not settings.second_provider_url:
        return None
    from gateways.braintree_gateway import BraintreeGateway

    return BraintreeGateway(
        settings.second_provider_public_key,
        settings.second_provider_private_key,
        settings.second_provider_url,
        timeout_s=settings.second_provider_timeout_s,
    )


def _faults(settings: Settings) -> FaultPlan | None:
    rate = settings.provider_fault_rate
    return FaultPlan(FaultRates.spread(rate)) if rate else None
