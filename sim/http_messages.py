"""Requests and their outcomes as values, and a request as bytes (HTTP/1.1, RFC 9112)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple


class FailureKind(StrEnum):
    """Why a request got no answer."""

    CONNECT = "connect"
    TIMEOUT = "timeout"
    CLOSED = "closed"
    MALFORMED = "malformed"
    QUEUE_FULL = "queue_full"
    SHUT_DOWN = "shut_down"


class Response(NamedTuple):
    """An answer: status, the few headers that are kept (lower-case names), the whole body."""

    status: int
    headers: dict[str, str]
    body: bytes


class TransportFailure(NamedTuple):
    """No answer came; `detail` is for a person."""

    kind: FailureKind
    detail: str


Outcome = Response | TransportFailure


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is asked, before it is bytes. `path` is already percent-encoded, query included."""

    method: str
    path: str
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""

    @property
    def repeatable(self) -> bool:
        """Whether sending it twice does the same as once: a GET, or named by a key."""
        return self.method == "GET" or any(
            name.lower() == "idempotency-key" for name, _ in self.headers
        )


class Prepared(NamedTuple):
    """A request as the bytes that go on the wire."""

    payload: bytes
    repeatable: bool


def prepare(request: Request, *, host: str) -> Prepared:
    """The bytes of `request` for `host` (`name:port`); ValueError for what HTTP cannot carry."""
    if request.method == "HEAD":
        raise ValueError("HEAD is not supported: its answer cannot be told from a cut one")
    lines = [f"{request.method} {request.path} HTTP/1.1", f"Host: {host}", "Connection: keep-alive"]
    lines += (f"{name}: {value}" for name, value in request.headers)
    if request.body or request.method not in ("GET", "DELETE"):
        lines.append(f"Content-Length: {len(request.body)}")
    if " " in request.path or any("\r" in line or "\n" in line for line in lines):
        raise ValueError(
            f"{request.method} {request.path[:80]!r} has a blank or a line break where HTTP allows "
            "none; percent-encode the path and strip the headers"
        )
    head = "\r\n".join(lines) + "\r\n\r\n"
    return Prepared(head.encode("latin-1") + request.body, request.repeatable)
