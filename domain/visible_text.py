"""Whether a text shows anything: what people are to read later must not be made of nothing."""

from __future__ import annotations

import unicodedata
from typing import Final

# Spaces, controls, formats, lone surrogates, and marks, which need a letter to stand on.
_NOTHING: Final = frozenset({"Zs", "Zl", "Zp", "Cc", "Cf", "Cs", "Mn", "Me"})
BLANK: Final = frozenset("\u115f\u1160\u3164\uffa0\u2800")
"""Letters and symbols that are drawn as nothing: Hangul fillers, a Braille cell without dots."""


def shows_something(text: str) -> bool:
    """True if at least one character of it can be seen."""
    if text.isascii() and text.isprintable():
        return bool(text) and not text.isspace()
    return any(
        unicodedata.category(character) not in _NOTHING and character not in BLANK
        for character in text
    )


def has_control_characters(text: str) -> bool:
    """True for line ends, escapes, and halves of surrogate pairs, which no encoding can express."""
    return any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in text)
