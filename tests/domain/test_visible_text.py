"""What shows something, and what only takes room."""

from __future__ import annotations

import pytest

from domain.visible_text import has_control_characters, shows_something


@pytest.mark.parametrize(
    "text", ["a", " a ", "\u200ba", "é", "e\u0301", "店", "👩\u200d💻", "7️⃣", "¿", "\ue000"]
)
def test_what_is_seen(text: str) -> None:
    assert shows_something(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "\t\n",
        "\u200b",
        "\u200b\u200d \ufeff",
        "\u0301" * 3,
        "\u00ad",
        "\u202e",
        "\u3164\u115f",
        "\u2800",
        "\x1b",
        "\ud800",
        "\U000e0001",
    ],
)
def test_what_is_not(text: str) -> None:
    assert not shows_something(text)


def test_control_characters() -> None:
    for text in ("a\nb", "\x1b[31m", "a\x00", "a\x85", "\ud800", "a\u2028b"):
        assert has_control_characters(text)
    for text in ("", "a b", "é店", "a\u200db"):
        assert not has_control_characters(text)
