"""Gift cards' codes."""

from __future__ import annotations

import math
import random
from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.gift_cards import (
    ALPHABET,
    CODE_LENGTH,
    CODE_TEXT_MAX,
    LAST_SHOWN,
    code_hash,
    last_day,
    new_code,
    plain_code,
)

BITS_MIN = 80
HASH_LENGTH = 64
codes = st.integers().map(lambda seed: new_code(random.Random(seed).randrange))


def test_a_code_cannot_be_guessed_even_by_who_knows_its_last_four() -> None:
    assert (CODE_LENGTH - LAST_SHOWN) * math.log2(len(ALPHABET)) >= BITS_MIN
    assert len(set(ALPHABET)) == len(ALPHABET)


@given(codes)
def test_a_code_is_read_however_it_is_typed(code: str) -> None:
    letters = code.replace("-", "")
    assert len(letters) == CODE_LENGTH
    assert not any(letter.isdigit() for letter in code)
    for typed in (code, letters, code.lower(), code.replace("-", " "), f"  {code}\t"):
        assert plain_code(typed) == letters
        assert code_hash(b"key", typed) == code_hash(b"key", code)


@given(codes, codes)
def test_hashes_differ_by_code_and_by_key(one: str, other: str) -> None:
    assert (code_hash(b"k", one) == code_hash(b"k", other)) == (one == other)
    assert code_hash(b"k", one) != code_hash(b"l", one)
    hashed = code_hash(b"k", one) or ""
    assert len(hashed) == HASH_LENGTH
    assert set(hashed) <= set("abcdefghijklmnop")


@pytest.mark.parametrize(
    "text", ["", "-" * 24, "A" * 24, "B" * 23, "B" * 25, "ß" * 24, "B" * 24 + " " * CODE_TEXT_MAX]
)
def test_what_cannot_be_a_code_has_no_hash(text: str) -> None:
    assert plain_code(text) is None
    assert code_hash(b"key", text) is None


def test_the_last_day_is_the_one_before_a_card_expires() -> None:
    midnight = datetime(2028, 1, 1, tzinfo=UTC)
    assert last_day(midnight) == date(2027, 12, 31)
    assert last_day(midnight + timedelta(hours=9)) == date(2028, 1, 1)
    assert last_day(midnight.astimezone(timezone(timedelta(hours=5)))) == date(2027, 12, 31)
