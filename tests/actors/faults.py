"""Faults to order, for the in-memory twins of the ports."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from enum import Enum
from typing import TypeVar

from domain.ports import Unavailable

T = TypeVar("T")


class Fault(Enum):
    """What happens to a call."""

    BEFORE = "before"
    """Nothing was done, and the caller hears Unavailable."""
    AFTER = "after"
    """It was done, and the answer is lost."""


class Faults:
    """Faults that are waiting to happen, per method, in order."""

    def __init__(self) -> None:
        self._planned: dict[str, deque[Fault]] = {}

    def plan(self, method: str, *faults: Fault) -> None:
        """The next calls of `method` go wrong like this."""
        self._planned.setdefault(method, deque()).extend(faults)

    def do(self, method: str, work: Callable[[], T]) -> T:
        """`work`, unless a fault comes before or after it."""
        planned = self._planned.get(method)
        fault = planned.popleft() if planned else None
        if fault is Fault.BEFORE:
            raise Unavailable(f"{method}: refused by the test")
        result = work()
        if fault is Fault.AFTER:
            raise Unavailable(f"{method}: done, but the answer is lost")
        return result
