"""What letting go of removed means of payment needs of the outside (`actors.method_removal`)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from domain.payments import RemovedMethod


class RemovedMethods(Protocol):
    """Means of payment that customers have removed. Raises Unavailable."""

    async def due(
        self, looked_at_before: datetime, gateways: Sequence[str], limit: int
    ) -> list[RemovedMethod]:
        """Those that the providers still keep and no open order needs; they count as looked at."""
        ...

    async def detached(self, removed: RemovedMethod) -> None:
        """Its provider has let go of it."""
        ...
