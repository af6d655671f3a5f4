"""Text in requests that has to look a certain way, and the sentence that says so where it does not."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler, StringConstraints
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from serve_apps.http import NoCardNumber, Text


@dataclass(frozen=True, slots=True)
class Shape:
    """Annotates text that has to match the whole of a pattern; `must` is what is said if not.

    pydantic's own constraint would answer with the pattern, which is no sentence.
    """

    pattern: str
    must: str

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        compiled = re.compile(self.pattern)

        def check(text: str) -> str:
            if compiled.fullmatch(text) is None:
                raise PydanticCustomError("text_shape", self.must)  # pyright: ignore[reportArgumentType]
            return text

        return core_schema.no_info_after_validator_function(check, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {**handler(schema), "pattern": self.pattern}


Country = Annotated[
    str, Shape(r"^[A-Z]{2}$", "must be a country's two capital letters (ISO 3166-1), such as US")
]
Currency = Annotated[
    str, Shape(r"^[A-Z]{3}$", "must be a currency's three capital letters (ISO 4217), such as USD")
]
Email = Annotated[
    Text,
    StringConstraints(max_length=254),
    Shape(r"^[^@\s]+@[^@\s]+$", "must be an e-mail address, such as ada@example.com"),
]
Phone = Annotated[
    str,
    Shape(
        r"^\+?[0-9 ()./-]{5,30}$",
        "must be a phone number: 5 to 30 digits, blanks and ( ) . / -, with a + before them or not",
    ),
]
Url = Annotated[
    Text,
    StringConstraints(max_length=500),
    Shape(r"^https?://[^\s\"<>]+$", "must be an address that begins with https:// or http://"),
]
CardToken = Annotated[
    str,
    Shape(
        r"^(card|pm|tok)_[A-Za-z0-9_]{1,100}$",
        "must be the payment provider's token of a card: card_, pm_ or tok_, and then 1 to 100"
        " letters, digits or _",
    ),
    NoCardNumber,
]
"""Never a card number."""
MethodToken = Annotated[
    str,
    Shape(
        r"^[A-Za-z][A-Za-z0-9_-]{0,99}$",
        "must be the payment provider's token: a letter, and then up to 99 letters, digits, _ or -",
    ),
    NoCardNumber,
]
