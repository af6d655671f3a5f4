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
from ray.exceptions import RayActorError, RayError

from actors.caretaker import Caretaker
from actors.stock_owner import StockOwner
from actors.wire import pack_answers, pack_requests, unpack_answers, unpack_requests
from domain.ports import StaleEpoch, Unavailable
from domain.stock import Answer, Release, Reserve

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

    def __init__(self, name: str, factory: OwnerFactory) -> None:
        self._name = name
        self._factory = factory
        self._starting: asyncio.Task[StockOwner] | None = None
        self._running: asyncio.Task[None] | None = None

    async def call(self, packed: bytes) -> bytes:
        """One batch of requests (see actors.wire)."""
        owner = await self._started()
        return pack_answers(await owner.call(unpack_requests(packed)))

    async def ping(self) -> int:
        """Alive, and which epoch."""
        return (await self._started()).epoch

    async def _started(self) -> StockOwner:
        if self._starting is None or (self._starting.done() and self._starting.exception()):
            self._starting = asyncio.create_task(self._start())
        return await asyncio.shield(self._starting)

    async def _start(self) -> StockOwner:
        owner = await self._factory(self._name)
        await owner.start()
        self._running = asyncio.create_task(owner.run())
        self._running.add_done_callback(self._ended)
        return owner

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
        transport = RayTransport()

        async def watch_owners() -> None:
            await asyncio.gather(*[transport.ping(owner) for owner in self._owners])

        caretaker = await self._factory(watch_owners)
        await caretaker.run()


class RayTransport:
    """OwnerTransport over Ray: one actor call per batch."""

    def __init__(self) -> None:
        self._handles: dict[str, Any] = {}

    async def call(self, owner: str, requests: list[Reserve | Release]) -> list[Answer]:
        """Answers in order. Raises Unavailable when the owner did not answer."""
        try:
            packed: bytes = await self._handle(owner).call.remote(pack_requests(requests))
        except RayActorError as error:
            self._handles.pop(owner, None)
            raise Unavailable(f"owner {owner}: {type(error).__name__}") from error
        except (RayError, ValueError) as error:
            raise Unavailable(f"owner {owner}: {type(error).__name__}") from error
        return unpack_answers(packed)

    async def ping(self, owner: str) -> bool:
        """True if the owner is alive; waking it up if it has just been restarted."""
        try:
            async with asyncio.timeout(PING_TIMEOUT_S):
                await self._handle(owner).ping.remote()
        except (RayError, ValueError, TimeoutError) as error:
            self._handles.pop(owner, None)
            _log.warning("owner_not_reached", owner=owner, reason=type(error).__name__)
            return False
        return True

    def _handle(self, owner: str) -> Any:
        handle = self._handles.get(owner)
        if handle is None:
            find = cast("Callable[..., Any]", ray.get_actor)  # pyright: ignore[reportUnknownMemberType]
            handle = self._handles[owner] = find(owner, namespace=NAMESPACE)
        return handle


def start_actors(
    owners: tuple[str, ...], owner_factory: OwnerFactory, caretaker_factory: CaretakerFactory
) -> None:
    """Start the pool and the caretaker, or find them running, and wait until they answer.

    They outlive who starts them, and Ray starts them again when their process dies.
    """
    options: dict[str, Any] = {
        "namespace": NAMESPACE,
        "lifetime": "detached",
        "get_if_exists": True,
        "max_restarts": -1,
        "max_task_retries": 0,
        "num_cpus": _CPUS,
        "max_concurrency": _CALLS_AT_ONCE_MAX,
    }
    owner_actor, caretaker_actor = ray.remote(_Owner), ray.remote(_Caretaker)
    handles: list[Any] = [
        owner_actor.options(name=name, **options).remote(name, owner_factory) for name in owners
    ]
    handles.append(
        caretaker_actor.options(name=CARETAKER, **options).remote(caretaker_factory, owners)
    )
    ray.get([handle.ping.remote() for handle in handles], timeout=START_TIMEOUT_S)
