"""The fraud score over HTTP: one order, or up to a thousand at once.

Checkout runs the same pure function in its own process; this app is for other systems. Both score
with the shop's policy and model (`storage/fraud_files.py`).
"""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from starlette.requests import Request
from starlette.responses import Response

from domain.cart import LINE_QUANTITY_MAX, LINES_MAX
from domain.fraud import BATCH_MAX, FraudScore, Scoring
from domain.fraud_features import FraudInput
from domain.money import AMOUNT_MINOR_MAX, MoneyError, parse_wire, scale_of
from serve_apps.http import (
    HotApp,
    RequestModel,
    ShortText,
    Text,
    add_hot_route,
    field_problem,
    json_response,
    new_app,
    read_body,
)
from serve_apps.text_shapes import Country

BATCH_BODY_LIMIT_BYTES = 2 * 1024 * 1024  # a thousand orders of 2 KiB each
RECENT_ORDERS_MAX = 1_000_000
_PROBLEMS = ("too_large", "unsupported_media_type", "validation")

_ADDRESS_EXAMPLE = {
    "name": "John Doe",
    "street": "123 Main St",
    "city": "San Francisco",
    "state": "CA",
    "zip": "94102",
    "country": "US",
}
_ORDER_EXAMPLE: dict[str, Any] = {
    "user_id": "user_01h455vb4pex5vsknk084sn02q",
    "payment_method": "new_card",
    "shipping_address": _ADDRESS_EXAMPLE,
    "total": 1413.98,
    "currency": "USD",
    "recent_orders": 1,
    "avg_order_value": 240.5,
    "user_country": "US",
    "item_count": 1,
}
_SCORE_EXAMPLE: dict[str, Any] = {
    "risk_score": 38.71,
    "action": "review",
    "flags": ["new_payment_method", "unusually_high_value"],
    "reasons": [
        {
            "name": "new_payment_method",
            "points": 15.0,
            "sentence": "The buyer has not paid with this card before.",
        },
        {
            "name": "unusually_high_value",
            "points": 20.0,
            "sentence": "The total is more than 3 times the buyer's average order.",
        },
        {
            "name": "model",
            "points": 3.71,
            "sentence": "The model puts the probability of fraud at 7.4%.",
        },
    ],
    "model_version": "2026-11-26.f29ecf7b",
}

AddressText = Annotated[Text, StringConstraints(max_length=200, strip_whitespace=True)]
WireNumber = Annotated[float, Field(ge=0, le=AMOUNT_MINOR_MAX, allow_inf_nan=False)]


class FraudAddress(RequestModel):
    """A postal address; only its country has to be known. Empty fields count as left out."""

    name: AddressText | None = None
    street: AddressText | None = None
    city: AddressText | None = None
    state: AddressText | None = None
    zip: AddressText | None = None
    country: Country = Field(description="ISO 3166-1 alpha-2")

    def as_values(self) -> dict[str, str | None]:
        """What is filled in, for comparing two addresses."""
        return {name: value for name, value in self if value}


class FraudOrder(RequestModel):
    """An order to score. What is left out is unknown, and raises no flag."""

    model_config = ConfigDict(json_schema_extra={"examples": [_ORDER_EXAMPLE]})

    user_id: ShortText | None = Field(
        default=None, description="For the caller's own reference; it is not looked up"
    )
    payment_method: ShortText = Field(
        description="`new_card` for one not used before; any other counts as known"
    )
    shipping_address: FraudAddress
    billing_address: FraudAddress | None = Field(
        default=None, description="Left out: the same as the shipping address"
    )
    total: WireNumber = Field(description="Major units, no more decimals than the currency has")
    currency: str = Field(default="USD", description="ISO 4217, of both amounts")
    recent_orders: int = Field(
        default=0, ge=0, le=RECENT_ORDERS_MAX, description="The buyer's others in the last hour"
    )
    avg_order_value: WireNumber | None = Field(
        default=None, description="The buyer's average order in major units; null: no history"
    )
    user_country: Country | None = Field(
        default=None, description="Where the buyer is known to be, ISO 3166-1 alpha-2"
    )
    item_count: int = Field(
        default=1, ge=1, le=LINE_QUANTITY_MAX * LINES_MAX, description="Units over all lines"
    )


class FraudBatch(RequestModel):
    """Orders to score in one call."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"orders": [_ORDER_EXAMPLE]}]})

    orders: list[FraudOrder] = Field(min_length=1, max_length=BATCH_MAX)


class FraudReason(BaseModel):
    """Why an order has points: a check that struck, or the model's share."""

    name: str = Field(description="The flag, or `model`")
    points: float = Field(ge=0)
    sentence: str


class FraudVerdict(BaseModel):
    """How risky an order looks, and what to do about it."""

    model_config = ConfigDict(json_schema_extra={"examples": [_SCORE_EXAMPLE]})

    risk_score: float = Field(
        ge=0,
        description="The sum of the reasons' points. As shipped 0 to 140: under 30 approve,"
        " under 60 review, else decline",
    )
    action: Literal["approve", "review", "decline"]
    flags: list[str] = Field(description="The rules that struck, in the order of the checks")
    reasons: list[FraudReason] = Field(description="One for each flag, and the model's share")
    model_version: str = Field(description="Equal versions give equal probabilities")


class FraudVerdicts(BaseModel):
    """One verdict per order, in the order they were sent."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"scores": [_SCORE_EXAMPLE]}]})

    scores: list[FraudVerdict]


def build_fraud_app(scoring: Scoring | None = None) -> HotApp:
    """The app: `POST /api/v1/fraud/score`, and `/api/v1/fraud/score/batch` for many at once.

    Without `scoring` it has the shipped policy and the scorecard; `app.state.scoring` may be
    set until the app starts.
    """
    app = new_app("Fraud scoring", body_limit_bytes=BATCH_BODY_LIMIT_BYTES)
    app.state.scoring = scoring or Scoring()
    add_hot_route(
        app,
        "POST",
        "/api/v1/fraud/score",
        score_order,
        summary="Score an order's risk of fraud",
        body=FraudOrder,
        answers={200: FraudVerdict},
        problems=_PROBLEMS,
    )
    add_hot_route(
        app,
        "POST",
        "/api/v1/fraud/score/batch",
        score_orders,
        summary=f"Score up to {BATCH_MAX:,} orders' risk of fraud",
        body=FraudBatch,
        answers={200: FraudVerdicts},
        problems=_PROBLEMS,
    )
    return app


async def score_order(request: Request) -> Response:
    """The verdict on one order."""
    order = await read_body(request, FraudOrder)
    scoring: Scoring = request.app.state.scoring
    return json_response(_as_json(scoring.score(_as_input(order, "")), scoring.model_version))


async def score_orders(request: Request) -> Response:
    """The verdicts on many; one order that is not valid refuses them all, and is named."""
    batch = await read_body(request, FraudBatch)
    inputs = [_as_input(order, f"orders.{place}.") for place, order in enumerate(batch.orders)]
    scoring: Scoring = request.app.state.scoring
    version = scoring.model_version
    return json_response(
        {"scores": [_as_json(one, version) for one in scoring.score_batch(inputs)]}
    )


def _as_input(order: FraudOrder, path: str) -> FraudInput:
    """The order in the domain's units; `path` leads to it in the body, for the refusal."""
    try:
        scale = scale_of(order.currency)
    except MoneyError as error:
        raise field_problem(f"{path}currency", str(error)) from None
    try:
        total_minor = parse_wire(order.total, order.currency)
    except MoneyError as error:
        raise field_problem(f"{path}total", str(error)) from None
    average, billing = order.avg_order_value, order.billing_address
    return FraudInput(
        payment_method=order.payment_method,
        shipping_address=order.shipping_address.as_values(),
        billing_address=None if billing is None else billing.as_values(),
        total_minor=total_minor,
        currency=order.currency,
        recent_orders=order.recent_orders,
        # An average may have any number of decimals; as a Decimal it compares exactly.
        avg_order_minor=None if average is None else Decimal(repr(average)) * scale,
        user_country=order.user_country,
        item_count=order.item_count,
    )


def _as_json(verdict: FraudScore, model_version: str) -> dict[str, Any]:
    return {
        "risk_score": verdict.risk_score,
        "action": verdict.action,
        "flags": verdict.flags,
        **verdict.explained(model_version),
    }
