"""A cart's limits, which variant a buyer means, and how much of each it asks for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal
from uuid import UUID

from domain.catalog import ListedProduct, ListedVariant

LINE_QUANTITY_MAX = 999  # units of one variant in one cart
LINES_MAX = 100  # variants in one cart
CHOICES_SHOWN_MAX = 20  # in one refusal's detail

RefusalName = Literal[
    "amount_too_large",
    "currency_unknown",
    "lines_out_of_range",
    "option_unknown",
    "option_value_unknown",
    "options_missing",
    "price_negative",
    "quantity_out_of_range",
    "shipping_method_unknown",
    "variant_unknown",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """An expected no: a stable name for programs, and a detail that tells a person what to do."""

    name: RefusalName
    detail: str


def choose_variant(
    product: ListedProduct,
    options: Mapping[str, str] | None = None,
    variant_id: UUID | None = None,
) -> ListedVariant | Refusal:
    """The one variant that a buyer means.

    `variant_id` names it outright; `options` (`{"Size": "M"}`, letter case is not minded)
    narrow it down, and need only say what tells the variants apart. A product with a single
    variant needs neither. Given both, they have to agree.
    """
    candidates: tuple[ListedVariant, ...] = product.variants
    if variant_id is not None:
        candidates = tuple(v for v in candidates if v.variant_id == variant_id)
        if not candidates:
            return Refusal(
                name="variant_unknown",
                detail=f"{product.name} has no variant with that id; choose {_valid(product)}",
            )
    if options:
        chosen = _matching(product, candidates, options)
        if isinstance(chosen, Refusal):
            return chosen
        candidates = chosen
    if len(candidates) == 1:
        return candidates[0]
    if not candidates:
        return Refusal(
            name="variant_unknown",
            detail=f"{product.name} is not sold in that combination; {_combinations(product)}",
        )
    return Refusal(
        name="options_missing",
        detail=f"{product.name} comes in {len(product.variants)} variants; "
        f"choose {_valid(product, among=candidates)}",
    )


def options_of(variants: Iterable[ListedVariant]) -> dict[str, list[str]]:
    """Every option of these variants with its values, in the order they are first listed."""
    found: dict[str, dict[str, None]] = {}
    for variant in variants:
        for name, value in variant.attributes.items():
            found.setdefault(name, {})[value] = None
    return {name: list(values) for name, values in found.items()}


def demand_by_variant(lines: Iterable[tuple[UUID, int]]) -> dict[UUID, int]:
    """Units asked for of each variant, over all (variant id, quantity) lines.

    Two lines for one variant must never be checked one by one: each would pass alone (P1).
    """
    demand: dict[UUID, int] = {}
    for variant_id, quantity in lines:
        demand[variant_id] = demand.get(variant_id, 0) + quantity
    return demand


def check_quantity(quantity: int) -> Refusal | None:
    """None if a line may have this quantity, else why not."""
    if 1 <= quantity <= LINE_QUANTITY_MAX:
        return None
    return Refusal(
        name="quantity_out_of_range",
        detail=f"a line takes 1 to {LINE_QUANTITY_MAX} units; change the quantity",
    )


def check_line_count(count: int) -> Refusal | None:
    """None if a cart may have this many lines, else why not."""
    if count <= LINES_MAX:
        return None
    return Refusal(
        name="lines_out_of_range",
        detail=f"a cart takes up to {LINES_MAX} different items; order these first",
    )


def _matching(
    product: ListedProduct, candidates: tuple[ListedVariant, ...], options: Mapping[str, str]
) -> tuple[ListedVariant, ...] | Refusal:
    """Those of `candidates` that have all the options, or why an option means nothing here."""
    offered = {name.casefold(): (name, v) for name, v in options_of(product.variants).items()}
    for asked_name, asked_value in options.items():
        option = offered.get(asked_name.casefold())
        if option is None:
            return Refusal(
                name="option_unknown",
                detail=f"{product.name} has no option {asked_name[:40]!r}; "
                f"choose {_valid(product)}",
            )
        name, values = option
        wanted = asked_value.casefold()
        if all(value.casefold() != wanted for value in values):
            return Refusal(
                name="option_value_unknown",
                detail=f"{product.name} has no {name} {asked_value[:40]!r}; "
                f"{name} is one of {_listed(values)}",
            )
        candidates = tuple(v for v in candidates if v.attributes.get(name, "").casefold() == wanted)
    return candidates


def _valid(product: ListedProduct, among: tuple[ListedVariant, ...] | None = None) -> str:
    """The options that tell these variants apart, as text; by id where options cannot."""
    variants = among or product.variants
    options = options_of(variants)
    if among:
        options = {name: values for name, values in options.items() if len(values) > 1}
    if not options:
        return f"a variant_id: one of {_listed([v.sku for v in variants])} by SKU"
    return "; ".join(f"{name}: {_listed(values)}" for name, values in options.items())


def _combinations(product: ListedProduct) -> str:
    return f"it is sold as {_listed([' / '.join(v.attributes.values()) for v in product.variants])}"


def _listed(values: list[str]) -> str:
    shown = ", ".join(values[:CHOICES_SHOWN_MAX])
    more = len(values) - CHOICES_SHOWN_MAX
    return f"{shown} and {more} more" if more > 0 else shown
