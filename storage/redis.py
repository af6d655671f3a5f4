"""Redis: one way to open it, with an end to every wait."""

from __future__ import annotations

from redis.asyncio import BlockingConnectionPool, Redis
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
    return Redis.from_pool(pool)
