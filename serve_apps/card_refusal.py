"""Where a request carries a card number: asked of every request before anything reads it.

What is found is never kept, logged or told back; the place is all that leaves this module.
"""

from __future__ import annotations

from typing import Final

from starlette.types import Message, Receive, Scope

from domain.card_numbers import carries_card_number, carries_card_number_escaped

WHAT_HELPS: Final = (
    "no card number may be sent here: have the payment provider make a token of it in the browser"
    " and send the token; if it is no card's number, write it with a letter before it"
)
# Numbers of traces, random and often all digits. Nothing here reads, keeps or logs them.
TRACING_HEADERS: Final = frozenset(
    (
        b"traceparent",
        b"tracestate",
        b"b3",
        b"x-b3-traceid",
        b"x-b3-spanid",
        b"x-b3-parentspanid",
        b"x-amzn-trace-id",
        b"x-cloud-trace-context",
        b"x-datadog-trace-id",
        b"x-datadog-parent-id",
    )
)
_FORM: Final = b"application/x-www-form-urlencoded"


def place_in_head(scope: Scope) -> str | None:
    """`address`, `query string` or `headers`, whichever carries a card number; None if none does."""
    path = scope["path"].encode(errors="replace")
    query: bytes = scope.get("query_string", b"")
    values = [value for name, value in scope["headers"] if name not in TRACING_HEADERS]
    # All at once: three looks cost three times as much.
    if not carries_card_number_escaped(b"\n".join((path, query, *values))):
        return None
    if carries_card_number_escaped(path):
        return "address"
    return "query string" if carries_card_number_escaped(query) else "headers"


def in_body(scope: Scope, body: bytes) -> bool:
    """True if the body carries a card number."""
    if carries_card_number(body):
        return True
    if b"+" not in body:
        return False
    form = any(
        name == b"content-type" and _FORM in value.lower() for name, value in scope["headers"]
    )
    return form and carries_card_number_escaped(body)


def announces_body(scope: Scope) -> bool:
    """True if a body follows the head (RFC 9112, 6.3)."""
    return any(
        name == b"transfer-encoding" or (name == b"content-length" and value != b"0")
        for name, value in scope["headers"]
    )


def replayed(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives the body that was read, and then goes on."""
    given = False

    async def receive_again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receive_again
