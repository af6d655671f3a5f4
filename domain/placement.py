"""Which pairs get an owner of their own: heat, wishes, and the number of owners there may be.

A pair is dedicated while its heat (requests per second, smoothed by its owner) is above one
threshold, and until it has been below a lower one for a while: two thresholds and a pause, so
that nothing is handed to and fro. What an operator wishes comes before what heat says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from domain.owners import dedicated_name

LEAD_S = 60.0
"""A scheduled drop's pair has its owner, warm, so long before the sale starts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacementPolicy:
    """When a pair is promoted and demoted."""

    promote_per_s: float = 5_000.0
    """Requests per second from which on a pair gets an owner of its own."""
    demote_per_s: float = 500.0
    """Requests per second below which it is cool."""
    cool_for_s: float = 60.0
    """It goes back to the pool once it has been cool for so long."""
    dedicated_max: int = 8
    """Dedicated owners there may be; each is a process of its own."""


class Place(StrEnum):
    """Where an operator wants a pair."""

    DEDICATED = "dedicated"
    POOL = "pool"


class Wish(NamedTuple):
    """An operator's word on a pair, in force now; of several the last one counts."""

    inventory_id: bytes
    place: Place


class Promotion(NamedTuple):
    """Hand a pair to a dedicated owner that has none yet."""

    inventory_id: bytes
    owner: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What to change."""

    promote: tuple[Promotion, ...] = ()
    demote: tuple[bytes, ...] = ()
    waiting: tuple[bytes, ...] = ()
    """Pairs that should be dedicated but for which there is no owner left."""


@dataclass(slots=True)
class Placements:
    """Plans from one look to the next; remembers only since when a pair is cool."""

    policy: PlacementPolicy
    _cool_since: dict[bytes, float] = field(default_factory=dict[bytes, float])

    def plan(
        self,
        *,
        now: float,
        heat: Mapping[bytes, float],
        dedicated: Mapping[bytes, str],
        wishes: Sequence[Wish],
    ) -> Plan:
        """The next steps.

        `now` in seconds of a monotonic clock; `heat` in requests per second by pair; `dedicated`
        has the owner of each pair that has one of its own now.
        """
        # Who comes back later, after its owner was lost, say, is not as cool as it was then.
        self._cool_since = {p: at for p, at in self._cool_since.items() if p in dedicated}
        wished = {wish.inventory_id: wish.place for wish in wishes}
        demote = tuple(
            pair for pair in dedicated if self._shall_go(pair, now, heat.get(pair, 0.0), wished)
        )
        kept = {pair: owner for pair, owner in dedicated.items() if pair not in demote}
        wanted = [
            pair
            for pair, place in wished.items()
            if place is Place.DEDICATED and pair not in dedicated
        ]
        hot = [pair for pair, per_s in heat.items() if per_s >= self.policy.promote_per_s]
        hot.sort(key=lambda pair: (-heat[pair], pair))
        wanted += [pair for pair in hot if pair not in wished and pair not in dedicated]
        # A slot that is being given up is not given out in the same breath.
        taken = set(dedicated.values())
        slots = range(self.policy.dedicated_max)
        free = [name for name in map(dedicated_name, slots) if name not in taken]
        room = max(0, min(len(free), self.policy.dedicated_max - len(kept)))
        promote = tuple(map(Promotion, wanted[:room], free))
        return Plan(promote, demote, tuple(wanted[room:]))

    def _shall_go(
        self, pair: bytes, now: float, per_s: float, wished: Mapping[bytes, Place]
    ) -> bool:
        place = wished.get(pair)
        if place is not None or per_s >= self.policy.demote_per_s:
            self._cool_since.pop(pair, None)
            return place is Place.POOL
        since = self._cool_since.setdefault(pair, now)
        if now - since < self.policy.cool_for_s:
            return False
        del self._cool_since[pair]
        return True
