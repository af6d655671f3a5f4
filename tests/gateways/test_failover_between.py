"""Failover between the gateways that there are: Stripe out of reach, the second one there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from actors.failover import Failover
from domain.payments import ChargeRequest
from domain.ports import NotReached, Unavailable
from gateways.stripe_gateway import StripeGateway
from sim.braintree_server import BraintreeBooks
from tests.gateways.in_process import InProcess, second_gateway
from tests.gateways.stripe_script import CONFIRM, CREATE, KNOWN, NEW, Stripe

pytestmark = pytest.mark.asyncio
CHARGE = ChargeRequest("tx-1", 1_580, "USD", "card_1")


class Written:
    """What the shop has written down of one charge."""

    def __init__(self) -> None:
        self.gateway = "stripe"

    async def switch(self, gateway: str) -> ChargeRequest:
        self.gateway = gateway
        return CHARGE


async def test_a_charge_goes_over_when_stripe_is_gone(
    gateway: StripeGateway, stripe: Stripe, tmp_path: Path
) -> None:
    second = second_gateway(InProcess(BraintreeBooks(tmp_path / "books.sqlite")))
    failover = Failover(gateway, second, monotonic=lambda: 0.0)
    written = Written()
    stripe.stop()
    done = await failover.authorize(CHARGE, "stripe", written.switch, first_try=True)
    assert (done.gateway, done.state.status) == ("braintree", "authorized")
    provider = failover.provider(written.gateway)
    assert (await provider.capture(CHARGE)).status == "captured"
    for _ in range(5):
        with pytest.raises(NotReached):
            await failover.ask("stripe", lambda one: one.lookup(CHARGE))
    assert failover.gateway_for_new() == "braintree"
    assert failover.gateway_for_new("bank_transfer") == "stripe"


async def test_a_charge_stays_whose_outcome_is_not_known(
    gateway: StripeGateway, stripe: Stripe, tmp_path: Path
) -> None:
    books = BraintreeBooks(tmp_path / "books.sqlite")
    failover = Failover(gateway, second_gateway(InProcess(books)), monotonic=lambda: 0.0)
    written = Written()
    for made in (NEW, KNOWN):
        stripe.answers = {CREATE: made, CONFIRM: "close"}
        charge = replace(CHARGE, transaction_id=f"tx-{made is NEW}")
        with pytest.raises(Unavailable):
            await failover.authorize(charge, "stripe", written.switch, first_try=True)
    assert written.gateway == "stripe"
    assert [one async for one in books.charges()] == []
