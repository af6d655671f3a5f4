"""Finds primary account numbers (the numbers of payment cards) in what a request carries.

A number counts as one if it has 13 to 19 digits, alone or in groups with single spaces or dashes
between them, begins as an issuer's numbers do and is as long as theirs are (ISO/IEC 7812 and the
issuers' published ranges), and its last digit is the Luhn check digit (ISO/IEC 7812-1, annex B).
Luhn alone would take one of ten random numbers for a card's. A card's month of expiry may follow
directly, and its code after that.

What looks alike and is none: parts of longer runs of digits and letters (our own ids, hashes),
UUIDs, the decimals of a fraction, an EAN-13 on the pack of a product, a telephone number after a
`+`. The last two have 13 digits, as Visa's numbers had long ago and have no more. Tracking headers
apart, whoever must send other numbers that pass for cards can put a letter before them. Letters
that a magnetic stripe has beside the number hide nothing (ISO/IEC 7813).

Sought as it stands, and again with JSON's and percent escapes undone, digits of other scripts
(full-width, say) written as ASCII, and marks and characters without width left out. Not undone:
base64, compression, numbers in words, or a number torn into several fields.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from typing import Final
from urllib.parse import unquote_to_bytes

from domain.visible_text import BLANK

DIGITS_MIN: Final = 13
DIGITS_MAX: Final = 19
CANDIDATES_MAX: Final = 10_000
"""Groups of digits that are looked at in one text; who sends more of them is refused unread."""
FOLDED_KEPT_MAX: Final = 4_096
_UNDO_MAX = 3  # rounds of percent escapes within percent escapes
_GROUPS_MAX = 5
_EXPIRY = re.compile(rb"(?:(?:0[1-9]|1[0-2])[2-4][0-9]|[2-4][0-9](?:0[1-9]|1[0-2]))")
"""MMYY or YYMM, of 2020 to 2049."""
_AFTER_NUMBER = (4, 7, 8)  # digits: the month of expiry; with a code of three or four
_GROUP_MIN = 4  # of a card among other numbers, all groups but the last have four digits or more

# First and last prefix of a range, and the lengths of its numbers.
_RANGES: Final = (
    ("4", "4", (13, 16, 18, 19)),  # Visa; 13 was given up long ago
    ("51", "55", (16,)),  # Mastercard
    ("2221", "2720", (16,)),
    ("34", "34", (15,)),  # American Express
    ("37", "37", (15,)),
    ("300", "305", (14, 16, 19)),  # Diners Club
    ("3095", "3095", (14, 16, 19)),
    ("36", "36", (14, 16, 19)),
    ("38", "39", (14, 16, 19)),
    ("3528", "3589", (16, 17, 18, 19)),  # JCB
    ("6011", "6011", (16, 17, 18, 19)),  # Discover
    ("644", "659", (16, 17, 18, 19)),
    ("60", "60", (16,)),  # RuPay, Hipercard
    ("62", "62", (16, 17, 18, 19)),  # UnionPay
    ("81", "82", (16, 17, 18, 19)),  # UnionPay, RuPay
    ("5018", "5020", (13, 14, 15, 16, 17, 18, 19)),  # Maestro, Dankort
    ("5038", "5038", (13, 14, 15, 16, 17, 18, 19)),
    ("5612", "5612", (13, 14, 15, 16, 17, 18, 19)),
    ("5893", "5893", (13, 14, 15, 16, 17, 18, 19)),
    ("6304", "6304", (13, 14, 15, 16, 17, 18, 19)),
    ("6390", "6390", (13, 14, 15, 16, 17, 18, 19)),
    ("6759", "6763", (13, 14, 15, 16, 17, 18, 19)),
    ("0604", "0604", (13, 14, 15, 16, 17, 18, 19)),
    ("2200", "2205", (16, 17, 18, 19)),  # Mir
    ("5061", "5061", (16, 18, 19)),  # Verve
    ("5066", "5067", (16,)),  # Elo
    ("5090", "5099", (16,)),  # Elo, RuPay
    ("5080", "5089", (16,)),  # RuPay
    ("6362", "6363", (16,)),  # Elo
    ("6370", "6376", (16,)),  # Hiper, InstaPayment
    ("9792", "9792", (16,)),  # Troy
)


def _lengths_by_prefix() -> dict[bytes, frozenset[int]]:
    """The lengths of the numbers that begin with these four digits."""
    found: dict[bytes, frozenset[int]] = {}
    for first, last, lengths in _RANGES:
        for number in range(int(first.ljust(4, "0")), int(last.ljust(4, "9")) + 1):
            prefix = b"%04d" % number
            found[prefix] = found.get(prefix, frozenset()) | frozenset(lengths)
    return found


_LENGTHS: Final = _lengths_by_prefix()
_NONE: Final[frozenset[int]] = frozenset()
# A first look that costs a microsecond: without what parts groups, 13 digits in a row.
_AS_ZERO: Final = bytes.maketrans(b"123456789", b"000000000")
_ENOUGH_DIGITS: Final = b"0" * DIGITS_MIN
# Begins with a set of bytes, which the engine can skip to: no look-behind.
_RUN: Final = re.compile(rb"[0-9](?:[ \-]?[0-9]){12,}")
_DIGITS: Final = re.compile(rb"[0-9]+")
_LETTERS: Final = re.compile(rb"[A-Za-z]+")
_UUID: Final = re.compile(
    rb"(?<![0-9A-Za-z])[0-9A-Fa-f]{8}-(?:[0-9A-Fa-f]{4}-){3}[0-9A-Fa-f]{12}(?![0-9A-Za-z])"
)
_UUID_LENGTH = 36
_ALNUM: Final = frozenset(b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
_DOUBLED: Final = bytes.maketrans(
    b"0123456789", bytes(48 + n for n in (0, 2, 4, 6, 8, 1, 3, 5, 7, 9))
)
_BEYOND_ASCII: Final = re.compile(r"[^\x00-\x7f]+")
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
# By category: spaces, dashes, and what has no width of its own.
_PARTING: Final = {"Zs": " ", "Zl": " ", "Zp": " ", "Pd": "-", "Cf": "", "Mn": "", "Me": ""}
# Minus signs and strokes that are drawn as dashes, and letters that are drawn as nothing.
_DRAWN_ALIKE: Final = {
    **dict.fromkeys(
        "\u02d7\u06d4\u2043\u207b\u208b\u2212\u23af\u23e4\u2500\u2501\u2574\u2576\u2796\u30fc\uff70",
        "-",
    ),
    **dict.fromkeys(BLANK, ""),
}
# Of JSON within JSON, the backslashes are doubled.
_JSON_ESCAPE: Final = re.compile(r"\\+(?:u([0-9A-Fa-f]{4})|[nrtbf/])")
_PERCENT_ESCAPE: Final = re.compile(rb"%[0-9A-Fa-f]{2}")
_STRIPE_AFTER: Final = re.compile(rb"[Dd][0-9]{7}")  # month, service code: track 2 as chips tell it


def carries_card_number(text: bytes) -> bool:
    """True if a card number stands in it, as JSON, plain text, or UTF-16; percent escapes undone."""
    return _carries(text, plus=False)


def carries_card_number_escaped(text: bytes) -> bool:
    """The same for an address, a query string or a form, where `+` may be a space."""
    return _carries(text, plus=True)


def token_carries_card_number(token: str) -> bool:
    """The same for the token of a means of payment, where letters beside a number hide nothing.

    Of 13 to 19 digits in a row, Luhn alone decides: tokens are random letters and digits, in which
    there are hardly ever so many.
    """
    text = token.encode()
    for found in _DIGITS.finditer(text):
        digits = found.group()
        if DIGITS_MIN <= len(digits) <= DIGITS_MAX and passes_luhn(digits):
            return True
    return carries_card_number(_LETTERS.sub(rb" \g<0> ", text.replace(b"_", b" ")))


def passes_luhn(digits: bytes) -> bool:
    """True if the last digit is the check digit of those before it."""
    backwards = digits[::-1]
    total = sum(backwards[0::2]) + sum(backwards[1::2].translate(_DOUBLED))
    return (total - 48 * len(digits)) % 10 == 0


def _carries(text: bytes, *, plus: bool) -> bool:
    for _ in range(_UNDO_MAX + 1):
        if _stands_in(text, plus=plus):
            return True
        if b"\\" in text or not text.isascii():
            text = _plain(text.decode(errors="replace"))
            if _stands_in(text, plus=plus):
                return True
        if b"%" not in text or not _PERCENT_ESCAPE.search(text):
            return False
        text = unquote_to_bytes(text)
    return False


def _stands_in(text: bytes, *, plus: bool) -> bool:
    if _finds(text):
        return True
    if b"\x00" in text and _finds(text.replace(b"\x00", b"")):
        return True
    # A `+` may also be meant, before a telephone number: so once with it, and once without.
    return plus and b"+" in text and _finds(text.replace(b"+", b" "))


def _finds(text: bytes) -> bool:
    if _ENOUGH_DIGITS not in text.translate(_AS_ZERO, b" -"):
        return False
    left = CANDIDATES_MAX
    for run in _RUN.finditer(text):
        left -= text.count(b" ", *run.span()) + text.count(b"-", *run.span())
        if left < 0:
            return True
        for start, digits in _candidates(text, run.start(), run.end()):
            left -= 1
            if left < 0:
                return True
            if passes_luhn(digits) and not _looks_alike(text, start, digits):
                return True
    return False


def _candidates(text: bytes, start: int, end: int) -> Iterator[tuple[int, bytes]]:
    """Where a number begins that an issuer may have given out, and its digits."""
    groups = [(found.start(), found.group()) for found in _DIGITS.finditer(text, start, end)]
    # What a letter touches is no number of its own; the run itself ends at other bytes.
    if start and text[start - 1] in _ALNUM and not _begins_track(text, start, end):
        del groups[0]
    if end < len(text) and text[end] in _ALNUM and groups and not _STRIPE_AFTER.match(text, end):
        del groups[-1]
    if sum(len(digits) for _, digits in groups[: DIGITS_MAX + 1]) <= DIGITS_MAX:
        whole = b"".join(digits for _, digits in groups)
        if len(whole) in _LENGTHS.get(whole[:4], _NONE) and _grouped_well(whole, groups[0][1]):
            yield groups[0][0], whole
    for first, (begins, _) in enumerate(groups):
        joined = b""
        for _, digits in groups[first : first + _GROUPS_MAX]:
            joined += digits
            lengths = _LENGTHS.get(joined[:4], _NONE)
            if len(joined) in lengths:
                yield begins, joined
            for more in _AFTER_NUMBER:
                length = len(joined) - more
                if length in lengths and more < len(digits) and _EXPIRY.match(joined, length):
                    yield begins, joined[:length]
            if len(digits) < _GROUP_MIN or len(joined) > DIGITS_MAX:
                break


def _begins_track(text: bytes, start: int, end: int) -> bool:
    """True after the format code of track 1: `%B`, or B and a `^` behind the number."""
    if text[start - 1 : start] not in (b"B", b"b"):
        return False
    return text[start - 2 : start - 1] == b"%" or text[end : end + 1] == b"^"


def _grouped_well(whole: bytes, first: bytes) -> bool:
    """Telephone numbers in groups begin with a short one; 13 digits are few enough to be one."""
    return len(whole) > DIGITS_MIN or len(first) >= _GROUP_MIN


def _looks_alike(text: bytes, start: int, digits: bytes) -> bool:
    """True for a number that passes every test of a card's and stands where another one does."""
    before = text[max(0, start - 2) : start]
    if before[-1:] == b"." and before[:1].isdigit():
        return True  # the decimals of a fraction
    if len(digits) == DIGITS_MIN and (before[-1:] == b"+" or _is_ean13(digits)):
        return True
    return any(
        found.start() <= start < found.end()
        for found in _UUID.finditer(text, max(0, start - _UUID_LENGTH), start + _UUID_LENGTH)
    )


def _is_ean13(digits: bytes) -> bool:
    """GS1 General Specifications, 7.9: weights 1 and 3 in turn, a multiple of ten in all."""
    return (sum(digits[0::2]) + 3 * sum(digits[1::2]) - 48 * (7 + 3 * 6)) % 10 == 0


class _Folded(dict[int, str | int]):
    """Characters beyond ASCII that a number may be written or parted with, as ASCII."""

    def __missing__(self, code: int) -> str | int:
        folded = _folded(chr(code))
        if len(self) < FOLDED_KEPT_MAX:
            self[code] = folded
        return folded


def _folded(character: str) -> str | int:
    digit = unicodedata.digit(character, None)
    if digit is not None:
        return str(digit)
    alike = _DRAWN_ALIKE.get(character)
    if alike is not None:
        return alike
    return _PARTING.get(unicodedata.category(character), ord(character))


_FOLDED: Final = _Folded()


def _plain(text: str) -> bytes:
    """The text without JSON's escapes, digits and what may part them in ASCII."""
    if "\\" in text:
        text = _JSON_ESCAPE.sub(_unescaped, text)
        if _SURROGATE.search(text):  # characters beyond the first plane are two escapes
            text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if not text.isascii():
        text = _BEYOND_ASCII.sub(lambda found: found.group().translate(_FOLDED), text)
    return text.encode("ascii", "replace")


def _unescaped(found: re.Match[str]) -> str:
    code: str | None = found.group(1)
    return chr(int(code, 16)) if code is not None else " "
