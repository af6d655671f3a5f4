"""Takes the README's pictures of a shop in the middle of a sale.

`python docs/pictures/take.py` opens a shop of its own, holds the sale of `doorbuster demo`
against it and photographs the pages in Chromium and the terminal's report. Needs a `chromium`
on the PATH.
"""

from __future__ import annotations

import asyncio
import io
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Page, sync_playwright
from rich.console import Console

from serve_apps.demo import DemoPlan, run_demo
from serve_apps.settings import Settings
from serve_apps.shop_process import add_sample_if_empty, databases, running_shop
from sim.sale_screen import render_report

HERE = Path(__file__).parent
PORT = 8931
PAGES = {
    "dashboard-phone": ("/dashboard", 390, "light"),
    "shop": ("/", 1280, "light"),
    "shop-phone": ("/", 390, "dark"),
}
BUYERS, STOCK = 20_000, 12_000
SECONDS_INTO_THE_SALE = 25


def main() -> None:
    """Write the pictures beside this file."""
    with tempfile.TemporaryDirectory(prefix="doorb-", dir="/tmp") as folder:
        settings = Settings(home=Path(folder), port=PORT, database_url="", redis_url="")
        with databases(settings) as filled:
            asyncio.run(add_sample_if_empty(filled))
        plan = DemoPlan(catalog=None, buyers=BUYERS, stock=STOCK)
        with running_shop(settings) as shop, ThreadPoolExecutor(1) as pool:
            with photographer() as take:
                dashboard = take(shop.run.base_url, "/dashboard", 1280, "dark")
                sale = pool.submit(run_demo, settings, plan, Console(stderr=True))
                dashboard.wait_for_timeout(SECONDS_INTO_THE_SALE * 1_000)
                save(dashboard, "dashboard")
                for name, (path, width, scheme) in PAGES.items():
                    save(take(shop.run.base_url, path, width, scheme), name)
                report = sale.result()
            console = Console(record=True, width=100, force_terminal=True, file=io.StringIO())
            console.print(render_report(report))
            drawn = console.export_svg(title="make demo")
            # rich names a font on somebody's server; a reader's own monospace will do.
            drawn = re.sub(r"@font-face \{.*?\}\n?", "", drawn, flags=re.DOTALL)
            (HERE / "demo.svg").write_text(drawn)


Take = Callable[[str, str, int, str], Page]


@contextmanager
def photographer() -> Iterator[Take]:
    """Opens pages: (base URL, path, width, colour scheme) → page, loaded and settled."""
    arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=arguments
        )

        def take(base_url: str, path: str, width: int, scheme: str) -> Page:
            context = browser.new_context(
                viewport={"width": width, "height": 820},
                color_scheme="dark" if scheme == "dark" else "light",
            )
            page = context.new_page()
            page.goto(base_url + path)
            page.wait_for_load_state("networkidle" if path == "/" else "load")
            return page

        yield take
        browser.close()


def save(page: Page, name: str) -> None:
    """The page as it is now."""
    page.screenshot(path=HERE / f"{name}.png", full_page=name == "dashboard")


if __name__ == "__main__":
    main()
