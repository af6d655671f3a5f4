"""A hop on the way between two processes that can lose a direction, delay it, or cut it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from enum import Enum
from typing import Self

from actors.owner_stream import Address

_CHUNK_BYTES = 1024 * 1024
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Trap = Callable[[bytes], int | None]
"""Of a chunk on its way: how many bytes of it still pass before the way is blocked; or None."""


class Way(Enum):
    """One of the two directions."""

    THERE = "from the one who connected"
    BACK = "to the one who connected"


def tcp(address: Callable[[], Address]) -> Callable[[], Awaitable[Streams]]:
    """The way on, to wherever `address` says when someone connects."""
    return lambda: asyncio.open_connection(*address())


def unix(path: str) -> Callable[[], Awaitable[Streams]]:
    """The way on, to a Unix socket."""
    return lambda: asyncio.open_unix_connection(path)


class Hop:
    """Passes bytes on, both ways. What is blocked is kept, as TCP would send it again and again,
    and arrives when the way is open again; new connections get no further than here.
    """

    def __init__(self, onward: Callable[[], Awaitable[Streams]]) -> None:
        self._onward = onward
        self._open = {way: asyncio.Event() for way in Way}
        self._delay_s = dict.fromkeys(Way, 0.0)
        self._traps: dict[Way, Trap] = {}
        self.sprung = asyncio.Event()
        """Set when a trap has blocked its way."""
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self.heal()

    @property
    def address(self) -> Address:
        """Where it listens."""
        assert self._server is not None
        host, port = self._server.sockets[0].getsockname()[:2]
        return host, port

    def block(self, *ways: Way) -> None:
        """Nothing gets through there; both ways if none is named."""
        for way in ways or Way:
            self._open[way].clear()

    def heal(self) -> None:
        """Everything gets through again, what was kept first."""
        for way in Way:
            self._open[way].set()

    def delay(self, seconds: float, *ways: Way) -> None:
        """What goes there takes so much longer."""
        for way in ways or Way:
            self._delay_s[way] = seconds

    def block_at(self, way: Way, trap: Trap) -> None:
        """Block the way in the middle of what `trap` waits for; `sprung` tells when."""
        self.sprung.clear()
        self._traps[way] = trap

    def cut(self) -> None:
        """Reset every connection; what is on its way is lost."""
        for writer in list(self._writers):
            writer.transport.abort()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._join, "127.0.0.1", 0, limit=_CHUNK_BYTES)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._connect(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers = [writer]
        self._writers.add(writer)
        try:
            for way in Way:
                await self._open[way].wait()
            onward_reader, onward_writer = await self._onward()
            writers.append(onward_writer)
            self._writers.add(onward_writer)
            async with asyncio.TaskGroup() as both:
                both.create_task(self._pass_on(Way.THERE, reader, onward_writer))
                both.create_task(self._pass_on(Way.BACK, onward_reader, writer))
        except* OSError:
            pass  # one side is gone: so is the other, below
        finally:
            for one in writers:
                self._writers.discard(one)
                one.transport.abort()
                with contextlib.suppress(OSError):
                    await one.wait_closed()

    async def _pass_on(
        self, way: Way, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        while chunk := await reader.read(_CHUNK_BYTES):
            await self._open[way].wait()
            trap = self._traps.get(way)
            passing = trap(chunk) if trap is not None else None
            if passing is not None:
                del self._traps[way]
                self.block(way)
                self.sprung.set()
                writer.write(chunk[:passing])
                chunk = chunk[passing:]
                await self._open[way].wait()
            if self._delay_s[way]:
                later = asyncio.get_running_loop().call_later
                later(self._delay_s[way], writer.write, chunk)
                continue
            writer.write(chunk)
            await writer.drain()
        raise ConnectionResetError("the other side has closed")
