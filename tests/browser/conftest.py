"""Chromium, and the pages on a fake shop that a test may arrange and look into."""

from __future__ import annotations

import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest
import uvicorn
from playwright.sync_api import Browser, Page, Request, sync_playwright

from tests.browser.fake_api import FakeShop, build_app

CHROMIUM = shutil.which("chromium")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PATIENCE_MS = 15_000
POLL_MS = 10
SERVER_STOP_S_MAX = 10.0


@dataclass(slots=True)
class Visit:
    """A page open on a fake shop, and what went wrong in it unasked."""

    page: Page
    shop: FakeShop
    origin: str
    complaints: list[str] = field(default_factory=list[str])
    elsewhere: list[str] = field(default_factory=list[str])

    def open(self, path: str) -> Page:
        self.page.goto(self.origin + path)
        return self.page

    def until(self, condition: Callable[[], bool]) -> None:
        """Wait for the fake shop; the page goes on meanwhile."""
        deadline = time.monotonic() + PATIENCE_MS / 1_000
        while not condition():
            assert time.monotonic() < deadline, "the fake shop was not asked as expected"
            self.page.wait_for_timeout(POLL_MS)

    def sideways_px(self) -> int:
        """How far the page can be scrolled sideways; it never should."""
        script = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        return int(self.page.evaluate(script))

    def watch(self) -> None:
        """Note console errors and requests to other origins from now on."""

        def asked(request: Request) -> None:
            if not request.url.startswith((self.origin, "data:", "blob:")):
                self.elsewhere.append(request.url)

        self.page.on("request", asked)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on(
            "console",
            lambda message: (
                self.complaints.append(message.text)
                if message.type in ("error", "warning")
                # Chromium logs every refused request; the refusals here are arranged.
                and not message.text.startswith("Failed to load resource: the server responded")
                else None
            ),
        )


# Playwright's synchronous side keeps an event loop running: it must be gone before other tests.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("chromium is not installed; install it (apt-get install chromium) to run this")
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield opened
        opened.close()


@pytest.fixture
def fake_shop() -> Iterator[tuple[FakeShop, str]]:
    """A fake shop of the test's own, and its origin."""
    shop = FakeShop()
    config = uvicorn.Config(build_app(shop), log_level="critical", ws="none", lifespan="off")
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        serving = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        serving.start()
        yield shop, f"http://127.0.0.1:{listening.getsockname()[1]}"
        server.should_exit = server.force_exit = True
        serving.join(SERVER_STOP_S_MAX)


@pytest.fixture(params=[1280, 390], ids=["desktop", "phone"])
def width_px(request: pytest.FixtureRequest) -> int:
    return request.param


@pytest.fixture
def visit(browser: Browser, fake_shop: tuple[FakeShop, str], width_px: int) -> Iterator[Visit]:
    """A fresh visitor; afterwards nothing may have been complained of or fetched elsewhere."""
    shop, origin = fake_shop
    context = browser.new_context(viewport={"width": width_px, "height": 844}, locale="en-US")
    context.set_default_timeout(PATIENCE_MS)
    seen = Visit(page=context.new_page(), shop=shop, origin=origin)
    seen.watch()
    yield seen
    sideways = seen.sideways_px()
    context.close()
    assert seen.complaints == []
    assert seen.elsewhere == []
    assert sideways <= 0
