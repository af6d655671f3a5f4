"""What a refund comes to, and how it goes back to where the money came from.

The rules, which are all the rules:

1. A line is worth its price less its discount plus its tax; what the lines do not account for of
   the order's total was paid for shipping.
2. Of a line with `n` units, the first `k` that are given back are worth `k/n` of it, rounded down
   to the minor unit. A refund of more units is worth the difference, so unit by unit comes to
   exactly the line.
3. Never more units than were bought and not given back, never more money than was captured and
   not given back.
4. A refund of an amount touches no line. A refund of the whole order is all that is left: if
   amounts were given back before, what is left is split over what is left of the lines and the
   shipping by largest remainder.
5. The money goes back to all means of payment, in proportion to what is left of each, by largest
   remainder.
6. Goods go back into stock only if the refund says that they came back, and only with the units
   that it gives the money back for (`domain.returns`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal
from uuid import UUID

from domain.allocation import allocate
from domain.money import amount_text
from domain.orders import OutboxEvent
from domain.payments import ChargeRequest
from domain.promises import SOLD
from domain.returns import CameBack, PlannedReturn, ReturnedUnits, TakenFrom, plan_returns
from domain.transitions import OrderState

ORDER_REFUNDED = "order.refunded"
REFUNDABLE: tuple[OrderState, ...] = (*SOLD, OrderState.CANCELLED)
"""An order that failed had its money given back before it did."""

RefundRefusalName = Literal[
    "order_not_refundable",
    "line_unknown",
    "line_already_refunded",
    "shipping_already_refunded",
    "nothing_to_refund",
    "refund_above_balance",
    "restock_not_possible",
    "idempotency_key_reused",
]
RefundStatus = Literal["pending", "done", "refused"]
RefundPartStatus = Literal["pending", "done", "refused", "settled"]


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitsOf:
    """Units of one variant, by its SKU or its id."""

    item: str | UUID
    quantity: int
    restock: bool = False
    """They came back and can be sold again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RefundScope:
    """What is to be given back: an amount, units of lines and the shipping, or everything."""

    amount_minor: int | None = None
    units: tuple[UnitsOf, ...] = ()
    shipping: bool = False
    whole: bool = False
    restock: bool = False
    """All units of it came back and can be sold again."""

    def __post_init__(self) -> None:
        by_line = bool(self.units) or self.shipping
        if (self.amount_minor is not None) + by_line + self.whole != 1:
            raise ValueError("refund an amount, or lines and shipping, or the whole order")
        if self.amount_minor is not None and self.amount_minor < 1:
            raise ValueError("the amount of a refund must be above 0")
        if any(one.quantity < 1 for one in self.units):
            raise ValueError("the quantity of a refunded line must be 1 or more")
        if self.restock and not (self.units or self.whole):
            raise ValueError(
                "only units of lines go back into stock; name lines, or the whole order"
            )

    @property
    def restocks(self) -> bool:
        """True if anything of it goes back into stock."""
        return self.restock or any(one.restock for one in self.units)


@dataclass(frozen=True, slots=True, kw_only=True)
class SoldLine:
    """A line of an order, and how many of its units have been given back."""

    line: int
    variant_id: UUID
    sku: str
    quantity: int
    subtotal_minor: int
    discount_minor: int
    tax_minor: int | None
    """None for orders from before shares were kept."""
    refunded_quantity: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class PaidPart:
    """What one means of payment paid, and what was asked back of it."""

    payment_id: UUID
    part: int
    captured_minor: int
    refunded_minor: int

    @property
    def left_minor(self) -> int:
        """What can still be given back."""
        return self.captured_minor - self.refunded_minor


@dataclass(frozen=True, slots=True, kw_only=True)
class SoldOrder:
    """An order as far as refunds go. `parts` are the captured ones."""

    status: str
    currency: str
    total_minor: int
    tax_minor: int
    discount_minor: int
    lines: tuple[SoldLine, ...]
    parts: tuple[PaidPart, ...]
    shipping_refunded: bool = False
    taken: tuple[TakenFrom, ...] = ()
    """Where its goods came from; looked up for a refund that restocks, else empty."""

    @property
    def balance_minor(self) -> int:
        """What can still be given back."""
        return sum(part.left_minor for part in self.parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedLine:
    """Units of a line to give back, and what they come to."""

    line: int
    quantity: int
    amount_minor: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedPart:
    """What goes back to one means of payment."""

    payment_id: UUID
    amount_minor: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RefundPlan:
    """A refund that may be made; its parts add up to it."""

    amount_minor: int
    lines: tuple[PlannedLine, ...]
    shipping_minor: int
    parts: tuple[PlannedPart, ...]
    returns: tuple[PlannedReturn, ...] = ()
    """What goes back into stock."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RefundRefusal:
    """Why nothing is given back, and what could be."""

    name: RefundRefusalName
    detail: str
    balance_minor: int
    currency: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RefundDraft:
    """A refund that somebody asks for."""

    refund_id: UUID
    order_id: UUID
    scope: RefundScope
    reason: str
    requested_by: str
    idempotency_key: str
    request_hash: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class RefundedLine:
    """Units of a line that a refund gives back."""

    line: int
    variant_id: UUID
    sku: str
    quantity: int
    amount_minor: int
    returns: tuple[ReturnedUnits, ...] = ()
    """What of it went back into stock."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RefundPart:
    """What a refund gives back to one means of payment, and how that stands."""

    payment_id: UUID
    part: int
    gateway: str
    charge: ChargeRequest
    amount_minor: int
    done_at: datetime | None
    refusal: str | None
    """What the provider said when it refused; an operator has to look."""
    settled_by: str | None = None
    """The operator who settled it without the provider."""
    settled_note: str | None = None
    """Where the money went instead."""

    @property
    def status(self) -> RefundPartStatus:
        """`pending` while nobody knows that the provider has given it back."""
        if self.settled_by is not None:
            return "settled"
        if self.done_at is not None:
            return "done"
        return "pending" if self.refusal is None else "refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class Refund:
    """A refund that is written down: from then on it happens, or an operator hears why not."""

    refund_id: UUID
    order_id: UUID
    amount_minor: int
    shipping_minor: int
    currency: str
    reason: str
    requested_by: str
    request_hash: bytes
    created_at: datetime
    done_at: datetime | None
    lines: tuple[RefundedLine, ...]
    parts: tuple[RefundPart, ...]

    @property
    def status(self) -> RefundStatus:
        """`refused` if a provider refused a part: then nothing goes on by itself."""
        if self.done_at is not None:
            return "done"
        refused = any(part.status == "refused" for part in self.parts)
        return "refused" if refused else "pending"


@dataclass(frozen=True, slots=True, kw_only=True)
class RefundRecord:
    """A refund as it stands, and whether its idempotency key had come before."""

    refund: Refund
    repeated: bool


def refunded_event(event_id: UUID, refund: Refund) -> OutboxEvent:
    """The event that a refund leaves in the outbox when all of it is done."""
    data = {
        "order_id": str(refund.order_id),
        "refund_id": str(refund.refund_id),
        "amount_minor": refund.amount_minor,
        "currency": refund.currency,
    }
    return OutboxEvent(event_id=event_id, type=ORDER_REFUNDED, subject=refund.order_id, data=data)


def plan_refund(order: SoldOrder, scope: RefundScope) -> RefundPlan | RefundRefusal:
    """What a refund of `scope` comes to, in minor units, and where it goes; or why it is refused."""
    if order.status not in REFUNDABLE:
        detail = f"the order is {order.status}; only what was sold can be refunded"
        return _refusal(order, "order_not_refundable", detail)
    if scope.amount_minor is not None:
        return _plan(order, scope.amount_minor, (), 0)
    plan = _everything(order) if scope.whole else _units(order, scope)
    return plan if isinstance(plan, RefundRefusal) else _with_returns(order, scope, plan)


def worth_of_lines(order: SoldOrder) -> list[int]:
    """What each line was sold for: price less discount plus tax, in minor units.

    Of an order from before shares were kept, discount and tax are split by largest remainder:
    the discount by the lines' prices, the tax by what is left of them.
    """
    gross = [line.subtotal_minor for line in order.lines]
    keys = [line.line for line in order.lines]
    discounts = [line.discount_minor for line in order.lines]
    taxes = [line.tax_minor for line in order.lines if line.tax_minor is not None]
    shares_known = len(taxes) == len(order.lines)
    if not shares_known and not any(discounts):
        discounts = allocate(min(order.discount_minor, sum(gross)), gross, keys)
    nets = [had - off for had, off in zip(gross, discounts, strict=True)]
    if not shares_known:
        taxes = allocate(order.tax_minor if any(nets) else 0, nets, keys)
    return [net + tax for net, tax in zip(nets, taxes, strict=True)]


def split_over_parts(amount_minor: int, parts: Sequence[PaidPart]) -> tuple[PlannedPart, ...]:
    """`amount_minor` in proportion to what is left of each part, by largest remainder.

    No part gets more than is left of it, as long as the amount is not above the sum of that.
    """
    shares = allocate(amount_minor, [one.left_minor for one in parts], [one.part for one in parts])
    return tuple(
        PlannedPart(payment_id=part.payment_id, amount_minor=share)
        for part, share in zip(parts, shares, strict=True)
        if share
    )


def _everything(order: SoldOrder) -> RefundPlan | RefundRefusal:
    left = [line.quantity - line.refunded_quantity for line in order.lines]
    worth = worth_of_lines(order)
    columns = zip(order.lines, worth, left, strict=True)
    due = [_worth_of_units(line, here, units) for line, here, units in columns]
    due.append(0 if order.shipping_refunded else _worth_of_shipping(order, worth))
    balance = order.balance_minor
    if balance < sum(due):
        # The shipping comes after the lines where nothing else decides.
        keys = [*(line.line for line in order.lines), len(order.lines) + 1]
        due = allocate(balance, due, keys)
    planned = tuple(
        PlannedLine(line=line.line, quantity=units, amount_minor=amount)
        for line, units, amount in zip(order.lines, left, due, strict=False)
        if units
    )
    return _plan(order, balance, planned, due[-1])


def _units(order: SoldOrder, scope: RefundScope) -> RefundPlan | RefundRefusal:
    worth = worth_of_lines(order)
    taken = [0] * len(order.lines)
    for wanted in scope.units:
        refusal = _take(order, wanted, taken)
        if refusal is not None:
            return refusal
    planned = tuple(
        PlannedLine(line=line.line, quantity=units, amount_minor=_worth_of_units(line, here, units))
        for line, here, units in zip(order.lines, worth, taken, strict=True)
        if units
    )
    shipping = _worth_of_shipping(order, worth) if scope.shipping else 0
    if shipping and order.shipping_refunded:
        detail = "the shipping was refunded before; leave it out"
        return _refusal(order, "shipping_already_refunded", detail)
    amount = sum(line.amount_minor for line in planned) + shipping
    return _plan(order, amount, planned, shipping)


def _take(order: SoldOrder, wanted: UnitsOf, taken: list[int]) -> RefundRefusal | None:
    """Note the units in `taken`, from one line after the other that has the variant."""
    here = [at for at, line in enumerate(order.lines) if wanted.item in (line.sku, line.variant_id)]
    if not here:
        detail = f"{str(wanted.item)[:80]!r} is not in this order; name a line of it"
        return _refusal(order, "line_unknown", detail)
    missing = wanted.quantity
    for at in here:
        line = order.lines[at]
        units = min(missing, line.quantity - line.refunded_quantity - taken[at])
        taken[at] += units
        missing -= units
    if not missing:
        return None
    bought = sum(order.lines[at].quantity for at in here)
    if bought == sum(order.lines[at].refunded_quantity for at in here):
        sku = order.lines[here[0]].sku
        all_ = f"all {bought} of {sku} were" if bought > 1 else f"the only {sku} was"
        return _refusal(
            order, "line_already_refunded", f"{all_} refunded before; leave the line out"
        )
    detail = (
        f"{wanted.quantity} of {order.lines[here[0]].sku} are to be refunded, but of {bought} that"
        f" were bought {wanted.quantity - missing} are left to refund; ask for no more than that"
    )
    return _refusal(order, "line_already_refunded", detail)


def _with_returns(
    order: SoldOrder, scope: RefundScope, plan: RefundPlan
) -> RefundPlan | RefundRefusal:
    came_back = _came_back(order, scope, plan)
    if not came_back:
        if not scope.restock:
            return plan
        detail = "no units are left that this refund could give back; leave out the restock"
        return _refusal(order, "restock_not_possible", detail)
    returns = plan_returns(came_back, order.taken)
    if not isinstance(returns, CameBack):
        return replace(plan, returns=returns)
    sku = next(line.sku for line in order.lines if line.line == returns.line)
    left = sum(one.left for one in order.taken if one.variant_id == returns.variant_id)
    detail = (
        f"{returns.quantity} of {sku} are to go back into stock, but only {left} that left it for"
        " this order have not come back; refund the rest without a restock"
    )
    return _refusal(order, "restock_not_possible", detail)


def _came_back(order: SoldOrder, scope: RefundScope, plan: RefundPlan) -> list[CameBack]:
    """The units of the plan that go back into stock, line by line."""
    variants = {line.line: line.variant_id for line in order.lines}
    skus = {line.sku: line.variant_id for line in order.lines}
    wanted: Counter[UUID] = Counter()
    for one in scope.units:
        if one.restock:
            wanted[one.item if isinstance(one.item, UUID) else skus[one.item]] += one.quantity
    came_back: list[CameBack] = []
    for line in plan.lines:
        variant_id = variants[line.line]
        units = line.quantity if scope.restock else min(line.quantity, wanted[variant_id])
        wanted[variant_id] -= units
        if units > 0:
            came_back.append(CameBack(line=line.line, variant_id=variant_id, quantity=units))
    return came_back


def _worth_of_units(line: SoldLine, worth_minor: int, units: int) -> int:
    """What the next `units` of a line come to: the difference of two shares, each rounded down."""
    before = worth_minor * line.refunded_quantity // line.quantity
    return worth_minor * (line.refunded_quantity + units) // line.quantity - before


def _worth_of_shipping(order: SoldOrder, worth: Sequence[int]) -> int:
    return max(0, order.total_minor - sum(worth))


def _plan(
    order: SoldOrder, amount_minor: int, lines: tuple[PlannedLine, ...], shipping_minor: int
) -> RefundPlan | RefundRefusal:
    balance = order.balance_minor
    if not amount_minor:
        detail = "this comes to nothing: it was free, or everything was refunded before"
        return _refusal(order, "nothing_to_refund", detail)
    if amount_minor > balance:
        asked, left = (amount_text(minor, order.currency) for minor in (amount_minor, balance))
        only = f"{left} are" if balance else "nothing is"
        detail = f"the refund comes to {asked}, but {only} left of what was captured"
        if balance:
            detail += "; refund an amount up to that"
        return _refusal(order, "refund_above_balance", detail)
    return RefundPlan(
        amount_minor=amount_minor,
        lines=lines,
        shipping_minor=shipping_minor,
        parts=split_over_parts(amount_minor, order.parts),
    )


def _refusal(order: SoldOrder, name: RefundRefusalName, detail: str) -> RefundRefusal:
    return RefundRefusal(
        name=name, detail=detail, balance_minor=order.balance_minor, currency=order.currency
    )
