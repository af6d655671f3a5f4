"""Stripe as a payment provider: PaymentIntents that are made first and confirmed afterwards.

A charge is one PaymentIntent. It is created unconfirmed, which holds no money, under a key made of
our transaction id; so whoever knows that id finds the intent by creating it again. That is how
`void` works before, during and after `authorize`: it creates or finds the intent and cancels it,
and a confirmation that comes late meets a canceled intent.

An answer out of Stripe's memory of keys is as old as the key: it is never taken for the state
of a charge, which is asked for instead. Stripe forgets keys after a day; charges that are older
are found by search.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, cast

from domain.payments import (
    ChargeRequest,
    ChargeState,
    ChargeStatus,
    ProviderEvent,
    RefundRequest,
    SavedMethod,
)
from domain.ports import NotReached, RefundRefused, Unavailable
from gateways import stripe_charges as words
from gateways.bounded_http import CONNECTIONS_MAX, Transport
from gateways.stripe_calls import (
    KEYS_OF_A_STEP_MAX,
    SEARCHED_MAX,
    Answer,
    Call,
    StripeCalls,
    id_of,
    key_of,
    listed,
    quoted,
    why,
)
from gateways.stripe_charges import Body, NotChargeable, Refusal
from gateways.stripe_customers import Remembered, StripeCustomers
from gateways.stripe_webhooks import event_of

TIMEOUT_S = 15.0
KEYS_TRUSTED_FOR = timedelta(hours=20)
"""Stripe may forget an idempotency key after 24 hours."""
REFUNDS_OF_A_CHARGE_MAX = 1_000
TRANSFER_COUNTRY = "DE"
_PAGE = 100
# Of several intents for one charge, which cannot be, the one that matters most for money.
_WEIGHT = ("succeeded", "requires_capture", "processing", "requires_action", "canceled")


class StripeGateway:
    """PaymentProvider, WebhookSource and MethodVault of domain.ports, on Stripe's API.

    `base_url` leads elsewhere than to Stripe, in tests. `timeout_s` is for one request; a call
    makes up to three, and more after faults. `transfer_country` is where bank transfers in
    EUR are received. Besides the port's exceptions, StripeMisconfigured if Stripe refuses the key.
    """

    name = "stripe"

    def __init__(
        self,
        api_key: str,
        webhook_secret: str | None = None,
        base_url: str | None = None,
        *,
        now: Callable[[], datetime],
        timeout_s: float = TIMEOUT_S,
        connections_max: int = CONNECTIONS_MAX,
        transfer_country: str = TRANSFER_COUNTRY,
        transport: Transport | None = None,
    ) -> None:
        self._calls = StripeCalls(
            api_key,
            base_url=base_url,
            timeout_s=timeout_s,
            connections_max=connections_max,
            transport=transport,
        )
        self._webhook_secret = webhook_secret
        self._now = now
        self._transfer_country = transfer_country
        self._intents = Remembered()
        self._customers = StripeCustomers(self._calls)

    async def close(self) -> None:
        """Close the connections."""
        await self._calls.close()

    async def authorize(self, charge: ChargeRequest) -> ChargeState:
        """Create the intent and confirm it; two requests.

        A charge that Stripe cannot express is declined: `currency_not_supported`,
        `kind_not_supported`, `amount_not_chargeable`. NotReached only if no earlier call can
        have confirmed it either, as far as this process and Stripe's memory of keys know.
        """
        found = await self._find(charge)
        if isinstance(found, ChargeState):
            return found
        intent_id, fresh = found
        if fresh is None and self._is_old(charge):
            # Stripe has forgotten the key of a confirmation, and would try a declined card again.
            known = _state(await self._retrieve(intent_id))
            if known is not None:
                return known
        params = cast(Any, words.confirm_params(charge, self._transfer_country))
        try:
            answer = await self._calls.post(
                f"{charge.transaction_id}:confirm",
                lambda options: self._calls.v1.payment_intents.confirm_async(
                    intent_id, params, options
                ),
            )
        except NotReached as error:
            if fresh is not None:
                raise
            raise Unavailable(f"{error}; an earlier call may have confirmed it") from error
        if isinstance(answer, Refusal) and answer.intent is not None and not answer.replayed:
            state = _state(answer.intent)
        else:
            state = await self._state_after(intent_id, answer)
        if state is not None:
            return state
        if isinstance(answer, Answer) or answer.other_parameters() or answer.wrong_state():
            raise Unavailable(f"Stripe: {intent_id} is being confirmed by someone else; ask again")
        return _declined(charge, answer.reason())

    async def capture(self, charge: ChargeRequest) -> ChargeState:
        """Take all that is held. A charge that was never authorized is told as voided."""
        found = await self._find(charge)
        if isinstance(found, ChargeState):
            return found
        intent_id, fresh = found
        if fresh is None:
            intents = self._calls.v1.payment_intents
            state = await self._move(
                intent_id,
                f"{charge.transaction_id}:capture",
                lambda options: intents.capture_async(
                    intent_id, {"expand": ["latest_charge"]}, options
                ),
                out_of={"authorized"},
            )
            if state is not None:
                return state
        return ChargeState("voided", charge.amount_minor, charge.currency)

    async def void(self, charge: ChargeRequest) -> ChargeState:
        """Cancel the intent, which is made for that if there is none.

        `processing` where the money is on its way already and cannot be called back.
        """
        found = await self._find(charge)
        if isinstance(found, ChargeState):
            return found
        intent_id, body = found
        before = _state(body or await self._retrieve(intent_id))
        if before and before.status in {"voided", "captured", "refunded"}:
            return before
        intents = self._calls.v1.payment_intents
        after = await self._move(
            intent_id,
            f"{charge.transaction_id}:cancel",
            lambda options: intents.cancel_async(intent_id, {"expand": ["latest_charge"]}, options),
            out_of={"authorized", "requires_action", "declined", None},
        )
        if after is None or after.status in {"authorized", "requires_action"}:
            raise Unavailable(f"Stripe did not cancel {intent_id}; ask again")
        if before and before.status == "declined" and after.status == "voided":
            return before  # canceled, it does not tell any more that the card was declined
        return after

    async def refund(self, charge: ChargeRequest, refund: RefundRequest) -> ChargeState:
        """Give back, once per refund id, however long ago that was asked first."""
        found = await self._find(charge)
        if isinstance(found, ChargeState):
            raise RefundRefused(f"charge {charge.transaction_id} was never made")
        intent_id, _ = found
        amount = _refundable(refund, charge)
        for number in range(1, KEYS_OF_A_STEP_MAX + 1):
            if await self._refund_exists(intent_id, refund.refund_id):
                return await self._taken(intent_id, charge)
            taken = await self._taken(intent_id, charge)
            left = taken.amount_minor - taken.refunded_minor
            if refund.amount_minor > left:
                raise RefundRefused(
                    f"refund {refund.refund_id} of {refund.amount_minor} {charge.currency} is"
                    f" more than the {left} that charge {charge.transaction_id} has left"
                )
            params: Any = {
                "payment_intent": intent_id,
                "amount": amount,
                "metadata": {
                    "refund_id": refund.refund_id,
                    "transaction_id": charge.transaction_id,
                },
            }
            answer = await self._calls.post_once(
                key_of(refund.refund_id, number),
                lambda options, params=params: self._calls.v1.refunds.create_async(params, options),
            )
            if answer is not None:
                return await self._after_refund(intent_id, charge, refund, answer)
        raise Unavailable(f"Stripe: every try of refund {refund.refund_id} ended in a fault")

    async def lookup(self, charge: ChargeRequest) -> ChargeState | None:
        """The state of the charge's intent; None if nobody has ever tried to pay it.

        Leaves an unconfirmed intent behind where there was none: it holds nothing.
        """
        found = await self._find(charge)
        if isinstance(found, ChargeState):
            return None
        intent_id, fresh = found
        return _state(fresh or await self._retrieve(intent_id))

    def event(self, headers: Mapping[str, str], body: bytes) -> ProviderEvent:
        """Verify `Stripe-Signature` and its time, and read the event."""
        return event_of(headers, body, self._webhook_secret, self._now)

    async def save_method(self, payer: str, token: str) -> SavedMethod | None:
        """Attach a payment method to the payer's customer at Stripe.

        None as well for a card whose bank does not let it be kept.
        """
        return await self._customers.save_method(payer, token)

    async def detach_method(self, payer: str, token: str) -> None:
        """Detach a payment method; it cannot be attached or charged again."""
        await self._customers.detach_method(payer, token)

    async def _find(self, charge: ChargeRequest) -> tuple[str, Body | None] | ChargeState:
        """The intent's id, and its body if that is what it is now.

        A ChargeState instead if Stripe refuses to have such an intent.
        """
        if known := self._intents.get(charge.transaction_id):
            return known, None
        if self._is_old(charge) and (id_ := await self._search(charge)):
            return id_, None
        try:
            customer = charge.customer
            if customer is None and words.needs_customer(charge):
                customer = await self._customers.customer_of(charge.payer or charge.transaction_id)
            params = cast(Any, words.create_params(charge, customer))
        except NotChargeable as error:
            return _declined(charge, error.code)
        answer = await self._calls.post(
            f"{charge.transaction_id}:create",
            lambda options: self._calls.v1.payment_intents.create_async(params, options),
        )
        if isinstance(answer, Answer):
            id_ = id_of(answer.body)
            self._intents.put(charge.transaction_id, id_)
            return id_, None if answer.replayed else answer.body
        if not answer.other_parameters():
            return _declined(charge, answer.reason())
        if id_ := await self._search(charge):
            return id_, None
        raise Unavailable(
            f"Stripe: charge {charge.transaction_id} was made with other parameters, and search"
            " does not find it yet; ask again in a minute"
        )

    def _is_old(self, charge: ChargeRequest) -> bool:
        asked_at = charge.asked_at
        return asked_at is not None and self._now() - asked_at > KEYS_TRUSTED_FOR

    async def _search(self, charge: ChargeRequest) -> str | None:
        query = f"metadata['transaction_id']:'{quoted(charge.transaction_id)}'"
        answer = await self._calls.get(
            self._calls.v1.payment_intents.search_async({"query": query, "limit": SEARCHED_MAX})
        )
        found = [
            one
            for one in listed(answer)
            if (one.get("metadata") or {}).get("transaction_id") == charge.transaction_id
        ]
        if not found:
            return None
        best = min(found, key=lambda one: (_weight(one), one.get("created") or 0))
        self._intents.put(charge.transaction_id, id_of(best))
        return id_of(best)

    async def _retrieve(self, intent_id: str) -> Body:
        answer = await self._calls.get(
            self._calls.v1.payment_intents.retrieve_async(intent_id, {"expand": ["latest_charge"]})
        )
        if isinstance(answer, Refusal):
            raise Unavailable(f"Stripe does not show {intent_id} ({why(answer)})")
        return answer.body

    async def _move(
        self, intent_id: str, key: str, call: Call, *, out_of: set[ChargeStatus | None]
    ) -> ChargeState | None:
        """Do a step that Stripe itself does at most once, and tell the state after it.

        A refusal may be one that Stripe remembers from a time when it was too early for the
        step: if that is still to be done, the next key asks anew.
        """
        state = None
        for number in range(1, KEYS_OF_A_STEP_MAX + 1):
            answer = await self._calls.post_once(key_of(key, number), call)
            if answer is None:
                continue
            state = await self._state_after(intent_id, answer)
            if not (isinstance(answer, Refusal) and answer.replayed):
                return state
            if (state.status if state else None) not in out_of:
                return state
        raise Unavailable(f"Stripe: every try of {key} was refused; ask again")

    async def _state_after(self, intent_id: str, answer: Answer | Refusal) -> ChargeState | None:
        """The state after a step: the answer's if it was made now, else as asked for."""
        if isinstance(answer, Answer) and not answer.replayed:
            return _state(answer.body)
        try:
            return _state(await self._retrieve(intent_id))
        except NotReached as error:  # this question was not; the step before it was
            raise Unavailable(f"{error}; what came of {intent_id} is not known") from error

    async def _taken(self, intent_id: str, charge: ChargeRequest) -> ChargeState:
        """The state of a charge that took money. Raises RefundRefused if it did not."""
        state = _state(await self._retrieve(intent_id))
        if state is None or state.status not in {"captured", "refunded"}:
            status = state.status if state else "not authorized"
            raise RefundRefused(f"charge {charge.transaction_id} took nothing: it is {status}")
        if state.currency != charge.currency:
            raise RefundRefused(
                f"charge {charge.transaction_id} took {state.currency}, not {charge.currency}"
            )
        return state

    async def _refund_exists(self, intent_id: str, refund_id: str) -> bool:
        params: Any = {"payment_intent": intent_id, "limit": _PAGE}
        for _ in range(REFUNDS_OF_A_CHARGE_MAX // _PAGE):
            answer = await self._calls.get(self._calls.v1.refunds.list_async(params))
            refunds = listed(answer)
            if any((one.get("metadata") or {}).get("refund_id") == refund_id for one in refunds):
                return True
            if not (isinstance(answer, Answer) and answer.body.get("has_more") and refunds):
                return False
            params["starting_after"] = refunds[-1]["id"]
        raise RefundRefused(f"{intent_id} has {REFUNDS_OF_A_CHARGE_MAX:,} refunds: no more of them")

    async def _after_refund(
        self,
        intent_id: str,
        charge: ChargeRequest,
        refund: RefundRequest,
        answer: Answer | Refusal,
    ) -> ChargeState:
        """A refused one may have been made by someone faster, or another left too little."""
        try:
            if isinstance(answer, Answer) or await self._refund_exists(intent_id, refund.refund_id):
                return await self._taken(intent_id, charge)
        except NotReached as error:
            raise Unavailable(f"{error}; refund {refund.refund_id} may be made") from error
        if answer.other_parameters():
            raise RefundRefused(
                f"refund {refund.refund_id} was asked for before with another amount"
            )
        raise RefundRefused(f"Stripe refuses refund {refund.refund_id} ({why(answer)})")


def _state(intent: Body) -> ChargeState | None:
    try:
        return words.state_of(intent)
    except (KeyError, TypeError, ValueError) as error:
        raise Unavailable(f"Stripe: the answer is no PaymentIntent: {error!r}") from error


def _weight(intent: Body) -> int:
    status = intent.get("status")
    return _WEIGHT.index(status) if status in _WEIGHT else len(_WEIGHT)


def _refundable(refund: RefundRequest, charge: ChargeRequest) -> int:
    if refund.amount_minor < 1:
        raise RefundRefused(f"refund {refund.refund_id} of {refund.amount_minor} gives nothing")
    try:
        return words.to_stripe(refund.amount_minor, charge.currency)
    except NotChargeable as error:
        raise RefundRefused(f"refund {refund.refund_id}: {error}") from error


def _declined(charge: ChargeRequest, code: str) -> ChargeState:
    return ChargeState("declined", charge.amount_minor, charge.currency, code)
