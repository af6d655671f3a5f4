"""The pages for people: the shop at `/`, the operators' at `/dashboard` and `/reviews`, assets.

Everything is read, hashed and compressed once per process and then served from memory, so no
request path ever touches the file system. References between files are written as
`/assets/name` and rewritten to `/assets/name.<hash>.ext`: only those may be cached for ever.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import importlib.util
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from html import escape
from pathlib import Path

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

GZIP_FROM_BYTES = 1024  # below one packet, compressing saves nothing
GZIP_LEVEL = 6
HASH_LENGTH = 16  # hexadecimal digits: 64 bits, plenty between versions of one file

_PAGES = Path(__file__).with_name("pages")
_PLOTLY = "plotly.min.js"
_CONTENT_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}
_REFERENCE = re.compile(r"/assets/([A-Za-z0-9_.-]+\.(?:js|css|svg))")

# 'self' only. plotly.js asks for more (a <style> element of its own, another of its map engine,
# blob: for saving pictures); the dashboard does without: it brings the few rules a line chart
# needs in dashboard.css, marks both styles as present, and hides the mode bar.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
_SAFETY_HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
# What the shop's page says of payments, in `shop.html` as it is where nothing is charged.
SIMULATED = "simulated"
_TAKES_CARDS = b'data-takes-cards="simulated"'
_SIMULATED_ONLY = re.compile(rb'\s*<span class="simulated">[^<]*</span>')
_REVALIDATE = "no-cache"
_FOR_EVER = "public, max-age=31536000, immutable"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asset:
    """One file as it is served: plain bytes, gzip bytes where worth it, and what names them."""

    body: bytes
    gzipped: bytes | None
    content_type: str
    digest: str


class Shelf:
    """All pages and assets, in memory. Looking up a name is looking up a dict: no paths."""

    def __init__(self, files: dict[str, bytes]) -> None:
        """`files` maps a file's name to its bytes; ValueError if references go in a circle."""
        self._files = files
        self._plain: dict[str, Asset] = {}
        self._hashed: dict[str, Asset] = {}
        self._being_read: list[str] = []
        for name in files:
            self._shelve(name)

    def page(self, name: str) -> Asset:
        """A page by its file's name; KeyError if there is none."""
        return self._plain[name]

    def asset(self, name: str) -> tuple[Asset, bool] | None:
        """An asset, and whether its name carries its hash; None if there is no such name."""
        if found := self._hashed.get(name):
            return found, True
        found = None if name.endswith(".html") else self._plain.get(name)
        return (found, False) if found else None

    def _shelve(self, name: str) -> str:
        """Put one file, after all that it refers to, on the shelf; gives its hashed name."""
        if name in self._being_read:
            circle = " → ".join([*self._being_read, name])
            raise ValueError(f"assets refer to each other in a circle ({circle}); break it up")
        stem, _, suffix = name.rpartition(".")
        if name not in self._plain:
            self._being_read.append(name)
            body = self._files[name] if name == _PLOTLY else self._with_hashed_names(name)
            self._being_read.pop()
            self._plain[name] = _asset(body, _CONTENT_TYPES["." + suffix])
        hashed = f"{stem}.{self._plain[name].digest}.{suffix}"
        self._hashed[hashed] = self._plain[name]
        return hashed

    def _with_hashed_names(self, name: str) -> bytes:
        def rewrite(match: re.Match[str]) -> str:
            if match[1] not in self._files:
                raise ValueError(f"{name} refers to {match[0]}, which does not exist; fix its name")
            return f"/assets/{self._shelve(match[1])}"

        return _REFERENCE.sub(rewrite, self._files[name].decode()).encode()


def _asset(body: bytes, content_type: str) -> Asset:
    big = len(body) >= GZIP_FROM_BYTES
    return Asset(
        body=body,
        gzipped=gzip.compress(body, GZIP_LEVEL, mtime=0) if big else None,
        content_type=content_type,
        digest=hashlib.sha256(body).hexdigest()[:HASH_LENGTH],
    )


@cache
def shelf() -> Shelf:
    """This process's shelf, filled by the first call (about 0.2 s, most of it plotly.js)."""
    files = {path.name: path.read_bytes() for path in sorted(_PAGES.iterdir()) if path.is_file()}
    return Shelf(files | {_PLOTLY: _plotly_path().read_bytes()})


def _plotly_path() -> Path:
    # Found, not imported: the Python side of plotly is large and not needed here.
    spec = importlib.util.find_spec("plotly")
    path = Path(spec.origin).parent / "package_data" / _PLOTLY if spec and spec.origin else None
    if path is None or not path.is_file():
        raise FileNotFoundError(
            f"the chart library {_PLOTLY} is not in the installed plotly wheel; "
            "install the locked dependencies again (make clean install)"
        )
    return path


@cache
def _shop_page(takes_cards: str) -> Asset:
    """The shop's page where this provider takes cards: only a simulated one has cards for all."""
    page = shelf().page("shop.html")
    if takes_cards == SIMULATED:
        return page
    told = _TAKES_CARDS.replace(SIMULATED.encode(), escape(takes_cards).encode())
    body = _SIMULATED_ONLY.sub(b"", page.body.replace(_TAKES_CARDS, told))
    return _asset(body, page.content_type)


def _accepts_gzip(request: Request) -> bool:
    for choice in request.headers.get("accept-encoding", "").lower().split(","):
        coding, _, weight = choice.partition(";")
        if coding.strip() in ("gzip", "*"):
            return weight.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False


def _answer(request: Request, asset: Asset, cache_control: str) -> Response:
    zipped = asset.gzipped if _accepts_gzip(request) else None
    etag = f'"{asset.digest}-gzip"' if zipped else f'"{asset.digest}"'
    headers = {
        **_SAFETY_HEADERS,
        "Cache-Control": cache_control,
        "ETag": etag,
        "Vary": "Accept-Encoding",
    }
    known = {tag.strip() for tag in request.headers.get("if-none-match", "").split(",")}
    if known & {etag, f"W/{etag}", "*"}:
        return Response(status_code=304, headers=headers)
    if zipped:
        headers["Content-Encoding"] = "gzip"
    body = asset.body if zipped is None else zipped
    return Response(body, headers=headers, media_type=asset.content_type)


async def _filled_shelf() -> Shelf:
    # In a thread, should this process not have filled it yet: zlib lets the event loop go on.
    return await asyncio.to_thread(shelf)


async def _dashboard(request: Request) -> Response:
    return _answer(request, (await _filled_shelf()).page("dashboard.html"), _REVALIDATE)


async def _reviews(request: Request) -> Response:
    return _answer(request, (await _filled_shelf()).page("reviews.html"), _REVALIDATE)


async def _favicon(request: Request) -> Response:
    return _answer(request, (await _filled_shelf()).page("favicon.svg"), _REVALIDATE)


async def _named_asset(request: Request) -> Response:
    found = (await _filled_shelf()).asset(request.path_params["name"])
    if found is None:
        return PlainTextResponse("There is no such asset.", 404, headers=_SAFETY_HEADERS)
    asset, is_hashed = found
    return _answer(request, asset, _FOR_EVER if is_hashed else _REVALIDATE)


def add_pages(app: FastAPI, *, takes_cards: Callable[[Request], str]) -> None:
    """Serve the pages from `app`: `/`, `/dashboard`, `/reviews`, `/favicon.svg` and `/assets/{name}`.

    `takes_cards` names the payment provider that new cards go to: SIMULATED, or a real one.
    Fills this process's shelf at once. An app that is pickled on its way to another process
    carries no file with it: that process fills its own shelf when first asked.
    """
    shelf()

    async def shop(request: Request) -> Response:
        await _filled_shelf()
        return _answer(request, _shop_page(takes_cards(request)), _REVALIDATE)

    methods = ["GET", "HEAD"]
    app.add_route("/", shop, methods=methods, include_in_schema=False)
    app.add_route("/dashboard", _dashboard, methods=methods, include_in_schema=False)
    app.add_route("/reviews", _reviews, methods=methods, include_in_schema=False)
    app.add_route("/favicon.svg", _favicon, methods=methods, include_in_schema=False)
    app.add_route("/assets/{name}", _named_asset, methods=methods, include_in_schema=False)
