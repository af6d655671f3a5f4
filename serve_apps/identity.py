"""Who is asking: bearer tokens that name a customer and carry their own proof."""

from __future__ import annotations

import hmac
from uuid import UUID

from starlette.requests import Request

from domain import ids
from serve_apps.http import Problem

PREFIX = "user"
_SIGNATURE_HEX = 32
_KNOWN_MAX = 100_000


class Identities:
    """Issues and checks tokens: `user_<id>.<HMAC-SHA256 of it, 128 bits in hex>`."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._known: dict[str, UUID] = {}

    def issue(self, user_id: UUID) -> str:
        """A token for this customer."""
        name = ids.encode(PREFIX, user_id)
        return f"{name}.{self._sign(name)}"

    def customer(self, request: Request) -> UUID | None:
        """The customer that the request's token names; None without a token.

        Raises the Problem `unauthorized` for anything but a valid token.
        """
        header = request.headers.get("authorization")
        if header is None:
            return None
        scheme, _, token = header.partition(" ")
        if scheme.lower() != "bearer":
            raise _unauthorized("this is not a bearer token")
        token = token.strip()
        known = self._known.get(token)
        if known is not None:
            return known
        name, _, signature = token.partition(".")
        genuine = hmac.compare_digest(self._sign(name).encode(), signature.encode())
        if not genuine:
            raise _unauthorized("this token is not valid")
        try:
            user_id = ids.decode(PREFIX, name)
        except ValueError:
            raise _unauthorized("this token is not valid") from None
        if len(self._known) >= _KNOWN_MAX:
            self._known.clear()
        self._known[token] = user_id
        return user_id

    def required(self, request: Request) -> UUID:
        """The customer; the Problem `unauthorized` without one."""
        user_id = self.customer(request)
        if user_id is None:
            raise _unauthorized("this needs a token")
        return user_id

    def _sign(self, name: str) -> str:
        return hmac.digest(self._key, name.encode(), "sha256").hex()[:_SIGNATURE_HEX]


def _unauthorized(detail: str) -> Problem:
    headers = {"WWW-Authenticate": 'Bearer realm="doorbuster"'}
    whole = f"{detail}; send the one that came with the first cart as Authorization: Bearer …"
    return Problem("unauthorized", whole, headers=headers)
