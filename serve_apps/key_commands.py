"""`doorbuster keys …`: the keys that personal data is sealed with.

They work beside an open shop and with a closed one. What is printed never includes a key but the
new one that is to be set.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any, NoReturn
from uuid import UUID

import asyncpg
import orjson
import typer
from rich.console import Console
from rich.markup import escape

from domain import ids
from serve_apps.settings import Settings
from serve_apps.shop_process import databases, has_data, no_shop
from serve_apps.supervisor import AlreadyRunningError, read_run_file
from storage.key_ring import RELOAD_EVERY_S, KeyRing, KeyRingError, format_keys, new_key
from storage.postgres import open_pool
from storage.resealing import Resealed, Resealing, SealStatus

LEARNED_AFTER_S = 2 * RELOAD_EVERY_S
"""By then every process of the shop seals by the new key."""
SETTLED_AFTER_S = 60.0
"""By then every statement that carries a value of the key before has ended, and by far."""
_errors = Console(stderr=True)
_out = Console()

Home = Annotated[Path | None, typer.Option("--home", help="Folder of the shop's data.")]
Json = Annotated[
    str | None,
    typer.Option("--json", metavar="[FILE]", help="One JSON document on stdout, or in FILE."),
]
KeyId = Annotated[str, typer.Argument(help="The key's id.")]

keys_app = typer.Typer(
    name="keys", help="Rotate the keys that personal data is sealed with.", no_args_is_help=True
)


def _fail(message: str) -> NoReturn:
    _errors.print(f"[bold red]doorbuster:[/] {escape(message)}", highlight=False, soft_wrap=True)
    raise typer.Exit(1)


def _on_shop(
    home: Path | None, work: Callable[[Settings, asyncpg.Pool, KeyRing], Awaitable[Any]]
) -> Any:
    settings = Settings(home=home) if home is not None else Settings()
    if not has_data(settings.home, settings):
        _fail(no_shop(settings.home))

    async def run(filled: Settings) -> Any:
        pool = await open_pool(filled.database_url, max_size=1, application="doorbuster keys")
        try:
            return await work(filled, pool, filled.data_key_ring())
        finally:
            await pool.close()

    try:
        with databases(settings) as filled:
            return asyncio.run(run(filled))
    except (KeyRingError, AlreadyRunningError, asyncpg.PostgresError, OSError) as error:
        _fail(str(error) or type(error).__name__)


def _tell(line: str) -> None:
    _out.print(escape(line), highlight=False, soft_wrap=True)


@keys_app.command()
def status(home: Home = None, json: Json = None) -> None:
    """Say how many orders are sealed by which key. Exit status 1 if any is in the clear or lost."""

    async def work(_: Settings, pool: asyncpg.Pool, ring: KeyRing) -> Any:
        return ring.sealing_id, ring.key_ids, await Resealing(pool, ring).status()

    sealing, known, found = _on_shop(home, work)
    lost = {key_id: orders for key_id, orders in found.by_key.items() if key_id not in known}
    document = {
        "sealing": sealing,
        "keys": {key_id: found.by_key.get(key_id, 0) for key_id in known},
        "unknown_keys": lost,
        "in_the_clear": found.in_the_clear,
    }
    if json is None:
        _show(document)
    elif json == "-":
        typer.echo(orjson.dumps(document, option=orjson.OPT_INDENT_2).decode())
    else:
        try:
            Path(json).write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2))
        except OSError as error:
            _fail(f"cannot write {json}: {error.strerror}")
    raise typer.Exit(1 if lost or found.in_the_clear else 0)


def _show(document: dict[str, Any]) -> None:
    for key_id, orders in document["keys"].items():
        seals = "  seals" if key_id == document["sealing"] else ""
        _tell(f"{key_id:<16} {orders:>12,} orders{seals}")
    for key_id, orders in document["unknown_keys"].items():
        _tell(f"{key_id:<16} {orders:>12,} orders  THE KEY IS MISSING: put it back")
    _tell(f"{'in the clear':<16} {document['in_the_clear']:>12,} orders")


@keys_app.command()
def rotate(home: Home = None) -> None:
    """Take a new key, and seal every order's personal data anew by it.

    Keys of the environment are changed there; then this seals anew by the first of them. It may be
    interrupted and run again; the shop may be open.
    """

    async def work(settings: Settings, pool: asyncpg.Pool, ring: KeyRing) -> Any:
        resealing = Resealing(pool, ring, told=_progress)
        if settings.data_keys and _all_by_first(await resealing.status(), ring):
            return None
        return await _rotated(settings, pool, ring)

    came = _on_shop(home, work)
    if came is None:
        _tell_what_to_set()
        return
    key_id, resealed = came
    _tell(f"{resealed.orders:,} orders were sealed by {key_id}, which seals from now on")
    _tell_problems(resealed)


def _progress(orders: int) -> None:
    _errors.print(f"{orders:,} orders", highlight=False)


def _all_by_first(found: SealStatus, ring: KeyRing) -> bool:
    return not found.in_the_clear and set(found.by_key) <= {ring.sealing_id}


async def _rotated(settings: Settings, pool: asyncpg.Pool, ring: KeyRing) -> tuple[str, Resealed]:
    if settings.data_keys:
        return ring.sealing_id, await Resealing(pool, ring, told=_progress).seal_anew()
    key_id = settings.data_key_file().add()
    if read_run_file(settings.home) is not None:
        await asyncio.sleep(LEARNED_AFTER_S)
    fresh = settings.data_key_ring()
    return key_id, await Resealing(pool, fresh, told=_progress).seal_anew()


def _tell_what_to_set() -> None:
    _tell("every order is sealed by the first key of DOORBUSTER_DATA_KEYS. To take a new one:")
    _tell("1. add it at the end of DOORBUSTER_DATA_KEYS everywhere, and restart the processes:")
    typer.echo(format_keys((new_key(os.urandom),)))
    _tell("2. move it to the front everywhere, and restart again")
    _tell("3. run `doorbuster keys rotate` again, which seals everything by it")


def _tell_problems(resealed: Resealed) -> None:
    for order_id, why in resealed.unreadable:
        _errors.print(escape(f"{_name(order_id)}: {why}"), highlight=False, soft_wrap=True)
    if resealed.unreadable_count or resealed.left:
        _fail(
            f"{resealed.unreadable_count:,} orders do not open and were left as they are,"
            f" {resealed.left:,} were being worked on; mend the first, then run this again"
        )


def _name(order_id: UUID) -> str:
    return ids.encode("order", order_id)


@keys_app.command()
def retire(key_id: KeyId, home: Home = None) -> None:
    """Take out a key that seals nothing any more. It goes to `data-keys.retired`, for backups."""

    async def work(settings: Settings, pool: asyncpg.Pool, ring: KeyRing) -> Any:
        if key_id not in ring.key_ids:
            raise KeyRingError(f"there is no key {key_id}; `doorbuster keys status` lists them")
        if key_id == ring.sealing_id:
            raise KeyRingError(f"{key_id} is the key that seals; `doorbuster keys rotate` first")
        file = None if settings.data_keys else settings.data_key_file()
        if file is not None and (age := file.unchanged_for_s(time.time())) < SETTLED_AFTER_S:
            wait_s = SETTLED_AFTER_S - age
            raise KeyRingError(
                f"the keys changed {age:.0f} s ago, and an order may still be on its way that is"
                f" sealed by {key_id}; run this again in {wait_s:.0f} s"
            )
        if orders := (await Resealing(pool, ring).status()).by_key.get(key_id, 0):
            raise KeyRingError(
                f"{orders:,} orders are sealed by {key_id}; `doorbuster keys rotate` first"
            )
        if file is not None:
            file.retire(key_id)
        return file

    file = _on_shop(home, work)
    if file is None:
        _tell(f"nothing is sealed by {key_id}: take it out of DOORBUSTER_DATA_KEYS")
        _tell("keep it elsewhere for as long as you keep backups from before")
        return
    _tell(f"{key_id} is out of use; it stands in {file.retired_path} for older backups")
    _tell("delete it there when those are gone")
