"""Types of text in requests, and names that stand twice in a body."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from serve_apps.text_fields import ShortText, name_given_twice

_SHORT = TypeAdapter(ShortText)
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@pytest.mark.parametrize("text", ["\u200b", " \u200b ", "\u0301\u0301", "\u3164", "\ufeff", "\x1b"])
def test_what_cannot_be_seen_is_no_text(text: str) -> None:
    with pytest.raises(ValidationError, match="can be seen"):
        _SHORT.validate_python(text)


@pytest.mark.parametrize("text", [" John ", "名前", "O\u2019Neill", "é", "a\u200bb"])
def test_what_can_be_seen_is(text: str) -> None:
    assert _SHORT.validate_python(text) == text.strip()


@given(_VALUES)
def test_names_given_once_pass(value: Any) -> None:
    for escaped in (True, False):
        text = json.dumps(value, ensure_ascii=escaped)
        try:
            body = text.encode()
        except UnicodeEncodeError:
            continue
        assert name_given_twice(body) is None


@pytest.mark.parametrize(
    ("body", "name"),
    [
        ('{"a":1,"a":1}', "a"),
        ('{"a" : 1, "b": 2 , "\\u0061":3}', "a"),
        ('{"x":[{"b":1},{"c":{"":1,"":2}}]}', ""),
        ('{"é":1,"\\u00e9":2}', "é"),
        ('{"a":{"a":{"a":1}}}', None),
        ('[{"a":1},{"a":1}]', None),
        ('{"a":"\\"a\\":1,\\"a\\":2"}', None),
        ('{"a":' + "9" * 10_000 + "}", None),
        ("[" * 150 + "]" * 150, None),
    ],
)
def test_names_given_twice_are_told(body: str, name: str | None) -> None:
    assert name_given_twice(body.encode()) == name
