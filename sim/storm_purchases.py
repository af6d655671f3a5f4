"""What buyers of a storm want, drawn from a seed: carts, ways to pay, and how they behave."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from random import Random
from typing import Literal
from uuid import UUID, uuid4

from actors.holding import Demand
from domain.catalog import ListedProduct
from domain.fraud_features import FraudInput
from domain.orders import OrderDraft, OrderLine, PaymentPart
from domain.payments import ChargeRequest
from domain.warehouse_choice import Haul, Source
from sim.shoppers import draw_address

CURRENCY = "USD"
GATEWAY = "simulated"
GOOD, CHALLENGED = "card_visa", "card_3ds"
DECLINED = ("card_declined", "card_insufficient_funds", "card_expired")
RISKY_NAME, FRAUD_NAME = "Looks Risky", "Looks Stolen"
SHIPPING_MINOR = 599
_DELIVERY = date(2030, 1, 1)

Answer = Literal["approve", "deny", "nothing"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Purchase:
    """One intent of one buyer: the same in every repeat of the request."""

    user_id: UUID
    key: str
    cart_id: UUID
    lines: tuple[OrderLine, ...]
    demands: tuple[Demand, ...]
    tokens: tuple[str, ...]
    """What pays, each a part; none if the discount takes it all."""
    address: dict[str, str]
    hangs_up: bool
    """Whether the first request is not waited for."""
    asks_again: bool
    """Whether it asks once more after it was answered."""
    answer: Answer
    """What it does when the bank asks."""

    def draft(self) -> OrderDraft:
        """A try of this purchase: an order of its own, until the key says whose it is."""
        order_id = uuid4()
        subtotal = sum(line.subtotal_minor for line in self.lines)
        total = subtotal + SHIPPING_MINOR if self.tokens else 0
        return OrderDraft(
            order_id=order_id,
            user_id=self.user_id,
            cart_id=self.cart_id,
            idempotency_key=self.key,
            request_hash=self.key.encode(),
            lines=self.lines,
            subtotal_minor=subtotal,
            tax_minor=0,
            shipping_minor=SHIPPING_MINOR,
            discount_minor=subtotal + SHIPPING_MINOR - total,
            total_minor=total,
            currency=CURRENCY,
            payment_method=("none", "card", "split")[min(len(self.tokens), 2)],
            parts=self._parts(order_id, total),
            shipping_method="standard",
            shipping_address=self.address,
            billing_address=None,
            estimated_delivery=_DELIVERY,
        )

    def _parts(self, order_id: UUID, total: int) -> tuple[PaymentPart, ...]:
        count = len(self.tokens)
        share = total // count if count else 0
        amounts = [share] * (count - 1) + [total - share * (count - 1)] if count else []
        return tuple(
            PaymentPart(
                payment_id=uuid4(),
                gateway=GATEWAY,
                charge=ChargeRequest(charge_name(order_id, number), amount, CURRENCY, token),
            )
            for number, (amount, token) in enumerate(zip(amounts, self.tokens, strict=True))
        )


def charge_name(order_id: UUID, number: int) -> str:
    """Our id of an order's charge."""
    return f"storm-{order_id.hex}-{number}"


def draw_purchase(seed: int, number: int, products: Sequence[ListedProduct]) -> Purchase:
    """The `number`-th purchase of a storm; the same seed, the same purchase but for its ids."""
    dice = Random(f"{seed}/{number}")
    chosen = dice.sample(range(len(products)), dice.choice((1, 1, 1, 2, 3)))
    lines, demands = zip(*(_line(products[one], dice) for one in chosen), strict=True)
    address = draw_address(dice)
    mood = dice.random()
    if mood < 0.03:
        address["name"] = RISKY_NAME
    elif mood < 0.04:
        address["name"] = FRAUD_NAME
    return Purchase(
        user_id=uuid4(),
        key=f"storm {seed}/{number}",
        cart_id=uuid4(),
        lines=lines,
        demands=demands,
        tokens=_tokens(dice),
        address=address,
        hangs_up=dice.random() < 0.05,
        asks_again=dice.random() < 0.05,
        answer=dice.choice(("approve", "approve", "approve", "deny", "nothing")),
    )


def _tokens(dice: Random) -> tuple[str, ...]:
    """How it pays: mostly one card; two or three cards together; nothing to pay."""
    roll = dice.random()
    if roll < 0.02:
        return ()
    count = 1 if roll < 0.75 else 2 if roll < 0.95 else 3
    return tuple(_token(dice) for _ in range(count))


def _token(dice: Random) -> str:
    roll = dice.random()
    if roll < 0.04:
        return dice.choice(DECLINED)
    return CHALLENGED if roll < 0.08 else GOOD


def _line(product: ListedProduct, dice: Random) -> tuple[OrderLine, Demand]:
    variant = product.variants[0]
    quantity = dice.choice((1, 1, 1, 2, 3))
    sources = tuple(
        Source(pair.inventory_id.bytes, pair.warehouse_id.bytes, Haul(1.0 + rank, 0.0))
        for rank, pair in enumerate(variant.pairs)
    )
    line = OrderLine(
        product_id=product.product_id,
        variant_id=variant.variant_id,
        sku=variant.sku,
        name=product.name,
        quantity=quantity,
        unit_price_minor=variant.price_minor,
    )
    return line, Demand(variant.sku, str(product.product_id), quantity, sources)


def probability_of_fraud(order: FraudInput) -> float:
    """A model that sees it in the name, so that a storm has all three verdicts."""
    name = (order.shipping_address or {}).get("name")
    return {RISKY_NAME: 0.8, FRAUD_NAME: 1.0}.get(str(name), 0.0)
