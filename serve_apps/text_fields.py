"""The types of text in requests, and JSON names that stand twice."""

from __future__ import annotations

import json
from typing import Annotated, Any, Final

from pydantic import AfterValidator, StringConstraints

from domain.visible_text import shows_something


def _without_nul(text: str) -> str:
    if "\x00" in text:
        raise ValueError("must not contain the NUL character")
    return text


def _to_be_seen(text: str) -> str:
    if not shows_something(text):
        raise ValueError("must have at least one character that can be seen")
    return _without_nul(text)


Text = Annotated[str, AfterValidator(_without_nul)]
# The constraints come first: after the validator they would see the text before it is stripped.
ShortText = Annotated[
    str,
    StringConstraints(min_length=1, max_length=200, strip_whitespace=True),
    AfterValidator(_to_be_seen),
]


class _Twice(Exception):  # noqa: N818 - what was met, on its way out of the decoder
    pass


def _once_each(pairs: list[tuple[str, Any]]) -> None:
    if len(dict(pairs)) < len(pairs):
        names = [name for name, _ in pairs]
        raise _Twice(next(name for name in names if names.count(name) > 1))


# Numbers stay text: nobody looks at them, and long ones cost.
_NAMES: Final = json.JSONDecoder(object_pairs_hook=_once_each, parse_int=str, parse_float=str)


def name_given_twice(body: bytes) -> str | None:
    """A name that an object in a JSON document has twice (RFC 8259, 4: what that means is open).

    `body` must be valid JSON that pydantic has read, so that its depth is bounded.
    """
    try:
        _NAMES.decode(body.decode())
    except _Twice as twice:
        return str(twice)
    return None
