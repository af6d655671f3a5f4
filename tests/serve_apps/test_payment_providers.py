"""The audit's view of the providers: each charge once, and a provider that fails is asked again."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from actors.retry import RetryPolicy
from domain.payments import ChargeRequest, ChargeState
from domain.ports import PaymentProvider, Unavailable
from domain.promises import PROMISES
from serve_apps import payment_providers
from serve_apps.payment_providers import PaymentProviders
from serve_apps.settings import Settings
from sim.provider_process import ProviderOptions, serving
from storage.audit import audit
from tests.storage.books import NOW, ORDER, write_books

pytestmark = pytest.mark.asyncio
CHARGE = ChargeRequest("charge-elsewhere", 1_234, "USD", "pm_card_visa", asked_at=None)


async def _forget(_gateway: str, _event: object) -> None:
    return None


@contextlib.asynccontextmanager
async def stripe_wire(pool: asyncpg.Pool) -> AsyncIterator[PaymentProviders]:
    """Stripe is `doorbuster provider`, with its books in the shop's own database."""
    async with serving(pool, ProviderOptions()) as running:
        settings = Settings(stripe_api_key="sk_test_1", stripe_base_url=running.base_url)
        providers = PaymentProviders(settings, pool, _forget)
        try:
            yield providers
        finally:
            await providers.close()


async def paid_at_stripe(providers: PaymentProviders, pool: asyncpg.Pool, name: str) -> None:
    """The order's charge is made anew, at Stripe, and on record there."""
    order = ORDER[name]
    assert providers.stripe is not None
    await pool.execute(
        "DELETE FROM simulated_provider.charges WHERE transaction_id = $1", _id(name)
    )
    await pool.execute(
        "UPDATE payments SET gateway = 'stripe', payment_token = 'pm_card_visa'"
        " WHERE transaction_id = $1",
        _id(name),
    )
    row = await pool.fetchrow(
        "SELECT p.*, o.user_id, o.created_at FROM payments p JOIN orders o USING (order_id)"
        " WHERE transaction_id = $1",
        _id(name),
    )
    assert row is not None
    charge = ChargeRequest(
        _id(name),
        order.total_minor,
        "USD",
        "pm_card_visa",
        payer=str(row["user_id"]),
        kind=row["payment_method"],
        asked_at=row["created_at"],
    )
    await providers.stripe.authorize(charge)
    await providers.stripe.capture(charge)


def _id(name: str) -> str:
    return ORDER[name].transaction_id


async def _broken(providers: PaymentProviders, pool: asyncpg.Pool) -> list[str]:
    report = await audit(pool, providers, bus=None, now=NOW)
    assert len(report.verdicts) == len(PROMISES)
    return [
        f"{one.promise.id}: {violation}" for one in report.verdicts for violation in one.violations
    ]


async def test_a_charge_in_the_wires_books_and_on_record_is_counted_once(
    pool: asyncpg.Pool,
) -> None:
    await write_books(pool)
    async with stripe_wire(pool) as providers:
        before = await _broken(providers, pool)
        await paid_at_stripe(providers, pool, "first")
        seen = [one.transaction_id async for one in providers.charges()]
        assert sorted(seen) == sorted(set(seen))
        assert _id("first") in seen
        assert _id("split") in seen  # of the time before: the simulated provider is on record
        assert await _broken(providers, pool) == before


async def test_a_charge_in_the_wires_books_that_no_order_has_is_found(pool: asyncpg.Pool) -> None:
    await write_books(pool)
    async with stripe_wire(pool) as providers:
        assert providers.stripe is not None
        before = await _broken(providers, pool)
        await providers.stripe.authorize(CHARGE)
        [found] = set(await _broken(providers, pool)) - set(before)
        assert found.startswith(f"P7: charge {CHARGE.transaction_id} at the provider")


async def test_a_page_of_charges_is_no_bound(pool: asyncpg.Pool) -> None:
    await write_books(pool)
    await pool.execute(
        "INSERT INTO simulated_provider.charges (transaction_id, amount_minor, currency, status)"
        " SELECT 'charge-old-' || n, 100, 'USD', 'captured' FROM generate_series(1, 450) n"
    )
    async with stripe_wire(pool) as providers:
        await paid_at_stripe(providers, pool, "first")
        seen = [one.transaction_id async for one in providers.charges()]
    assert len([one for one in seen if one.startswith("charge-old-")]) == 450
    assert seen.count(_id("first")) == 1


class Failing:
    """A provider that fails so many times before each answer."""

    def __init__(self, of: PaymentProvider, times: int) -> None:
        self.name = of.name
        self._of = of
        self._times = times
        self._left = times

    async def lookup(self, charge: ChargeRequest) -> ChargeState | None:
        if self._left:
            self._left -= 1
            raise Unavailable("Stripe failed (status 500, request req_1)")
        self._left = self._times
        return await self._of.lookup(charge)

    async def close(self) -> None:
        return None


@pytest.mark.parametrize(("times", "found"), [(3, True), (1_000_000, False)])
async def test_a_provider_that_fails_is_asked_again_with_an_end(
    pool: asyncpg.Pool, monkeypatch: pytest.MonkeyPatch, times: int, *, found: bool
) -> None:
    policy = RetryPolicy(deadline_s=5.0 if found else 0.05, first_s=0.001, max_s=0.001)
    monkeypatch.setattr(payment_providers, "AUDIT_RETRY", policy)
    await write_books(pool)
    async with stripe_wire(pool) as providers:
        await paid_at_stripe(providers, pool, "first")
        real = providers.stripe
        assert real is not None
        failing: Any = Failing(real, times)
        providers.stripe = failing
        try:
            if found:
                assert _id("first") in [one.transaction_id async for one in providers.charges()]
            else:
                with pytest.raises(Unavailable, match="status 500"):
                    await audit(pool, providers, bus=None, now=NOW)
        finally:
            providers.stripe = real
