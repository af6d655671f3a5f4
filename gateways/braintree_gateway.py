"""A second payment provider, Braintree-like: GraphQL over HTTP, one transaction per order id.

Requests and statuses are in the manner of Braintree's GraphQL API; our transaction id is its
`orderId`. Two things are not Braintree's own, and a real account would need something in their
place: an order id is good for one transaction and one refund only, and `closeOrder` makes an
order void before anything was authorized for it. `sim/braintree_server.py` speaks all of it.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

import orjson

from domain.money import EXPONENTS, scale_of
from domain.payments import ChargeRequest, ChargeState, ChargeStatus, RefundRequest
from domain.ports import Misconfigured, RefundRefused, Unavailable
from gateways.bounded_http import CONNECTIONS_MAX, BoundedHttp, Transport

TIMEOUT_S = 15.0
API_VERSION = "2019-01-01"
_KINDS = frozenset({"card", "wallet"})

_TRANSACTION = """{ id orderId status amount { value currencyIsoCode }
    refundedAmount { value } processorResponse { legacyCode } }"""
AUTHORIZE = f"""mutation($input: AuthorizePaymentMethodInput!) {{
    authorizePaymentMethod(input: $input) {{ transaction {_TRANSACTION} }} }}"""
CAPTURE = f"""mutation($input: CaptureTransactionInput!) {{
    captureTransaction(input: $input) {{ transaction {_TRANSACTION} }} }}"""
REFUND = f"""mutation($input: RefundTransactionInput!) {{
    refundTransaction(input: $input) {{ transaction {_TRANSACTION} }} }}"""
CLOSE = f"""mutation($input: CloseOrderInput!) {{
    closeOrder(input: $input) {{ transaction {_TRANSACTION} }} }}"""
SEARCH = f"""query($input: TransactionSearchInput!) {{
    search {{ transactions(input: $input) {{ edges {{ node {_TRANSACTION} }} }} }} }}"""

_STATUSES: dict[str, ChargeStatus] = {
    "AUTHORIZED": "authorized",
    "SUBMITTED_FOR_SETTLEMENT": "captured",
    "SETTLING": "captured",
    "SETTLED": "captured",
    "VOIDED": "voided",
    "AUTHORIZATION_EXPIRED": "voided",
    "PROCESSOR_DECLINED": "declined",
    "GATEWAY_REJECTED": "declined",
    "FAILED": "declined",
    "AUTHORIZING": "processing",
    "SETTLEMENT_PENDING": "processing",
}
# Braintree's processor response codes, in the words that Stripe has for them.
DECLINE_CODES = {
    "2000": "do_not_honor",
    "2001": "insufficient_funds",
    "2004": "expired_card",
    "2005": "incorrect_number",
    "2010": "incorrect_cvc",
    "2046": "card_declined",
    "3000": "processing_error",
}
UNKNOWN_METHOD = "91565"
_REFUSED_KEY = frozenset({"AUTHENTICATION", "AUTHORIZATION"})


class BraintreeMisconfigured(Misconfigured):
    """The provider does not let us in, or is another one: an operator has to act."""


class _Refused(Exception):  # noqa: N818
    """The input was not accepted, and nothing was done."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class BraintreeGateway:
    """PaymentProvider of domain.ports. `base_url` is where `/graphql` is; `timeout_s` per request.

    Takes cards and wallets. Besides the port's exceptions, BraintreeMisconfigured if the keys are
    refused.
    """

    name = "braintree"

    def __init__(
        self,
        public_key: str,
        private_key: str,
        base_url: str,
        *,
        timeout_s: float = TIMEOUT_S,
        connections_max: int = CONNECTIONS_MAX,
        transport: Transport | None = None,
    ) -> None:
        self._http = BoundedHttp(
            "Braintree", timeout_s=timeout_s, connections_max=connections_max, transport=transport
        )
        self._url = f"{base_url.rstrip('/')}/graphql"
        keys = base64.b64encode(f"{public_key}:{private_key}".encode()).decode()
        self._headers = {
            "Authorization": f"Basic {keys}",
            "Braintree-Version": API_VERSION,
            "Content-Type": "application/json",
        }

    async def close(self) -> None:
        """Close the connections."""
        await self._http.close()

    async def authorize(self, charge: ChargeRequest) -> ChargeState:
        """Hold the money; other kinds than card and wallet are declined: `kind_not_supported`."""
        if charge.kind not in _KINDS:
            return _declined(charge, "kind_not_supported")
        transaction = {
            "orderId": charge.transaction_id,
            "amount": _decimal(charge.amount_minor, charge.currency),
            "merchantAccountId": charge.currency,
        }
        try:
            body = await self._ask(
                AUTHORIZE, {"paymentMethodId": charge.payment_token, "transaction": transaction}
            )
        except _Refused as error:
            unknown = error.code == UNKNOWN_METHOD
            return _declined(charge, "unknown_payment_method" if unknown else "invalid_request")
        return _state(body["authorizePaymentMethod"]["transaction"])

    async def capture(self, charge: ChargeRequest) -> ChargeState:
        """Take all that is held."""
        found = await self._find(charge)
        if found is None:
            return ChargeState("voided", charge.amount_minor, charge.currency)
        try:
            body = await self._ask(CAPTURE, {"transactionId": found["id"]})
        except _Refused:  # it is not held, or not any more
            return _state(await self._find(charge) or found)
        return _state(body["captureTransaction"]["transaction"])

    async def void(self, charge: ChargeRequest) -> ChargeState:
        """Close the order: what is held is dropped, and nothing can be authorized later."""
        amount = _decimal(charge.amount_minor, charge.currency)
        asked = {
            "orderId": charge.transaction_id,
            "amount": amount,
            "merchantAccountId": charge.currency,
        }
        try:
            body = await self._ask(CLOSE, asked)
        except _Refused:  # such an order can never be: its amount or currency is not accepted
            return _declined(charge, "invalid_request")
        return _state(body["closeOrder"]["transaction"])

    async def refund(self, charge: ChargeRequest, refund: RefundRequest) -> ChargeState:
        """Give back; the refund id is the refund's order id, which the provider takes once."""
        found = await self._find(charge)
        if found is None:
            raise RefundRefused(f"charge {charge.transaction_id} was never made")
        if (currency := _state(found).currency) != charge.currency:
            raise RefundRefused(
                f"charge {charge.transaction_id} took {currency}, not {charge.currency}"
            )
        amount = _decimal(refund.amount_minor, charge.currency)
        asked = {
            "transactionId": found["id"],
            "refund": {"orderId": refund.refund_id, "amount": amount},
        }
        try:
            body = await self._ask(REFUND, asked)
        except _Refused as error:
            raise RefundRefused(
                f"refund {refund.refund_id} of {amount} {charge.currency}: {error}"
            ) from error
        return _state(body["refundTransaction"]["transaction"])

    async def lookup(self, charge: ChargeRequest) -> ChargeState | None:
        """The order's transaction."""
        found = await self._find(charge)
        return None if found is None else _state(found)

    async def _find(self, charge: ChargeRequest) -> Mapping[str, Any] | None:
        body = await self._ask(SEARCH, {"orderId": {"is": charge.transaction_id}})
        edges = body["search"]["transactions"]["edges"]
        return edges[0]["node"] if edges else None

    async def _ask(self, query: str, asked: Mapping[str, Any]) -> Mapping[str, Any]:
        """The answer's data. Raises _Refused, NotReached, Unavailable, BraintreeMisconfigured."""
        content = orjson.dumps({"query": query, "variables": {"input": asked}})
        answer = await self._http.request("POST", self._url, self._headers, content)
        if answer.status in {401, 403}:
            raise _keys_refused()
        if answer.status == 404:
            raise BraintreeMisconfigured(
                f"nothing at {self._url}: check DOORBUSTER_SECOND_PROVIDER_URL"
            )
        try:
            body = orjson.loads(answer.content)
            errors = body.get("errors") or []
            data = body.get("data")
            error = errors[0] if errors else None
            details = (error.get("extensions") or {}) if error else {}
        except (orjson.JSONDecodeError, AttributeError, LookupError) as malformed:
            raise Unavailable(
                f"Braintree: status {answer.status} without JSON; the outcome is not known"
            ) from malformed
        kind = details.get("errorClass")
        if kind in _REFUSED_KEY:
            raise _keys_refused()
        if error and kind == "VALIDATION":
            raise _Refused(str(details.get("legacyCode")), str(error.get("message")))
        if error or answer.status != 200 or not isinstance(data, dict):
            raise Unavailable(f"Braintree: status {answer.status}, {kind}: no certain answer")
        return data


def _keys_refused() -> BraintreeMisconfigured:
    return BraintreeMisconfigured(
        "the second provider refuses our keys: check DOORBUSTER_SECOND_PROVIDER_PUBLIC_KEY"
        " and DOORBUSTER_SECOND_PROVIDER_PRIVATE_KEY"
    )


def _state(transaction: Mapping[str, Any]) -> ChargeState:
    try:
        currency = transaction["amount"]["currencyIsoCode"]
        amount = _minor(transaction["amount"]["value"], currency)
        refunded = _minor((transaction.get("refundedAmount") or {"value": "0"})["value"], currency)
        status = _STATUSES[transaction["status"]]
    except (KeyError, TypeError, InvalidOperation) as error:
        raise Unavailable(f"Braintree: the answer is no transaction: {error!r}") from error
    if status == "captured" and refunded >= amount:
        status = "refunded"
    response = transaction.get("processorResponse") or {}
    code = DECLINE_CODES.get(str(response.get("legacyCode")), "card_declined")
    return ChargeState(
        status,
        amount,
        currency,
        code if status == "declined" else None,
        refunded_minor=refunded,
    )


def _declined(charge: ChargeRequest, code: str) -> ChargeState:
    return ChargeState("declined", charge.amount_minor, charge.currency, code)


def _decimal(minor: int, currency: str) -> str:
    """Major units, with all decimals of the currency: 1580 USD is "15.80", 500 JPY is "500"."""
    return str(Decimal(minor).scaleb(-EXPONENTS[currency]))


def _minor(value: str, currency: str) -> int:
    return int(Decimal(value) * scale_of(currency))
