"""Providers let go of what customers removed: again until they have, one never keeping another."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest

from actors.method_removal import MethodRemoval, MethodRemovalConfig
from domain.payments import RemovedMethod, SavedMethod
from domain.ports import Unavailable

pytestmark = pytest.mark.asyncio
NOW = datetime(2026, 11, 27, tzinfo=UTC)
ANN = uuid.uuid4()


class Book:
    """RemovedMethods in memory."""

    def __init__(self, *tokens: str) -> None:
        self.asked: list[tuple[datetime, list[str], int]] = []
        self.removed = [
            RemovedMethod(user_id=ANN, gateway="stripe", token=token, removed_at=NOW)
            for token in tokens
        ]

    async def due(
        self, looked_at_before: datetime, gateways: Sequence[str], limit: int
    ) -> list[RemovedMethod]:
        self.asked.append((looked_at_before, list(gateways), limit))
        return self.removed[:limit]

    async def detached(self, removed: RemovedMethod) -> None:
        self.removed.remove(removed)


class Vault:
    """MethodVault: away for some tokens."""

    def __init__(self, *away: str) -> None:
        self.away = set(away)
        self.detached: list[tuple[str, str]] = []

    async def save_method(self, payer: str, token: str) -> SavedMethod | None:
        raise AssertionError("nothing is saved here")

    async def detach_method(self, payer: str, token: str) -> None:
        if token in self.away:
            raise Unavailable(f"{token}: no answer")
        self.detached.append((payer, token))


def removal(book: Book, vault: Vault) -> MethodRemoval:
    return MethodRemoval(
        book=book,
        vaults={"stripe": vault},
        now=lambda: NOW,
        config=MethodRemovalConfig(look_again_after_s=60, batch_max=3),
    )


async def test_one_that_cannot_be_reached_keeps_no_other_and_is_asked_again() -> None:
    book, vault = Book("pm_1", "pm_2", "pm_3"), Vault("pm_2")
    passes = removal(book, vault)
    with pytest.raises(Unavailable, match="pm_2"):
        await passes.detach_due()
    assert vault.detached == [(str(ANN), "pm_1"), (str(ANN), "pm_3")]
    assert [one.token for one in book.removed] == ["pm_2"]
    vault.away.clear()
    assert await passes.detach_due() == 1
    assert book.removed == []
    assert await passes.detach_due() == 0
    assert passes.detached_total == 3
    assert book.asked[0] == (NOW - timedelta(seconds=60), ["stripe"], 3)
