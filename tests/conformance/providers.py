"""Payment providers that the conformance suite holds to the port, each behind a Bench.

To add one: write an async generator `async def my_provider(stage: Stage) -> AsyncIterator[Bench]`
that opens it, yields a Bench and closes it, and name it in BENCHES. Say in `tokens` how its test
means are called and in `codes` how it names the reasons to decline, if they differ from those
here; leave out a kind that it does not know, and tests of that kind are skipped. A hook that
cannot be had (nobody can play the buyer at the real Stripe) is None: the tests that need it are
skipped, too.
"""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from domain.payments import PaymentKind, ProviderEvent
from domain.ports import PaymentProvider
from sim.provider import SimulatedProvider
from sim.provider_faults import FaultPlan
from storage.postgres import open_pool

Means = Literal[
    "good", "declined", "no_funds", "expired", "processing_error", "challenged", "unknown",
    "wallet", "transfer", "slow_transfer",
]  # fmt: skip

TOKENS: Mapping[Means, tuple[PaymentKind, str]] = {
    "good": ("card", "pm_card_visa"),
    "declined": ("card", "pm_card_chargeDeclined"),
    "no_funds": ("card", "pm_card_chargeDeclinedInsufficientFunds"),
    "expired": ("card", "pm_card_chargeDeclinedExpiredCard"),
    "processing_error": ("card", "pm_card_chargeDeclinedProcessingError"),
    "challenged": ("card", "pm_card_threeDSecure2Required"),
    "unknown": ("card", "pm_nobody_knows"),
    "wallet": ("wallet", "wallet_1"),
    "transfer": ("bank_transfer", "bank_1"),
    "slow_transfer": ("bank_transfer", "bank_processing"),
}
CODES: Mapping[Means, frozenset[str]] = {
    # A gateway may tell the reason or its group.
    "declined": frozenset({"card_declined", "generic_decline"}),
    "no_funds": frozenset({"insufficient_funds"}),
    "expired": frozenset({"expired_card"}),
    "processing_error": frozenset({"processing_error"}),
    "challenged": frozenset({"authentication_required", "payment_intent_authentication_failure"}),
    "unknown": frozenset({"unknown_payment_method", "resource_missing"}),
}
Hook = Callable[[str], Awaitable[Any]]


@dataclass(frozen=True, kw_only=True)
class Bench:
    """A provider, and the levers that play everyone else."""

    provider: PaymentProvider
    tokens: Mapping[Means, tuple[PaymentKind, str]] = field(default_factory=lambda: TOKENS)
    codes: Mapping[Means, frozenset[str]] = field(default_factory=lambda: CODES)
    approve: Hook | None = None
    """The buyer of a charge agrees at the provider's page; takes our transaction id."""
    deny: Hook | None = None
    settle: Hook | None = None
    """The bank has sent the money."""
    fail_transfer: Hook | None = None
    faults: FaultPlan | None = None
    """Plans what goes wrong next, by the port's names of the calls."""
    calls: Mapping[str, str] = field(default_factory=dict[str, str])
    """What `faults` calls a call of the port, where that is another name."""
    tries: int = 1
    """How often the provider's client tries a call by itself before it gives up."""
    tells_not_reached: bool = False
    """The fault `refused` is one that the caller can tell from an answer that was lost."""
    next_event: Callable[[], Awaitable[ProviderEvent]] | None = None
    """Waits for what the provider tells by itself."""
    taken: Callable[[str], Awaitable[int]] | None = None
    """Minor units that the provider's own books say it took and kept for a charge."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """What a bench is built on: a migrated database of the test's own."""

    database_url: str


async def simulated_provider(stage: Stage) -> AsyncIterator[Bench]:
    """The in-process twin."""
    pool = await open_pool(stage.database_url, max_size=6)
    plan, events = FaultPlan(seed=1), asyncio.Queue[ProviderEvent]()
    provider = SimulatedProvider(pool, faults=plan, on_event=events.put_nowait)
    try:
        yield Bench(
            provider=provider,
            approve=provider.approve,
            deny=provider.deny,
            settle=provider.settle_transfer,
            fail_transfer=provider.fail_transfer,
            faults=plan,
            tells_not_reached=True,
            next_event=events.get,
            taken=lambda transaction_id: taken_by(provider, transaction_id),
        )
    finally:
        await pool.close()


async def taken_by(provider: SimulatedProvider, transaction_id: str) -> int:
    """What the books say that all charges of this name took and kept."""
    return sum(
        [
            one.amount_minor - one.refunded_minor
            async for one in provider.charges()
            if one.transaction_id == transaction_id and one.status in ("captured", "refunded")
        ]
    )


def _is_there(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


BENCHES: dict[str, Callable[[Stage], AsyncIterator[Bench]]] = {"simulated": simulated_provider}
if _is_there("gateways.stripe_gateway"):
    from tests.conformance.stripe_bench import stripe_over_http

    BENCHES["stripe"] = stripe_over_http
if _is_there("gateways.braintree_gateway"):
    from tests.conformance.braintree_bench import second_provider

    BENCHES["second"] = second_provider
if _is_there("tests.conformance.ledger_bench"):
    from tests.conformance.ledger_bench import LEDGER_BENCHES

    BENCHES |= LEDGER_BENCHES
