"""How an owner is: from what it tells of itself, what Postgres knows of it, and whether it is needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

from domain.owners import is_dedicated
from storage.metrics_board import STALE_AFTER_S


class OwnerState(StrEnum):
    """As operators are told it."""

    ALIVE = "alive"
    STARTING = "starting"
    """A new generation has begun and has not told of itself yet."""
    STOPPED = "stopped"
    """Dedicated, and stopped because it had no pair left: nothing is amiss."""
    NOT_ALIVE = "not_alive"
    """It is needed, or was not stopped on purpose, and is silent."""


def owner_state(
    name: str, shown: Mapping[str, Any], row: Mapping[str, Any] | None, has_pairs: bool
) -> OwnerState:
    """The state of one owner.

    `shown` is what it told of itself (empty: nothing lately), `row` its newest generation in
    Postgres, `has_pairs` whether pairs are dedicated to it now.
    """
    if shown.get("alive"):
        return OwnerState.ALIVE
    if not has_pairs and is_dedicated(name):
        # Who died, had its pairs taken home and is long forgotten is not missed either.
        return OwnerState.NOT_ALIVE if shown and not shown["stopped"] else OwnerState.STOPPED
    if row is None or row["epoch"] <= shown.get("epoch", 0) or row["age_s"] >= STALE_AFTER_S:
        return OwnerState.NOT_ALIVE
    return OwnerState.STARTING


def pairs_by_owner(dedicated: Sequence[Mapping[str, Any]]) -> dict[str, list[dict[str, str]]]:
    """SKU and warehouse of the pairs that are dedicated to owners, by the owner's name."""
    found: dict[str, list[dict[str, str]]] = {}
    for pair in dedicated:
        own = found.setdefault(pair["owner_name"], [])
        own.append({"sku": pair["sku"], "warehouse": pair["warehouse"]})
    return found
