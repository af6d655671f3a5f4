"""The one whole shop of the test run; it takes half a minute to open, so all tests share it."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from tests.shop.running import Shop, opened_shop

# So that what a test leaves halfway is cleared up while the test still looks.
IMPATIENT = {"DOORBUSTER_STALLED_AFTER_S": "3", "DOORBUSTER_ORPHANED_AFTER_S": "5"}


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    with opened_shop(tmp_path_factory.mktemp("shop"), IMPATIENT) as opened:
        yield opened


@pytest.fixture
def http(shop: Shop) -> Iterator[httpx.Client]:
    """A client of the shop, as a shopper's browser is one."""
    with httpx.Client(base_url=shop.url, timeout=10) as client:
        yield client


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Who closes the shop goes last."""
    items.sort(key=lambda item: item.name == "test_down_leaves_nothing_behind")
