"""Revoked tokens in memory."""

from __future__ import annotations

from datetime import datetime

from domain.ports import Unavailable
from serve_apps.identity import Identities
from serve_apps.operators import Operators


class MemoryRevocations:
    """Revocations: until when the tokens of which name are refused; or nobody knows."""

    def __init__(self) -> None:
        self.issued_to: dict[str, datetime] = {}
        self.is_away = False

    async def is_revoked(self, name: str, issued_at: datetime) -> bool:
        if self.is_away:
            raise Unavailable("no answer")
        return name in self.issued_to and issued_at <= self.issued_to[name]


def operators_of(identities: Identities, revocations: MemoryRevocations | None = None) -> Operators:
    """Those who hold a token of these identities; none is revoked unless it is said."""
    return Operators(identities, revocations or MemoryRevocations())
