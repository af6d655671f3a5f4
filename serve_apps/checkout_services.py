"""What the checkout's app serves, put together from one process's parts."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import httpx

from actors.stock_client import OwnerTransport
from domain.ports import TaxService
from gateways.tax_service import HttpTaxes, TableTaxes, TaxServiceConfig
from serve_apps.checkout_app import CheckoutService
from serve_apps.checkout_metrics import CheckoutMetrics
from serve_apps.checkout_parts import new_id, utc_now
from serve_apps.credit_parts import gift_card_key
from serve_apps.drafting import Drafting
from serve_apps.method_app import MethodFinder, MethodService
from serve_apps.payment_choice import PaymentChoice
from serve_apps.price_desk import BatchedTaxes, PriceDesk
from serve_apps.pricing_shelf import PricingShelf
from serve_apps.prompt_settling import PromptSettling
from serve_apps.quote_app import QuoteService
from serve_apps.resume_app import ResumeService
from serve_apps.settings import Settings
from serve_apps.shelf import Shelf
from serve_apps.webhook_app import WebhookService
from storage.exchange_rates import PostgresExchangeRates
from storage.payment_methods import PaymentMethods
from storage.refunds import PostgresRefunds

if TYPE_CHECKING:
    from serve_apps.composition import Parts


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckoutServices:
    """The services behind the app's routes."""

    checkout: CheckoutService
    quotes: QuoteService
    webhooks: WebhookService
    resuming: ResumeService
    methods: MethodService


@contextlib.asynccontextmanager
async def open_services(
    parts: Parts, shelf: Shelf, transport: OwnerTransport | None
) -> AsyncIterator[CheckoutServices]:
    """For the length of a `with`; afterwards nothing of it is watched any more."""
    settings = parts.settings
    spacing_s = settings.batch_spacing_ms / 1_000
    pricing = PricingShelf(parts.promotions, PostgresExchangeRates(parts.pool), now=utc_now)
    await pricing.start()
    methods = PaymentMethods(parts.pool, new_id)
    made = parts.checkout(parts.stock_client(transport))
    settling = PromptSettling(made.settlement.settle)
    async with _taxes(settings) as taxes:
        desk = PriceDesk(pricing, taxes, now=utc_now)
        choice = PaymentChoice(
            gateway_for_new=parts.providers.failover.gateway_for_new,
            code_key=gift_card_key(settings),
        )
        drafting = Drafting(
            carts=parts.carts,
            shelf=shelf,
            desk=desk,
            choice=choice,
            find_methods=MethodFinder(methods.load_many, batch_spacing_s=spacing_s).find,
            new_id=new_id,
            now=utc_now,
            batch_spacing_s=spacing_s,
        )
        checkout = CheckoutService(
            saga=made.saga(),
            drafting=drafting,
            carts=parts.carts,
            orders=parts.orders,
            refunds=PostgresRefunds(parts.pool),
            identities=parts.identities,
            metrics=CheckoutMetrics(),
            in_flight_max=settings.checkout_in_flight_max,
            batch_spacing_s=spacing_s,
        )
        quotes = QuoteService(
            carts=parts.carts,
            shelf=shelf,
            desk=desk,
            promotions=parts.promotions,
            identities=parts.identities,
            batch_spacing_s=spacing_s,
        )
        try:
            yield CheckoutServices(
                checkout=checkout,
                quotes=quotes,
                webhooks=_webhooks(parts, settling),
                resuming=_resuming(parts, settling),
                methods=_methods(parts, methods),
            )
        finally:
            await checkout.drain()
            await settling.drain()
            await pricing.stop()


@contextlib.asynccontextmanager
async def _taxes(settings: Settings) -> AsyncIterator[TaxService]:
    """The shop's table, or the service that the settings name."""
    if not settings.tax_service_url:
        yield TableTaxes()
        return
    config = TaxServiceConfig(
        url=settings.tax_service_url,
        token=settings.tax_service_token,
        timeout_s=settings.tax_timeout_ms / 1_000,
        on_failure=settings.tax_on_failure,
    )
    async with httpx.AsyncClient() as client:
        outside = HttpTaxes(client, config, monotonic=time.monotonic)
        yield BatchedTaxes(outside, spacing_s=settings.batch_spacing_ms / 1_000)


def _webhooks(parts: Parts, settling: PromptSettling) -> WebhookService:
    return WebhookService(
        parts.providers.webhooks, events=parts.orders, orders=parts.orders, settling=settling
    )


def _resuming(parts: Parts, settling: PromptSettling) -> ResumeService:
    return ResumeService(
        orders=parts.orders,
        settling=settling,
        identities=parts.identities,
        monotonic=time.monotonic,
    )


def _methods(parts: Parts, book: PaymentMethods) -> MethodService:
    first = parts.providers.first.name
    return MethodService(
        book=book,
        vault=parts.providers.vaults[first],
        gateway=first,
        identities=parts.identities,
    )
