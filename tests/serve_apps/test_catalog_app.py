"""Search, product page and picture over HTTP, on a real catalog in Postgres and Redis."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4
from xml.etree import ElementTree

import asyncpg
import httpx
import pytest
import pytest_asyncio
from redis.asyncio import Redis

from domain.catalog import Product, Variant, Warehouse
from domain.ids import decode, encode
from serve_apps import catalog_service
from serve_apps.catalog_app import CatalogService, build_catalog_app
from storage.availability import AvailabilityBoard
from storage.catalog import CatalogRepository
from storage.postgres import open_pool
from storage.search_index import SearchIndex

MAIN = Warehouse(code="MAIN", name="Main", country="US", lat=40.0, lon=-75.0)
WEST = Warehouse(code="WEST", name="West", country="US", lat=37.0, lon=-122.0)


def laptop(name: str, price_minor: int, seller: str, stock: int = 5) -> Product:
    handle = name.lower().replace(" ", "-")
    variant = Variant(sku=handle.upper(), price_minor=price_minor, stock={"MAIN": stock})
    return Product(
        handle=handle,
        name=name,
        description="A thin laptop",
        category="Electronics",
        seller=seller,
        tags=("computer",),
        variants=(variant,),
    )


SHIRT = Product(
    handle="tee",
    name="Cotton <Tee> & Co",
    description="Soft",
    category="Apparel",
    seller="Threads",
    tags=("cotton", "summer"),
    variants=(
        Variant(
            sku="TEE-S", price_minor=1999, attributes={"Size": "S"}, stock={"MAIN": 3, "WEST": 4}
        ),
        Variant(sku="TEE-M", price_minor=2499, attributes={"Size": "M"}, stock={"MAIN": 0}),
    ),
    picture="6579c22f.jpg",
)
CATALOG = (
    laptop("Dell XPS 13 Laptop", 129999, "Dell"),
    laptop("HP Spectre Laptop", 89900, "HP"),
    laptop("Lenovo Yoga Laptop", 159900, "Lenovo", stock=0),
    SHIRT,
)


class Shop:
    """A catalog app with everything behind it, and a client in front."""

    def __init__(
        self, client: httpx.AsyncClient, service: CatalogService, pool: asyncpg.Pool, redis: Redis
    ) -> None:
        self.client = client
        self.service = service
        self.pool = pool
        self.repository = CatalogRepository(pool)
        self.board = AvailabilityBoard(redis)

    async def search(self, **parameters: Any) -> dict[str, Any]:
        answer = await self.client.get("/api/v1/products/search", params=parameters)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def refused(self, path: str) -> dict[str, Any]:
        answer = await self.client.get(path)
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["status"] == answer.status_code
        return answer.json()

    async def product(self, text: str) -> dict[str, Any]:
        found = await self.search(q=text)
        answer = await self.client.get(f"/api/v1/products/{found['results'][0]['product_id']}")
        assert answer.status_code == 200
        return answer.json()


@pytest_asyncio.fixture
async def shop(pool: asyncpg.Pool, redis_url: str) -> AsyncIterator[Shop]:
    repository = CatalogRepository(pool)
    await repository.add_warehouses([MAIN, WEST])
    for product in CATALOG:  # one after the other, so that it is known which is the newest
        await repository.import_products([product])
    async with Redis.from_url(redis_url) as redis:
        await redis.flushdb()
        service = CatalogService(
            repository, SearchIndex(), AvailabilityBoard(redis), poll_every_s=3600
        )

        @asynccontextmanager
        async def opened() -> AsyncIterator[CatalogService]:
            await service.start()
            yield service
            await service.stop()

        app = build_catalog_app(opened)
        async with app.router.lifespan_context(app):
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=transport, base_url="http://shop") as client:
                yield Shop(client, service, pool, redis)


@pytest.mark.asyncio
async def test_search_answers_in_the_shape_of_the_case_study(shop: Shop) -> None:
    found = await shop.search(
        q="laptop", category="electronics", min_price=500, max_price=1300, page=1, limit=20
    )
    dell = next(hit for hit in found["results"] if "Dell" in hit["name"])
    seller_id = dell["seller"].pop("seller_id")
    assert isinstance(decode("seller", seller_id), UUID)
    assert isinstance(decode("prod", dell["product_id"]), UUID)
    assert dell == {
        "product_id": dell["product_id"],
        "name": "Dell XPS 13 Laptop",
        "price": 1299.99,
        "currency": "USD",
        "rating": None,
        "review_count": 0,
        "thumbnail": f"/media/{dell['product_id']}.svg",
        "in_stock": True,
        "seller": {"name": "Dell", "rating": None},
    }
    assert (found["total_results"], found["page"], found["total_pages"]) == (2, 1, 1)
    assert found["facets"] == {
        "brands": ["Dell", "HP"],
        "price_ranges": ["$750-$1000", "$1000+"],
        "categories": [{"name": "Electronics", "count": 2}],
        "price_buckets": [
            {"label": "$750-$1000", "min": 750.0, "max": 999.99, "count": 1},
            {"label": "$1000+", "min": 1000.0, "max": None, "count": 1},
        ],
        "brand_counts": [{"name": "Dell", "count": 1}, {"name": "HP", "count": 1}],
    }


@pytest.mark.asyncio
async def test_pages(shop: Shop) -> None:
    first, second = [await shop.search(limit=3, page=page) for page in (1, 2)]
    assert first["results"][0]["name"] == SHIRT.name
    assert len(first["results"]) == 3
    assert [hit["name"] for hit in second["results"]] == ["Dell XPS 13 Laptop"]
    assert first["total_pages"] == second["total_pages"] == 2
    nothing = await shop.search(q="zzzzzz")
    assert (nothing["results"], nothing["total_results"], nothing["total_pages"]) == ([], 0, 0)


@pytest.mark.asyncio
async def test_what_a_form_leaves_empty_is_no_filter(shop: Shop) -> None:
    found = await shop.search(q="", category="", brand="", min_price="", max_price="", other="1")
    assert found["total_results"] == len(CATALOG)
    assert (await shop.search(brand="hp"))["total_results"] == 1


@pytest.mark.asyncio
async def test_no_text_makes_the_search_fail(shop: Shop) -> None:
    for text in ("\x00", "😀", "x" * 10_000, '"a:b* [', "laptop\x00", "%00"):
        await shop.search(q=text)
        await shop.search(category=text, brand=text)


@pytest.mark.asyncio
async def test_bad_parameters_are_named(shop: Shop) -> None:
    for query, field in (
        ("min_price=abc", "min_price"),
        ("min_price=-1", "min_price"),
        ("max_price=nan", "max_price"),
        ("max_price=1e400", "max_price"),
        ("max_price=1e11", "max_price"),
        ("max_price=10.001", "max_price"),
        ("min_price=20&max_price=10", "min_price"),
        ("page=0", "page"),
        ("page=1.5", "page"),
        ("page=99999999999999999999", "page"),
        ("page=101&limit=100", "page"),
        ("limit=0", "limit"),
        ("limit=101", "limit"),
    ):
        problem = await shop.refused(f"/api/v1/products/search?{query}")
        assert problem["type"] == "/problems/validation", query
        assert problem["status"] == 422
        named = [error["field"].split(".")[-1] for error in problem["errors"]]
        assert named == [field], query


@pytest.mark.asyncio
async def test_a_product_page_shows_variants_and_options(shop: Shop) -> None:
    page = await shop.product("cotton tee")
    small, medium = page["variants"]
    assert isinstance(decode("var", small.pop("variant_id")), UUID)
    assert small == {"sku": "TEE-S", "price": 19.99, "attributes": {"Size": "S"}, "available": 7}
    assert (medium["sku"], medium["price"], medium["available"]) == ("TEE-M", 24.99, 0)
    assert page["options"] == {"Size": ["S", "M"]}
    assert (page["price"], page["currency"], page["available"]) == (19.99, "USD", 7)
    assert page["in_stock"] is True
    assert (page["name"], page["description"]) == (SHIRT.name, "Soft")
    assert (page["category"], page["tags"]) == ("Apparel", ["cotton", "summer"])
    assert page["picture"] == f"/media/{page['product_id']}.svg"
    assert page["seller"]["name"] == "Threads"


@pytest.mark.asyncio
async def test_stock_is_the_boards_where_it_has_a_number(shop: Shop) -> None:
    page = await shop.product("cotton tee")
    (listed,) = await shop.repository.by_ids([decode("prod", page["product_id"])])
    small = listed.variants[0]
    await shop.board.publish(
        {(small.variant_id.bytes, pair.inventory_id.bytes): 0 for pair in small.pairs}
    )
    page = await shop.product("cotton tee")
    assert (page["in_stock"], page["available"]) == (False, 0)
    found = await shop.search(q="cotton")
    assert found["results"][0]["in_stock"] is False
    assert (await shop.search(q="lenovo"))["results"][0]["in_stock"] is False  # from Postgres
    assert (await shop.search(q="dell"))["results"][0]["in_stock"] is True


@pytest.mark.asyncio
async def test_unknown_products_are_not_found(shop: Shop) -> None:
    for product_id in (encode("prod", uuid4()), "prod_1", "seller_x", "😀", "x" * 300):
        for path in (f"/api/v1/products/{product_id}", f"/media/{product_id}.svg"):
            problem = await shop.refused(path)
            assert (problem["type"], problem["status"]) == ("/problems/not_found", 404), path


@pytest.mark.asyncio
async def test_a_picture_is_safe_and_cacheable(shop: Shop) -> None:
    path = (await shop.search(q="cotton"))["results"][0]["thumbnail"]
    answer = await shop.client.get(path)
    assert answer.headers["content-type"] == "image/svg+xml"
    assert answer.headers["cache-control"] == "public, max-age=86400"
    policy = answer.headers["content-security-policy"]
    assert policy == "default-src 'none'; style-src 'unsafe-inline'"
    assert ElementTree.fromstring(answer.content).tag == "{http://www.w3.org/2000/svg}svg"
    etag = answer.headers["etag"]
    for known in (etag, f'"other", W/{etag}', "*"):
        again = await shop.client.get(path, headers={"If-None-Match": known})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", etag)
    other = await shop.client.get(path, headers={"If-None-Match": '"other"'})
    assert other.status_code == 200


@pytest.mark.asyncio
async def test_changes_in_postgres_arrive_with_the_next_look(shop: Shop) -> None:
    page = await shop.product("cotton tee")
    await shop.service.refresh()
    new = laptop("Acer Swift Laptop", 70000, "Acer")
    await shop.repository.import_products([replace(SHIRT, name="Linen Shirt"), new])
    assert await shop.service.refresh() == 2
    assert (await shop.search(q="linen"))["total_results"] == 1
    assert (await shop.search(q="acer"))["total_results"] == 1
    renamed = await shop.client.get(f"/api/v1/products/{page['product_id']}")
    assert renamed.json()["name"] == "Linen Shirt"

    await shop.repository.import_products([replace(SHIRT, status="archived")])
    await shop.service.refresh()
    assert (await shop.search(q="linen"))["total_results"] == 0
    problem = await shop.refused(f"/api/v1/products/{page['product_id']}")
    assert problem["type"] == "/problems/not_found"
    # Orders that were placed keep their picture.
    assert (await shop.client.get(page["picture"])).status_code == 200


@pytest.mark.asyncio
async def test_an_old_transaction_does_not_bring_the_same_changes_again(shop: Shop) -> None:
    async with shop.pool.acquire() as connection, connection.transaction():
        await connection.execute("SELECT pg_current_xact_id()")
        await shop.repository.import_products([replace(SHIRT, name="Linen Shirt")])
        assert await shop.service.refresh() >= 1
        assert await shop.service.refresh() == 0
        await shop.repository.import_products([replace(SHIRT, name="Silk Shirt")])
        assert await shop.service.refresh() == 1
    assert (await shop.search(q="silk"))["total_results"] == 1


@pytest.mark.asyncio
async def test_a_large_catalog_is_searched_off_the_loop(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = await shop.search(q="laptop")
    monkeypatch.setattr(catalog_service, "SEARCHED_ON_THE_LOOP_MAX", 0)
    assert await shop.search(q="laptop") == expected


@pytest.mark.asyncio
async def test_products_kept_are_bounded(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog_service, "PRODUCTS_KEPT_MAX", 2)
    service = CatalogService(shop.repository, SearchIndex(), shop.board)
    ids = [decode("prod", hit["product_id"]) for hit in (await shop.search())["results"]]
    for product_id in (*ids, *ids):
        found = await service.product(product_id)
        assert found is not None
        assert found.product_id == product_id
        assert len(service._products) <= 2


class Flaky:
    """A repository that cannot be reached for a while."""

    def __init__(self, repository: CatalogRepository, failures: int) -> None:
        self._repository = repository
        self._failures = failures
        self.recovered = asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._repository, name)

    async def changed_since(self, xmin: int | None) -> Any:
        if self._failures:
            self._failures -= 1
            raise OSError("connection refused")
        self.recovered.set()
        return await self._repository.changed_since(xmin)


@pytest.mark.asyncio
async def test_polling_goes_on_after_failures_and_ends_with_stop(shop: Shop) -> None:
    flaky = Flaky(shop.repository, failures=3)
    service = CatalogService(flaky, SearchIndex(), shop.board, poll_every_s=0.001)  # pyright: ignore[reportArgumentType]
    await service.stop()
    await service.start()
    assert service.ready
    async with asyncio.timeout(10):
        await flaky.recovered.wait()
    await service.stop()
    await service.stop()


@pytest.mark.asyncio
async def test_before_the_catalog_is_read_search_says_so(shop: Shop) -> None:
    shop.service.ready = False
    answer = await shop.client.get("/api/v1/products/search")
    assert (answer.status_code, answer.json()["type"]) == (503, "/problems/not_ready")
    assert answer.headers["retry-after"] == "1"


@pytest.mark.asyncio
async def test_search_goes_on_without_redis_and_postgres(
    shop: Shop, database_url: str, tmp_path: Path
) -> None:
    nobody = Redis(unix_socket_path=str(tmp_path / "nobody.sock"))
    own_pool = await open_pool(database_url)
    service = CatalogService(
        CatalogRepository(own_pool), SearchIndex(), AvailabilityBoard(nobody), poll_every_s=3600
    )
    await service.start()
    app = build_catalog_app(lambda: _given(service))
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://shop") as client,
    ):
        found = (await client.get("/api/v1/products/search?q=laptop")).json()
        assert [hit["in_stock"] for hit in found["results"]].count(True) == 2
        await own_pool.close()
        page = await client.get(f"/api/v1/products/{found['results'][0]['product_id']}")
        assert page.status_code == 200
        assert (await client.get("/api/v1/products/search")).status_code == 200
    await service.stop()
    await nobody.aclose()


@asynccontextmanager
async def _given(service: CatalogService) -> AsyncIterator[CatalogService]:
    yield service


def test_the_endpoints_are_described() -> None:
    described = build_catalog_app(lambda: _given(None)).openapi()["paths"]  # pyright: ignore[reportArgumentType]
    search = described["/api/v1/products/search"]["get"]
    assert {one["name"] for one in search["parameters"]} == {
        *("q", "category", "brand", "min_price", "max_price", "page", "limit")
    }
    assert set(search["responses"]) == {"200", "422"}
    assert "/api/v1/products/{product_id}" in described
