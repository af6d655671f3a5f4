"""TypeIDs: a prefix that says what it names, and a sortable UUID in base 32.

The format is TypeID 0.3: 26 characters of Crockford's alphabet (lower case) for the
UUID's 128 bits, after two zero bits.
"""

from __future__ import annotations

from uuid import UUID

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_SUFFIX_LENGTH = 26
_PAIRS = [a + b for a in _ALPHABET for b in _ALPHABET]
_TO_HEX = str.maketrans(_ALPHABET, "0123456789abcdefghijklmnopqrstuv")
_VALID = frozenset(_ALPHABET)


def encode(prefix: str, value: UUID) -> str:
    """`encode("order", uuid)` gives `order_01h455vb4pex5vsknk084sn02q`."""
    number = value.int
    pairs = [_PAIRS[(number >> shift) & 1023] for shift in range(120, -1, -10)]
    return f"{prefix}_{''.join(pairs)}"


def decode(prefix: str, text: str) -> UUID:
    """The UUID that `text` names; ValueError if it is not a TypeID with this prefix."""
    head, _, suffix = text.rpartition("_")
    if head != prefix or len(suffix) != _SUFFIX_LENGTH or not _VALID.issuperset(suffix):
        raise ValueError(f"{text[:80]!r} is not an id of the form {prefix}_ and 26 characters")
    number = int(suffix.translate(_TO_HEX), 32)
    if number >> 128:
        raise ValueError(f"{text[:80]!r} names a number above 128 bits; it was altered on its way")
    return UUID(int=number)


def new_uuid7(unix_ms: int, random_bytes: bytes) -> UUID:
    """A UUID version 7 (RFC 9562, 5.7) from a time in ms and at least 10 random bytes."""
    rand = int.from_bytes(random_bytes[:10])
    rand_a, rand_b = rand >> 68, rand & ((1 << 62) - 1)
    return UUID(int=(unix_ms & ((1 << 48) - 1)) << 80 | 7 << 76 | rand_a << 64 | 2 << 62 | rand_b)
