"""Refused fields are told in sentences: no patterns, none of pydantic's own words before ours."""

from __future__ import annotations

import re
from typing import Any

import orjson
import pytest
from pydantic import TypeAdapter, ValidationError

from serve_apps import text_shapes
from serve_apps.http import validation_problem
from serve_apps.payment_choice import PaymentMethod

GOOD = {
    "Country": ("US",),
    "Currency": ("USD",),
    "Email": ("ada@example.com", "ö@ü"),
    "Phone": ("+1 (415) 555-0100", "12345"),
    "Url": ("https://shop.example/back?a=1", "http://localhost"),
    "CardToken": ("card_1", "pm_card_visa", "tok_" + "x" * 100),
    "MethodToken": ("pm_card_visa", "a", "x-1"),
}
BAD = {
    "Country": ("us", "USA", "US\n", ""),
    "Currency": ("usd", "US", "USD\n"),
    "Email": ("ada", "a b@example.com", "a" * 251 + "@b.c", "a@b\n"),
    "Phone": ("123", "call me", "12345\n"),
    "Url": ("ftp://x", "https://a b", 'https://"', "https://" + "x" * 500),
    "CardToken": ("foo", "card_", "card_ä", "tok_" + "x" * 101, "card_1\n"),
    "MethodToken": ("", "1a", "x" * 101, "a\n"),
}


def _refusal(model: Any, value: Any) -> str:
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(model).validate_json(orjson.dumps(value))
    return validation_problem([dict(one) for one in caught.value.errors()]).detail


@pytest.mark.parametrize("name", GOOD)
def test_what_has_its_shape_is_taken_as_it_is(name: str) -> None:
    adapter = TypeAdapter(getattr(text_shapes, name))
    pattern = adapter.json_schema()["pattern"]
    for text in GOOD[name]:
        assert adapter.validate_python(text) == text
        assert re.search(pattern, text)


@pytest.mark.parametrize("name", BAD)
def test_what_has_not_is_told_in_a_sentence(name: str) -> None:
    for text in BAD[name]:
        said = _refusal(getattr(text_shapes, name), text)
        assert "must be" in said or "at most" in said, said
        assert "pattern" not in said


@pytest.mark.parametrize(
    ("method", "says"),
    [
        ({"type": "wallet"}, "body: wallet needs return_url"),
        ({"type": "card", "card_id": "foo"}, "card_id: must be the payment provider's token of a "),
        ({"type": "gift_card", "code": "a\0"}, "code: must not contain the NUL character"),
    ],
)
def test_our_own_words_stand_alone(method: dict[str, str], says: str) -> None:
    assert _refusal(PaymentMethod, method).startswith(says)
