"""How a shopper pays: what a request says of it, and the parts of the payment it becomes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, Self
from uuid import UUID

from pydantic import Field, StringConstraints, model_validator

from domain import ids
from domain.gift_cards import code_hash
from domain.ledger import GATEWAY as LEDGER
from domain.money import MoneyError, parse_wire
from domain.orders import PaymentPart
from domain.payments import ChargeRequest, PaymentKind
from serve_apps.http import NoCardNumber, Problem, RequestModel, ShortText, field_problem

PARTS_MAX = 5
_URL_LENGTH_MAX = 500
_WALLET = "paypal"
_TRANSFER = "bank_transfer"
Token = Annotated[
    str, StringConstraints(pattern=r"^(card|pm|tok)_[A-Za-z0-9_]{1,100}$"), NoCardNumber
]
Url = Annotated[
    str, StringConstraints(pattern=r"^https?://[^\s\"<>]+$", max_length=_URL_LENGTH_MAX)
]
_NEEDS: dict[PaymentKind, tuple[str, ...]] = {
    "card": ("card_id", "method_id"),
    "wallet": ("return_url",),
    "gift_card": ("code",),
}
_TAKES: dict[PaymentKind, frozenset[str]] = {
    "card": frozenset({"card_id", "method_id", "return_url"}),
    "wallet": frozenset({"card_id", "return_url"}),
    "bank_transfer": frozenset(),
    "gift_card": frozenset({"code"}),
    "store_credit": frozenset(),
    "invoice": frozenset(),
}


class PaymentMethod(RequestModel):
    """What pays: a token of the payment provider, never a card number; or credit at the shop."""

    type: Literal["card", "wallet", "bank_transfer", "gift_card", "store_credit", "invoice"]
    card_id: Token | None = Field(default=None, description="the provider's token of a card")
    method_id: ShortText | None = Field(default=None, description="a card kept from before")
    code: ShortText | None = Field(default=None, description="of a gift card")
    return_url: Url | None = Field(
        default=None, description="where to come back to after approving the payment elsewhere"
    )
    amount: float | None = Field(
        default=None, gt=0, description="of several methods: what this one pays; one has none"
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        given = {name for name in ("card_id", "method_id", "code", "return_url") if self._has(name)}
        needed = _NEEDS.get(self.type)
        if needed and not given & set(needed):
            raise ValueError(f"{self.type} needs {' or '.join(needed)}")
        if {"card_id", "method_id"} <= given:
            raise ValueError("send card_id or method_id, not both")
        if odd := sorted(given - _TAKES[self.type]):
            raise ValueError(f"{self.type} takes no {odd[0]}")
        return self

    def _has(self, name: str) -> bool:
        return getattr(self, name) is not None


Methods = Annotated[
    tuple[PaymentMethod, ...], Field(min_length=2, max_length=PARTS_MAX, strict=False)
]


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptMethod:
    """A customer's saved means of payment: where it is kept, and by what names."""

    gateway: str
    token: str
    customer: str | None


class PaymentChoice:
    """Makes parts of requests. `gateway_for_new` names the provider that new charges go to."""

    def __init__(self, *, gateway_for_new: Callable[[], str], code_key: bytes) -> None:
        self._gateway_for_new = gateway_for_new
        self._code_key = code_key

    def parts(
        self,
        methods: Sequence[PaymentMethod],
        *,
        order_id: UUID,
        user_id: UUID,
        total_minor: int,
        currency: str,
        new_id: Callable[[], UUID],
        kept: dict[str, KeptMethod],
    ) -> tuple[PaymentPart, ...]:
        """The payment of an order; nothing if nothing is to pay. Raises Problem.

        `kept` are the saved methods that the request names, by their ids.
        """
        if total_minor == 0:
            return ()
        amounts = _amounts(methods, total_minor, currency)
        return tuple(
            PaymentPart(
                payment_id=new_id(),
                gateway=self._gateway(method, kept),
                charge=ChargeRequest(
                    _name(order_id, number),
                    amount_minor,
                    currency,
                    self._token(method, kept),
                    kind=method.type,
                    payer=str(user_id),
                    customer=kept[method.method_id].customer if method.method_id else None,
                    return_url=method.return_url,
                ),
            )
            for number, (method, amount_minor) in enumerate(
                zip(methods, amounts, strict=True), start=1
            )
        )

    def _gateway(self, method: PaymentMethod, kept: dict[str, KeptMethod]) -> str:
        if method.method_id:
            return kept[method.method_id].gateway
        if method.type in ("gift_card", "store_credit", "invoice"):
            return LEDGER
        return self._gateway_for_new()

    def _token(self, method: PaymentMethod, kept: dict[str, KeptMethod]) -> str:
        if method.method_id:
            return kept[method.method_id].token
        if method.code is not None:
            hashed = code_hash(self._code_key, method.code)
            if hashed is None:
                raise Problem(
                    "payment_declined",
                    "this is no gift card's code; check it, or choose another payment method",
                    decline_code="gift_card_unknown",
                )
            return hashed
        if method.type in ("card", "wallet"):
            return method.card_id or _WALLET
        return _TRANSFER if method.type == "bank_transfer" else ""


def kind_of(parts: Sequence[PaymentPart]) -> str:
    """What orders.payment_method says."""
    if not parts:
        return "none"
    return parts[0].charge.kind if len(parts) == 1 else "split"


def _name(order_id: UUID, number: int) -> str:
    """Our id of the charge: the order's, and which part it is from the second on."""
    name = ids.encode("charge", order_id)
    return name if number == 1 else f"{name}-{number}"


def _amounts(methods: Sequence[PaymentMethod], total_minor: int, currency: str) -> list[int]:
    """What each method pays, in minor units; together the total. Raises Problem."""
    if len(methods) == 1:
        if methods[0].amount is not None:
            raise field_problem("payment_method.amount", "leave it out: one method pays it all")
        return [total_minor]
    try:
        said = [None if one.amount is None else parse_wire(one.amount, currency) for one in methods]
    except MoneyError as error:
        raise field_problem("payment_methods.amount", str(error)) from None
    rest = total_minor - sum(amount or 0 for amount in said)
    unsaid = said.count(None)
    if unsaid > 1:
        raise field_problem("payment_methods", "only one method may leave its amount out")
    if (rest < 1) if unsaid else (rest != 0):
        detail = f"the amounts do not come to {total_minor} minor units of {currency}"
        raise field_problem("payment_methods", f"{detail}; ask for a quote first")
    return [rest if amount is None else amount for amount in said]
