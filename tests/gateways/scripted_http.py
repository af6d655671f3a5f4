"""An HTTP server on 127.0.0.1 that answers what a test tells it to, and remembers what was asked."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import parse_qsl, urlsplit

import orjson


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as it came in; `params` from the query or the form, `body` as it was."""

    method: str
    path: str
    params: dict[str, str]
    headers: dict[str, str]
    body: bytes

    @property
    def key(self) -> str | None:
        return self.headers.get("idempotency-key")


@dataclass(frozen=True, slots=True)
class Says:
    """An answer; `body` is sent as JSON, bytes as they are."""

    body: Any = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


Trouble = Literal["hang", "close"]
Script = Callable[[Asked], Says | Trouble]


@dataclass(slots=True)
class ScriptedHttp:
    """`script` decides each answer; `asked` holds what was asked, in order.

    After an answer to `last_path` it takes no connection any more. `came`: something was asked.
    """

    script: Script
    url: str = ""
    asked: list[Asked] = field(default_factory=list)
    last_path: str | None = None
    came: asyncio.Event = field(default_factory=asyncio.Event)
    _server: asyncio.Server | None = None

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[ScriptedHttp]:
        server = self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield self
        finally:
            server.close()

    def stop(self) -> None:
        """Take no connection any more."""
        if self._server:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while asked := await _read(reader):
                self.asked.append(asked)
                self.came.set()
                says = self.script(asked)
                if says == "hang":
                    await reader.read()  # until the other side gives up
                if isinstance(says, str):
                    break
                if asked.path == self.last_path:
                    self.stop()
                writer.write(_written(says))
                await writer.drain()
                if asked.path == self.last_path:
                    break
        writer.close()


async def _read(reader: asyncio.StreamReader) -> Asked | None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.split("\r\n")
    method, target, _ = first.split(" ")
    headers = {
        name.strip().lower(): value.strip()
        for name, _, value in (line.partition(":") for line in lines if line)
    }
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    parts = urlsplit(target)
    text = body.decode() if method == "POST" else parts.query
    params = dict(parse_qsl(text)) if not text.startswith("{") else {}
    return Asked(method, parts.path, params, headers, body)


def _written(says: Says) -> bytes:
    body = says.body if isinstance(says.body, bytes) else orjson.dumps(says.body)
    headers = {"content-type": "application/json", "content-length": str(len(body)), **says.headers}
    lines = [f"HTTP/1.1 {says.status} X", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode() + body
