"""Which variant a buyer means, and how much a cart asks for in all."""

from __future__ import annotations

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.cart import (
    LINE_QUANTITY_MAX,
    LINES_MAX,
    Refusal,
    check_line_count,
    check_quantity,
    choose_variant,
    demand_by_variant,
    options_of,
)
from domain.catalog import ListedProduct, ListedVariant


def variant(number: int, **attributes: str) -> ListedVariant:
    return ListedVariant(
        variant_id=UUID(int=number),
        sku=f"SKU-{number}",
        price_minor=1000,
        attributes=attributes,
        pairs=(),
    )


def product(*variants: ListedVariant) -> ListedProduct:
    return ListedProduct(
        product_id=UUID(int=99),
        handle="shirt",
        name="Linen shirt",
        description="",
        category="Shirts",
        tags=(),
        seller_id=UUID(int=98),
        seller="Mill",
        price_minor=1000,
        currency="USD",
        picture=None,
        status="active",
        variants=variants,
    )


SHIRT = product(
    variant(1, Size="S", Color="Blue"),
    variant(2, Size="M", Color="Blue"),
    variant(3, Size="M", Color="Red"),
)
MUG = product(variant(7))


def refused(outcome: ListedVariant | Refusal, name: str) -> str:
    assert isinstance(outcome, Refusal)
    assert outcome.name == name
    return outcome.detail


def test_a_single_variant_needs_no_choice() -> None:
    assert choose_variant(MUG) is MUG.variants[0]
    assert choose_variant(MUG, {}) is MUG.variants[0]


@pytest.mark.parametrize(
    ("options", "number"),
    [
        ({"Size": "M", "Color": "Red"}, 3),
        ({"size": "m", "COLOR": "red"}, 3),
        ({"Color": "Red"}, 3),  # says enough: red comes in one size
        ({"Size": "S"}, 1),
    ],
)
def test_options_name_a_variant(options: dict[str, str], number: int) -> None:
    chosen = choose_variant(SHIRT, options)
    assert isinstance(chosen, ListedVariant)
    assert chosen.variant_id == UUID(int=number)


def test_the_id_names_a_variant() -> None:
    assert choose_variant(SHIRT, None, UUID(int=2)) is SHIRT.variants[1]
    assert choose_variant(SHIRT, {"Size": "M"}, UUID(int=2)) is SHIRT.variants[1]


def test_the_id_and_the_options_have_to_agree() -> None:
    detail = refused(choose_variant(SHIRT, {"Size": "S"}, UUID(int=2)), "variant_unknown")
    assert "S / Blue, M / Blue, M / Red" in detail


def test_no_choice_lists_what_there_is() -> None:
    detail = refused(choose_variant(SHIRT), "options_missing")
    assert "Size: S, M; Color: Blue, Red" in detail


def test_half_a_choice_lists_what_is_left() -> None:
    detail = refused(choose_variant(SHIRT, {"Size": "M"}), "options_missing")
    assert "choose Color: Blue, Red" in detail
    assert "Size:" not in detail


def test_unknown_option_lists_the_options() -> None:
    detail = refused(choose_variant(SHIRT, {"Shoe": "42"}), "option_unknown")
    assert "'Shoe'" in detail
    assert "Size: S, M" in detail
    assert "SKU-7" in refused(choose_variant(MUG, {"Size": "M"}), "option_unknown")


def test_unknown_value_lists_the_values() -> None:
    detail = refused(choose_variant(SHIRT, {"Size": "XXL"}), "option_value_unknown")
    assert "Size is one of S, M" in detail


def test_a_combination_that_is_not_sold() -> None:
    outcome = choose_variant(SHIRT, {"Size": "S", "Color": "Red"})
    assert "S / Blue" in refused(outcome, "variant_unknown")


def test_foreign_variant_id_is_refused() -> None:
    refused(choose_variant(SHIRT, None, UUID(int=7)), "variant_unknown")


def test_variants_that_no_option_tells_apart_are_chosen_by_id() -> None:
    twins = product(variant(1), variant(2))
    detail = refused(choose_variant(twins), "options_missing")
    assert "variant_id" in detail
    assert choose_variant(twins, None, UUID(int=2)) is twins.variants[1]


def test_a_variant_without_the_option_does_not_match_it() -> None:
    mixed = product(variant(1, Size="S"), variant(2))
    assert choose_variant(mixed, {"Size": "S"}) is mixed.variants[0]


def test_a_refusal_stays_short() -> None:
    many = product(*(variant(n, Size=str(n)) for n in range(1, 200)))
    assert "and 179 more" in refused(choose_variant(many), "options_missing")
    detail = refused(choose_variant(many, {"x" * 10_000: "y"}), "option_unknown")
    assert len(detail) < 400


def test_options_keep_the_listed_order() -> None:
    assert options_of(SHIRT.variants) == {"Size": ["S", "M"], "Color": ["Blue", "Red"]}


@given(st.lists(st.tuples(st.uuids(), st.integers(1, 999))))
def test_demand_is_the_sum_of_every_line(lines: list[tuple[UUID, int]]) -> None:
    doubled = demand_by_variant([*lines, *lines])
    assert doubled == {key: 2 * units for key, units in demand_by_variant(lines).items()}
    assert sum(doubled.values()) == 2 * sum(quantity for _, quantity in lines)


def test_limits() -> None:
    assert check_quantity(1) is None
    assert check_quantity(LINE_QUANTITY_MAX) is None
    assert check_line_count(LINES_MAX) is None
    for outcome in (check_quantity(0), check_quantity(LINE_QUANTITY_MAX + 1)):
        assert outcome is not None
        assert outcome.name == "quantity_out_of_range"
    too_many = check_line_count(LINES_MAX + 1)
    assert too_many is not None
    assert too_many.name == "lines_out_of_range"
