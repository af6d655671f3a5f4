"""Card numbers are found however they are written; what looks alike is let through."""

from __future__ import annotations

import base64
import json
import re
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
    token_carries_card_number,
)
from tests.domain.card_numbers import PUBLISHED, card_numbers, with_check_digit, written_numbers

VISA = "4111111111111111"
# Variation selectors, a joiner, an accent, Hangul fillers, a soft hyphen, a keycap.
_WITHOUT_WIDTH = "\ufe0f\u034f\u180b\u0301\u115f\u1160\u3164\uffa0\u00ad\u20e3\u2800\U000e0100"
_LIKE_DASHES = "\u2212\u207b\u2043\u2500\u30fc\ufe63\uff0d\u2796"
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
        "".join(f"%{ord(digit):02x}" for digit in VISA),
        "4111%201111%201111%201111",
        "4111%25201111%25201111%25201111",
        "".join(f"\\u0025{ord(digit):02x}" for digit in VISA),
        "".join(f"\\\\u{ord(digit):04x}" for digit in VISA),
        "4111\u20281111\u20281111\u20281111",
        *(f"4111{mark}1111{mark}1111{mark}1111" for mark in _WITHOUT_WIDTH + _LIKE_DASHES),
        *(f"4111{mark} {mark}1111 1111 1111" for mark in _WITHOUT_WIDTH),
        "".join(f"{digit}\ufe0f\u20e3" for digit in VISA),
        "%B4111111111111111^DOE/JOHN^2912101000000?",
        "B4111111111111111^DOE/JOHN^2912101000000?",
        "%b4111 1111 1111 1111^DOE/JOHN^2912101000000?",
        "%25B4111111111111111%5EDOE/JOHN%5E2912101000000",
        ";4111111111111111=29121010000012300?",
        ";4111111111111111D29121010000012300F",
        "41111111111111111229",
        "41111111111111112912",
        "41111111111111111229123",
        "411111111111111112291234",
        "4111 1111 1111 11111229",
        "3782822463100051229",
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
        "41111111111111111329",  # no 13th month
        "41111111111111111219",  # long over
        "411111111111111122912345",  # of no card's length, nor its month and code
        "B4111111111111111",
        "4111111111111111D29",
        "100% 4111 %",
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


_CHECKSUMMED = st.integers(10**11, 10**18 - 1).map(lambda n: with_check_digit(str(n)))


@given(
    number=_CHECKSUMMED,
    before=st.sampled_from(["", "x", "1N_", "abc"]),
    after=st.sampled_from(["", "x", "_2"]),
)
def test_letters_hide_nothing_in_a_token(number: str, before: str, after: str) -> None:
    for prefix in ("card_", "pm_", "tok_"):
        assert token_carries_card_number(f"{prefix}{before}{number}{after}")


@pytest.mark.parametrize(
    "token",
    [
        f"card_x{VISA}1229",
        f"card_{VISA}",
        "card_x4111-1111-1111-1111x",
        "card_4111_1111_1111_1111",
        "pm_1N_4111_1111_1111_1111_x",
    ],
)
def test_other_ways_to_write_one_in_a_token_are_found(token: str) -> None:
    assert token_carries_card_number(token)


@given(st.from_regex(r"(pm|card|tok)_1[A-Z][0-9A-Za-z]{22}", fullmatch=True), st.uuids())
def test_tokens_of_providers_pass(token: str, one: uuid.UUID) -> None:
    for text in (
        "card_xyz789",
        "pm_card_visa",
        "tokencc_bh_x3k5wn_vs7c4m_8qpgkr_hxdt9j_2b4",
        str(one),
    ):
        assert not token_carries_card_number(text)
    if not re.search(r"[0-9]{13}", token):
        assert not token_carries_card_number(token)


@given(st.uuids(), st.integers(1_600_000_000_000, 2_199_999_999_999))
def test_names_that_we_and_clients_give_pass(one: uuid.UUID, milliseconds: int) -> None:
    for text in (
        *(
            ids.encode(prefix, one)
            for prefix in ("order", "charge", "cart", "refund", "promo", "var")
        ),
        one.hex,
        f"{one}:capture:2",
        f"key-{milliseconds}-{one.hex[:8]}",
        f"evt_{one.hex[:24]}" if not re.search(r"[0-9]{13}", one.hex) else "",
        base64.urlsafe_b64encode(one.bytes).decode().replace("-", "_"),
        f"order%20{ids.encode('order', one)}",
        f"1{milliseconds}",
    ):
        assert not carries(f'{{"id":"{text}"}}'), text
        assert not carries_card_number_escaped(text.encode()), text


@pytest.mark.parametrize(
    "text",
    ["é" * 3, "d\u0301 1\u0301 2", "Straße 12, 10115 Berlin", "50 % − 20 %", "1️⃣ 2️⃣ 3️⃣", "−1 −2 −3"],
)
def test_marks_and_dashes_in_other_texts_pass(text: str) -> None:
    assert not carries(json.dumps({"note": text}, ensure_ascii=False))
    assert not carries(json.dumps({"note": text}))


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
