"""How the pages are served: types, caching, compression, policy, and no way off the shelf."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable

import httpx
import pytest
from fastapi import FastAPI

from serve_apps.pages import CONTENT_SECURITY_POLICY, SIMULATED, Shelf, add_pages, shelf

SHOP_BYTES_MAX = 128_000
SHOP_PACKED_BYTES_MAX = 48_000  # as it travels
SHOP_FILES = (
    "shop.html",
    "shop.css",
    "tokens.css",
    "favicon.svg",
    "shop.js",
    "dom.js",
    "api.js",
    "cards.js",
    "catalog.js",
    "buying.js",
    "checkout.js",
    "credit.js",
    "following.js",
    "live.js",
    "orders.js",
    "paying.js",
    "places.js",
    "prices.js",
    "results.js",
    "words.js",
)
DASHBOARD_FILES = ("dashboard.html", "dashboard.css", "dashboard.js", "charts.js", "tables.js")
PAGES = ["/", "/dashboard", "/reviews"]
Get = Callable[..., httpx.Response]


def _pages_where(provider: str) -> Get:
    """Ask the pages' app for a path, as a client that takes no compression unless it says so."""
    app = FastAPI()
    add_pages(app, takes_cards=lambda _: provider)

    def ask(path: str, *, method: str = "GET", **headers: str) -> httpx.Response:
        async def once() -> httpx.Response:
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=transport, base_url="http://shop") as client:
                sent = {"accept-encoding": "identity"}
                sent |= {name.replace("_", "-"): value for name, value in headers.items()}
                return await client.request(method, path, headers=sent)

        return asyncio.run(once())

    return ask


@pytest.fixture(scope="module")
def get() -> Get:
    """The pages where payments are simulated."""
    return _pages_where(SIMULATED)


@pytest.mark.parametrize(
    ("path", "content_type"),
    [
        ("/", "text/html; charset=utf-8"),
        ("/dashboard", "text/html; charset=utf-8"),
        ("/reviews", "text/html; charset=utf-8"),
        ("/favicon.svg", "image/svg+xml"),
        ("/assets/shop.js", "text/javascript; charset=utf-8"),
        ("/assets/shop.css", "text/css; charset=utf-8"),
        ("/assets/plotly.min.js", "text/javascript; charset=utf-8"),
    ],
)
def test_content_type_and_safety_headers(get: Get, path: str, content_type: str) -> None:
    answer = get(path)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == content_type
    assert answer.headers["content-security-policy"] == CONTENT_SECURITY_POLICY
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_policy_allows_this_origin_only() -> None:
    sources = set(re.findall(r"(?:-src|-uri|-action|-ancestors) ([^;]+)", CONTENT_SECURITY_POLICY))
    assert sources == {"'none'", "'self'"}


@pytest.mark.parametrize("page", PAGES)
def test_every_reference_leads_to_an_immutable_asset(get: Get, page: str) -> None:
    seen: set[str] = set()
    waiting = [page]
    while waiting:
        text = get(waiting.pop()).text
        for reference in set(re.findall(r"/assets/[\w.-]+", text)) - seen:
            seen.add(reference)
            answer = get(reference)
            assert answer.status_code == 200, reference
            assert "immutable" in answer.headers["cache-control"], reference
            if "plotly" not in reference:
                waiting.append(reference)
    assert len(seen) >= 6


def test_only_a_name_with_its_hash_may_be_kept_for_ever(get: Get) -> None:
    for path in (*PAGES, "/favicon.svg", "/assets/shop.js", "/assets/plotly.min.js"):
        assert get(path).headers["cache-control"] == "no-cache", path
    assert get("/assets/shop.0000000000000000.js").status_code == 404


@pytest.mark.parametrize("encoding", ["identity", "gzip"])
def test_a_known_etag_is_answered_without_a_body(get: Get, encoding: str) -> None:
    first = get("/", accept_encoding=encoding)
    again = get("/", accept_encoding=encoding, if_none_match=f'"other", {first.headers["etag"]}')
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == first.headers["etag"]
    weak = get("/", accept_encoding=encoding, if_none_match=f"W/{first.headers['etag']}")
    assert weak.status_code == 304
    assert get("/", accept_encoding=encoding, if_none_match='"other"').status_code == 200


def test_compressed_and_plain_are_told_apart(get: Get) -> None:
    path = "/assets/plotly.min.js"
    plain, zipped = get(path), get(path, accept_encoding="br, gzip;q=0.5")
    assert zipped.headers["content-encoding"] == "gzip"
    assert "content-encoding" not in plain.headers
    assert plain.headers["etag"] != zipped.headers["etag"]
    assert zipped.content == plain.content  # httpx has unpacked it
    assert int(zipped.headers["content-length"]) < len(plain.content) / 2
    assert plain.headers["vary"] == zipped.headers["vary"] == "Accept-Encoding"
    assert "content-encoding" not in get(path, accept_encoding="gzip;q=0").headers


def test_head_has_the_headers_of_get(get: Get) -> None:
    assert get("/", method="HEAD").headers["etag"] == get("/").headers["etag"]
    assert get("/", method="POST").status_code == 405


def test_only_a_simulated_provider_is_called_one(get: Get) -> None:
    simulated, real = get("/"), _pages_where("stripe")("/")
    assert 'data-takes-cards="simulated"' in simulated.text
    assert "Payments here are simulated" in simulated.text
    assert 'data-takes-cards="stripe"' in real.text
    assert "simulated" not in real.text
    assert real.headers["etag"] != simulated.headers["etag"]


@pytest.mark.parametrize(
    "path",
    [
        "/assets/../pages.py",
        "/assets/%2e%2e/pages.py",
        "/assets/..%2fpages.py",
        "/assets/%2e%2e%2f%2e%2e%2fpyproject.toml",
        "/assets//etc/passwd",
        "/assets/%2fetc%2fpasswd",
        "/assets/shop.html",
        "/assets/shop.js%00.css",
        "/assets/",
        "/assets/nothing.js",
    ],
)
def test_no_name_leads_off_the_shelf(get: Get, path: str) -> None:
    assert get(path).status_code == 404


def test_the_shop_stays_small() -> None:
    sizes = {name: len(shelf().page(name).body) for name in SHOP_FILES}
    assert sum(sizes.values()) < SHOP_BYTES_MAX, sizes
    packed = [len(shelf().page(name).gzipped or shelf().page(name).body) for name in SHOP_FILES]
    assert sum(packed) < SHOP_PACKED_BYTES_MAX


@pytest.mark.parametrize("name", [*SHOP_FILES, *DASHBOARD_FILES])
def test_nothing_is_parsed_as_html_or_fetched_from_elsewhere(name: str) -> None:
    text = shelf().page(name).body.decode()
    sinks = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function| style=\""
    assert not re.findall(sinks, text)
    assert set(re.findall(r"https?://[\w.-]+", text)) <= {"http://www.w3.org"}  # SVG's name


def test_a_wrong_or_circular_reference_is_found_at_the_start() -> None:
    with pytest.raises(ValueError, match=r"a\.js refers to /assets/b\.js, which does not exist"):
        Shelf({"a.js": b'import "/assets/b.js";'})
    with pytest.raises(ValueError, match=r"circle \(a\.js → b\.js → a\.js\)"):
        Shelf({"a.js": b'import "/assets/b.js";', "b.js": b'import "/assets/a.js";'})


def test_a_change_below_changes_every_name_above() -> None:
    def address(color: bytes) -> str:
        files = {"p.html": b"/assets/a.js", "a.js": b'"/assets/b.css"', "b.css": color}
        return Shelf(files).page("p.html").body.decode()

    assert address(b"red") == address(b"red")
    assert address(b"red") != address(b"blue")
