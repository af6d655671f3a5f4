"""A shop's side of webhooks: takes what is sent, or refuses it for a while."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

LINE_BYTES_MAX = 1 << 20
Hook = tuple[dict[str, str], bytes]
"""Headers by lower-case name, and the body."""


@contextlib.asynccontextmanager
async def webhook_sink(*, refuses: int = 0) -> AsyncIterator[tuple[str, asyncio.Queue[Hook]]]:
    """(its address, what arrives). The first `refuses` requests are answered with a 503."""
    arrived: asyncio.Queue[Hook] = asyncio.Queue()
    left = refuses

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal left
        try:
            while await reader.readline():
                headers: dict[str, str] = {}
                while (line := (await reader.readline()).strip()) != b"":
                    name, _, value = line.decode().partition(":")
                    headers[name.lower()] = value.strip()
                body = await reader.readexactly(int(headers["content-length"]))
                status = b"503 Busy" if left > 0 else b"200 OK"
                if left > 0:
                    left -= 1
                else:
                    arrived.put_nowait((headers, body))
                writer.write(b"HTTP/1.1 " + status + b"\r\ncontent-length: 0\r\n\r\n")
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=LINE_BYTES_MAX)
    host, port = server.sockets[0].getsockname()[:2]
    async with server:
        yield f"http://{host}:{port}/hooks", arrived
        server.close()
