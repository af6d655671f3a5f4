"""The Ray Serve deployments: one application per app, each behind its own path.

`serve deploy serve.yaml` and `doorbuster up` deploy these same applications.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ray import serve
from starlette.types import ASGIApp, Receive, Scope, Send

from serve_apps import composition
from serve_apps.settings import Settings

HEALTH_CHECK_PERIOD_S = 2.0
HEALTH_CHECK_TIMEOUT_S = 10.0
SHUTDOWN_WAIT_S = 2.0
IN_FLIGHT_MAX = 512
_CPUS = 0.1

ROUTES = {
    "catalog": "/api/v1/products",
    "cart": "/api/v1/cart",
    "checkout": "/api/v1/orders",
    "fraud": "/api/v1/fraud",
    "site": "/",
}
"""Application → the path it answers."""


class WholePath:
    """Serve names the application's prefix as the ASGI root path; our routes are whole paths."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope.get("root_path"):
            root = scope["root_path"].rstrip("/")
            path = scope["path"]
            whole = path if path.startswith(root) else root + path
            scope = {**scope, "root_path": "", "path": whole}
        await self._app(scope, receive, send)


def _application(
    name: str, build: Callable[[], ASGIApp], *, replicas: int, in_flight_max: int = IN_FLIGHT_MAX
) -> serve.Application:
    def asgi() -> ASGIApp:
        return WholePath(build())

    deployment: Any = serve.deployment(serve.ingress(asgi)())
    return deployment.options(
        name=name,
        num_replicas=replicas,
        max_ongoing_requests=in_flight_max,
        max_queued_requests=in_flight_max,
        ray_actor_options={"num_cpus": _CPUS},
        health_check_period_s=HEALTH_CHECK_PERIOD_S,
        health_check_timeout_s=HEALTH_CHECK_TIMEOUT_S,
        graceful_shutdown_wait_loop_s=SHUTDOWN_WAIT_S,
        graceful_shutdown_timeout_s=20.0,
        logging_config={"enable_access_log": False, "log_level": "WARNING"},
    ).bind()


def catalog(_args: dict[str, str] | None = None) -> serve.Application:
    """Search and product pages."""
    return _application("catalog", composition.catalog_app, replicas=Settings().catalog_replicas)


def cart(_args: dict[str, str] | None = None) -> serve.Application:
    """Carts."""
    return _application("cart", composition.cart_app, replicas=Settings().cart_replicas)


def checkout(_args: dict[str, str] | None = None) -> serve.Application:
    """Checkout and orders."""
    settings = Settings()
    return _application(
        "checkout",
        composition.checkout_app,
        replicas=settings.checkout_replicas,
        in_flight_max=settings.checkout_in_flight_max,
    )


def fraud(_args: dict[str, str] | None = None) -> serve.Application:
    """Fraud scoring."""
    return _application("fraud", composition.fraud_app, replicas=Settings().fraud_replicas)


def site(_args: dict[str, str] | None = None) -> serve.Application:
    """Pages, live availability, health and figures."""
    # Who listens stays: that must not take the places of those who ask for a page.
    in_flight_max = IN_FLIGHT_MAX + Settings().live_subscribers_max
    return _application("site", composition.site_app, replicas=1, in_flight_max=in_flight_max)


APPLICATIONS: dict[str, Callable[[], serve.Application]] = {
    "catalog": catalog,
    "cart": cart,
    "checkout": checkout,
    "fraud": fraud,
    "site": site,
}
