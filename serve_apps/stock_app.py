"""What operators see of the stock over HTTP: owners, pairs, and where pairs are wanted."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator, Mapping
from typing import Annotated, Any
from urllib.parse import urlencode
from uuid import UUID

from fastapi import FastAPI, Query
from starlette.requests import Request
from starlette.responses import Response

from domain import ids
from domain.board_ports import MetricsReader
from domain.owners import is_dedicated, owner_number
from domain.ports import Unavailable
from serve_apps.http import Problem, ShortText, field_problem, json_response, problem_answers
from serve_apps.owner_states import OwnerState, owner_state, pairs_by_owner
from storage.placements import PostgresPlacements
from storage.stock_views import PairFilter, StockViews

LIMIT_MAX = 200
_PATH = "/api/v1/stock"
_CURSOR = "cursor"
_FIGURES = ("pairs", "open_reservations", "queue", "turn_size", "turns_per_s")
_FIGURES += ("commit_ms_p50", "commit_ms_p99", "reservations_per_s")
Limit = Annotated[int, Query(ge=1, le=LIMIT_MAX, description="Pairs on a page")]
Filter = Annotated[ShortText | None, Query()]


class StockService:
    """The owners' own figures beside what Postgres knows. Raises Unavailable."""

    def __init__(
        self,
        views: StockViews,
        placements: PostgresPlacements,
        metrics: MetricsReader,
        pool: tuple[str, ...],
    ) -> None:
        self._views = views
        self._placements = placements
        self._metrics = metrics
        self._pool = pool

    async def owners(self) -> list[dict[str, Any]]:
        """Every owner there is or was: the pool's first, by number."""
        rows, dedicated, reported = await asyncio.gather(
            self._views.owners(), self._views.dedicated(), self._metrics.read("owners")
        )
        own = pairs_by_owner(dedicated)
        names = sorted({*rows, *reported, *self._pool}, key=owner_number)
        hot = [one for name in names for one in _hot_pairs(reported.get(name, {}))]
        named = await self._views.by_ids([pair for pair, _ in hot])
        return [
            _owner(name, rows.get(name), reported.get(name, {}), own.get(name, []), named)
            for name in names
        ]

    async def owner(self, name: str) -> dict[str, Any] | None:
        """One owner with its last generations, newest first; None if there never was one."""
        shown = next((one for one in await self.owners() if one["name"] == name), None)
        if shown is None:
            return None
        return {**shown, "generations": await self._views.generations(name)}

    async def pairs(
        self, wanted: PairFilter, *, limit: int, after: UUID | None
    ) -> tuple[list[dict[str, Any]], UUID | None]:
        """A page of pairs, each with its heat, and where the next one begins."""
        page, heat, owners = await asyncio.gather(
            self._views.pairs(wanted, limit=limit, after=after), self._heat(), self._views.owners()
        )
        return [_pair(row, heat, owners) for row in page.rows], page.next_after

    async def pair(self, sku: str, warehouse: str) -> dict[str, Any] | None:
        """One pair with its last hand-overs and ledger lines; None if there is none."""
        row, heat, owners = await asyncio.gather(
            self._views.pair(sku, warehouse), self._heat(), self._views.owners()
        )
        return None if row is None else _pair(row, heat, owners)

    async def placements(self) -> list[dict[str, Any]]:
        """What operators wish now and later, soonest first."""
        planned = await self._placements.planned()
        return [_placement(row) for row in planned]

    def check_owner(self, name: str) -> None:
        """Raises ValueError for a name that no owner of this shop can have."""
        owner_number(name)
        if not is_dedicated(name) and name not in self._pool:
            raise ValueError(f"{name!r} is not in the pool, which has {len(self._pool)} owners")

    async def _heat(self) -> dict[UUID, float]:
        heat: dict[UUID, float] = {}
        for shown in (await self._metrics.read("owners")).values():
            if shown["alive"]:
                for pair, per_s in _hot_pairs(shown):
                    heat[pair] = max(heat.get(pair, 0.0), per_s)
        return heat


def _hot_pairs(shown: Mapping[str, Any]) -> list[tuple[UUID, float]]:
    hot = shown.get("hot_pairs", ())
    return [(UUID(hex=one["inventory_id"]), one["requests_per_s"]) for one in hot]


def _owner(
    name: str,
    row: Mapping[str, Any] | None,
    shown: Mapping[str, Any],
    own: list[dict[str, str]],
    named: Mapping[UUID, Mapping[str, Any]],
) -> dict[str, Any]:
    state = owner_state(name, shown, row, bool(own))
    # What an owner says of itself is newer than its row only while it lives.
    alive = state is OwnerState.ALIVE
    about = shown if alive or row is None else row
    if state is OwnerState.STOPPED:
        shown = {}  # its last figures are of no time that matters
    return {
        "name": name,
        "kind": "dedicated" if is_dedicated(name) else "pool",
        "state": state,
        "alive": alive,
        **{key: about.get(key) for key in ("epoch", "node", "pid")},
        "started_at": row["started_at"] if row else None,
        **{key: shown.get(key) for key in _FIGURES},
        "dedicated_pairs": own,
        "hot_pairs": [
            {
                "sku": named[pair]["sku"],
                "warehouse": named[pair]["warehouse"],
                "available": named[pair]["available"],
                "requests_per_s": per_s,
            }
            for pair, per_s in _hot_pairs(shown)
            if pair in named
        ],
    }


def _pair(
    row: Mapping[str, Any],
    heat: Mapping[UUID, float],
    owners: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    shown = dict(row)
    inventory_id = shown.pop("inventory_id")
    shown["product_id"] = ids.encode("prod", shown["product_id"])
    shown["owner_epoch"] = owners.get(shown["owner"], {}).get("epoch")
    shown["dedicated"] = is_dedicated(shown["owner"])
    shown["requests_per_s"] = heat.get(inventory_id, 0.0)
    return shown


def _placement(row: Mapping[str, Any]) -> dict[str, Any]:
    wanted = ("sku", "warehouse", "place", "from_at", "until_at", "actor", "reason")
    shown = {key: row[key] for key in wanted}
    return {**shown, "is_dedicated": is_dedicated(row["owner_name"])}


@contextlib.contextmanager
def _reached() -> Iterator[None]:
    try:
        yield
    except Unavailable as error:
        raise Problem("busy", f"the stock cannot be read right now ({error})") from None


def _filter(
    service: StockService,
    sku: str | None,
    warehouse: str | None,
    owner: str | None,
    product_id: str | None,
) -> PairFilter:
    try:
        product = None if product_id is None else ids.decode("prod", product_id)
    except ValueError as error:
        raise field_problem("product_id", str(error)) from None
    try:
        if owner is not None:
            service.check_owner(owner)
    except ValueError as error:
        raise field_problem("owner", str(error)) from None
    return PairFilter(sku=sku, warehouse=warehouse, owner=owner, product_id=product)


def _after(cursor: str | None) -> UUID | None:
    try:
        return None if cursor is None else ids.decode(_CURSOR, cursor)
    except ValueError:
        message = "is not one that a page gave; take it from the page before, unchanged"
        raise field_problem("cursor", message) from None


def add_stock_routes(app: FastAPI) -> None:
    """The operators' routes, over the StockService at `app.state.stock`."""
    _add_owner_routes(app)
    _add_pair_routes(app)

    @app.get(
        f"{_PATH}/placements",
        summary="Where operators want pairs, now and later",
        response_model=dict[str, Any],
        responses=problem_answers("busy"),
        tags=["operations"],
    )
    async def stock_placements(request: Request) -> Response:
        with _reached():
            return json_response({"placements": await request.app.state.stock.placements()})

    del stock_placements


def _add_owner_routes(app: FastAPI) -> None:
    @app.get(
        f"{_PATH}/owners",
        summary="The stock owners and their figures",
        response_model=dict[str, Any],
        responses=problem_answers("busy"),
        tags=["operations"],
    )
    async def stock_owners(request: Request) -> Response:
        with _reached():
            return json_response({"owners": await request.app.state.stock.owners()})

    @app.get(
        f"{_PATH}/owners/{{name}}",
        summary="One stock owner and its generations",
        response_model=dict[str, Any],
        responses=problem_answers("not_found", "busy"),
        tags=["operations"],
    )
    async def stock_owner(request: Request, name: str) -> Response:
        with _reached():
            shown = await request.app.state.stock.owner(name)
        if shown is None:
            raise Problem("not_found", f"there is no owner {name[:80]!r}; see {_PATH}/owners")
        return json_response(shown)

    del stock_owners, stock_owner


def _add_pair_routes(app: FastAPI) -> None:
    @app.get(
        f"{_PATH}/pairs",
        summary="Pairs with their stock, owner and heat, a page at a time",
        response_model=dict[str, Any],
        responses=problem_answers("validation", "busy"),
        tags=["operations"],
    )
    async def stock_pairs(
        request: Request,
        *,
        sku: Filter = None,
        warehouse: Filter = None,
        owner: Filter = None,
        product_id: Filter = None,
        limit: Limit = 50,
        cursor: Filter = None,
    ) -> Response:
        service: StockService = request.app.state.stock
        wanted = _filter(service, sku, warehouse, owner, product_id)
        with _reached():
            rows, last = await service.pairs(wanted, limit=limit, after=_after(cursor))
        following = None if last is None else ids.encode(_CURSOR, last)
        asked = {"sku": sku, "warehouse": warehouse, "owner": owner, "product_id": product_id}
        given: dict[str, Any] = {key: value for key, value in asked.items() if value is not None}
        query = urlencode({**given, "limit": limit, "cursor": following or ""})
        headers = {"Link": f'<{_PATH}/pairs?{query}>; rel="next"'} if following else {}
        return json_response({"pairs": rows, "next_cursor": following}, headers=headers)

    @app.get(
        f"{_PATH}/pairs/{{sku:path}}/{{warehouse}}",
        summary="One pair with its last hand-overs and movements",
        response_model=dict[str, Any],
        responses=problem_answers("validation", "not_found", "busy"),
        tags=["operations"],
    )
    async def stock_pair(request: Request, sku: ShortText, warehouse: ShortText) -> Response:
        with _reached():
            shown = await request.app.state.stock.pair(sku, warehouse)
        if shown is None:
            detail = f"no pair of SKU {sku!r} and warehouse {warehouse!r}; see {_PATH}/pairs"
            raise Problem("not_found", detail)
        return json_response(shown)

    del stock_pairs, stock_pair
