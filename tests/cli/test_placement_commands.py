"""`doorbuster stock promote …` without a running shop: refusals, and the waiting with a fake."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID, uuid4

import pytest
from typer.testing import CliRunner

from domain.placement import Place
from serve_apps.placement_commands import check_room, pair_of, until_placed
from serve_apps.stock_commands import stock_app
from storage.stock_in import NotPossibleError, UnknownPairError

PAIR = uuid4()


class FakeBook:
    """One pair that arrives where it is wanted after so many looks."""

    def __init__(self, *owners: str, taken: int = 0) -> None:
        self._owners = list(owners)
        self._taken = taken
        self.looks = 0

    async def dedicated(self) -> dict[bytes, str]:
        return {uuid4().bytes: f"hot-{slot}" for slot in range(self._taken)}

    async def find_pair(self, sku: str, warehouse: str) -> UUID | None:
        return PAIR if (sku, warehouse) == ("HOT", "EAST") else None

    async def owner_of(self, inventory_id: UUID) -> str | None:
        assert inventory_id == PAIR
        self.looks += 1
        return self._owners.pop(0) if len(self._owners) > 1 else self._owners[0]

    async def wish(self, *_: object, **__: object) -> None:
        raise AssertionError("nothing is wished here")


async def _at_once(_: float) -> None:
    """A pause of no length."""


@pytest.mark.asyncio
async def test_it_waits_until_the_pair_has_its_owner() -> None:
    book = FakeBook("", "", "hot-0")
    assert await until_placed(book, PAIR, Place.DEDICATED, pause=_at_once) == "hot-0"
    assert book.looks == 3


@pytest.mark.asyncio
async def test_it_waits_until_the_pair_is_home() -> None:
    assert not await until_placed(FakeBook("hot-0", ""), PAIR, Place.POOL, pause=_at_once)


@pytest.mark.asyncio
async def test_it_does_not_wait_for_ever() -> None:
    book = FakeBook("")
    with pytest.raises(TimeoutError, match="written down"):
        await until_placed(book, PAIR, Place.DEDICATED, wait_s=1.0, pause=_at_once)
    assert book.looks == 10


@pytest.mark.asyncio
async def test_an_unknown_pair_and_a_full_house_are_refused() -> None:
    assert await pair_of(FakeBook(""), "HOT", "EAST") == PAIR
    with pytest.raises(UnknownPairError, match="'NONE'"):
        await pair_of(FakeBook(""), "NONE", "EAST")
    await check_room(FakeBook("", taken=1), PAIR, 2)
    with pytest.raises(NotPossibleError, match="DEDICATED_OWNERS_MAX"):
        await check_room(FakeBook("", taken=2), PAIR, 2)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("promote", "HOT", "EAST"), "closed"),
        (("demote", "HOT", "EAST"), "closed"),
        (("drop", "HOT", "EAST", "--at", "2099-01-01T00:00:00"), "zone"),
        (("drop", "HOT", "EAST", "--at", "2001-01-01T00:00:00Z"), "past"),
        (("drop", "HOT", "EAST", "--at", "noon"), "no time"),
        (("drop", "HOT", "EAST", "--at", "2099-01-01T00:00:00Z"), "no shop"),
        (("placements",), "no shop"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(
    tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    done = CliRunner().invoke(
        stock_app, [*arguments, "--home", str(tmp_path)], env={"NO_COLOR": "1"}
    )
    assert done.exit_code == 1
    assert said in done.output


def test_minutes_have_bounds(tmp_path: Path) -> None:
    arguments = ["promote", "HOT", "EAST", "--for", "0", "--home", str(tmp_path)]
    assert CliRunner().invoke(stock_app, arguments).exit_code == 2
