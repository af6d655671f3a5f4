"""The rest over HTTP: pages, health, the API's description, the operators' figures."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import asyncpg
import fastapi_offline
import orjson
from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from redis.asyncio import Redis
from redis.exceptions import RedisError
from starlette.requests import Request
from starlette.responses import Response
from starlette.staticfiles import StaticFiles

from domain.ports import Unavailable
from serve_apps.http import Problem, describe, json_response, problem_answers
from serve_apps.overview import Overview
from serve_apps.pages import add_pages
from storage.metrics_board import RedisMetricsBoard
from storage.stock_journal import UNREACHABLE

VERSION = "0.1.0"
OPENAPI_PATH = "/api/v1/openapi.json"
SELLING_APPS = ("catalog", "cart", "checkout", "fraud")
OPEN_KEY = "shop:open"
"""Set by who deployed the apps, once each of them answered through the front door."""
PART_TIMEOUT_S = 2.0
_DOCS_ASSETS = Path(fastapi_offline.__file__).parent / "static"


class SiteService:
    """Health and figures."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        redis: Redis,
        metrics: RedisMetricsBoard,
        overview: Overview,
        owners: tuple[str, ...],
    ) -> None:
        self._pool = pool
        self._redis = redis
        self._metrics = metrics
        self._owners = owners
        self.overview = overview

    async def parts(self) -> dict[str, str]:
        """Each part the shop needs to sell, as `ready` or what is wrong with it."""
        postgres, redis = await asyncio.gather(self._postgres(), self._redis_parts())
        return {"postgres": postgres, **redis}

    async def _postgres(self) -> str:
        try:
            async with asyncio.timeout(PART_TIMEOUT_S):
                await self._pool.fetchval("SELECT 1")
        except UNREACHABLE as error:
            return f"not reached: {type(error).__name__}"
        return "ready"

    async def _redis_parts(self) -> dict[str, str]:
        try:
            async with asyncio.timeout(PART_TIMEOUT_S):
                owners = await self._metrics.read("owners")
                replicas = await self._metrics.read("replicas")
                is_open = await self._redis.exists(OPEN_KEY)
        except (RedisError, OSError, TimeoutError) as error:
            return {"redis": f"not reached: {type(error).__name__}"}
        alive = {shown["app"] for shown in replicas.values() if shown["alive"]}
        parts = {"redis": "ready", "front_door": "ready" if is_open else "not open yet"}
        parts |= {app: "ready" if app in alive else "no replica reports" for app in SELLING_APPS}
        for owner in self._owners:
            reports = owners.get(owner, {}).get("alive", False)
            parts[f"owner {owner}"] = "ready" if reports else "does not report"
        return parts


def add_site_routes(app: FastAPI, described: tuple[FastAPI, ...]) -> None:
    """The site's routes, over the SiteService at `app.state.site`.

    `app.state.takes_cards` is the name of the payment provider that new cards go to.
    """
    add_pages(app, takes_cards=lambda request: request.app.state.takes_cards)

    @app.get(
        "/healthz", summary="Is the process alive", response_model=dict[str, str], tags=["health"]
    )
    async def alive() -> Response:
        return json_response({"status": "alive"})

    @app.get(
        "/readyz",
        summary="Can the shop sell",
        response_model=dict[str, Any],
        responses=problem_answers("not_ready"),
        tags=["health"],
    )
    async def ready(request: Request) -> Response:
        parts = await request.app.state.site.parts()
        waiting = sorted(name for name, state in parts.items() if state != "ready")
        if waiting:
            raise Problem("not_ready", f"not ready: {', '.join(waiting)}", parts=parts)
        return json_response({"status": "ready", "parts": parts})

    @app.get(
        "/api/v1/ops/overview",
        summary="Owners, hot pairs and rates, for the dashboard",
        response_model=dict[str, Any],
        responses=problem_answers("busy"),
        tags=["operations"],
    )
    async def overview(request: Request) -> Response:
        try:
            return json_response(await request.app.state.site.overview.read())
        except (RedisError, Unavailable, *UNREACHABLE) as error:
            detail = f"the figures cannot be read right now ({type(error).__name__})"
            raise Problem("busy", detail) from None

    _add_description(app, described)
    del alive, ready, overview


def _add_description(app: FastAPI, described: tuple[FastAPI, ...]) -> None:
    cached: dict[str, bytes] = {}

    def document() -> bytes:
        if "document" not in cached:
            # Last: the selling apps describe themselves better than the site describes them.
            whole: dict[str, Any] = describe("Doorbuster", VERSION, (app, *described))
            cached["document"] = orjson.dumps(whole)
        return cached["document"]

    async def openapi(request: Request) -> Response:
        del request
        return Response(document(), media_type="application/json")

    async def docs(request: Request) -> Response:
        del request
        return get_swagger_ui_html(
            openapi_url=OPENAPI_PATH,
            title="Doorbuster API",
            swagger_js_url="/docs-assets/swagger-ui-bundle.js",
            swagger_css_url="/docs-assets/swagger-ui.css",
            swagger_favicon_url="/favicon.svg",
        )

    app.add_route(OPENAPI_PATH, openapi, include_in_schema=False)
    app.add_route("/docs", docs, include_in_schema=False)
    app.mount("/docs-assets", StaticFiles(directory=_DOCS_ASSETS))
