"""The simulated provider's page for buyers: agree to a charge or not, and go back to the shop.

Where a real provider asks for a code or a password, this one has two buttons.
"""

from __future__ import annotations

from collections.abc import Awaitable
from decimal import Decimal
from html import escape
from typing import Any, Protocol
from urllib.parse import urlencode, urlsplit, urlunsplit

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from domain.money import EXPONENTS
from domain.ports import Unavailable
from sim.provider_books import PageOfCharge
from sim.provider_rules import transfer_instructions

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Simulated payment provider</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>:root{{color-scheme:light dark;--muted:#5c5c5c}}
@media (prefers-color-scheme:dark){{:root{{--muted:#b0b0b0}}}}
body{{font:1rem/1.5 system-ui,sans-serif;max-width:28rem;margin:3rem auto;padding:0 1rem}}
h1{{font-size:1.5rem;line-height:1.2}}button{{font:inherit;padding:.5rem 1rem;margin-right:.5rem}}
dt,.muted{{color:var(--muted)}}dd{{margin:0 0 .5rem;overflow-wrap:anywhere}}</style></head>
<body><h1>Simulated payment provider</h1>{body}</body></html>"""
_ASK = """<p>Pay <strong>{amount}</strong>?</p>
<form method="post" action="{path}/approve"><button>Approve</button>
<button formaction="{path}/deny">Deny</button></form><p class="muted">No money moves.</p>"""


class BuyersDesk(Protocol):
    """A provider's side that the buyer sees; `name` is our id of a charge, or the provider's."""

    def page_of(self, name: str, /) -> Awaitable[PageOfCharge | None]:
        """What there is to agree to."""
        ...

    def approve(self, name: str, /) -> Awaitable[Any]:
        """The buyer agrees."""
        ...

    def deny(self, name: str, /) -> Awaitable[Any]:
        """The buyer does not."""
        ...


def buyer_pages(desk: BuyersDesk) -> list[Route]:
    """Routes to mount where the provider's `pages_url` points."""

    async def show(request: Request) -> Response:
        page = await _reach(desk.page_of(request.path_params["name"]))
        if isinstance(page, Response):
            return page
        return HTMLResponse(_PAGE.format(body=_body(page, request.url.path)))

    async def decide(request: Request) -> Response:
        name, what = request.path_params["name"], request.path_params["what"]
        if what not in ("approve", "deny"):
            return Response(status_code=404)
        done = await _reach(desk.approve(name) if what == "approve" else desk.deny(name))
        page = done if isinstance(done, Response) else await _reach(desk.page_of(name))
        if isinstance(page, Response):
            return page
        if page.return_url:
            return RedirectResponse(_back(page, name), status_code=303)
        return RedirectResponse(request.url.path.rpartition("/")[0], status_code=303)

    return [
        Route("/{name}", show, methods=["GET"]),
        Route("/{name}/{what}", decide, methods=["POST"]),
    ]


async def _reach(question: Awaitable[Any]) -> Any:
    try:
        answer = await question
    except Unavailable:
        return HTMLResponse(_PAGE.format(body="<p>Try again in a moment.</p>"), status_code=503)
    if answer is None:
        return HTMLResponse(_PAGE.format(body="<p>There is no such charge.</p>"), status_code=404)
    return answer


def _body(page: PageOfCharge, path: str) -> str:
    if page.status == "requires_action" and page.kind != "bank_transfer":
        return _ASK.format(amount=escape(_amount(page)), path=escape(path))
    told = {"Status": page.status, "Amount": _amount(page)}
    if page.kind == "bank_transfer":
        told |= transfer_instructions(page.transaction_id)
    rows = "".join(f"<dt>{escape(a)}</dt><dd>{escape(b)}</dd>" for a, b in told.items())
    return f"<dl>{rows}</dl>"


def _amount(page: PageOfCharge) -> str:
    """In major units, with all decimals that the currency has: `13.90 USD`."""
    places = EXPONENTS.get(page.currency)
    if places is None:  # a currency that the shop does not know is told as it came
        return f"{page.amount_minor} minor units of {page.currency}"
    return f"{Decimal(page.amount_minor).scaleb(-places):,.{places}f} {page.currency}"


def _back(page: PageOfCharge, name: str) -> str:
    """The shop's address with what Stripe adds to it. It is a hint: the shop has to ask."""
    agreed = page.status in ("authorized", "captured")
    parts = urlsplit(page.return_url or "")
    added = urlencode(
        {"payment_intent": name, "redirect_status": "succeeded" if agreed else "failed"}
    )
    query = f"{parts.query}&{added}" if parts.query else added
    return urlunsplit(parts._replace(query=query))
