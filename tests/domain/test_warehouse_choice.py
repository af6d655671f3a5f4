"""The choice of warehouses: the case study's score, and plans checked against brute force."""

from __future__ import annotations

import itertools
from math import pi

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain import warehouse_choice
from domain.places import Coordinates, Site, site_of
from domain.tax_rates import US_STATES
from domain.warehouse_choice import (
    EARTH_RADIUS_KM,
    ENOUGH,
    UNKNOWN_DISTANCE_KM,
    Haul,
    Part,
    Source,
    Want,
    composite_score,
    distance_km,
    haul,
    plan,
    shipping_cost_usd,
    shipping_days,
)

NEWARK = Site("US", Coordinates(40.7357, -74.1724))
RENO = Site("US", Coordinates(39.5296, -119.8138))
ROTTERDAM = Site("NL", Coordinates(51.9244, 4.4777))
LONDON = Site("GB", Coordinates(51.507, -0.128))
SYDNEY = Site("AU", Coordinates(-33.869, 151.209))

coordinates = st.builds(Coordinates, st.floats(-90, 90), st.floats(-180, 180))
sites = st.builds(Site, st.sampled_from(("US", "NL", "JP")), st.none() | coordinates)


# Places


@pytest.mark.parametrize(
    ("country", "state", "near"),
    [
        ("US", "CA", Coordinates(37.2, -119.3)),
        (" us ", " california", Coordinates(37.2, -119.3)),
        ("US", None, Coordinates(39.8, -98.6)),
        ("US", "Atlantis", Coordinates(39.8, -98.6)),
        ("NL", "CA", Coordinates(52.1, 5.3)),
        ("JP", None, Coordinates(37.6, 138.0)),
        ("QQ", "CA", None),
    ],
)
def test_a_place_is_found_by_country_and_us_state(
    country: str, state: str | None, near: Coordinates | None
) -> None:
    assert site_of(country, state) == Site(country.strip().upper(), near)


def test_every_us_state_has_its_place() -> None:
    middle = site_of("US")
    for code, name, _ in US_STATES:
        assert site_of("US", code) == site_of("US", name) != middle


# The score


@pytest.mark.parametrize(
    ("one", "other", "km"),
    [(NEWARK, RENO, 3_850), (NEWARK, ROTTERDAM, 5_860), (LONDON, SYDNEY, 16_990)],
)
def test_distances_are_those_of_an_atlas(one: Site, other: Site, km: float) -> None:
    assert distance_km(one, other) == pytest.approx(km, rel=0.01)


@given(sites, sites)
def test_a_distance_is_the_same_both_ways_and_at_most_half_around(one: Site, other: Site) -> None:
    there = distance_km(one, other)
    assert there == pytest.approx(distance_km(other, one))
    assert 0 <= there <= EARTH_RADIUS_KM * pi + 1e-6


def test_the_score_is_the_case_studys() -> None:
    assert composite_score(4.0, 30.0) == pytest.approx(4.0 * 0.7 + (30.0 / 10) * 0.3)


@given(sites, sites, st.integers(1, 10_000))
def test_a_haul_is_the_score_of_its_shipment(warehouse: Site, buyer: Site, quantity: int) -> None:
    distance, border = distance_km(warehouse, buyer), warehouse.country != buyer.country
    expected = composite_score(
        shipping_days(distance, border=border),
        shipping_cost_usd(distance, quantity, border=border),
    )
    assert haul(warehouse, buyer).score(quantity) == pytest.approx(expected)


def test_the_nearer_warehouse_scores_better_and_a_border_costs() -> None:
    buyer = site_of("US", "CA")
    assert haul(RENO, buyer).score(1) < haul(NEWARK, buyer).score(1)
    assert haul(NEWARK, buyer).score(1) < haul(ROTTERDAM, buyer).score(1)
    across = Site("CA", NEWARK.coordinates)
    assert haul(across, NEWARK).score(1) > haul(NEWARK, NEWARK).score(1)


def test_where_a_place_is_unknown_its_country_decides() -> None:
    unknown = Site("US", None)
    assert distance_km(unknown, NEWARK) == UNKNOWN_DISTANCE_KM
    assert haul(NEWARK, unknown) == haul(RENO, unknown)
    assert haul(NEWARK, unknown).score(1) < haul(ROTTERDAM, unknown).score(1)
    assert haul(None, unknown) == haul(ROTTERDAM, unknown)


# Plans


def a_source(pair: str, warehouse: str, score: float = 1.0, per_unit: float = 0.0) -> Source:
    return Source(pair.encode(), warehouse.encode(), Haul(score, per_unit))


def taken(parts: list[Part]) -> dict[str, int]:
    return {part.source.inventory_id.decode(): part.quantity for part in parts}


def test_one_line_goes_to_the_best_warehouse_that_has_all_of_it() -> None:
    want = Want(3, (a_source("a", "A", 1), a_source("b", "B", 3), a_source("c", "C", 2)))
    assert plan([want], {}) == [[Part(want.sources[0], 3)]]
    assert plan([want], {b"a": 2}) == [[Part(want.sources[2], 3)]]
    assert plan([want], {b"a": 2, b"c": 2}) == [[Part(want.sources[1], 3)]]


def test_a_line_that_no_warehouse_has_is_split_best_first() -> None:
    want = Want(5, (a_source("a", "A", 3), a_source("b", "B", 1), a_source("c", "C", 2)))
    [parts] = plan([want], {b"a": 3, b"b": 2, b"c": 3}) or []
    assert taken(parts) == {"b": 2, "c": 3}
    [parts] = plan([want], {b"a": 2, b"b": 2, b"c": 2}) or []
    assert taken(parts) == {"b": 2, "c": 2, "a": 1}


def test_fewest_shipments_go_before_the_score() -> None:
    """Each line alone would come from A and B; together they come from C, far away."""
    one = Want(1, (a_source("a", "A", 1), a_source("c1", "C", 50)))
    other = Want(1, (a_source("b", "B", 1), a_source("c2", "C", 50)))
    assert [taken(parts) for parts in plan([one, other], {}) or []] == [{"c1": 1}, {"c2": 1}]
    alone = [taken(parts) for parts in plan([one, other], {b"c2": 0}) or []]
    assert alone == [{"a": 1}, {"b": 1}]


def test_of_equally_many_shipments_the_better_score_wins() -> None:
    lines = [
        Want(2, (a_source(f"far{n}", "FAR", 9), a_source(f"near{n}", "NEAR", 2))) for n in range(3)
    ]
    assert [taken(p) for p in plan(lines, {}) or []] == [{f"near{n}": 2} for n in range(3)]


def test_a_warehouse_that_sends_anyway_is_no_further_shipment() -> None:
    want = Want(2, (a_source("near", "NEAR", 1), a_source("far", "FAR", 50)))
    assert taken((plan([want], {}, {b"FAR"}) or [])[0]) == {"far": 2}
    assert taken((plan([want], {b"far": 1}, {b"FAR"}) or [])[0]) == {"near": 2}
    both = taken((plan([want], {b"near": 1, b"far": 1}, {b"FAR", b"NEAR"}) or [])[0])
    assert both == {"near": 1, "far": 1}


def test_two_warehouses_that_send_anyway_go_before_a_third() -> None:
    sources = (a_source("a", "A", 5), a_source("b", "B", 5), a_source("c", "C", 1))
    [parts] = plan([Want(4, sources)], {b"a": 2, b"b": 2}, {b"A", b"B"}) or []
    assert taken(parts) == {"a": 2, "b": 2}


@pytest.mark.parametrize("order", list(itertools.permutations("ABC")))
def test_equal_scores_are_decided_by_the_warehouse(order: tuple[str, ...]) -> None:
    one = Want(1, tuple(a_source(f"1{name}", name) for name in order))
    assert taken((plan([one], {}) or [])[0]) == {"1A": 1}
    other = Want(1, tuple(a_source(f"2{name}", name) for name in reversed(order)))
    assert [taken(p) for p in plan([one, other], {b"1A": 0}) or []] == [{"1B": 1}, {"2B": 1}]


def test_what_is_not_there_cannot_be_planned() -> None:
    want = Want(3, (a_source("a", "A"), a_source("b", "B")))
    assert plan([want], {b"a": 1, b"b": 1}) is None
    assert plan([Want(1, ())], {}) is None
    assert plan([Want(1, (a_source("c", "C"),)), want], {b"a": 0, b"b": 2}) is None
    assert plan([], {}) == []


_WAREHOUSES = "ABCDE"


@st.composite
def problems(draw: st.DrawFn) -> tuple[list[Want], dict[bytes, int], set[bytes]]:
    """Up to four wants over up to five warehouses; some pairs unknown, some warehouses used."""
    hauls = {
        name: Haul(float(draw(st.integers(1, 3))), draw(st.sampled_from((0.0, 0.5))))
        for name in _WAREHOUSES
    }
    wants: list[Want] = []
    known: dict[bytes, int] = {}
    for number in range(draw(st.integers(1, 4))):
        names = draw(st.lists(st.sampled_from(_WAREHOUSES), min_size=1, unique=True))
        sources = tuple(Source(f"{number}{n}".encode(), n.encode(), hauls[n]) for n in names)
        wants.append(Want(draw(st.integers(1, 6)), sources))
        for source in sources:
            units = draw(st.none() | st.integers(0, 5))
            if units is not None:
                known[source.inventory_id] = units
    used = draw(st.sets(st.sampled_from(_WAREHOUSES), max_size=2))
    return wants, known, {name.encode() for name in used}


def _covering(
    wants: list[Want], known: dict[bytes, int], used: set[bytes]
) -> list[tuple[bytes, ...]]:
    """All smallest sets of further warehouses that have everything, by trying every one."""
    names = [name.encode() for name in _WAREHOUSES if name.encode() not in used]
    for size in range(len(names) + 1):
        found = [
            added
            for added in itertools.combinations(names, size)
            if all(
                sum(
                    known.get(source.inventory_id, ENOUGH)
                    for source in want.sources
                    if source.warehouse_id in used.union(added)
                )
                >= want.quantity
                for want in wants
            )
        ]
        if found:
            return found
    return []


def _further(parts: list[list[Part]], used: set[bytes]) -> set[bytes]:
    return {one.source.warehouse_id for split in parts for one in split} - used


def _is_sound(parts: list[list[Part]], wants: list[Want], known: dict[bytes, int]) -> bool:
    """Exactly what is wanted, from its own pairs, each once, and no more than there is."""
    return len(parts) == len(wants) and all(
        sum(one.quantity for one in split) == want.quantity
        and len({one.source for one in split}) == len(split)
        and all(one.source in want.sources for one in split)
        and all(0 < one.quantity <= known.get(one.source.inventory_id, ENOUGH) for one in split)
        for split, want in zip(parts, wants, strict=True)
    )


def _total(parts: list[list[Part]], used: set[bytes]) -> float:
    shipments = {
        one.source.warehouse_id: one.source.haul.per_shipment
        for split in parts
        for one in split
        if one.source.warehouse_id not in used
    }
    units = sum(one.quantity * one.source.haul.per_unit for split in parts for one in split)
    return sum(shipments.values()) + units


@given(problems())
def test_plans_are_sound_and_use_no_more_shipments_than_brute_force(
    problem: tuple[list[Want], dict[bytes, int], set[bytes]],
) -> None:
    wants, known, used = problem
    smallest = _covering(wants, known, used)
    made = plan(wants, known, used)
    assert (made is None) == (not smallest)
    if made is None:
        return
    assert _is_sound(made, wants, known)
    further = _further(made, used)
    assert tuple(sorted(further)) in smallest
    assert made == plan(wants, dict(reversed(known.items())), frozenset(used))
    # None of the smallest sets, by itself, leads to a better score.
    for added in smallest:
        within = used.union(added)
        narrowed = [
            Want(w.quantity, tuple(s for s in w.sources if s.warehouse_id in within)) for w in wants
        ]
        other = plan(narrowed, known, used)
        assert other is not None
        assert _total(made, used) <= _total(other, used) + 1e-9


@given(problems())
def test_the_order_of_pairs_decides_nothing(
    problem: tuple[list[Want], dict[bytes, int], set[bytes]],
) -> None:
    wants, known, used = problem
    turned = [Want(want.quantity, want.sources[::-1]) for want in wants]
    assert plan(wants, known, used) == plan(turned, known, used)


@given(problems())
def test_beyond_its_bound_the_search_is_greedy_and_still_sound(
    problem: tuple[list[Want], dict[bytes, int], set[bytes]],
) -> None:
    wants, known, used = problem
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(warehouse_choice, "SETS_TRIED_MAX", 0)
        made = plan(wants, known, used)
    exact = plan(wants, known, used)
    assert (made is None) == (exact is None)
    if made is None or exact is None:
        return
    assert _is_sound(made, wants, known)
    assert len(_further(made, used)) >= len(_further(exact, used))


def test_a_large_cart_over_many_warehouses_is_planned_within_the_bound() -> None:
    """Hundreds of thousands of sets would have to be looked at; a few hundred are."""
    wants = [
        Want(
            4,
            tuple(a_source(f"{line}-{w}", f"W{w:02}", 1 + w / 10) for w in range(30)),
        )
        for line in range(40)
    ]
    known = {
        source.inventory_id: (line + n) % 3
        for line, want in enumerate(wants)
        for n, source in enumerate(want.sources)
    }
    made = plan(wants, known)
    assert made is not None
    assert _is_sound(made, wants, known)
    assert len(_further(made, set())) < 10
