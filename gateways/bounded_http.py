"""Requests to a provider: few connections, kept open; every wait has an end.

A connection that was never made is NotReached; everything later is Unavailable, because then the
provider may have acted.

On aiohttp: beside it httpx took several times the processor for a request, most of it in its
connection pool, which looks through all connections for each request.
"""

from __future__ import annotations

import urllib.request
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

import aiohttp

from domain.ports import NotReached, Unavailable

CONNECTIONS_MAX = 256
CONNECT_TIMEOUT_S = 2.0
# Shorter than what a load balancer keeps: a connection that the other side has just closed
# would make a request fail whose outcome nobody knows.
KEEPALIVE_S = 20.0
_NEVER_SENT = (
    aiohttp.ClientConnectorError,
    aiohttp.ClientHttpProxyError,
    aiohttp.ConnectionTimeoutError,  # also: no connection became free in time
)


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """An answer; the names of `headers` are found in any case."""

    status: int
    headers: Mapping[str, str]
    content: bytes


Transport = Callable[[str, str, Mapping[str, str], bytes | None], Awaitable[HttpAnswer]]
"""What takes (method, url, headers, content) to the provider and brings the answer back."""


class BoundedHttp:
    """An HTTP client of one provider, called `provider` in messages.

    `timeout_s` is how long one request may take in all. `transport` replaces the network.
    Takes the proxy of the environment (`HTTPS_PROXY`, `NO_PROXY`), as it is at the first request.
    """

    def __init__(
        self,
        provider: str,
        *,
        timeout_s: float,
        connections_max: int = CONNECTIONS_MAX,
        transport: Transport | None = None,
    ) -> None:
        self._provider = provider
        self._timeout_s = timeout_s
        self._connections_max = connections_max
        self._transport = transport or self._over_the_network
        self._session: aiohttp.ClientSession | None = None

    async def request(
        self, method: str, url: str, headers: Mapping[str, str], content: bytes | None
    ) -> HttpAnswer:
        """One request, never repeated if it may do something. Raises NotReached or Unavailable."""
        try:
            return await self._transport(method.upper(), url, headers, content)
        except _NEVER_SENT as error:
            what = self._named(method, url)
            raise NotReached(f"{what}: no connection: {error!r}") from error
        except TimeoutError as error:
            what = self._named(method, url)
            raise Unavailable(f"{what}: no answer within {self._timeout_s:g} s") from error
        except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, OSError) as error:
            raise Unavailable(f"{self._named(method, url)} broke off: {error!r}") from error

    async def close(self) -> None:
        """Close the connections; a later request opens new ones."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _over_the_network(
        self, method: str, url: str, headers: Mapping[str, str], content: bytes | None
    ) -> HttpAnswer:
        session = self._session
        if session is None:  # made where the event loop runs
            session = self._session = self._open(url)
        async with session.request(
            method, url, headers=headers, data=content, allow_redirects=False
        ) as answer:
            return HttpAnswer(answer.status, answer.headers, await answer.read())

    def _open(self, url: str) -> aiohttp.ClientSession:
        # Waiting for a connection must end before the whole request's time does: then it is
        # known that nothing was sent.
        before_sending = min(CONNECT_TIMEOUT_S, self._timeout_s / 2)
        return aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=self._timeout_s, connect=before_sending),
            connector=aiohttp.TCPConnector(
                limit=self._connections_max, keepalive_timeout=KEEPALIVE_S
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            proxy=_proxy_for(url),
        )

    def _named(self, method: str, url: str) -> str:
        return f"{self._provider}: {method.upper()} {urlsplit(url).path}"


def _proxy_for(url: str) -> str | None:
    parts = urlsplit(url)
    if urllib.request.proxy_bypass(parts.hostname or ""):
        return None
    return urllib.request.getproxies().get(parts.scheme)
