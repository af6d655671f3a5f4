"""Card numbers are found however they are written; what looks alike is let through."""

from __future__ import annotations

import json
import time
import uuid
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain import ids
from domain.card_numbers import (
    CANDIDATES_MAX,
    carries_card_number,
    carries_card_number_escaped,
    passes_luhn,
)
from tests.domain.card_numbers import PUBLISHED, card_numbers, written_numbers

VISA = "4111111111111111"
_WORDS = st.text("abc, :;/()äø王'\"\n\t\\", max_size=8)


def carries(text: str) -> bool:
    return carries_card_number(text.encode())


@pytest.mark.parametrize("number", PUBLISHED)
def test_published_test_numbers_are_found(number: str) -> None:
    assert carries(number)
    assert carries(f'{{"note":"{number}"}}')
    assert carries(f'{{"note":{number}}}')


@given(number=written_numbers(), before=_WORDS, after=_WORDS, depth=st.integers(0, 4))
def test_any_number_in_any_field_is_found(number: str, before: str, after: str, depth: int) -> None:
    if before[-1:].isalpha() and before[-1:].isascii():
        before += " "
    if after[:1].isalpha() and after[:1].isascii():
        after = f" {after}"
    document: Any = f"{before}{number}{after}"
    for level in range(depth):
        document = [1, document] if level % 2 else {"field": document, "quantity": 2}
    assert carries(json.dumps(document))
    assert carries(json.dumps(document, ensure_ascii=False))
    assert carries(json.dumps({str(document): True}))


@given(number=card_numbers())
def test_any_number_is_found_as_a_number_and_in_addresses(number: str) -> None:
    assert carries(json.dumps({"card": int(number)}))
    spaced = " ".join((number[:4], number[4:8], number[8:]))
    for text in (quote(spaced), quote_plus(spaced), quote(quote(spaced)), f"q={number}&page=1"):
        assert carries_card_number_escaped(text.encode())
    every = "".join(f"%{ord(digit):02X}" for digit in number)
    assert carries_card_number_escaped(f"q={every}".encode())


@pytest.mark.parametrize(
    "text",
    [
        "".join(f"\\u{ord(digit):04x}" for digit in VISA),
        "\\u0034111111111111111",
        "my card:\\n4111111111111111\\nthanks",
        "4111\\u00a01111\\u00a01111\\u00a01111",
        "4111\u20111111\u20131111\u20141111",
        "4111\u200b1111\u200b1111\u200b1111",
        "٤١١١١١١١١١١١١١١١",
        "𝟒𝟏𝟏𝟏𝟏𝟏𝟏𝟏𝟏𝟏𝟏𝟏𝟏𝟏𝟏𝟏",
        "".join("\\ud835\\udfd2" if d == "4" else "\\ud835\\udfcf" for d in VISA),
        "4111111111111111 12/28 123",
        "12/28 4111 1111 1111 1111 123",
        "tok_4111111111111111",
        "card-4111-1111-1111-1111",
        "+4111111111111111",
        "4111111111111111.0",
        "4 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1",
        "3782 822463 10005",
        "カード4111111111111111",
    ],
)
def test_other_ways_to_write_one_are_found(text: str) -> None:
    assert carries(json.dumps({"note": 0}).replace("0", f'"{text}"'))


def test_utf_16_is_read_too() -> None:
    assert carries_card_number(json.dumps({"card": VISA}).encode("utf-16-le"))


@given(st.uuids())
def test_uuids_and_ids_made_of_them_pass(one: uuid.UUID) -> None:
    for text in (str(one), str(one).upper(), ids.encode("order", one), ids.encode("charge", one)):
        assert not carries(f'{{"id":"{text}"}}')
        assert not carries(text)


@given(st.from_regex(r"[0-9]{8}-[0-9]{4}-4[0-9]{3}-[ab89][0-9]{3}-[0-9a-f]{12}", fullmatch=True))
def test_uuids_of_digits_only_pass(text: str) -> None:
    assert not carries(f"key {text}, too")


@given(st.datetimes(datetime(1990, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001
def test_times_pass(when: datetime) -> None:
    assert not carries(when.isoformat())
    assert not carries(when.strftime("%Y-%m-%d %H:%M:%S.%f"))
    assert not carries(when.strftime("%Y%m%d%H%M%S"))


@given(st.integers(1_600_000_000, 2_199_999_999), st.sampled_from([1, 10**3, 10**6, 10**9]))
def test_epoch_times_pass(seconds: int, scale: int) -> None:
    """Of 2020 to 2039: in microseconds they begin as Mir's and Mastercard's numbers later on."""
    assert not carries(str(seconds * scale + scale // 3))


@given(st.integers(0, 10**12 - 1), st.integers(0, 99))
def test_prices_pass(whole: int, cents: int) -> None:
    assert not carries(f'{{"total": {whole}.{cents:02d}, "currency": "USD"}}')


@given(st.floats(-180, 180))
def test_coordinates_pass(degrees: float) -> None:
    assert not carries(json.dumps({"lat": degrees, "lon": degrees}))


@pytest.mark.parametrize(
    "text",
    [
        "+49 151 12345678",
        "+4915112345678",
        "49 151 12345678",
        "+1 (415) 555-0100",
        "+62 812 3456 7890",
        "0049 30 901820 555",
        "4006381333931",  # EAN-13
        "9780306406157",  # ISBN
        "1Z9999999999999999",  # UPS
        "GB33BUKB20201555555555",
        "DE89370400440532013000",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "a4111111111111111",
        "4111111111111111a",
        "41111111111111111111",  # 20 digits
        "4111111111111112",  # another check digit
        "411111111111",  # 12 digits
        "7992739871300000",  # Luhn, no issuer's
        "2001:0db8:85a3:0000:0000:8a2e:0370:7334",
        "37.77492950000001",
        "12345 67890 12345 67890 12345",
    ],
)
def test_what_looks_alike_passes(text: str) -> None:
    assert not carries(f'{{"note":"{text}"}}')


def test_luhn() -> None:
    """The example of ISO/IEC 7812-1."""
    assert passes_luhn(b"79927398713")
    assert [n for n in range(10) if passes_luhn(b"7992739871%d" % n)] == [3]


@pytest.mark.parametrize(
    "text", ["4 " * CANDIDATES_MAX * 2, "4111111111111112," * (CANDIDATES_MAX + 1)]
)
def test_work_has_a_bound(text: str) -> None:
    started = time.process_time()
    assert carries(text)
    assert time.process_time() - started < 2
