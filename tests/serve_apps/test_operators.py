"""An operator's token is good until it ends or somebody revokes it."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from starlette.requests import Request

from serve_apps.http import Problem
from serve_apps.identity import Identities
from tests.serve_apps.revoked import MemoryRevocations, operators_of

pytestmark = pytest.mark.asyncio
NOON = 1_800_000_000.0


def identities(now: float = NOON) -> Identities:
    return Identities(b"key", now=lambda: now)


def request(token: str) -> Request:
    return Request({"type": "http", "headers": [(b"authorization", f"Bearer {token}".encode())]})


def old_token(name: str) -> str:
    """From before tokens said when they were issued."""
    claim = f"operator_{name}.{int(NOON) + 60}"
    return f"{claim}.{identities()._sign(claim)}"


async def test_what_was_issued_until_a_revocation_is_refused_and_nothing_else() -> None:
    revocations = MemoryRevocations()
    operators = operators_of(identities(), revocations)
    revocations.issued_to["ann"] = datetime.fromtimestamp(NOON - 10, UTC)
    for token in (
        identities(NOON - 60).issue_operator("ann"),
        identities(NOON - 10).issue_operator("ann"),
        old_token("ann"),
    ):
        with pytest.raises(Problem, match="was revoked; send one from") as caught:
            await operators.operator(request(token))
        assert caught.value.kind == "unauthorized"
    later = identities(NOON - 9.999).issue_operator("ann")
    assert await operators.operator(request(later)) == "ann"
    bobs = identities(NOON - 60).issue_operator("bob")
    assert await operators.operator(request(bobs)) == "bob"
    assert await operators.operator(request(old_token("bob"))) == "bob"


async def test_nobody_is_an_operator_while_it_cannot_be_known() -> None:
    revocations = MemoryRevocations()
    revocations.is_away = True
    with pytest.raises(Problem) as caught:
        await operators_of(identities(), revocations).operator(
            request(identities().issue_operator("ann"))
        )
    assert caught.value.kind == "busy"


async def test_what_proves_nothing_is_refused_without_asking() -> None:
    revocations = MemoryRevocations()
    revocations.is_away = True
    with pytest.raises(Problem) as caught:
        await operators_of(identities(), revocations).operator(request("operator_ann.1.x"))
    assert caught.value.kind == "unauthorized"
