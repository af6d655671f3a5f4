"""The one place where actors meet Ray: owners and the caretaker as Ray actors, and the way to them.

The bodies are plain classes; what is here starts them in their processes, finds them by name
and turns Ray's errors into the house's own.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import Any, cast

import ray
import structlog
from ray.exceptions import RayError

from actors.caretaker import Caretaker
from actors.owner_stream import Address, OwnerServer, StreamTransport
from actors.stock_owner import StockOwner
from domain.ports import StaleEpoch, Unavailable

NAMESPACE = "doorbuster"
CARETAKER = "caretaker"
PING_TIMEOUT_S = 5.0
START_TIMEOUT_S = 60.0
_CALLS_AT_ONCE_MAX = 1_000
_CPUS = 0.1  # what an actor asks of the scheduler; they share the machine's cores
_log = structlog.get_logger(__name__)

OwnerFactory = Callable[[str], Awaitable[StockOwner]]
CaretakerFactory = Callable[[Callable[[], Awaitable[None]]], Awaitable[Caretaker]]


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

    def __init__(self, factory: CaretakerFactory, owners: tuple[str, ...]) -> None:
        self._factory = factory
        self._owners = owners
        self._running: asyncio.Task[None] | None = None

    async def ping(self) -> bool:
        """Alive; starts the loops when called first."""
        if self._running is None:
            self._running = asyncio.create_task(self._run())
            self._running.add_done_callback(lambda _: _stop_process("caretaker ended"))
        return True

    async def _run(self) -> None:
        finder = OwnerFinder()

        async def watch_owners() -> None:
            await asyncio.gather(*[finder.wake(owner) for owner in self._owners])

        caretaker = await self._factory(watch_owners)
        await caretaker.run()


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

    async def wake(self, owner: str) -> bool:
        """True if the owner is alive."""
        try:
            await self.address(owner)
        except Unavailable as error:
            _log.warning("owner_not_reached", owner=owner, reason=str(error))
            return False
        return True

    def _handle(self, owner: str) -> Any:
        handle = self._handles.get(owner)
        if handle is None:
            find = cast("Callable[..., Any]", ray.get_actor)  # pyright: ignore[reportUnknownMemberType]
            handle = self._handles[owner] = find(owner, namespace=NAMESPACE)
        return handle


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
    actor = ray.remote(_Owner)
    handles: list[Any] = [
        actor.options(**_options(name)).remote(name, factory, key) for name in owners
    ]
    ray.get([handle.ping.remote() for handle in handles], timeout=START_TIMEOUT_S)


def start_caretaker(owners: tuple[str, ...], factory: CaretakerFactory) -> None:
    """Start the caretaker, or find it running, and wait until it answers."""
    actor = ray.remote(_Caretaker)
    handle: Any = actor.options(**_options(CARETAKER)).remote(factory, owners)
    ray.get(handle.ping.remote(), timeout=START_TIMEOUT_S)
