"""How requests of Stripe's SDK travel: few connections, kept open; every wait has an end.

The SDK decides what is sent, this decides what a failure means: a connection that was never made
is NotReached, everything later is Unavailable, because then Stripe may have acted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import httpx
import stripe

from domain.ports import NotReached, Unavailable

CONNECTIONS_MAX = 64
CONNECT_TIMEOUT_S = 2.0
# Shorter than what a load balancer keeps: a connection that the other side has just closed
# would make a request fail whose outcome nobody knows.
KEEPALIVE_S = 20.0
# Facts about this machine and its timings, which Stripe does not need for a charge.
_NOT_SENT = frozenset({"x-stripe-client-telemetry", "x-stripe-client-user-agent"})
_NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError)


class StripeHttp(stripe.HTTPClient):
    """The SDK's HTTP client on httpx.

    `timeout_s` is how long one request may take in all. `transport` replaces the network.
    """

    name = "httpx"

    def __init__(
        self,
        *,
        timeout_s: float,
        connections_max: int = CONNECTIONS_MAX,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        super().__init__()
        self._timeout_s = timeout_s
        self._connections_max = connections_max
        self._transport = transport
        self._client: httpx.AsyncClient | None = None

    async def request_async(
        self, method: str, url: str, headers: Mapping[str, str], post_data: Any = None
    ) -> tuple[bytes, int, Mapping[str, str]]:
        """(body, status, headers). Raises NotReached or Unavailable."""
        client = self._client
        if client is None:  # made where the event loop runs
            client = self._client = self._open()
        sent = {name: value for name, value in headers.items() if name.lower() not in _NOT_SENT}
        path = httpx.URL(url).path
        try:
            async with asyncio.timeout(self._timeout_s):
                answer = await client.request(method, url, headers=sent, content=post_data)
        except _NEVER_SENT as error:
            raise NotReached(f"Stripe: no connection for {method} {path}: {error!r}") from error
        except TimeoutError as error:
            raise Unavailable(
                f"Stripe: no answer to {method} {path} within {self._timeout_s:g} s"
            ) from error
        except httpx.TransportError as error:
            raise Unavailable(f"Stripe: {method} {path} broke off: {error!r}") from error
        return answer.content, answer.status_code, answer.headers

    async def close_async(self) -> None:
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
