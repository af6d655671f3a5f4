"""The site behind a real HTTP server, and who listens there: streams do not end by themselves."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import orjson
import uvicorn
from fastapi import FastAPI

LIVE = "/api/v1/live"
WAIT_MAX_S = 10.0


@contextlib.asynccontextmanager
async def served(app: FastAPI) -> AsyncIterator[int]:
    """The app, whose lifespan has begun, on a port of its own."""
    config = uvicorn.Config(app, log_level="critical", lifespan="off", loop="none")
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        serving = asyncio.create_task(server.serve(sockets=[listening]))
        try:
            yield listening.getsockname()[1]
        finally:
            server.should_exit = server.force_exit = True
            await serving


@dataclass(slots=True, kw_only=True)
class Told:
    """One event."""

    kind: str
    id: str
    data: dict[str, Any]

    @property
    def ms(self) -> int:
        """When Redis took the change; unix time."""
        return int(self.id.partition("-")[0])


@dataclass(slots=True)
class Stream:
    """What a browser's EventSource makes of the connection."""

    response: httpx.Response
    lines: AsyncIterator[str]
    comments: list[str] = field(default_factory=list[str])

    async def next(self) -> Told | None:
        """The next event, or None when the server has ended the stream."""
        fields: dict[str, str] = {}
        async with asyncio.timeout(WAIT_MAX_S):
            async for line in self.lines:
                name, _, value = line.partition(": ")
                if line.startswith(":"):
                    self.comments.append(line[2:])
                elif line:
                    fields[name] = value
                elif "data" in fields:
                    data = orjson.loads(fields["data"])
                    return Told(kind=fields["event"], id=fields["id"], data=data)
        return None

    async def event(self) -> Told:
        """The next event, which must come."""
        told = await self.next()
        assert told is not None, self.comments
        return told

    async def comment(self, beginning: str) -> str:
        """Wait for a comment that begins so; events before it are passed over."""
        async with asyncio.timeout(WAIT_MAX_S):
            async for line in self.lines:
                if line.startswith(f": {beginning}"):
                    return line[2:]
        raise AssertionError(f"the stream ended without {beginning!r}")


@contextlib.asynccontextmanager
async def listening(
    port: int, *, resume_at: str | None = None, **query: Any
) -> AsyncIterator[Stream]:
    """A stream of server-sent events; its status is for the test to look at.

    `resume_at` goes into the header, as from a browser that reconnects.
    """
    headers = {} if resume_at is None else {"Last-Event-ID": resume_at}
    async with (
        httpx.AsyncClient(timeout=WAIT_MAX_S) as client,
        client.stream(
            "GET", f"http://127.0.0.1:{port}{LIVE}", params=query, headers=headers
        ) as response,
    ):
        yield Stream(response, response.aiter_lines())
