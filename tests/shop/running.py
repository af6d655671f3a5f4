"""A whole shop, started, asked and stopped by the real command as its users do it."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import orjson
import psutil

from actors.routing import Routing
from domain import ids
from domain.owners import pool_names
from serve_apps.composition import Parts, open_parts
from serve_apps.settings import Settings
from serve_apps.shop_process import add_products
from serve_apps.supervisor import MARK, RunFile, read_run_file
from sim.catalog import hot_product

UP_TIMEOUT_S = 150.0
COMMAND_TIMEOUT_S = 120.0
POLL_S = 0.05
DOORBUSTER = str(Path(sys.executable).with_name("doorbuster"))
REPOSITORY = Path(__file__).resolve().parents[2]


def free_port() -> int:
    """A TCP port that nobody listens on right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def clean_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment without any shop's settings, and `extra`."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("DOORBUSTER_", "RAY_"))}
    return kept | dict(extra or {})


def run_command(
    *arguments: str, environment: Mapping[str, str] | None = None, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """`doorbuster …` in a process of its own, with its output; never raises for its status."""
    return subprocess.run(
        [DOORBUSTER, *arguments],
        env=clean_environment(environment),
        cwd=cwd or REPOSITORY,
        capture_output=True,
        text=True,
        timeout=max(COMMAND_TIMEOUT_S, UP_TIMEOUT_S),
        check=False,
    )


def eventually(condition: Callable[[], Any], *, within_s: float, what: str) -> Any:
    """The condition's first true value; AssertionError saying `what` was waited for."""
    deadline = time.monotonic() + within_s
    while True:
        if value := condition():
            return value
        assert time.monotonic() < deadline, f"not within {within_s} s: {what}"
        time.sleep(POLL_S)


async def eventually_async(
    condition: Callable[[], Awaitable[Any]], *, within_s: float, what: str
) -> Any:
    """The same for a condition that has to be awaited."""
    deadline = time.monotonic() + within_s
    while True:
        if value := await condition():
            return value
        assert time.monotonic() < deadline, f"not within {within_s} s: {what}"
        await asyncio.sleep(POLL_S)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hot:
    """A product of a test's own: one variant, all units in one place."""

    product_id: str
    variant_id: str
    inventory_id: UUID
    sku: str
    stock: int

    @property
    def owner(self) -> str:
        """The owner in the pool that decides for its pair."""
        return Routing(pool_names(Settings().stock_owners)).owner_of(self.inventory_id.bytes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shop:
    """One home and port, and what can be asked of the shop there."""

    home: Path
    port: int
    environment: Mapping[str, str]

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"

    def command(self, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """`doorbuster NAME --home … ARGUMENTS`."""
        home = ("--home", str(self.home))
        return run_command(name, *home, *arguments, environment=self.environment)

    def up(self) -> float:
        """Open it in the background; the seconds it took until it was ready."""
        started = time.monotonic()
        done = self.command("up", "--detach", "--port", str(self.port))
        assert done.returncode == 0, f"{done.stderr}\n{self.logs()}"
        return time.monotonic() - started

    def down(self) -> None:
        """Stop it if it runs."""
        self.command("down")

    def logs(self) -> str:
        """The last lines of every log, for a failure's message."""
        files = sorted((self.home / "logs").glob("*.log"))
        return "\n".join(f"== {f.name}\n{f.read_text(errors='replace')[-3000:]}" for f in files)

    def run_file(self) -> RunFile:
        """What the running shop says of itself."""
        run = read_run_file(self.home)
        assert run is not None, f"no shop runs in {self.home}"
        return run

    def settings(self) -> Settings:
        """Settings that lead to this shop's databases."""
        run = self.run_file()
        return Settings(
            home=self.home,
            port=self.port,
            database_url=run.database_url,
            redis_url=run.redis_url,
        )

    @contextlib.asynccontextmanager
    async def parts(self) -> AsyncIterator[Parts]:
        """Connections to its databases for the length of an `async with`."""
        async with open_parts(self.settings(), "tests") as parts:
            yield parts

    def is_ready(self) -> bool:
        """True if /readyz says so now."""
        try:
            return httpx.get(f"{self.url}/readyz", timeout=3).status_code == 200
        except httpx.HTTPError:
            return False

    def overview(self) -> dict[str, Any]:
        """The dashboard's document; empty while it cannot be had."""
        try:
            answer = httpx.get(f"{self.url}/api/v1/ops/overview", timeout=5)
        except httpx.HTTPError:
            return {}
        return answer.json() if answer.status_code == 200 else {}

    def owner(self, name: str) -> dict[str, Any]:
        """What one owner shows of itself on the dashboard."""
        owners = self.overview().get("owners", [])
        return next((owner for owner in owners if owner["name"] == name), {})

    def processes(self) -> list[psutil.Process]:
        """Every process of this shop and of no other."""
        return list(self._processes())

    def _processes(self) -> Iterator[psutil.Process]:
        redis_folder = str(self.home / "redis")
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                if process.status() == psutil.STATUS_ZOMBIE:
                    continue
                marked = process.environ().get(MARK) == str(self.home)
                # Redis writes its title over its environment; its folder tells whose it is.
                redis = process.name() == "redis-server" and process.cwd() == redis_folder
                if marked or redis:
                    yield process

    def process(self, name: str) -> psutil.Process:
        """The one process of this shop whose name begins so."""
        found = [one for one in self.processes() if _name_of(one).startswith(name)]
        if name == "postgres":
            found = [one for one in found if _is_postmaster(one)]
        assert len(found) == 1, f"{name}: {found}"
        return found[0]

    def audit(self, acknowledged: Iterable[str] = ()) -> dict[str, Any]:
        """The audit's document through the command; the told orders are checked for P10."""
        told = self.home / "acknowledged.txt"
        told.write_text("\n".join(acknowledged))
        done = self.command("audit", "--acknowledged", str(told), "--json")
        assert done.stdout, done.stderr
        document = orjson.loads(done.stdout)
        assert done.returncode == (0 if document["ok"] else 1)
        return document

    async def stock_up(self, stock: int, *, owner: str | None = None) -> Hot:
        """Put a new product into the catalog, decided for by `owner` if one is named."""
        async with self.parts() as parts:
            while True:
                hot = await _add_product(parts, stock)
                if owner in (None, hot.owner):
                    break
        page = f"{self.url}/api/v1/products/{hot.product_id}"
        async with httpx.AsyncClient(timeout=5) as http:

            async def listed() -> bool:
                return (await http.get(page)).status_code == 200

            await eventually_async(listed, within_s=10, what=f"{hot.sku} is for sale")
        return hot


def _name_of(process: psutil.Process) -> str:
    """Empty if it has ended since it was seen."""
    try:
        return process.name()
    except psutil.Error:
        return ""


def _is_postmaster(process: psutil.Process) -> bool:
    parent = process.parent()
    return parent is None or _name_of(parent) != "postgres"


async def _add_product(parts: Parts, stock: int) -> Hot:
    mark = uuid4().hex[:12]
    product = hot_product(stock)
    variant = dataclasses.replace(product.variants[0], sku=f"TEST-{mark}")
    await add_products(
        parts,
        [
            dataclasses.replace(
                product, handle=f"test-{mark}", name=f"Rush {mark}", variants=(variant,)
            )
        ],
    )
    row = await parts.pool.fetchrow(
        "SELECT v.product_id, v.variant_id, i.inventory_id FROM product_variants v"
        " JOIN inventory i USING (variant_id) WHERE v.sku = $1",
        variant.sku,
    )
    return Hot(
        product_id=ids.encode("prod", row["product_id"]),
        variant_id=ids.encode("var", row["variant_id"]),
        inventory_id=row["inventory_id"],
        sku=variant.sku,
        stock=stock,
    )


@contextlib.contextmanager
def opened_shop(home: Path, environment: Mapping[str, str]) -> Iterator[Shop]:
    """A shop on a free port, ready; stopped at the end, whatever happened to it."""
    shop = Shop(home=home.resolve(), port=free_port(), environment=environment)
    try:
        shop.up()
        yield shop
    finally:
        shop.down()
        for process in shop.processes():
            with contextlib.suppress(psutil.Error):
                process.kill()


ADDRESS = {
    "name": "John Doe",
    "street": "123 Main St",
    "city": "San Francisco",
    "state": "CA",
    "zip": "94102",
    "country": "US",
}


def checkout_body(cart_id: str, *, card_id: str = "card_xyz789") -> dict[str, Any]:
    """A checkout in the published shape."""
    return {
        "cart_id": cart_id,
        "shipping_address": ADDRESS,
        "payment_method": {"type": "card", "card_id": card_id},
        "shipping_method": "standard",
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Basket:
    """A guest with a cart, ready to check out."""

    cart_id: str
    token: str
    key: str
    cart: dict[str, Any]

    @property
    def headers(self) -> dict[str, str]:
        """Who the guest is, and the name of the one purchase."""
        return {"Authorization": f"Bearer {self.token}", "Idempotency-Key": self.key}


def fill_basket(http: httpx.Client, product_id: str, quantity: int = 1) -> Basket:
    """A new guest's cart with one product in it."""
    answer = http.post("/api/v1/cart/items", json={"product_id": product_id, "quantity": quantity})
    assert answer.status_code == 200, answer.text
    cart = answer.json()
    return Basket(cart_id=cart["cart_id"], token=cart["token"], key=str(uuid4()), cart=cart)


def check_out(http: httpx.Client, basket: Basket, **body: Any) -> httpx.Response:
    """Buy the basket."""
    return http.post(
        "/api/v1/orders/checkout",
        json=checkout_body(basket.cart_id, **body),
        headers=basket.headers,
    )
