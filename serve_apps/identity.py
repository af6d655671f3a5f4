"""Who is asking: bearer tokens that name a customer or an operator and carry their own proof."""

from __future__ import annotations

import hmac
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

from starlette.requests import Request

from domain import ids
from serve_apps.http import Problem

PREFIX = "user"
OPERATOR_PREFIX = "operator_"
OPERATOR_NAME = re.compile(r"[A-Za-z][A-Za-z0-9._@-]{0,63}")
OPERATOR_DAYS_MAX = 366
_SECONDS_A_DAY = 86_400
_TIMES = re.compile(r"(?:([0-9]{1,15})-)?([0-9]{1,12})")
_CUSTOMERS_HELP = "send the one that came with the first cart as Authorization: Bearer …"
_OPERATORS_HELP = "send one from `doorbuster token operator NAME` as Authorization: Bearer …"
_SIGNATURE_HEX = 32
_KNOWN_MAX = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorToken:
    """What a valid token of an operator says."""

    name: str
    issued_ms: int
    """Unix time; 0 for tokens from before they said it."""


class Identities:
    """Issues and checks tokens: `user_<id>.<HMAC-SHA256 of it, 128 bits in hex>`.

    An operator's ends: `operator_<name>.<issued, Unix ms>-<expiry, Unix s>.<HMAC of all before>`.
    """

    def __init__(self, key: bytes, *, now: Callable[[], float] = time.time) -> None:
        self._key = key
        self._now = now
        self._known: dict[str, UUID] = {}

    def issue(self, user_id: UUID) -> str:
        """A token for this customer."""
        name = ids.encode(PREFIX, user_id)
        return f"{name}.{self._sign(name)}"

    def customer(self, request: Request) -> UUID | None:
        """The customer that the request's token names; None without a token.

        Raises the Problem `unauthorized` for anything but a valid token.
        """
        token = _bearer(request, _CUSTOMERS_HELP)
        if token is None:
            return None
        return self._customer_of(token, _CUSTOMERS_HELP)

    def _customer_of(self, token: str, what_helps: str) -> UUID:
        known = self._known.get(token)
        if known is not None:
            return known
        name, _, signature = token.partition(".")
        genuine = hmac.compare_digest(self._sign(name).encode(), signature.encode())
        if not genuine:
            raise _unauthorized("this token is not valid", what_helps)
        try:
            user_id = ids.decode(PREFIX, name)
        except ValueError:
            raise _unauthorized("this token is not valid", what_helps) from None
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

    def issue_operator(self, name: str, *, days: float = 30) -> str:
        """A token for this operator, good for `days` days.

        Raises ValueError for a name or a time that a token cannot have.
        """
        if not OPERATOR_NAME.fullmatch(name):
            raise ValueError(
                f"{name[:80]!r} cannot name an operator; begin with a letter, then up to 63"
                " letters, digits or . _ @ -"
            )
        if not 0 < days <= OPERATOR_DAYS_MAX:
            raise ValueError(f"a token cannot hold {days:g} days; choose up to {OPERATOR_DAYS_MAX}")
        now = self._now()
        times = f"{int(now * 1_000)}-{int(now + days * _SECONDS_A_DAY)}"
        claim = f"{OPERATOR_PREFIX}{name}.{times}"
        return f"{claim}.{self._sign(claim)}"

    def operator_token(self, request: Request) -> OperatorToken:
        """What the request's token says; whether it was revoked, `serve_apps.operators` knows.

        Raises the Problem `forbidden` for a customer's token, `unauthorized` for none, for one
        that has ended and for anything else.
        """
        token = _bearer(request, _OPERATORS_HELP)
        if token is None:
            raise unauthorized_operator("this needs an operator's token")
        if not token.startswith(OPERATOR_PREFIX):
            self._customer_of(token, _OPERATORS_HELP)
            raise Problem("forbidden", f"this token is a customer's; {_OPERATORS_HELP}")
        claim, _, signature = token.rpartition(".")
        name, _, times = claim.removeprefix(OPERATOR_PREFIX).rpartition(".")
        genuine = hmac.compare_digest(self._sign(claim).encode(), signature.encode())
        told = _TIMES.fullmatch(times)
        if not genuine or not OPERATOR_NAME.fullmatch(name) or told is None:
            raise unauthorized_operator("this token is not valid")
        if int(told[2]) <= self._now():
            raise unauthorized_operator("this token has ended")
        # Older tokens do not say when they were issued: any revocation of their name ends them.
        return OperatorToken(name=name, issued_ms=int(told[1] or 0))

    def _sign(self, name: str) -> str:
        return hmac.digest(self._key, name.encode(), "sha256").hex()[:_SIGNATURE_HEX]


def _bearer(request: Request, what_helps: str) -> str | None:
    """The request's token, not yet checked; None without one."""
    header = request.headers.get("authorization")
    if header is None:
        return None
    scheme, _, token = header.partition(" ")
    if scheme.lower() != "bearer":
        raise _unauthorized("this is not a bearer token", what_helps)
    return token.strip()


def unauthorized_operator(detail: str) -> Problem:
    """Why somebody is no operator, and what helps."""
    return _unauthorized(detail, _OPERATORS_HELP)


def _unauthorized(detail: str, what_helps: str = _CUSTOMERS_HELP) -> Problem:
    headers = {"WWW-Authenticate": 'Bearer realm="doorbuster"'}
    return Problem("unauthorized", f"{detail}; {what_helps}", headers=headers)
