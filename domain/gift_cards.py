"""Gift cards' codes: how they are made, read as people type them, and kept without being kept.

A code is 24 letters out of 20, so 103 bits; whoever knows the last four has 86 to guess. There
are no vowels, so that no code is a word, and no digits, so that none is taken for the number of
a payment card.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta

ALPHABET = "BCDFGHJKLMNPQRSTVWXZ"
CODE_LENGTH = 24
LAST_SHOWN = 4
CODE_TEXT_MAX = 64
"""Characters of a typed code, with spaces and hyphens; longer texts are no codes."""
_GROUP = 4
_TO_LETTERS = str.maketrans("0123456789abcdef", "abcdefghijklmnop")
_SEPARATORS = str.maketrans("", "", " -\t")
_INSTANT = timedelta(microseconds=1)


def new_code(random_below: Callable[[int], int]) -> str:
    """A fresh code in groups of four; `random_below(n)` gives 0 to n-1 and must not be guessable."""
    letters = "".join(ALPHABET[random_below(len(ALPHABET))] for _ in range(CODE_LENGTH))
    return "-".join(letters[at : at + _GROUP] for at in range(0, CODE_LENGTH, _GROUP))


def plain_code(text: str) -> str | None:
    """A typed code as 24 capital letters; None if the text cannot be a code."""
    if len(text) > CODE_TEXT_MAX:
        return None
    letters = text.translate(_SEPARATORS).upper()
    if len(letters) != CODE_LENGTH or not set(ALPHABET).issuperset(letters):
        return None
    return letters


def code_hash(key: bytes, text: str) -> str | None:
    """What is stored of a code and sent as a charge's token: HMAC-SHA256, 64 letters from a to p.

    None if the text cannot be a code. Without the key, nobody can try codes against a stolen
    table. In plain hexadecimal, digits in a row would now and then look like a card number.
    """
    letters = plain_code(text)
    if letters is None:
        return None
    return hmac.digest(key, letters.encode(), "sha256").hex().translate(_TO_LETTERS)


def last_day(expires_at: datetime) -> date:
    """The last day (UTC) on which a card is good that expires at this instant."""
    return (expires_at.astimezone(UTC) - _INSTANT).date()
