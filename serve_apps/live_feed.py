"""Availability as it changes: one reader of the stream of changes per process, many listeners.

A listener is told the newest number of a variant, not each one on the way: what waits for a slow
listener is replaced, so only one that cannot take even that is let go, to resume later.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

import orjson
import structlog

from domain.catalog import ListedProduct, ListedVariant
from domain.ids import encode
from domain.ports import Unavailable
from serve_apps.http import Problem
from serve_apps.shelf import Shelf
from storage.availability import AvailabilityReader
from storage.availability_stream import (
    ENTRIES_READ_MAX,
    ChangeStream,
    RecentChanges,
    StreamId,
)

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveConfig:
    """Bounds of one process's feed."""

    subscribers_max: int = 1_000
    """Listeners at once; beyond it new ones are told to come back."""
    waiting_max: int = 1_000
    """Variants that may wait to be sent to one listener, or be caught up with on resuming."""
    heartbeat_s: float = 15.0
    """A silent connection shows so often that it is there."""
    age_max_s: float = 1_800.0
    """After this a listener is asked to connect anew, so that none stays on an old replica."""
    wait_s: float = 1.0
    """How long one read waits for a change; heartbeats are as exact as that."""
    gather_s: float = 0.1
    """Least time between two rounds; what changes meanwhile goes into the next."""
    gather_max_s: float = 0.5
    deliveries_per_s: int = 2_000
    """Above it rounds come less often, down to `gather_max_s`: sending must not starve pages.
    One takes about 60 microseconds, so this is an eighth of a core."""
    retry_s: float = 1.0
    """Pause after Redis failed."""


class Ending(StrEnum):
    """Why a listener was let go; in all cases it may connect again and resume."""

    SLOW = "too much was waiting for you; resume from the last event id"
    AWAY = "availability cannot be read right now; resume from the last event id"
    OLD = "this connection is old; resume from the last event id"
    CLOSING = "this server is closing; resume from the last event id"


class Kind(StrEnum):
    """The events' names on the wire."""

    AVAILABILITY = "availability"
    SNAPSHOT = "snapshot"
    MISSED = "missed"


@dataclass(frozen=True, slots=True)
class Event:
    """What is sent: `id` is where to resume, `data` is JSON."""

    kind: Kind
    id: StreamId
    data: bytes


class Subscription:
    """One listener: what waits to be sent to it. Made by `LiveFeed.subscribe`."""

    def __init__(
        self,
        number: int,
        variants: Collection[UUID] | None,
        position: StreamId,
        waiting_max: int,
        now: float,
    ) -> None:
        self.number = number
        """Counts the listeners of this process."""
        self.variants = variants
        """None: all."""
        self.ending: Ending | None = None
        self.begun_at = now
        self.beat_at = now
        self._told = position
        self._newest = position
        self._opening: list[Event] = []
        self._waiting: dict[UUID, bytes] = {}
        self._waiting_max = waiting_max
        self._wake = asyncio.Event()

    def open_with(self, event: Event) -> None:
        """What comes first."""
        self._opening.append(event)
        self._wake.set()

    def resume(self, after: StreamId, missed: Mapping[UUID, bytes]) -> None:
        """Send what changed after `after`; numbers offered meanwhile are newer and stay."""
        self._told = after
        self._waiting = {**missed, **self._waiting}
        self._wake.set()

    def offer(self, numbers: Mapping[UUID, bytes], at: StreamId) -> None:
        """More to send; ends the subscription if it is too much."""
        for variant_id, data in numbers.items():
            # To the end, so that what is sent last is the newest.
            self._waiting.pop(variant_id, None)
            self._waiting[variant_id] = data
        self._newest = at
        if len(self._waiting) > self._waiting_max:
            self.end(Ending.SLOW)
        self._wake.set()

    def end(self, why: Ending) -> None:
        """Nothing more is sent; the first reason counts."""
        if self.ending is None:
            self.ending = why
            self._waiting.clear()
            self._opening.clear()
        self._wake.set()

    def beat(self, now: float) -> None:
        """Let it show that it is there."""
        self.beat_at = now
        self._wake.set()

    async def take(self) -> list[Event]:
        """What waits, at least a heartbeat (an empty list); look at `ending` afterwards.

        The id of an event is a place from which nothing is missed: events of one moment have the
        place before it, but for the last.
        """
        await self._wake.wait()
        self._wake.clear()
        events, self._opening = self._opening, []
        waiting, self._waiting = self._waiting, {}
        events += [Event(Kind.AVAILABILITY, self._told, data) for data in waiting.values()]
        if waiting:
            self._told = self._newest
            events[-1] = Event(Kind.AVAILABILITY, self._told, events[-1].data)
        return events


class LiveFeed:
    """Follows the stream of changes and tells the listeners of this process."""

    def __init__(
        self,
        *,
        changes: ChangeStream,
        availability: AvailabilityReader,
        shelf: Shelf,
        monotonic: Callable[[], float],
        config: LiveConfig | None = None,
    ) -> None:
        self.config = config or LiveConfig()
        self._changes = changes
        self._availability = availability
        self._shelf = shelf
        self._monotonic = monotonic
        self._recent = RecentChanges()
        self._reading = False
        self._subscriptions: set[Subscription] = set()
        self._by_variant: dict[UUID, set[Subscription]] = {}
        self._unfiltered: set[Subscription] = set()
        self._numbers = itertools.count()

    @property
    def subscribers(self) -> int:
        """Listeners now."""
        return len(self._subscriptions)

    @property
    def position(self) -> StreamId:
        """How far it has read; what was published up to here has been told or is being told."""
        return self._recent.position

    @property
    def reading(self) -> bool:
        """Whether it has caught up with the stream and can take listeners."""
        return self._reading

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[LiveFeed]:
        """Follow the stream for the length of a `with`; then let everybody go."""
        task = asyncio.create_task(self._run())
        try:
            yield self
        finally:
            self._lose(Ending.CLOSING)
            # Again and again: a Redis command that ends just then swallows a cancellation.
            while not task.done():
                task.cancel()
                await asyncio.wait([task], timeout=self.config.wait_s)

    @contextlib.asynccontextmanager
    async def subscribe(
        self, products: Sequence[UUID], variants: Sequence[UUID], after: StreamId | None
    ) -> AsyncIterator[Subscription]:
        """A listener for the length of a `with`: to these products and variants, or to all.

        `after` is the last event it knows. Raises Problem: busy, or not_found if nothing of what
        is asked for is for sale.
        """
        self._check_room()
        try:
            asked = await self._asked(products, variants)
            self._check_room()
            subscription = self._add(asked)
            try:
                await self._open(subscription, after)
                yield subscription
            finally:
                self._remove(subscription)
        except Unavailable:
            raise _away() from None

    def _check_room(self) -> None:
        if not self._reading:
            raise _away()
        if len(self._subscriptions) >= self.config.subscribers_max:
            raise Problem(
                "busy",
                f"{self.config.subscribers_max} listen here already; read the product page instead",
                retry_after=10,
            )

    async def _asked(
        self, products: Sequence[UUID], variants: Sequence[UUID]
    ) -> frozenset[UUID] | None:
        if not products and not variants:
            return None
        found = await asyncio.gather(*(self._shelf.product(one) for one in dict.fromkeys(products)))
        asked = set(await self._shelf.variants(list(dict.fromkeys(variants))))
        asked.update(v.variant_id for product in found if product for v in product.variants)
        if not asked:
            raise Problem("not_found", "nothing of what was asked for is for sale")
        return frozenset(asked)

    def _add(self, asked: frozenset[UUID] | None) -> Subscription:
        config = self.config
        # What a product page asks for may always wait.
        waiting_max = max(config.waiting_max, len(asked or ()))
        added = Subscription(
            next(self._numbers), asked, self._recent.position, waiting_max, self._monotonic()
        )
        self._subscriptions.add(added)
        if asked is None:
            self._unfiltered.add(added)
        for variant_id in asked or ():
            self._by_variant.setdefault(variant_id, set()).add(added)
        return added

    def _remove(self, subscription: Subscription) -> None:
        self._subscriptions.discard(subscription)
        self._unfiltered.discard(subscription)
        for variant_id in subscription.variants or ():
            listeners = self._by_variant[variant_id]
            listeners.discard(subscription)
            if not listeners:
                del self._by_variant[variant_id]

    async def _open(self, subscription: Subscription, after: StreamId | None) -> None:
        """What the listener missed, or all it asked for if that cannot be told."""
        position, asked = self._recent.position, subscription.variants
        missed: list[UUID] | None = None
        if after is not None and self._recent.reaches(after):
            among = None if asked is None else frozenset(asked)
            missed = self._recent.since(after, among, self.config.waiting_max)
        if after is not None and missed is not None:
            subscription.resume(after, await self._in_json(missed))
        elif asked is not None:
            data = b",".join((await self._in_json(sorted(asked))).values())
            listed = b'{"availability":[%b]}' % data
            subscription.open_with(Event(Kind.SNAPSHOT, position, listed))
        elif after is not None:
            since = orjson.dumps({"since": str(after)})
            subscription.open_with(Event(Kind.MISSED, position, since))

    async def _in_json(self, variants: Collection[UUID]) -> dict[UUID, bytes]:
        """The JSON of each variant that is for sale. Raises Unavailable."""
        listed = await self._shelf.variants(list(variants))
        pairs_of = {
            one: [pair.inventory_id for pair in variant.pairs]
            for one, (_, variant) in listed.items()
        }
        units = await self._availability.units_now(pairs_of)
        return {one: _as_json(*listed[one], units[one]) for one in variants if one in listed}

    async def _run(self) -> None:
        while True:
            try:
                await self._follow()
            except Unavailable as error:
                _log.warning("live_feed_interrupted", reason=str(error))
            except Exception:
                _log.exception("live_feed_failed")
            self._lose(Ending.AWAY)
            await asyncio.sleep(self.config.retry_s)

    def _lose(self, why: Ending) -> None:
        self._reading = False
        for subscription in self._subscriptions:
            subscription.end(why)

    async def _follow(self) -> None:
        """Read to the end of the stream, then tell what comes; returns when entries were lost."""
        self._recent = recent = RecentChanges()
        config, behind = self.config, True
        while True:
            began, before = self._monotonic(), recent.position
            batch = await self._changes.after(before, wait_s=0.0 if behind else config.wait_s)
            behind = len(batch) == ENTRIES_READ_MAX
            # Only who is far behind can have missed entries that were trimmed.
            if behind and self._reading and await self._is_trimmed(before):
                return
            changed = recent.add(batch)
            delivered = await self._deliver(changed) if self._reading else 0
            self._reading = self._reading or not behind
            self._tick(self._monotonic())
            if not behind:
                spacing = min(config.gather_max_s, delivered / config.deliveries_per_s)
                rest = max(config.gather_s, spacing) - (self._monotonic() - began)
                await asyncio.sleep(max(0.0, rest))

    async def _is_trimmed(self, position: StreamId) -> bool:
        oldest = await self._changes.oldest()
        return oldest is None or oldest > position

    async def _deliver(self, changed: Sequence[UUID]) -> int:
        """Offer the numbers of these variants to who wants them; how many listeners that were."""
        if len(changed) > self.config.waiting_max:
            for subscription in self._unfiltered:
                subscription.end(Ending.SLOW)
        # Chosen before anything is awaited: who comes meanwhile reads the newer numbers itself.
        position = self._recent.position
        wanted = (
            changed if self._has_unfiltered() else [c for c in changed if c in self._by_variant]
        )
        targets: dict[Subscription, list[UUID]] = {
            one: list(changed) for one in self._unfiltered if one.ending is None
        }
        for variant_id in wanted:
            for subscription in self._by_variant.get(variant_id, ()):
                targets.setdefault(subscription, []).append(variant_id)
        if not targets:
            return 0
        numbers = await self._in_json(wanted)
        for subscription, variants in targets.items():
            if subscription.ending is None:
                mine = {one: numbers[one] for one in variants if one in numbers}
                if mine:
                    subscription.offer(mine, position)
        return len(targets)

    def _has_unfiltered(self) -> bool:
        return any(one.ending is None for one in self._unfiltered)

    def _tick(self, now: float) -> None:
        for subscription in self._subscriptions:
            if now - subscription.begun_at >= self.config.age_max_s:
                subscription.end(Ending.OLD)
            elif now - subscription.beat_at >= self.config.heartbeat_s:
                subscription.beat(now)


def _away() -> Problem:
    return Problem("busy", "availability cannot be read right now; repeat in a moment")


def _as_json(product: ListedProduct, variant: ListedVariant, units: int) -> bytes:
    return orjson.dumps(
        {
            "product_id": encode("prod", product.product_id),
            "variant_id": encode("var", variant.variant_id),
            "sku": variant.sku,
            "available": units,
        }
    )
