"""Who may run the shop: a token that proves itself, and that nobody has revoked.

Customers' tokens are checked without asking anybody. An operator's requests are few and move money,
so each asks the database once; while that is away, nobody is an operator.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Protocol

from starlette.requests import Request

from domain.ports import Unavailable
from serve_apps.http import Problem
from serve_apps.identity import Identities, unauthorized_operator


class Revocations(Protocol):
    """Where revoked tokens are (`storage.operator_revocations`). Raises Unavailable."""

    async def is_revoked(self, name: str, issued_at: datetime) -> bool:
        """True for a token of `name` that was issued at that time."""
        ...


class Operators:
    """Checks the tokens of operators."""

    def __init__(self, identities: Identities, revocations: Revocations) -> None:
        self.identities = identities
        self._revocations = revocations

    async def operator(self, request: Request) -> str:
        """The name of the operator that the request's token names.

        Raises the Problems of `Identities.operator_token`, `unauthorized` for a token that was
        revoked, and `busy` while it cannot be known.
        """
        token = self.identities.operator_token(request)
        issued_at = datetime.fromtimestamp(token.issued_ms / 1_000, UTC)
        try:
            revoked = await self._revocations.is_revoked(token.name, issued_at)
        except Unavailable:
            detail = "whether this token was revoked cannot be known now; try again shortly"
            raise Problem("busy", detail) from None
        if revoked:
            raise unauthorized_operator("this token was revoked")
        return token.name
