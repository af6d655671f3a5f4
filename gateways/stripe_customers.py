"""Customers at Stripe, and the means of payment that they keep."""

from __future__ import annotations

import re
from collections import OrderedDict
from typing import Any

from domain.payments import SavedMethod
from domain.ports import Unavailable
from gateways.stripe_calls import SEARCHED_MAX, StripeCalls, id_of, listed, quoted, why
from gateways.stripe_charges import Refusal, saved_method_of

IDS_REMEMBERED_MAX = 10_000
_NOT_FOUND = 404
_TOKEN = re.compile(r"[A-Za-z0-9_]{1,100}")


class Remembered:
    """Ids that never change, by name; only saves requests."""

    def __init__(self) -> None:
        self._ids: OrderedDict[str, str] = OrderedDict()

    def get(self, name: str) -> str | None:
        """None if it is not remembered."""
        return self._ids.get(name)

    def put(self, name: str, id_: str) -> None:
        """Remember it, and forget the oldest beyond IDS_REMEMBERED_MAX."""
        self._ids[name] = id_
        while len(self._ids) > IDS_REMEMBERED_MAX:
            self._ids.popitem(last=False)


class StripeCustomers:
    """Finds or makes the customer at Stripe for one of ours."""

    def __init__(self, calls: StripeCalls) -> None:
        self._calls = calls
        self._known = Remembered()

    async def save_method(self, payer: str, token: str) -> SavedMethod | None:
        """Attach a payment method to the payer's customer at Stripe.

        None as well for a card whose bank does not let it be kept.
        """
        if not _TOKEN.fullmatch(token):  # it comes from outside, and is part of a path and a key
            return None
        customer = await self.customer_of(payer)
        answer = await self._calls.post(
            f"attach:{payer}:{token}",
            lambda options: self._calls.v1.payment_methods.attach_async(
                token, {"customer": customer}, options
            ),
        )
        if isinstance(answer, Refusal) or answer.replayed:
            # It may be attached already, or not any more: what it is now decides.
            name = token if isinstance(answer, Refusal) else id_of(answer.body)
            answer = await self._calls.get(self._calls.v1.payment_methods.retrieve_async(name))
        if isinstance(answer, Refusal) or answer.body.get("customer") != customer:
            return None
        return saved_method_of(answer.body, customer)

    async def detach_method(self, payer: str, token: str) -> None:
        """Detach a payment method from the payer's customer at Stripe, for ever."""
        if not _TOKEN.fullmatch(token):  # never kept
            return
        answer = await self._calls.post(
            f"detach:{payer}:{token}",
            lambda options: self._calls.v1.payment_methods.detach_async(token, {}, options),
        )
        if not isinstance(answer, Refusal) and not answer.replayed:
            return
        # Stripe refuses to detach what is detached already: what it is now decides.
        now = await self._calls.get(self._calls.v1.payment_methods.retrieve_async(token))
        if isinstance(now, Refusal):
            if now.status != _NOT_FOUND:
                raise Unavailable(f"Stripe does not tell whether it detached a method ({why(now)})")
        elif now.body.get("customer") is not None:
            raise Unavailable("Stripe still has a payment method that it was to detach")

    async def customer_of(self, payer: str) -> str:
        """Stripe's customer for one of ours, or for a charge of nobody we know; made once."""
        if known := self._known.get(payer):
            return known
        params: Any = {"query": f"metadata['payer']:'{quoted(payer)}'", "limit": SEARCHED_MAX}
        answer = await self._calls.get(self._calls.v1.customers.search_async(params))
        found = [one for one in listed(answer) if (one.get("metadata") or {}).get("payer") == payer]
        if found:
            id_ = id_of(min(found, key=lambda one: one.get("created") or 0))
        else:
            made = await self._calls.post(
                f"customer:{payer}",
                lambda options: self._calls.v1.customers.create_async(
                    {"metadata": {"payer": payer}}, options
                ),
            )
            if isinstance(made, Refusal):
                raise Unavailable(f"Stripe makes no customer for {payer} ({why(made)})")
            id_ = id_of(made.body)
        self._known.put(payer, id_)
        return id_
