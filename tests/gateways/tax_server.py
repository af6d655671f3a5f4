"""A tax service on a port of this machine, as good or as bad as a test wants it."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

Behaviour = Callable[[list[dict[str, Any]]], Any]


class TaxServer:
    """Answers with what `behaves` gives for the questions; `SILENT` never, bytes as they are."""

    def __init__(self) -> None:
        self.url = ""
        self.calls: list[list[dict[str, Any]]] = []
        self.headers: list[str] = []
        self.status = 200
        self.behaves: Behaviour = by_state

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            length = int(head.lower().partition("content-length:")[2].split("\r\n")[0])
            questions = json.loads(await reader.readexactly(length))["questions"]
            self.calls.append(questions)
            self.headers.append(head)
            said = self.behaves(questions)
            if said is not SILENT:
                body = said if isinstance(said, bytes) else json.dumps(said).encode()
                start = f"HTTP/1.1 {self.status} X\r\nContent-Length: {len(body)}\r\n"
                writer.write(start.encode() + b"Connection: close\r\n\r\n" + body)
                await writer.drain()
            else:
                await reader.read()  # until the client gives up
        writer.close()


SILENT = object()


def by_state(questions: list[dict[str, Any]]) -> dict[str, Any]:
    """8.875 % in New York, 1 % elsewhere; books nothing."""
    return {
        "answers": [
            {
                "place": f"{one['country']}-{one['state']}",
                "rates": [
                    "0" if kind == "Books" else ("0.08875" if one["state"] == "NY" else "0.01")
                    for kind in one["categories"]
                ],
            }
            for one in questions
        ]
    }


@contextlib.asynccontextmanager
async def tax_server() -> AsyncIterator[TaxServer]:
    """One for the length of a `with`."""
    own = TaxServer()
    server = await asyncio.start_server(own._serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    own.url = f"http://127.0.0.1:{port}/rates"
    async with server:
        yield own
