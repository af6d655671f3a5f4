"""Card numbers to refuse: made up, of every issuer, in every way that one may be written."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import strategies as st

from domain.card_numbers import DIGITS_MIN, passes_luhn

PUBLISHED = (
    "4111111111111111",
    "4242424242424242",
    "4000056655665556",
    "4222222222222",
    "5555555555554444",
    "5200828282828210",
    "2223003122003222",
    "378282246310005",
    "371449635398431",
    "6011111111111117",
    "6011000990139424",
    "30569309025904",
    "38520000023237",
    "36227206271667",
    "3530111333300000",
    "3566002020360505",
    "6200000000000005",
    "6205500000000000004",
    "6759649826438453",
    "2200000000000004",
)
"""Test numbers that payment providers publish."""

_ISSUERS = {
    "Visa": (["4"], [16, 18, 19]),
    "Mastercard": (["51", "52", "53", "54", "55", "2221", "2300", "2599", "2720"], [16]),
    "American Express": (["34", "37"], [15]),
    "Diners Club": (["300", "305", "36", "38", "39", "3095"], [14, 16, 19]),
    "JCB": (["3528", "3550", "3589"], [16, 19]),
    "Discover": (["6011", "644", "649", "65"], [16, 19]),
    "UnionPay": (["62", "81"], [16, 17, 18, 19]),
    "Maestro": (["5018", "5020", "5038", "5893", "6304", "6759", "6763"], [14, 16, 19]),
    "Mir": (["2200", "2204"], [16, 19]),
    "RuPay": (["60", "81", "82", "508"], [16]),
    "Troy": (["9792"], [16]),
}


def with_check_digit(digits: str) -> str:
    """The number that these digits begin; its last digit is the check digit."""
    return next(
        number
        for number in (f"{digits}{last}" for last in "0123456789")
        if passes_luhn(number.encode())
    )


@st.composite
def card_numbers(draw: st.DrawFn) -> str:
    """A number that an issuer may have given out."""
    prefixes, lengths = _ISSUERS[draw(st.sampled_from(sorted(_ISSUERS)))]
    prefix, length = draw(st.sampled_from(prefixes)), draw(st.sampled_from(lengths))
    rest = length - 1 - len(prefix)
    return with_check_digit(prefix + draw(st.text("0123456789", min_size=rest, max_size=rest)))


@st.composite
def written_numbers(draw: st.DrawFn) -> str:
    """A card number in groups or not, in ASCII or full-width digits."""
    number = draw(card_numbers())
    assert len(number) > DIGITS_MIN
    cuts = sorted(draw(st.sets(st.integers(1, len(number) - 1), max_size=6)))
    if draw(st.booleans()):
        cuts = list(range(4, len(number), 4))
    edges = [0, *cuts, len(number)]
    groups = [number[a:b] for a, b in pairwise(edges)]
    text = groups[0] + "".join(draw(st.sampled_from(" -")) + group for group in groups[1:])
    if draw(st.integers(0, 4)) == 0:
        text = text.translate({ord("0") + n: chr(0xFF10 + n) for n in range(10)})
    return text
