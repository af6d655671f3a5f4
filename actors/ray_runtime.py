"""The one place where actors meet Ray: owners and the caretaker as Ray actors, and the way to them.

The bodies are plain classes; what is here starts them in their processes, finds them by name
and turns Ray's errors into the house's own.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, cast

import ray
import structlog
from ray.exceptions import RayError

from actors.caretaker import Caretaker
from actors.owner_stream import Address, OwnerServer, StreamTransport
from actors.stock_owner import StockOwner
from domain.owners import is_dedicated
from domain.ports import OwnerHost, StaleEpoch, Unavailable

NAMESPACE = "doorbuster"
CARETAKER = "caretaker"
PING_TIMEOUT_S = 5.0
START_TIMEOUT_S = 60.0
_CALLS_AT_ONCE_MAX = 1_000
_CPUS = 0.01  # what an actor asks of the scheduler: fifty and more share a machine's cores
_log = structlog.get_logger(__name__)

OwnerFactory = Callable[[str], Awaitable[StockOwner]]
CaretakerFactory = Callable[[OwnerHost], Awaitable[Caretaker]]


def _stop_process(reason: str) -> None:
    """End this actor's process at once; Ray starts a new incarnation with a new epoch."""
    _log.error("actor_stops", reason=reason, pid=os.getpid())
    os._exit(1)


class _Owner:
    """A stock owner in a process of its own."""

    def __init__(self, name: str, factory: OwnerFactory, key: bytes) -> None:
        self._name = name
        self._factory = factory
        self._key = key
        self._starting: asyncio.Task[Address] | None = None
        self._running: asyncio.Task[None] | None = None

    async def ping(self) -> Address:
        """Alive, and where it listens for its callers."""
        return await self._started()

    async def _started(self) -> Address:
        if self._starting is None or (self._starting.done() and self._starting.exception()):
            self._starting = asyncio.create_task(self._start())
        return await asyncio.shield(self._starting)

    async def _start(self) -> Address:
        owner = await self._factory(self._name)
        await owner.start()
        self._running = asyncio.create_task(owner.run())
        self._running.add_done_callback(self._ended)
        own_node = cast("Callable[[], str]", ray.util.get_node_ip_address)  # pyright: ignore[reportUnknownMemberType]
        return await OwnerServer(owner, self._key).start(own_node())

    def _ended(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        stale = isinstance(error, StaleEpoch)
        _stop_process(f"a newer {self._name} exists" if stale else f"{self._name}: {error!r}")


class _Caretaker:
    """The caretaker in a process of its own."""

    def __init__(
        self, factory: CaretakerFactory, owners: tuple[str, ...], build: OwnerFactory, key: bytes
    ) -> None:
        self._factory = factory
        self._owners = owners
        self._build = build
        self._key = key
        self._running: asyncio.Task[None] | None = None

    async def ping(self) -> bool:
        """Alive; starts the loops when called first."""
        if self._running is None:
            self._running = asyncio.create_task(self._run())
            self._running.add_done_callback(lambda _: _stop_process("caretaker ended"))
        return True

    async def _run(self) -> None:
        caretaker = await self._factory(RayOwnerHost(self._owners, self._build, self._key))
        await caretaker.run()


class RayOwnerHost:
    """OwnerHost of domain.ports: owners as detached Ray actors."""

    def __init__(self, pool: tuple[str, ...], build: OwnerFactory, key: bytes) -> None:
        self._pool = pool
        self._build = build
        self._key = key

    async def running(self) -> set[str]:
        named = cast("Callable[..., list[str]]", ray.util.list_named_actors)  # pyright: ignore[reportUnknownMemberType]
        names = await asyncio.to_thread(named)  # of this namespace
        return {name for name in names if name in self._pool or is_dedicated(name)}

    async def start(self, owner: str) -> None:
        handle = _create_owner(owner, self._build, self._key)
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                await handle.ping.remote()
        except (RayError, TimeoutError) as error:
            raise Unavailable(f"owner {owner}: {type(error).__name__}") from error

    async def stop(self, owner: str) -> None:
        self._kill(owner, no_restart=True)

    async def replace(self, owner: str) -> None:
        self._kill(owner, no_restart=False)

    async def ping(self, owners: Sequence[str], timeout_s: float) -> list[bool | None]:
        return list(await asyncio.gather(*[self._ping(owner, timeout_s) for owner in owners]))

    async def _ping(self, owner: str, timeout_s: float) -> bool | None:
        try:
            async with asyncio.timeout(timeout_s):
                await _find(owner).ping.remote()
        except TimeoutError:
            return False
        except (RayError, ValueError):
            return None  # it died under the call: Ray is starting it again
        return True

    def _kill(self, owner: str, *, no_restart: bool) -> None:
        kill = cast("Callable[..., None]", ray.kill)  # pyright: ignore[reportUnknownMemberType]
        try:
            kill(_find(owner), no_restart=no_restart)
        except (RayError, ValueError) as error:
            raise Unavailable(f"owner {owner}: {type(error).__name__}") from error


class OwnerFinder:
    """Finds owners by name, through Ray."""

    def __init__(self) -> None:
        self._handles: dict[str, Any] = {}

    async def address(self, owner: str) -> Address:
        """Where the owner listens; wakes it up if it has just been restarted.

        Raises Unavailable when it does not answer in time.
        """
        try:
            async with asyncio.timeout(PING_TIMEOUT_S):
                host, port = await self._handle(owner).ping.remote()
        except (RayError, ValueError, TimeoutError) as error:
            self._handles.pop(owner, None)
            raise Unavailable(f"owner {owner}: {type(error).__name__}") from error
        return host, port

    def _handle(self, owner: str) -> Any:
        handle = self._handles.get(owner)
        if handle is None:
            handle = self._handles[owner] = _find(owner)
        return handle


def _find(name: str) -> Any:
    """The handle of a named actor. ValueError if there is none."""
    find = cast("Callable[..., Any]", ray.get_actor)  # pyright: ignore[reportUnknownMemberType]
    return find(name, namespace=NAMESPACE)


def _create_owner(name: str, build: OwnerFactory, key: bytes) -> Any:
    """Start an owner, or find it running."""
    return ray.remote(_Owner).options(**_options(name)).remote(name, build, key)


def ray_transport(key: bytes) -> StreamTransport:
    """OwnerTransport to owners that are Ray actors."""
    return StreamTransport(OwnerFinder().address, key)


def _options(name: str) -> dict[str, Any]:
    """They outlive who starts them, and Ray starts them again when their process dies."""
    return {
        "name": name,
        "namespace": NAMESPACE,
        "lifetime": "detached",
        "get_if_exists": True,
        "max_restarts": -1,
        "max_task_retries": 0,
        "num_cpus": _CPUS,
        "max_concurrency": _CALLS_AT_ONCE_MAX,
    }


def start_owners(owners: tuple[str, ...], factory: OwnerFactory, key: bytes) -> None:
    """Start the pool, or find it running, and wait until every owner answers.

    `key` (KEY_BYTES bytes) is what callers of the owners' streams have to show.
    """
    handles = [_create_owner(name, factory, key) for name in owners]
    ray.get([handle.ping.remote() for handle in handles], timeout=START_TIMEOUT_S)


def start_caretaker(
    owners: tuple[str, ...], factory: CaretakerFactory, build: OwnerFactory, key: bytes
) -> Callable[[], None]:
    """Start the caretaker, or find it running, and wait until it answers.

    It starts dedicated owners with `build` and `key`, as start_owners does those of the pool.
    What comes back wakes it up and is to be called every second or so: after its death Ray starts
    the process again, and that does nothing before it is first asked. It never waits.
    """
    actor = ray.remote(_Caretaker)
    handle: Any = actor.options(**_options(CARETAKER)).remote(factory, owners, build, key)
    ray.get(handle.ping.remote(), timeout=START_TIMEOUT_S)

    def wake() -> None:
        handle.ping.remote()

    return wake
