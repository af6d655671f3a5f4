"""Requests to a provider: few connections, kept open; every wait has an end.

A connection that was never made is NotReached; everything later is Unavailable, because then the
provider may have acted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import httpx

from domain.ports import NotReached, Unavailable

CONNECTIONS_MAX = 64
CONNECT_TIMEOUT_S = 2.0
# Shorter than what a load balancer keeps: a connection that the other side has just closed
# would make a request fail whose outcome nobody knows.
KEEPALIVE_S = 20.0
_NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError)


class BoundedHttp:
    """An HTTP client of one provider, called `provider` in messages.

    `timeout_s` is how long one request may take in all. `transport` replaces the network.
    """

    def __init__(
        self,
        provider: str,
        *,
        timeout_s: float,
        connections_max: int = CONNECTIONS_MAX,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._provider = provider
        self._timeout_s = timeout_s
        self._connections_max = connections_max
        self._transport = transport
        self._client: httpx.AsyncClient | None = None

    async def request(
        self, method: str, url: str, headers: Mapping[str, str], content: bytes | str | None
    ) -> httpx.Response:
        """One request, never repeated. Raises NotReached or Unavailable."""
        client = self._client
        if client is None:  # made where the event loop runs
            client = self._client = self._open()
        what = f"{self._provider}: {method} {httpx.URL(url).path}"
        try:
            async with asyncio.timeout(self._timeout_s):
                return await client.request(method, url, headers=headers, content=content)
        except _NEVER_SENT as error:
            raise NotReached(f"{what}: no connection: {error!r}") from error
        except TimeoutError as error:
            raise Unavailable(f"{what}: no answer within {self._timeout_s:g} s") from error
        except httpx.TransportError as error:
            raise Unavailable(f"{what} broke off: {error!r}") from error

    async def close(self) -> None:
        """Close the connections; a later request opens new ones."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    def _open(self) -> httpx.AsyncClient:
        # Waiting for a connection must end before the whole request's time does: then it is
        # known that nothing was sent.
        before_sending = min(CONNECT_TIMEOUT_S, self._timeout_s / 2)
        return httpx.AsyncClient(
            timeout=httpx.Timeout(self._timeout_s, connect=before_sending, pool=before_sending),
            limits=httpx.Limits(
                max_connections=self._connections_max,
                max_keepalive_connections=self._connections_max,
                keepalive_expiry=KEEPALIVE_S,
            ),
            transport=self._transport,
            follow_redirects=False,
        )
