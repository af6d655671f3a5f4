"""What parts of the house show of themselves, and who reads it: never anything to decide by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol


class AvailabilityBoard(Protocol):
    """Published availability, for readers only; nothing is decided from it."""

    async def publish(self, available: Mapping[tuple[bytes, bytes], int]) -> None:
        """Units by (variant_id, inventory_id)."""
        ...


class MetricsBoard(Protocol):
    """Where parts of the house show how they are, for the dashboard."""

    async def publish(self, kind: str, name: str, values: Mapping[str, Any]) -> None:
        """Replace what `name` of `kind` showed before."""
        ...


class MetricsReader(Protocol):
    """The other side of the MetricsBoard."""

    async def read(self, kind: str) -> dict[str, dict[str, Any]]:
        """What all of a kind show, by name, with `alive`. Raises Unavailable."""
        ...


class OwnerFigures(MetricsReader, Protocol):
    """What owners show, for whoever starts and stops them."""

    async def note_stopped(self, owner: str) -> None:
        """It is stopped because nobody needs it: its silence from now on is no fault.

        A newer generation of it is shown as ever. Raises Unavailable.
        """
        ...
