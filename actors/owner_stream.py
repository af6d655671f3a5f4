"""The way of the hot calls: batches to an owner and back over one TCP connection.

Ray starts owners, finds them, restarts them, and tells where they listen; the batches
themselves bypass it (docs/adr/0006-owner-stream.md has the measurement). A frame is its
length, the call's number, and the packed requests or answers of `actors.wire`. A connection
begins with a key, so that nobody but the shop's own processes is listened to.
"""

from __future__ import annotations

import asyncio
import hmac
import struct
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Hashable
from typing import Protocol, cast

import structlog

from actors.wire import pack_answers, pack_requests, unpack_answers, unpack_requests
from domain.ports import Unavailable
from domain.stock import Answer, Request

FRAME_BYTES_MAX = 4 * 1024 * 1024
KEY_BYTES = 32
CONNECT_TIMEOUT_S = 2.0
_HEADER = struct.Struct("<IQ")
_log = structlog.get_logger(__name__)

Address = tuple[str, int]


class Answers(Protocol):
    """What stands behind a stream: an owner."""

    async def call(self, requests: list[Request], caller: Hashable) -> list[Answer]:
        """Answers in the order of the requests. Raises Unavailable."""
        ...


class _Frames(asyncio.Protocol, ABC):
    """Cuts the bytes of a connection into frames."""

    def __init__(self) -> None:
        self._buffer = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer + data if self._buffer else data
        position, end = 0, len(buffer)
        while end - position >= _HEADER.size:
            length, number = _HEADER.unpack_from(buffer, position)
            if length > FRAME_BYTES_MAX:
                self.close()
                return
            begin = position + _HEADER.size
            if end - begin < length:
                break
            position = begin + length
            self.frame(number, buffer[begin:position])
        self._buffer = buffer[position:]

    @abstractmethod
    def frame(self, number: int, payload: bytes) -> None:
        """One whole frame has arrived."""

    def send(self, number: int, payload: bytes) -> None:
        """Send one frame; nothing happens on a connection that is closing."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(_HEADER.pack(len(payload), number) + payload)

    def close(self) -> None:
        """End the connection."""
        if self._transport is not None:
            self._transport.close()


class _Served(_Frames):
    """One caller's connection, at the owner."""

    def __init__(self, owner: Answers, key: bytes, tasks: set[asyncio.Task[None]]) -> None:
        super().__init__()
        self._owner = owner
        self._key = key
        self._known = False
        self._tasks = tasks

    def frame(self, number: int, payload: bytes) -> None:
        if not self._known:
            self._known = hmac.compare_digest(payload, self._key)
            if not self._known:
                _log.warning("stream_refused", reason="wrong key")
                self.close()
            return
        task = asyncio.get_running_loop().create_task(self._answer(number, payload))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, number: int, payload: bytes) -> None:
        try:
            answers = await self._owner.call(unpack_requests(payload), self)
        except (Unavailable, struct.error) as error:
            _log.warning("stream_call_failed", reason=str(error))
            self.close()  # the caller repeats what it had under way
            return
        self.send(number, pack_answers(answers))


class OwnerServer:
    """Listens for an owner's callers."""

    def __init__(self, owner: Answers, key: bytes) -> None:
        self._owner = owner
        self._key = key
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def start(self, host: str) -> Address:
        """Listen on a free port of `host`; where."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: _Served(self._owner, self._key, self._tasks), host, 0
        )
        address: Address = self._server.sockets[0].getsockname()[:2]
        return address

    def stop(self) -> None:
        """Listen no more."""
        if self._server is not None:
            self._server.close()


class _Called(_Frames):
    """The connection to one owner, at the caller."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting: dict[int, asyncio.Future[bytes]] = {}
        self.lost = False
        self._number = 0

    def call(self, payload: bytes) -> asyncio.Future[bytes]:
        """The answer's future."""
        self._number += 1
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self.waiting[self._number] = future
        self.send(self._number, payload)
        return future

    def give_up(self) -> None:
        """Expect nothing more of it, nor that what is still to be sent is ever read."""
        self.lost = True
        if self._transport is not None:
            self._transport.abort()

    def frame(self, number: int, payload: bytes) -> None:
        future = self.waiting.pop(number, None)
        if future is not None and not future.done():
            future.set_result(payload)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        waiting, self.waiting = self.waiting, {}
        for future in waiting.values():
            if not future.done():
                future.set_exception(Unavailable(f"the connection to the owner was lost: {exc}"))


class StreamTransport:
    """OwnerTransport over streams; `find` tells where an owner listens now (or Unavailable)."""

    def __init__(self, find: Callable[[str], Awaitable[Address]], key: bytes) -> None:
        self._find = find
        self._key = key
        self._connections: dict[str, _Called] = {}
        self._connecting: dict[str, asyncio.Lock] = {}

    async def call(self, owner: str, requests: list[Request]) -> list[Answer]:
        """Answers in order. Raises Unavailable when the owner did not answer."""
        connection = self._connections.get(owner)
        if connection is None or connection.lost:
            connection = await self._connect(owner)
        try:
            return unpack_answers(await connection.call(pack_requests(requests)))
        except asyncio.CancelledError:
            # The caller waits no longer: who is there may never answer again, and its
            # successor may listen elsewhere.
            connection.give_up()
            raise

    def close(self) -> None:
        """End the connections; who still waits for an answer hears Unavailable."""
        connections, self._connections = self._connections, {}
        for connection in connections.values():
            connection.give_up()

    async def _connect(self, owner: str) -> _Called:
        async with self._connecting.setdefault(owner, asyncio.Lock()):
            connection = self._connections.get(owner)
            if connection is not None and not connection.lost:
                return connection
            host, port = await self._find(owner)
            loop = asyncio.get_running_loop()
            try:
                async with asyncio.timeout(CONNECT_TIMEOUT_S):
                    _, connection = await loop.create_connection(_Called, host, port)
            except OSError as error:
                raise Unavailable(f"owner {owner} at {host}:{port}: {error}") from error
            connection.send(0, self._key)
            self._connections[owner] = connection
            return connection
