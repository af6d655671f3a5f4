"""What each POST of Stripe's API does, on charges that are at hand: no I/O, no waiting.

A step reads and changes a Desk: the rows of one batch, locked in the database meanwhile. It gives
back the answer's object, or raises StripeRefusal, as Stripe would refuse it. Which step moves a
charge from where to where is said in `sim.provider_rules`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from domain.payments import PaymentKind
from sim.provider import EVENT_OF
from sim.provider_rules import (
    AUTHENTICATION,
    DECLINES,
    SLOW_TRANSFER,
    STEPS,
    is_known,
    outcome_of,
)
from sim.stripe_objects import (
    Form,
    Intent,
    Method,
    StripeRefusal,
    charge_object,
    customer_object,
    decline_error,
    event_object,
    intent_object,
    method_object,
    refund_object,
    seconds,
)

AMOUNT_MAX = 99_999_999  # Stripe: eight digits
METADATA_MAX = 50
_WALLETS = ("paypal", "amazon_pay", "revolut_pay", "cashapp", "klarna")
_DEBITS = ("sepa_debit", "us_bank_account", "bacs_debit")
KIND_OF_TYPE: Mapping[str, PaymentKind] = {
    "card": "card",
    **dict.fromkeys(_WALLETS, "wallet"),
    **dict.fromkeys((*_DEBITS, "customer_balance"), "bank_transfer"),
}
_NO_HOLD = frozenset({*_DEBITS, "customer_balance"})
_BANK_TOKENS = {
    "pm_usBankAccount": "us_bank_account",
    "pm_sepa": "sepa_debit",
    "pm_bacs": "bacs_debit",
}
# Cards that can be kept, and only fail when they are charged.
_FAIL_LATER = frozenset({"pm_card_chargeCustomerFail"})

_SAID_AT_CONFIRM = frozenset(
    {
        *("payment_method", "payment_method_data", "payment_method_options", "return_url"),
        *(
            "off_session",
            "expand",
            "setup_future_usage",
            "receipt_email",
            "error_on_requires_action",
        ),
        *("payment_method_types", "use_stripe_sdk", "mandate", "mandate_data", "shipping"),
    }
)
ALLOWED: Mapping[str, frozenset[str]] = {
    "create": _SAID_AT_CONFIRM
    | {
        *("amount", "currency", "capture_method", "confirm", "automatic_payment_methods"),
        *("metadata", "customer", "description", "statement_descriptor", "transfer_group"),
        *("statement_descriptor_suffix", "confirmation_method"),
    },
    "confirm": _SAID_AT_CONFIRM | {"capture_method"},
    "capture": frozenset({"amount_to_capture", "expand", "metadata", "statement_descriptor"}),
    "cancel": frozenset({"cancellation_reason", "expand"}),
    "refund": frozenset({"payment_intent", "charge", "amount", "metadata", "reason", "expand"}),
    "create_customer": frozenset({"email", "name", "description", "metadata", "phone", "expand"}),
    "attach": frozenset({"customer", "expand"}),
    "detach": frozenset({"expand"}),
}
"""The parameters that Stripe knows and this server does not stumble over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One POST: `target` is the id in its path."""

    operation: str
    form: Form
    target: str = ""
    key: str | None = None
    request_hash: bytes = b""


@dataclass(slots=True, kw_only=True)
class Desk:
    """What the steps of one batch work on, and what has to be written afterwards."""

    now: datetime
    new_id: Callable[[str], str]
    """A fresh id with that prefix."""
    pages_url: str
    keeps_events: bool
    """Somebody will send them."""
    intents: dict[str, Intent] = field(default_factory=dict[str, Intent])
    methods: dict[str, Method] = field(default_factory=dict[str, Method])
    customers: set[str] = field(default_factory=set[str])
    made: dict[str, None] = field(default_factory=dict[str, None])
    changed: dict[str, None] = field(default_factory=dict[str, None])
    refunds: list[tuple[str, str, int, Form]] = field(default_factory=list)
    """(refund's id, intent's id, amount, metadata)"""
    new_methods: dict[str, None] = field(default_factory=dict[str, None])
    new_customers: list[tuple[str, Form]] = field(default_factory=list)
    events: list[Form] = field(default_factory=list[Form])

    def intent(self, intent_id: str, param: str = "intent") -> Intent:
        """An intent by its id. Raises StripeRefusal."""
        found = self.intents.get(intent_id)
        if found is None:
            raise missing("payment_intent", intent_id, param)
        return found

    def put(self, intent: Intent, event: str | None = None) -> Intent:
        """Keep what an intent has become, and tell of it."""
        self.intents[intent.intent_id] = intent
        if intent.intent_id not in self.made:
            self.changed[intent.intent_id] = None
        if event is not None and self.keeps_events:
            self.tell(event, intent_object(intent, self.pages_url))
        return intent

    def tell(self, type: str, subject: Form) -> None:
        """An event to be sent once all is written."""
        if self.keeps_events:
            self.events.append(event_object(self.new_id("evt_"), type, subject, self.now))

    def shown(self, intent: Intent, form: Form) -> Form:
        """The answer that shows an intent."""
        return intent_object(intent, self.pages_url, expanded(form))


def expanded(form: Form) -> frozenset[str]:
    """What the caller wants to see whole instead of its id."""
    asked = form.get("expand")
    return frozenset(map(str, asked)) if isinstance(asked, list) else frozenset()


def missing(what: str, id_: str, param: str) -> StripeRefusal:
    """Stripe's answer about something it does not have."""
    message = f"No such {what}: '{id_}'"
    return StripeRefusal(404, message, code="resource_missing", param=param)


def check_parameters(request: Request) -> None:
    """Refuse what Stripe would not know. Raises StripeRefusal."""
    allowed = ALLOWED.get(request.operation)
    for name, value in request.form.items():
        if allowed is not None and name not in allowed:
            raise StripeRefusal(
                400, f"Received unknown parameter: {name}", code="parameter_unknown", param=name
            )
        if isinstance(value, dict) and "number" in str(value.get("card", "")):
            raise StripeRefusal(400, "Card numbers are not taken here; send a token.", param=name)
    metadata = request.form.get("metadata") or {}
    if not isinstance(metadata, dict) or len(metadata) > METADATA_MAX:
        raise StripeRefusal(400, "Invalid object: metadata", param="metadata")


def create(desk: Desk, request: Request) -> Form:
    """An intent; unconfirmed unless `confirm` is true."""
    form = request.form
    amount, currency = _amount(form, "amount"), str(form.get("currency", "")).upper()
    if len(currency) != 3 or not currency.isalpha():
        raise StripeRefusal(400, f"Invalid currency: {currency.lower()}", param="currency")
    types = form.get("payment_method_types") or ["card"]
    if unknown := sorted(set(types) - set(KIND_OF_TYPE)):
        raise StripeRefusal(
            400, f"The payment method type {unknown[0]} is invalid.", param="payment_method_types"
        )
    manual = form.get("capture_method") == "manual"
    if manual and _NO_HOLD & set(types):
        raise StripeRefusal(
            400, f"{', '.join(types)} cannot be captured manually.", param="capture_method"
        )
    customer = form.get("customer")
    if customer is not None and customer not in desk.customers:
        raise missing("customer", customer, "customer")
    automatic = form.get("automatic_payment_methods")
    metadata = form.get("metadata") or {}
    intent_id = desk.new_id("pi_")
    intent = Intent(
        intent_id=intent_id,
        transaction_id=metadata.get("transaction_id") or intent_id,
        amount_minor=amount,
        currency=currency,
        status="created",
        created_at=desk.now,
        captures_at_once=not manual,
        details={
            "metadata": metadata,
            "customer": customer,
            "description": form.get("description"),
            "types": types,
            "automatic": {"enabled": True, "allow_redirects": "always"} if automatic else None,
            "payment_method": form.get("payment_method"),
        },
    )
    desk.made[intent_id] = None
    desk.put(intent, "payment_intent.created")
    if form.get("confirm") == "true":
        return confirm(desk, replace(request, operation="confirm", target=intent_id))
    return desk.shown(intent, form)


def confirm(desk: Desk, request: Request) -> Form:
    """Ask the means of payment for the money."""
    form, intent = request.form, desk.intent(request.target)
    if intent.status not in ("created", "declined"):
        raise _unexpected(desk, intent, "confirm")
    type_, token, method_id = _means(desk, form, intent)
    kind = KIND_OF_TYPE[type_]
    return_url = form.get("return_url") or intent.return_url
    _check_means(intent, type_, return_url)
    outcome = outcome_of(token, kind, captures_at_once=intent.captures_at_once)
    status, reason = outcome.status, outcome.decline_code
    if status == "requires_action" and kind == "card" and form.get("off_session") == "true":
        status, reason = "declined", AUTHENTICATION  # nobody is there to be asked
    details = {
        **intent.details,
        "payment_method": method_id,
        "type": type_,
        "held": status in ("authorized", "captured", "processing"),
    }
    intent = replace(
        intent,
        status=status,
        decline_code=reason,
        kind=kind,
        return_url=return_url,
        details=details,
    )
    desk.put(intent, EVENT_OF[status])
    if reason is not None:
        raise _declined(desk, intent, reason)
    return desk.shown(intent, form)


def _means(desk: Desk, form: Form, intent: Intent) -> tuple[str, str, str]:
    """(type, token, id) of what is to pay."""
    data = form.get("payment_method_data")
    if isinstance(data, dict):
        type_ = str(data.get("type"))
        if type_ not in KIND_OF_TYPE:
            raise StripeRefusal(400, f"Invalid type: {type_}", param="payment_method_data[type]")
        token = str((data.get(type_) or {}).get("token") or "") if type_ == "card" else type_
        if type_ in _DEBITS:
            token = SLOW_TRANSFER
        if type_ == "card" and not is_known(token, "card"):
            raise missing("token", token, "payment_method_data[card][token]")
        return type_, token, desk.new_id("pm_")
    name = form.get("payment_method") or intent.details.get("payment_method")
    if not name:
        raise _unexpected(desk, intent, "confirm", why="it is missing a payment method")
    if saved := desk.methods.get(name):
        return saved.type, saved.token, saved.method_id
    return *_test_means(name), name


def _test_means(name: str) -> tuple[str, str]:
    """(type, token) of one of the names that need not be made first."""
    for prefix, type_ in _BANK_TOKENS.items():
        if name.startswith(prefix):
            return type_, SLOW_TRANSFER
    if not is_known(name, "card"):
        raise missing("PaymentMethod", name, "payment_method")
    return "card", "card_declined" if name in _FAIL_LATER else name


def _check_means(intent: Intent, type_: str, return_url: str | None) -> None:
    details = intent.details
    if type_ not in details["types"] and not details.get("automatic"):
        raise StripeRefusal(
            400,
            f"The provided PaymentMethod ({type_}) cannot be used with this PaymentIntent:"
            f" its types are {', '.join(details['types'])}.",
            param="payment_method",
        )
    if type_ == "customer_balance" and not details.get("customer"):
        raise StripeRefusal(
            400, "A customer is required.", code="parameter_missing", param="customer"
        )
    if KIND_OF_TYPE[type_] == "wallet" and not return_url:
        raise StripeRefusal(
            400, f"{type_} needs a return_url.", code="parameter_missing", param="return_url"
        )
    if return_url and not return_url.startswith(("http://", "https://")):
        raise StripeRefusal(400, "Not a valid URL", code="url_invalid", param="return_url")


def capture(desk: Desk, request: Request) -> Form:
    """Take what is held, all of it."""
    intent = desk.intent(request.target)
    amount = request.form.get("amount_to_capture")
    if amount not in (None, str(intent.amount_minor)):
        raise StripeRefusal(
            400, "This simulation captures the whole amount only.", param="amount_to_capture"
        )
    return _step(desk, intent, "capture", request)


def cancel(desk: Desk, request: Request) -> Form:
    """Drop the hold; an intent that was never confirmed can never be."""
    intent = desk.intent(request.target)
    said = {
        "canceled_at": seconds(desk.now),
        "cancellation_reason": request.form.get("cancellation_reason"),
    }
    return _step(desk, intent, "cancel", request, said)


def _step(
    desk: Desk, intent: Intent, step: str, request: Request, said: Mapping[str, Any] | None = None
) -> Form:
    rule = STEPS[step]
    if intent.status not in rule.before:
        raise _unexpected(desk, intent, step)
    intent = replace(intent, status=rule.to, details={**intent.details, **(said or {})})
    desk.put(intent, EVENT_OF[intent.status])
    return desk.shown(intent, request.form)


def outside(desk: Desk, request: Request) -> Form:
    """What a buyer or a bank does: `approve`, `deny`, `settle`, `fail_transfer`, `expire`.

    Too late, it changes nothing.
    """
    step = request.form["step"]
    rule = STEPS[step]
    intent = desk.intent(request.target)
    if intent.status in rule.before and intent.kind in rule.kinds:
        to = "captured" if rule.to == "authorized" and intent.captures_at_once else rule.to
        held = to in ("authorized", "captured")
        intent = replace(
            intent,
            status=to,
            decline_code=rule.decline_code,
            details={**intent.details, "held": held},
        )
        desk.put(intent, EVENT_OF[to])
    return desk.shown(intent, request.form)


def refund(desk: Desk, request: Request) -> Form:
    """Give back a part or all of what was taken."""
    form = request.form
    name = str(form.get("payment_intent") or form.get("charge") or "")
    intent = desk.intent(intent_named(name), "payment_intent")
    if intent.status == "refunded":
        raise StripeRefusal(
            400, f"Charge {name} has already been refunded.", code="charge_already_refunded"
        )
    if intent.status != "captured":
        raise _unexpected(desk, intent, "refund", why="it has no successful charge to refund")
    left = intent.amount_minor - intent.refunded_minor
    amount = _amount(form, "amount") if "amount" in form else left
    if amount > left:
        raise StripeRefusal(
            400,
            f"Refund amount ({amount}) is greater than unrefunded amount on charge ({left})",
            code="amount_too_large",
            param="amount",
        )
    refund_id, metadata = desk.new_id("re_"), form.get("metadata") or {}
    refunded = intent.refunded_minor + amount
    status = "refunded" if refunded == intent.amount_minor else intent.status
    intent = desk.put(replace(intent, status=status, refunded_minor=refunded))
    desk.refunds.append((refund_id, intent.intent_id, amount, metadata))
    shown = refund_object(refund_id, intent, amount, metadata, desk.now)
    desk.tell("refund.created", shown)
    desk.tell("charge.refunded", charge_object(intent))
    if "payment_intent" in expanded(form):
        return {**shown, "payment_intent": intent_object(intent, desk.pages_url)}
    return shown


def create_customer(desk: Desk, request: Request) -> Form:
    """Somebody who keeps means of payment."""
    details = {name: value for name, value in request.form.items() if name != "expand"}
    customer_id = desk.new_id("cus_")
    desk.customers.add(customer_id)
    desk.new_customers.append((customer_id, details))
    return customer_object(customer_id, details, desk.now)


def attach(desk: Desk, request: Request) -> Form:
    """Keep a means of payment for a customer. A test means becomes one of its own."""
    customer = str(request.form.get("customer", ""))
    if customer not in desk.customers:
        raise missing("customer", customer, "customer")
    method = desk.methods.get(request.target)
    if method is not None and method.customer_id not in (None, customer):
        raise StripeRefusal(400, "The payment method is attached to another customer already.")
    if method is None:
        type_, token = _test_means(request.target)
        if (reason := DECLINES.get(token)) and request.target not in _FAIL_LATER:
            raise StripeRefusal(402, decline_error(reason)["message"], **_refused(reason))
        method = Method(
            method_id=desk.new_id("pm_"),
            token=token,
            type=type_,
            customer_id=customer,
            created_at=desk.now,
        )
    return _keep(desk, replace(method, customer_id=customer))


def detach(desk: Desk, request: Request) -> Form:
    """Forget whose means of payment it is; it cannot be attached again at Stripe."""
    method = desk.methods.get(request.target)
    if method is None:
        raise missing("PaymentMethod", request.target, "payment_method")
    return _keep(desk, replace(method, customer_id=None))


def _keep(desk: Desk, method: Method) -> Form:
    desk.methods[method.method_id] = method
    desk.new_methods[method.method_id] = None
    return method_object(method)


def intent_named(name: str) -> str:
    """The intent's id of an intent's or a charge's."""
    return f"pi_{name.removeprefix('ch_')}" if name.startswith("ch_") else name


def _amount(form: Form, name: str) -> int:
    said = str(form.get(name, ""))
    if not said.isascii() or not said.isdigit():
        raise StripeRefusal(
            400, f"Invalid integer: {said}", code="parameter_invalid_integer", param=name
        )
    amount = int(said)
    if amount < 1:
        raise StripeRefusal(
            400,
            "This value must be greater than or equal to 1.",
            code="parameter_invalid_integer",
            param=name,
        )
    if amount > AMOUNT_MAX:
        raise StripeRefusal(400, "Amount is too large.", code="amount_too_large", param=name)
    return amount


def _unexpected(desk: Desk, intent: Intent, step: str, *, why: str = "") -> StripeRefusal:
    shown = intent_object(intent, desk.pages_url)
    reason = why or f"it has a status of {shown['status']}"
    return StripeRefusal(
        400,
        f"You cannot {step} this PaymentIntent because {reason}.",
        code="payment_intent_unexpected_state",
        intent=shown,
    )


def _refused(reason: str) -> dict[str, Any]:
    error = decline_error(reason)
    return {name: error[name] for name in ("type", "code", "decline_code")}


def _declined(desk: Desk, intent: Intent, reason: str) -> StripeRefusal:
    return StripeRefusal(
        402,
        decline_error(reason)["message"],
        intent=intent_object(intent, desk.pages_url),
        **_refused(reason),
    )


OPERATIONS: Mapping[str, Callable[[Desk, Request], Form]] = {
    "create": create,
    "confirm": confirm,
    "capture": capture,
    "cancel": cancel,
    "refund": refund,
    "create_customer": create_customer,
    "attach": attach,
    "detach": detach,
    "outside": outside,
}
