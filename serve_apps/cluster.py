"""Brings the actors and the applications up on Ray, and stays until it is told to stop.

A process of its own (`python -m serve_apps.cluster`): when Ray dies, this process ends and the
supervisor starts everything on Ray again. Its environment says what to run.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
import time
from collections.abc import Callable

import httpx
import psutil
import ray
import structlog
from ray import serve

from actors.ray_runtime import NAMESPACE, start_caretaker, start_owners
from domain.owners import pool_names
from serve_apps.composition import build_caretaker, build_owner
from serve_apps.deployments import APPLICATIONS, ROUTES
from serve_apps.settings import Settings
from serve_apps.site_app import OPEN_KEY
from storage.redis import open_redis

RAY_TEMP = "DOORBUSTER_RAY_TEMP"
FRONT_DOOR_TIMEOUT_S = 60.0
WATCH_EVERY_S = 1.0
OBJECT_STORE_BYTES = 100 * 1024 * 1024  # nothing large travels through it
_POLL_S = 0.1
_log = structlog.get_logger(__name__)

# A path of each application and the status it answers when it is there.
PROBES = {
    "catalog": ("/api/v1/products/search?limit=1", 200),
    "cart": ("/api/v1/cart", 401),
    "checkout": ("/api/v1/orders/order_probe", 401),
    "fraud": ("/api/v1/fraud/score", 405),
    "site": ("/healthz", 200),
}


def start_ray(settings: Settings) -> None:
    """Connect to the cluster of the settings, or start one on this machine."""
    if settings.ray_address != "local":
        ray.init(address=settings.ray_address, namespace=NAMESPACE, log_to_driver=False)
        return
    ray.init(
        address="local",
        namespace=NAMESPACE,
        include_dashboard=False,
        log_to_driver=False,
        num_cpus=max(os.cpu_count() or 1, 2),
        object_store_memory=OBJECT_STORE_BYTES,
        _temp_dir=os.environ.get(RAY_TEMP),
    )


def deploy(settings: Settings) -> Callable[[], None]:
    """Start actors and applications; returns when all of them run.

    What comes back keeps the caretaker at work (see start_caretaker).
    """
    owners = pool_names(settings.stock_owners)
    start_owners(owners, build_owner, settings.stream_key())
    wake = start_caretaker(owners, build_caretaker, build_owner, settings.stream_key())
    serve.start(
        proxy_location="EveryNode",
        http_options={"host": settings.host, "port": settings.port},
        logging_config={"enable_access_log": False, "log_level": "WARNING"},
    )
    targets = [
        serve.RunTarget(target=build(), name=name, route_prefix=ROUTES[name])
        for name, build in APPLICATIONS.items()
    ]
    serve.run_many(targets)
    return wake


def ray_processes() -> list[psutil.Process]:
    """The raylet and the control store, where this process started them."""
    children = psutil.Process().children()
    return [child for child in children if child.name() in ("raylet", "gcs_server")]


def _is_gone(process: psutil.Process) -> bool:
    try:
        return process.status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    except psutil.NoSuchProcess:
        return True


async def close_the_door(settings: Settings) -> None:
    """Not open until `open_the_door`: a killed predecessor's word is still in Redis."""
    redis = open_redis(settings.redis_url)
    await redis.delete(OPEN_KEY)
    await redis.aclose()


async def open_the_door(settings: Settings) -> None:
    """Wait until every application answers through the front door, then say so.

    Raises TimeoutError naming the ones that do not.
    """
    waiting = dict(PROBES)
    deadline = time.monotonic() + FRONT_DOOR_TIMEOUT_S
    base = f"http://{settings.host}:{settings.port}"
    async with httpx.AsyncClient(base_url=base, timeout=5.0) as client:
        while waiting:
            for name, (path, expected) in list(waiting.items()):
                try:
                    if (await client.get(path)).status_code == expected:
                        del waiting[name]
                except httpx.HTTPError:
                    pass
            if waiting and time.monotonic() > deadline:
                raise TimeoutError(f"no answer through {base} from: {', '.join(waiting)}")
            if waiting:
                await asyncio.sleep(_POLL_S)
    redis = open_redis(settings.redis_url)
    await redis.set(OPEN_KEY, str(os.getpid()))
    await redis.aclose()


def main() -> int:
    """Run until SIGTERM (exit 0) or until Ray is gone (exit 1)."""
    settings = Settings()
    stop = threading.Event()
    asyncio.run(close_the_door(settings))
    start_ray(settings)
    watched = ray_processes()
    for name in (signal.SIGTERM, signal.SIGINT):  # after Ray, which installs handlers of its own
        signal.signal(name, lambda *_: stop.set())
    wake_caretaker = deploy(settings)
    asyncio.run(open_the_door(settings))
    _log.info("shop_open", port=settings.port)
    while not stop.wait(WATCH_EVERY_S):
        # Ray gives its own parts up late; meanwhile nothing that dies is started again.
        if gone := [process.pid for process in watched if _is_gone(process)]:
            _log.error("ray_is_gone", pids=gone)
            sys.stdout.flush()
            os._exit(1)  # Ray's farewell would wait for what is gone; the supervisor ends the rest
        if not any(node["Alive"] for node in ray.nodes()):
            _log.error("ray_is_gone")
            return 1
        wake_caretaker()
    if settings.ray_address == "local":
        ray.shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
