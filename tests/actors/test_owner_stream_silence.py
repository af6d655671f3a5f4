"""A peer that accepts and never answers: callers find its successor."""

from __future__ import annotations

import asyncio

import pytest

from actors.owner_stream import OwnerServer, StreamTransport
from domain.stock import Answer, Load, Request

pytestmark = pytest.mark.asyncio
KEY = b"k" * 32


class _Echo:
    async def call(self, requests: list[Request], caller: object) -> list[Answer]:
        return [Answer(0, 7)] * len(requests)


async def test_a_silent_connection_is_given_up_with_the_call() -> None:
    taken: list[asyncio.StreamWriter] = []

    async def say_nothing(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        taken.append(writer)

    silent = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    successor = OwnerServer(_Echo(), KEY)
    addresses = [silent.sockets[0].getsockname()[:2], await successor.start("127.0.0.1")]

    async def find(_: str) -> tuple[str, int]:
        return addresses.pop(0)

    transport = StreamTransport(find, KEY)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await transport.call("pool-0", [Load(b"p" * 16)])
    assert await transport.call("pool-0", [Load(b"p" * 16)]) == [(0, 7)]
    transport.close()
    for writer in taken:
        writer.close()
        await writer.wait_closed()
    successor.stop()
    silent.close()
    await silent.wait_closed()
