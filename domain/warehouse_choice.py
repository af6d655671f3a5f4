"""Which warehouses an order is sent from: fewest shipments first, then the best score.

The score of a shipment is the case study's rule (Multi-Warehouse Inventory):
`0.7 × shipping time in days + 0.3 × shipping cost in USD / 10`; less is better. The estimates of
time and cost are the house's own: simple, linear, and the same at every call.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from itertools import combinations
from math import asin, comb, cos, radians, sin, sqrt
from typing import NamedTuple

from domain.places import Site

TIME_WEIGHT = 0.7
COST_WEIGHT = 0.3
COST_SCALE_USD = 10.0

EARTH_RADIUS_KM = 6371.0
UNKNOWN_DISTANCE_KM = 2_000.0
"""Counted where a place is not known: the same for all, so that borders and cost decide."""

HANDLING_DAYS = 1.0
KM_PER_DAY = 800.0
BORDER_DAYS = 2.0

SHIPMENT_USD = 4.0
BORDER_USD = 8.0
UNIT_USD = 0.5
UNIT_1000_KM_USD = 0.5

ENOUGH = 1_000_000_000
"""Units that a pair counts as having while nothing is known of it."""
SETS_TRIED_MAX = 500
"""Sets of warehouses looked at for one plan; beyond it warehouses are added one by one."""
HAULS_KEPT_MAX = 20_000
_DIGITS = 9
_ROUNDING = 10.0**-_DIGITS


def distance_km(one: Site, other: Site) -> float:
    """The great circle between two sites, by the haversine formula, on a sphere."""
    if one.coordinates is None or other.coordinates is None:
        return UNKNOWN_DISTANCE_KM
    lat, other_lat = radians(one.coordinates.lat), radians(other.coordinates.lat)
    across = radians(other.coordinates.lon - one.coordinates.lon)
    half_chord = sin((other_lat - lat) / 2) ** 2 + cos(lat) * cos(other_lat) * sin(across / 2) ** 2
    return 2 * EARTH_RADIUS_KM * asin(min(1.0, sqrt(half_chord)))


def shipping_days(distance: float, *, border: bool) -> float:
    """Days from the order to the door over `distance` km: handling, the way, a border's customs."""
    return HANDLING_DAYS + distance / KM_PER_DAY + (BORDER_DAYS if border else 0.0)


def shipping_cost_usd(distance: float, quantity: int, *, border: bool) -> float:
    """What one shipment of `quantity` units over `distance` km costs.

    The base per shipment, a border's surcharge, and for each unit a base and its kilometres.
    """
    per_unit = UNIT_USD + UNIT_1000_KM_USD * distance / 1_000
    return SHIPMENT_USD + (BORDER_USD if border else 0.0) + quantity * per_unit


def composite_score(days: float, cost_usd: float) -> float:
    """Time before cost; less is better. The case study's `find_optimal_warehouse`."""
    return days * TIME_WEIGHT + cost_usd / COST_SCALE_USD * COST_WEIGHT


class Haul(NamedTuple):
    """The score of sending from one place to another: of the shipment, and of each unit in it.

    It is linear in the units, so it is computed once for two places and not for each order.
    """

    per_shipment: float
    per_unit: float

    def score(self, quantity: int) -> float:
        """The score of a shipment of so many units."""
        return self.per_shipment + self.per_unit * quantity


@lru_cache(maxsize=HAULS_KEPT_MAX)
def haul(warehouse: Site | None, destination: Site) -> Haul:
    """What sending from a warehouse to a buyer amounts to.

    A warehouse of which nothing is known counts as abroad and as far as anything unknown.
    """
    if warehouse is None:
        distance, border = UNKNOWN_DISTANCE_KM, True
    else:
        distance = distance_km(warehouse, destination)
        border = warehouse.country != destination.country
    days = shipping_days(distance, border=border)
    base = composite_score(days, shipping_cost_usd(distance, 0, border=border))
    one = composite_score(days, shipping_cost_usd(distance, 1, border=border))
    return Haul(base, one - base)


class Source(NamedTuple):
    """A pair that a demand may be met from: where it lies, and the way from there to the buyer."""

    inventory_id: bytes
    warehouse_id: bytes
    haul: Haul


class Want(NamedTuple):
    """Units of one variant that an order still needs, and the pairs they may come from.

    No two wants of one plan have a pair in common: demand is summed first.
    """

    quantity: int
    sources: tuple[Source, ...]


class Part(NamedTuple):
    """Units to be taken from one pair."""

    source: Source
    quantity: int


Plan = list[list[Part]]
"""For each want, in order, the pairs and units that make it up exactly."""


def within_reach(want: Want, known: Mapping[bytes, int]) -> int:
    """Units that all pairs of a want have together; ENOUGH or more if one is not known."""
    return sum(known.get(source.inventory_id, ENOUGH) for source in want.sources)


def plan(
    wants: Sequence[Want], known: Mapping[bytes, int], used: Collection[bytes] = ()
) -> Plan | None:
    """Where to take everything from: from the fewest further warehouses, then by score.

    `known` is units by inventory_id, a pair that is not in it counts as having ENOUGH; `used`
    are warehouses that send something in this order anyway: they are no further shipment. Within
    the chosen warehouses each want goes whole to the best-scored one that has all of it, else it
    is split, best first. Equal scores are decided by warehouse id. None: there is not enough.
    Exact for up to SETS_TRIED_MAX sets of warehouses, greedy beyond.
    """
    if len(wants) == 1:
        alone = _from_one(wants[0], known, used)
        if alone is not None:
            return [[alone]]
    if any(within_reach(want, known) < want.quantity for want in wants):
        return None
    if all(len(want.sources) == 1 for want in wants):
        return [[Part(want.sources[0], want.quantity)] for want in wants]
    return _Choice(wants, known, used).best()


def _from_one(want: Want, known: Mapping[bytes, int], used: Collection[bytes]) -> Part | None:
    """The best source that has everything: one shipment cannot be undercut but by none."""
    quantity, best = want.quantity, None
    best_rank: tuple[bool, float, bytes] | None = None
    for source in want.sources:
        inventory_id, warehouse_id, (per_shipment, per_unit) = source
        if known.get(inventory_id, ENOUGH) >= quantity:
            rank = (warehouse_id not in used, per_shipment + per_unit * quantity, warehouse_id)
            if best_rank is None or rank < best_rank:
                best, best_rank = source, rank
    # Two used warehouses together are no shipment either, but a further one is one.
    if best is None or (used and best_rank is not None and best_rank[0]):
        return None
    return Part(best, quantity)


class _Choice:
    """The search for one plan, over wants that can be met somehow."""

    def __init__(
        self, wants: Sequence[Want], known: Mapping[bytes, int], used: Collection[bytes]
    ) -> None:
        self._wants = wants
        # For each want its sources that have anything, best first, with what they have.
        self._ranked = [_ranked(want, known) for want in wants]
        self._has = [
            {source.warehouse_id: units for source, units in ranked} for ranked in self._ranked
        ]
        there = {warehouse for has in self._has for warehouse in has}
        self._used = there & set(used)
        self._further = sorted(there - self._used)

    def best(self) -> Plan:
        """The smallest set's plan with the lowest score, or what adding one by one finds."""
        base = self._used | self._needed()
        open_warehouses = [one for one in self._further if one not in base]
        tried = 0
        for size in range(len(open_warehouses) + 1):
            tried += comb(len(open_warehouses), size)
            if tried > SETS_TRIED_MAX:
                break
            found = self._best_of(base, list(combinations(open_warehouses, size)))
            if found is not None:
                return found
        return self._parts(self._greedy(base, open_warehouses))

    def _best_of(self, base: set[bytes], sets: list[tuple[bytes, ...]]) -> Plan | None:
        """The best plan of the sets that cover everything: cheap ones first, until none can win.

        What shipments and units cost at least is known before a plan is made.
        """
        hauls = {
            source.warehouse_id: source.haul for ranked in self._ranked for source, _ in ranked
        }
        least = sum(hauls[one].per_shipment for one in base - self._used) + sum(
            want.quantity * min(source.haul.per_unit for source, _ in ranked)
            for want, ranked in zip(self._wants, self._ranked, strict=True)
        )
        by_cost = sorted(
            (least + sum(hauls[one].per_shipment for one in added), added) for added in sets
        )
        best: tuple[float, tuple[bytes, ...], Plan] | None = None
        for at_least, added in by_cost:
            if best is not None and at_least > best[0] + _ROUNDING:
                break
            chosen = base.union(added)
            if self._covers(chosen):
                parts = self._parts(chosen)
                candidate = (self._score(parts), added, parts)
                if best is None or candidate[:2] < best[:2]:
                    best = candidate
        return best[2] if best is not None else None

    def _needed(self) -> set[bytes]:
        """Warehouses without which a want cannot be met: every cover has them."""
        needed: set[bytes] = set()
        for want, has in zip(self._wants, self._has, strict=True):
            spare = sum(has.values()) - want.quantity
            needed.update(warehouse for warehouse, units in has.items() if units > spare)
        return needed

    def _covers(self, chosen: Collection[bytes]) -> bool:
        return all(
            sum(units for warehouse, units in has.items() if warehouse in chosen) >= want.quantity
            for want, has in zip(self._wants, self._has, strict=True)
        )

    def _parts(self, chosen: Collection[bytes]) -> Plan:
        parts: Plan = []
        for want, ranked in zip(self._wants, self._ranked, strict=True):
            within = [one for one in ranked if one[0].warehouse_id in chosen]
            whole = next((source for source, units in within if units >= want.quantity), None)
            if whole is not None:
                parts.append([Part(whole, want.quantity)])
                continue
            missing, split = want.quantity, list[Part]()
            for source, units in within:
                if not missing:
                    break
                split.append(Part(source, min(units, missing)))
                missing -= split[-1].quantity
            parts.append(split)
        return parts

    def _score(self, parts: Plan) -> float:
        """All further shipments together; a unit more in a shipment costs its own share only."""
        further = dict[bytes, float]()
        units = 0.0
        for split in parts:
            for source, quantity in split:
                units += source.haul.per_unit * quantity
                if source.warehouse_id not in self._used:
                    further[source.warehouse_id] = source.haul.per_shipment
        # Rounded, so that the order of adding decides no tie.
        return round(sum(further.values()) + units, _DIGITS)

    def _greedy(self, base: set[bytes], open_warehouses: list[bytes]) -> set[bytes]:
        """Add what covers most of what is missing, then leave out what turned out needless."""
        chosen, rest = set(base), list(open_warehouses)
        while not self._covers(chosen):
            most = max(rest, key=lambda one: self._covered(chosen | {one}))  # the first of equals
            chosen.add(most)
            rest.remove(most)
        for one in sorted(chosen - base, reverse=True):
            if self._covers(chosen - {one}):
                chosen.remove(one)
        return chosen

    def _covered(self, chosen: Collection[bytes]) -> int:
        """Units of all wants that these warehouses can give."""
        return sum(
            min(want.quantity, sum(has[warehouse] for warehouse in chosen if warehouse in has))
            for want, has in zip(self._wants, self._has, strict=True)
        )


def _ranked(want: Want, known: Mapping[bytes, int]) -> list[tuple[Source, int]]:
    quantity = want.quantity
    there = [
        (source, units)
        for source in want.sources
        if (units := known.get(source.inventory_id, ENOUGH)) > 0
    ]
    return sorted(there, key=lambda one: (one[0].haul.score(quantity), one[0].warehouse_id))
