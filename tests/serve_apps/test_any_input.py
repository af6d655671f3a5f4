"""Generated JSON against cart and checkout: refused or taken, and never a fault."""

from __future__ import annotations

from typing import Any

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tests.serve_apps.conftest import Shop, assert_problem
from tests.serve_apps.test_bad_input import (
    CARD_NUMBER,
    EMOJI,
    GONE,
    ITEM,
    LONE,
    NUL,
    ORDER,
    Stage,
    changed,
    item,
    open_stage,
    order,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(standing_shop: Shop) -> Stage:
    return await open_stage(standing_shop)


_SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30)
    | st.sampled_from([NUL, LONE, EMOJI, CARD_NUMBER, "$cart", "$tee", "$TEE-S", "card_1", "US"])
)  # fmt: skip
_JSON = st.recursive(
    _SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner),
    max_leaves=12,
)


def _paths(body: dict[str, Any], above: str = "") -> list[str]:
    found: list[str] = []
    for name, value in body.items():
        found.append(above + name)
        found += _paths(value, f"{above}{name}.") if isinstance(value, dict) else []
    return found


def _almost(body: dict[str, Any]) -> st.SearchStrategy[Any]:
    """The body with one field changed to anything, or left out, or something else altogether."""
    one = st.tuples(st.sampled_from(_paths(body)), _JSON | st.just(GONE))
    return one.map(lambda change: changed(body, *change)) | _JSON


@given(body=_almost(ITEM))
@hypothesis_settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
async def test_whatever_is_put_into_a_cart_is_no_fault(stage: Stage, body: Any) -> None:
    answer = await stage.send(item("anything", body=body, headers={"Authorization": GONE}))
    if answer.status_code != 200:
        assert 400 <= answer.status_code < 500, answer.text
        assert_problem(answer, answer.status_code, answer.json()["type"].rpartition("/")[2])


@given(body=_almost(ORDER))
@hypothesis_settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
async def test_whatever_is_checked_out_is_no_fault(stage: Stage, body: Any) -> None:
    # With the stranger's token: the cart is the buyer's, so that nothing is ever bought.
    before = await stage.state()
    answer = await stage.send(order("anything", body=body, headers=stage.stranger.headers))
    assert 400 <= answer.status_code < 500, answer.text
    assert_problem(answer, answer.status_code, answer.json()["type"].rpartition("/")[2])
    assert await stage.state() == before
