"""`doorbuster stock promote …`: where operators want hot pairs, from the command line.

A command writes the wish down; the caretaker's directory carries it out. Promoting and demoting
wait until Postgres says that the pair is where it is wanted.
"""

from __future__ import annotations

import asyncio
import getpass
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Protocol
from uuid import UUID

import typer
from rich.console import Console

from domain.owners import is_dedicated
from domain.placement import Place
from domain.ports import Unavailable
from serve_apps.composition import Parts, new_id
from serve_apps.stock_in_commands import (
    Home,
    Sku,
    Warehouse,
    aware_time,
    carried_out_by,
    fail,
    on_databases,
    say_none,
    settings_of,
)
from storage.stock_in import NotPossibleError, UnknownPairError

WAIT_S = 60.0
_POLL_S = 0.1
MINUTES_MAX = 525_600  # a year
Minutes = Annotated[
    int | None,
    typer.Option("--for", min=1, max=MINUTES_MAX, help="Minutes; then heat decides again."),
]


class Placing(Protocol):
    """What the commands need of storage.placements."""

    async def dedicated(self) -> dict[bytes, str]:
        """The owner of each pair that has one of its own."""
        ...

    async def find_pair(self, sku: str, warehouse: str) -> UUID | None:
        """The pair's id."""
        ...

    async def owner_of(self, inventory_id: UUID) -> str | None:
        """Its dedicated owner; empty: the pool."""
        ...

    async def wish(
        self,
        placement_id: UUID,
        inventory_id: UUID,
        place: Place,
        *,
        actor: str,
        reason: str = "",
        from_at: datetime | None = None,
        until_at: datetime | None = None,
    ) -> None:
        """Write down where it is wanted."""
        ...


async def pair_of(book: Placing, sku: str, warehouse: str) -> UUID:
    """The pair's id. Raises UnknownPairError."""
    found = await book.find_pair(sku, warehouse)
    if found is None:
        raise UnknownPairError(f"no pair of SKU {sku!r} and warehouse {warehouse!r}; check both")
    return found


async def check_room(book: Placing, pair: UUID, dedicated_max: int) -> None:
    """Raises NotPossibleError if there is no dedicated owner left for the pair."""
    dedicated = await book.dedicated()
    if pair.bytes not in dedicated and len(dedicated) >= dedicated_max:
        raise NotPossibleError(
            f"no dedicated owner is left: {len(dedicated)} of {dedicated_max} are taken;"
            " demote a pair, or raise DOORBUSTER_DEDICATED_OWNERS_MAX"
        )


async def until_placed(
    book: Placing,
    pair: UUID,
    place: Place,
    *,
    wait_s: float = WAIT_S,
    pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> str:
    """The pair's dedicated owner, or empty for the pool, once it is there.

    Looks at most every `_POLL_S` and for about `wait_s` seconds, then raises TimeoutError.
    """
    for _ in range(max(1, round(wait_s / _POLL_S))):
        owner = await book.owner_of(pair)
        if owner is not None and is_dedicated(owner) == (place is Place.DEDICATED):
            return owner
        await pause(_POLL_S)
    raise TimeoutError(
        f"the pair is not there after {wait_s:.0f} s; the wish is written down and will be carried"
        " out: see `doorbuster stock placements`, and the caretaker's log"
    )


def _until(begin: datetime, minutes: int | None) -> datetime | None:
    try:
        return None if minutes is None else begin + timedelta(minutes=minutes)
    except OverflowError:
        raise NotPossibleError(f"{begin} and {minutes} minutes are beyond the calendar") from None


async def _told(work: Awaitable[Any]) -> Any:
    try:
        return await work
    except Unavailable as error:
        raise OSError(f"{error}; try again, a wish may be given twice") from None


def _place(home: Any, sku: str, warehouse: str, place: Place, minutes: int | None) -> None:
    room = settings_of(home).dedicated_owners_max

    async def work(parts: Parts) -> str:
        book = parts.placements
        pair = await pair_of(book, sku, warehouse)
        if place is Place.DEDICATED:
            await check_room(book, pair, room)
        until_at = _until(datetime.now(UTC), minutes)
        await book.wish(new_id(), pair, place, actor=getpass.getuser(), until_at=until_at)
        return await until_placed(book, pair, place)

    owner = carried_out_by(home, lambda parts: _told(work(parts)))
    Console().print(f"{sku} in {warehouse} is with {owner or 'the pool'}", highlight=False)


def add_placement_commands(app: typer.Typer) -> None:
    """The commands, on the `stock` sub-command."""

    @app.command()
    def promote(sku: Sku, warehouse: Warehouse, minutes: Minutes = None, home: Home = None) -> None:
        """Give a pair an owner of its own, now; it keeps it until demoted, or --for a while."""
        _place(home, sku, warehouse, Place.DEDICATED, minutes)

    @app.command()
    def demote(sku: Sku, warehouse: Warehouse, minutes: Minutes = None, home: Home = None) -> None:
        """Take a pair back into the pool, now; it stays there, however hot, or --for a while."""
        _place(home, sku, warehouse, Place.POOL, minutes)

    @app.command()
    def drop(
        sku: Sku,
        warehouse: Warehouse,
        at: Annotated[str, typer.Option("--at", help="When the sale starts: ISO, with its zone.")],
        minutes: Minutes = None,
        home: Home = None,
    ) -> None:
        """Plan a sale: the pair has its own owner, warm, a minute before it starts."""
        begin = aware_time(at)
        if begin is None or begin <= datetime.now(UTC):
            fail(f"{at} is in the past; for now: doorbuster stock promote {sku} {warehouse}")

        async def work(parts: Parts) -> None:
            pair = await pair_of(parts.placements, sku, warehouse)
            await parts.placements.wish(
                new_id(),
                pair,
                Place.DEDICATED,
                actor=getpass.getuser(),
                reason="drop",
                from_at=begin,
                until_at=_until(begin, minutes),
            )

        if settings_of(home).dedicated_owners_max == 0:
            fail("this shop has no dedicated owners; raise DOORBUSTER_DEDICATED_OWNERS_MAX")
        on_databases(settings_of(home), lambda parts: _told(work(parts)))
        Console().print(f"{sku} in {warehouse}: from {begin.isoformat()}", highlight=False)

    @app.command()
    def placements(home: Home = None) -> None:
        """Where pairs are wanted, now and later, and where they are."""
        rows = on_databases(settings_of(home), lambda parts: _told(parts.placements.planned()))
        if not rows:
            say_none("placements are planned or in force")
        for row in rows:
            until = row["until_at"].isoformat(timespec="seconds") if row["until_at"] else "-"
            line = f"{row['sku']}  {row['warehouse']}  {row['place']:<9}"
            line += f"  {row['from_at'].isoformat(timespec='seconds')}  {until}"
            line += f"  {row['owner_name'] or 'pool':<7}  {row['actor']}  {row['reason']}"
            Console().print(line.rstrip(), highlight=False, markup=False, soft_wrap=True)

    del promote, demote, drop, placements
