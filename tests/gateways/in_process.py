"""The second provider's server in the process of the test."""

from __future__ import annotations

from collections.abc import Mapping

import httpx

from gateways.bounded_http import HttpAnswer
from gateways.braintree_gateway import BraintreeGateway
from sim.braintree_server import BraintreeBooks, braintree_app


class InProcess:
    """The way to the second provider without a network. `loses`: the answer to that field is
    lost, once, after it was done."""

    def __init__(self, books: BraintreeBooks) -> None:
        self._app = braintree_app(books, public_key="public", private_key="private")
        self.loses = ""

    async def __call__(
        self, method: str, url: str, headers: Mapping[str, str], content: bytes | None
    ) -> HttpAnswer:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(self._app)) as client:
            answer = await client.request(method, url, headers=dict(headers), content=content)
        if self.loses and self.loses.encode() in (content or b""):
            self.loses = ""
            raise ConnectionResetError("lost")
        return HttpAnswer(answer.status_code, answer.headers, answer.content)


def second_gateway(way: InProcess, private_key: str = "private") -> BraintreeGateway:
    """The gateway on that way."""
    return BraintreeGateway("public", private_key, "http://second.example", transport=way)
