"""What the checkout is made of: providers, charges, settlement, saga and recovery."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from functools import cached_property
from uuid import UUID

import uuid_utils
from asyncpg.pgproto import pgproto

from actors.charges import Charges
from actors.checkout import Checkout
from actors.order_steps import OrderSteps, StepConfig
from actors.recovery import Recovery, RecoveryConfig
from actors.settlement import Settlement, SettlementConfig
from actors.stock_client import StockClient
from domain.ports import PromotionBook, StockSweep
from serve_apps.pause_points import pause_in
from serve_apps.payment_providers import PaymentProviders
from serve_apps.settings import Settings
from storage.fraud_files import load_scoring
from storage.orders import PostgresOrderBook


def new_id() -> UUID:
    """A fresh, sortable id."""
    # asyncpg's own kind of UUID, as every id that is read from the database: made, hashed and
    # turned into bytes several times faster.
    return pgproto.UUID(uuid_utils.uuid7().bytes)


def utc_now() -> datetime:
    """The time, aware."""
    return datetime.now(UTC)


class CheckoutParts:
    """The parts of one process's checkout over its order book, providers and stock client."""

    def __init__(
        self,
        settings: Settings,
        *,
        orders: PostgresOrderBook,
        providers: PaymentProviders,
        promotions: PromotionBook,
        stock: StockClient,
    ) -> None:
        self._settings = settings
        self._orders = orders
        self._stock = stock
        self._promotions = promotions
        self.charges = Charges(
            providers.by_name,
            monotonic=time.monotonic,
            failover=providers.failover,
            switch=self._switch,
            forecasts={providers.ledger.name: providers.ledger},
        )
        spacing_s = settings.batch_spacing_ms / 1_000
        self.steps = OrderSteps(
            orders,
            promotions,
            monotonic=time.monotonic,
            config=StepConfig(batch_spacing_s=spacing_s),
        )

    async def _switch(self, transaction_id: str, gateway: str) -> bool:
        # Half of the time until recovery may come: the write itself takes some of it.
        age_max_s = self._settings.stalled_after_s / 2
        return await self._orders.switch_gateway(transaction_id, gateway, age_max_s)

    @cached_property
    def settlement(self) -> Settlement:
        """Brings orders to their end."""
        settings = self._settings
        return Settlement(
            orders=self._orders,
            steps=self.steps,
            charges=self.charges,
            stock=self._stock,
            new_id=new_id,
            now=utc_now,
            config=SettlementConfig(
                action_wait_s=settings.action_wait_s,
                transfer_wait_s=settings.transfer_wait_s,
                review_wait_s=settings.review_wait_s,
            ),
            pause=pause_in(settings.pause_dir),
        )

    def saga(self) -> Checkout:
        """The checkout of one order after the other."""
        return Checkout(
            stock=self._stock,
            orders=self._orders,
            steps=self.steps,
            charges=self.charges,
            settlement=self.settlement,
            new_id=new_id,
            monotonic=time.monotonic,
            reservation_ttl_s=self._settings.reservation_ttl_s,
            scoring=load_scoring(self._settings.fraud_policy, self._settings.fraud_model),
        )

    def recovery(self, sweep: StockSweep) -> Recovery:
        """What settles those that stopped halfway, and those that wait."""
        return Recovery(
            orders=self._orders,
            settlement=self.settlement,
            stock=self._stock,
            sweep=sweep,
            promotions=self._promotions,
            now=utc_now,
            config=RecoveryConfig(
                stalled_after_s=self._settings.stalled_after_s,
                orphaned_after_s=self._settings.orphaned_after_s,
            ),
        )
