"""One shop for all faults: each of them has to leave it as good as new for the next."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio

from tests.fault.callers import Callers, stock_up
from tests.fault.incarnations import Incarnations
from tests.shop.running import Shop, opened_shop

# Recovery steps in early, so that a test need not wait for it long.
STALLED_AFTER_S = 3.0
IMPATIENT = {
    "DOORBUSTER_STALLED_AFTER_S": str(STALLED_AFTER_S),
    "DOORBUSTER_ORPHANED_AFTER_S": "5",
}


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    with opened_shop(tmp_path_factory.mktemp("fault"), IMPATIENT) as opened:
        yield opened


@pytest.fixture
def print_line(capsys: pytest.CaptureFixture[str]) -> Callable[[str], None]:
    """Past pytest's capture: the figures are for whoever reads the run."""

    def show(line: str) -> None:
        with capsys.disabled():
            print(f"\n{line}", flush=True)

    return show


@pytest.fixture
def owners(database_url: str, tmp_path: Path) -> Iterator[Incarnations]:
    with Incarnations(database_url, tmp_path) as made:
        yield made


@pytest_asyncio.fixture
async def callers(owners: Incarnations, pool: asyncpg.Pool) -> AsyncIterator[Callers]:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    made = Callers(owners.find, await stock_up(pool), seed)
    yield made
    made.close()
