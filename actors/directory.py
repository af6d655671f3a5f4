"""The directory of owners: promotes and demotes pairs, and replaces owners that hang.

Not on the hot path: buyers never ask it, and while it is away everything goes on as it is. What
it wants it asks of the owners, who hand over by themselves under their own fence; so it may die
at any step, and the next pass goes on from what Postgres says.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import structlog

from actors.stock_client import StockClient
from domain.board_ports import OwnerFigures
from domain.owners import Homes, is_dedicated, owner_number
from domain.placement import Placements, Promotion
from domain.ports import OwnerHost, PlacementBook, StockReclaim, Unavailable
from domain.stock import HandOver, Load, PairStatus

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectoryConfig:
    """Bounds of the directory; seconds."""

    ping_timeout_s: float = 1.0
    """An owner that does not answer in this time has missed a ping."""
    misses_max: int = 2
    """So many in a row, and it is replaced."""
    starting_s: float = 30.0
    """An owner that starts is left alone for so long."""
    idle_s: float = 30.0
    """A dedicated owner without pairs is stopped after so long."""


class Directory:
    """One pass at a time, from the caretaker's loops; two directories at once do no harm."""

    def __init__(
        self,
        *,
        host: OwnerHost,
        stock: StockClient,
        book: PlacementBook,
        reclaim: StockReclaim,
        metrics: OwnerFigures,
        placements: Placements,
        pool: tuple[str, ...],
        monotonic: Callable[[], float],
        config: DirectoryConfig | None = None,
    ) -> None:
        self._config = config or DirectoryConfig()
        self._host = host
        self._stock = stock
        self._book = book
        self._reclaim = reclaim
        self._metrics = metrics
        self._placements = placements
        self._pool = pool
        self._homes = Homes(pool)
        self._monotonic = monotonic
        self._misses: dict[str, int] = {}
        self._starting: dict[str, float] = {}
        self._idle_since: dict[str, float] = {}
        self.promoted_total = 0
        self.demoted_total = 0
        self.replaced_total = 0
        self.reclaimed_total = 0
        self.waiting = 0
        """Pairs that should have an owner of their own and get none: raise the limit."""

    async def place(self) -> None:
        """Bring pairs to where heat and wishes want them. Raises Unavailable."""
        dedicated = await self._take_home_the_lost(await self._book.dedicated())
        plan = self._placements.plan(
            now=self._monotonic(),
            heat=await self._heat(),
            dedicated=dedicated,
            wishes=await self._book.wishes(),
        )
        self.waiting = len(plan.waiting)
        for promotion in plan.promote:
            await self._promote(promotion)
        for pair in plan.demote:
            await self._demote(pair)
        kept = {owner for pair, owner in dedicated.items() if pair not in plan.demote}
        await self._stop_idle(kept | {one.owner for one in plan.promote})

    async def watch(self) -> None:
        """Ping every owner; replace the ones that hang."""
        names = (*self._pool, *filter(is_dedicated, await self._host.running()))
        answers = await self._host.ping(names, self._config.ping_timeout_s)
        for name, answered in zip(names, answers, strict=True):
            await self._judge(name, answered)

    async def _heat(self) -> dict[bytes, float]:
        """Requests per second by pair, of the owners that report."""
        heat: dict[bytes, float] = {}
        for shown in (await self._metrics.read("owners")).values():
            if shown["alive"]:
                for one in cast("Sequence[dict[str, Any]]", shown.get("hot_pairs", ())):
                    pair = bytes.fromhex(one["inventory_id"])
                    heat[pair] = max(heat.get(pair, 0.0), one["requests_per_s"])
        return heat

    async def _take_home_the_lost(self, dedicated: dict[bytes, str]) -> dict[bytes, str]:
        """Pairs of owners that are not there at all go back to the pool, behind a new fence."""
        running = await self._host.running()
        for owner in sorted(set(dedicated.values()) - running):
            pairs = await self._reclaim.reclaim(owner)
            self.reclaimed_total += len(pairs)
            _log.warning("pairs_reclaimed", owner=owner, pairs=len(pairs))
        return {pair: owner for pair, owner in dedicated.items() if owner in running}

    async def _promote(self, promotion: Promotion) -> None:
        pair, owner = promotion
        self._starting[owner] = self._monotonic()
        await self._host.start(owner)
        if await self._hand_over(pair, owner):
            self.promoted_total += 1

    async def _demote(self, pair: bytes) -> None:
        if await self._hand_over(pair, self._homes.home_of(pair)):
            self.demoted_total += 1

    async def _hand_over(self, pair: bytes, owner: str) -> bool:
        """Ask whoever has the pair to give it up, and its new owner to load it."""
        [answer] = await self._stock.ask([HandOver(pair, owner_number(owner))])
        done = answer.status == PairStatus.DONE
        _log.info("pair_handed_over", pair=pair.hex(), to=owner, done=done, status=answer.status)
        if done:
            await self._stock.ask([Load(pair)])
        return done

    async def _stop_idle(self, busy: set[str]) -> None:
        now = self._monotonic()
        running = {name for name in await self._host.running() if is_dedicated(name)}
        self._idle_since = {
            name: self._idle_since.get(name, now) for name in sorted(running - busy)
        }
        for name, since in list(self._idle_since.items()):
            if now - since >= self._config.idle_s:
                # Noted before: whoever looks in between must not take it for dead.
                await self._metrics.note_stopped(name)
                await self._host.stop(name)
                del self._idle_since[name]

    async def _judge(self, name: str, answered: bool | None) -> None:
        """True: alive. None: it is known to be starting. False: no answer in time."""
        now = self._monotonic()
        if answered:
            self._misses.pop(name, None)
            self._starting.pop(name, None)
            return
        if answered is None:
            self._starting.setdefault(name, now)
        since = self._starting.get(name)
        if since is not None and now - since < self._config.starting_s:
            return
        misses = self._misses[name] = self._misses.get(name, 0) + 1
        _log.warning("owner_not_reached", owner=name, misses=misses)
        if misses < self._config.misses_max:
            return
        self._misses.pop(name)
        self._starting[name] = now
        self.replaced_total += 1
        try:
            await self._host.replace(name)
        except Unavailable as error:
            _log.warning("owner_not_replaced", owner=name, reason=str(error))
