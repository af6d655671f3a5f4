"""Where pairs go: never more than there is room for, and not to and fro."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from domain.owners import dedicated_name
from domain.placement import Place, PlacementPolicy, Placements, Wish

PAIRS = [bytes([n]) * 16 for n in range(6)]
A = PAIRS[0]
POLICY = PlacementPolicy(promote_per_s=100, demote_per_s=10, cool_for_s=60, dedicated_max=3)
LOOKS = st.lists(
    st.tuples(
        st.floats(0, 90),
        st.dictionaries(st.sampled_from(PAIRS), st.floats(0, 500)),
        st.dictionaries(st.sampled_from(PAIRS), st.sampled_from(Place), max_size=3),
    ),
    max_size=12,
)


@given(looks=LOOKS, most=st.integers(0, 4))
def test_plans_carried_out_one_after_another_keep_to_the_rules(
    looks: list[tuple[float, dict[bytes, float], dict[bytes, Place]]], most: int
) -> None:
    policy = PlacementPolicy(promote_per_s=100, demote_per_s=10, cool_for_s=60, dedicated_max=most)
    placements = Placements(policy)
    dedicated: dict[bytes, str] = {}
    now = 0.0
    for passed, heat, said in looks:
        now += passed
        wishes = [Wish(pair, place) for pair, place in said.items()]
        plan = placements.plan(now=now, heat=heat, dedicated=dedicated, wishes=wishes)
        promoted = [pair for pair, _ in plan.promote]
        owners = [owner for _, owner in plan.promote]
        assert not {*promoted, *plan.waiting} & {*dedicated, *plan.demote}
        assert set(plan.demote) <= set(dedicated)
        assert len(set(owners)) == len(owners)
        assert not set(owners) & set(dedicated.values())
        assert set(owners) <= {dedicated_name(slot) for slot in range(most)}
        for pair in plan.demote:
            assert said.get(pair) is Place.POOL or heat.get(pair, 0.0) < policy.demote_per_s
            assert said.get(pair) is not Place.DEDICATED
            del dedicated[pair]
        for pair in (*promoted, *plan.waiting):
            hot = heat.get(pair, 0.0) >= policy.promote_per_s
            assert said.get(pair) is Place.DEDICATED or (hot and pair not in said)
        dedicated |= dict(plan.promote)
        assert len(dedicated) <= most


def _goes(placements: Placements, now: float, per_s: float, owner: str = "hot-0") -> bool:
    plan = placements.plan(now=now, heat={A: per_s}, dedicated={A: owner}, wishes=[])
    return A in plan.demote


def test_between_the_thresholds_nothing_moves() -> None:
    placements = Placements(POLICY)
    plan = placements.plan(now=0, heat={A: 99}, dedicated={}, wishes=[])
    assert plan.promote == plan.demote == plan.waiting == ()
    assert not any(_goes(placements, now, 10) for now in range(0, 600, 30))


def test_a_pair_goes_once_it_has_been_cool_without_a_break() -> None:
    placements = Placements(POLICY)
    assert not _goes(placements, 0, 5)
    assert not _goes(placements, 59, 5)
    assert not _goes(placements, 60, 11)
    assert not _goes(placements, 61, 5)
    assert not _goes(placements, 120, 5)
    assert _goes(placements, 121, 5)


def test_how_cool_a_pair_once_was_is_forgotten_when_it_leaves_otherwise() -> None:
    placements = Placements(POLICY)
    assert not _goes(placements, 0, 5)
    placements.plan(now=10, heat={}, dedicated={}, wishes=[])  # its owner was lost
    assert not _goes(placements, 500, 5)
    assert _goes(placements, 560, 5)
