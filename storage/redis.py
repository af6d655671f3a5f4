"""Redis: one way to open it, with an end to every wait."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff
from redis.exceptions import ConnectionError as RedisConnectionError

SOCKET_TIMEOUT_S = 2.0
CONNECT_TIMEOUT_S = 2.0
_RETRIES = 5


def open_redis(url: str, *, max_connections: int = 16) -> Redis:
    """A client that answers in bytes, reconnects by itself, and gives up after some seconds.

    Beyond `max_connections` callers wait for one, also not for ever. Repeats only what never reached the server: lost connections, not timeouts.
    """
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=max_connections,
        timeout=SOCKET_TIMEOUT_S,
        socket_timeout=SOCKET_TIMEOUT_S,
        socket_connect_timeout=CONNECT_TIMEOUT_S,
        retry=Retry(ExponentialBackoff(cap=0.5, base=0.05), _RETRIES),
        retry_on_error=[RedisConnectionError],
    )
    pool.connection_class = type("Connection", (_Cancellable, pool.connection_class), {})
    return Redis.from_pool(pool)


class _Cancellable(AbstractConnection):
    """A connection whose callers can be cancelled at any time.

    The client sends with `asyncio.wait_for`, which before Python 3.12 forgets that it was
    cancelled if what it waited for had just been done (python/cpython#86296): whoever reports in
    a loop would then report for ever.
    """

    async def send_packed_command(
        self, command: bytes | str | Iterable[bytes], check_health: bool = True
    ) -> None:
        task = asyncio.current_task()
        before = task.cancelling() if task else 0
        await super().send_packed_command(command, check_health)
        if task and task.cancelling() > before:
            await self.disconnect(nowait=True)  # nobody is going to read the answer
            raise asyncio.CancelledError
