"""What goes wrong at the simulated provider, by a seeded plan that both doors follow.

Whether a call goes wrong depends on the seed, the call's name, the charge and how often that call
was made for it before: not on what other calls are under way. The same seed and the same calls
meet the same faults, in whatever order they come.
"""

from __future__ import annotations

import math
import random
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Literal, get_args

CALLS_REMEMBERED_MAX = 100_000

FaultKind = Literal[
    "refused",  # not reached: nothing happened
    "silent_before",  # no answer, nothing happened
    "error_before",  # 500, nothing happened
    "error_after",  # 500, yet it happened; a repeat gets the true answer
    "silent_after",  # it happened, but no answer came
    "kept_error",  # it happened, and a repeat with the same key gets the 500 again
    "in_flight",  # 409: a call with that key is under way; nothing happened
    "rate_limited",  # 429: nothing happened
]
FAULT_KINDS: tuple[FaultKind, ...] = get_args(FaultKind)
AFTER: frozenset[FaultKind] = frozenset({"error_after", "silent_after", "kept_error"})
"""Faults of calls that had their effect."""
SILENT: frozenset[FaultKind] = frozenset({"silent_before", "silent_after"})
USUAL: tuple[FaultKind, ...] = tuple(kind for kind in FAULT_KINDS if kind != "kept_error")
"""Those that one rate for all is spread over; a kept 500 can only be found out by searching."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """How long a call takes, in seconds: fixed, plus a log-normal part, plus a rare spike."""

    fixed_s: float = 0.0
    jitter_s: float = 0.0
    """Median of the log-normal part."""
    sigma: float = 0.5
    """Spread of the log-normal part; 0: always the median."""
    spike_rate: float = 0.0
    """Share of the calls that take `spike_s` longer: 0.01 makes it the slowest in a hundred."""
    spike_s: float = 0.0

    def __post_init__(self) -> None:
        times = (self.fixed_s, self.jitter_s, self.sigma, self.spike_s)
        if not all(0 <= one < math.inf for one in times) or not 0 <= self.spike_rate <= 1:
            raise ValueError(f"times are 0 or more, and a rate is from 0 to 1: {self}")

    def draw(self, dice: random.Random) -> float:
        """Seconds that one call takes."""
        taken = self.fixed_s
        if self.jitter_s:
            taken += self.jitter_s * math.exp(dice.gauss(0.0, self.sigma))
        if self.spike_rate and dice.random() < self.spike_rate:
            taken += self.spike_s
        return taken


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultRates:
    """The chance of each fault per call, from 0 to 1 and at most 1 together."""

    of: dict[FaultKind, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if unknown := sorted(set(self.of) - set(FAULT_KINDS)):
            raise ValueError(f"no such fault: {', '.join(unknown)}; use {', '.join(FAULT_KINDS)}")
        # Written so that NaN, which compares as false, is refused.
        if not all(rate >= 0 for rate in self.of.values()) or sum(self.of.values()) > 1 + 1e-9:
            raise ValueError(f"rates are 0 or more and at most 1 together: {self.of}")

    @staticmethod
    def spread(rate: float) -> FaultRates:
        """`rate` in all, in equal parts over the USUAL faults."""
        return FaultRates(of={kind: rate / len(USUAL) for kind in USUAL})


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """What a call meets."""

    latency_s: float
    fault: FaultKind | None


_NONE = Trouble(latency_s=0.0, fault=None)


class FaultPlan:
    """Decides what each call meets. `seed` makes it repeatable."""

    def __init__(
        self, rates: FaultRates | None = None, *, seed: int = 0, latency: Latency | None = None
    ) -> None:
        self._rates = rates or FaultRates()
        self._latency = latency or Latency()
        self._seed = seed
        self._tries: OrderedDict[tuple[str, str], int] = OrderedDict()
        self._planned: dict[str, list[FaultKind | None]] = {}
        self.met: dict[FaultKind, int] = dict.fromkeys(FAULT_KINDS, 0)
        """How often each fault has been met."""

    def plan(self, call: str, *faults: FaultKind | None) -> None:
        """The next calls of that name meet these, before chance is asked; None is no fault."""
        self._planned.setdefault(call, []).extend(faults)

    def meet(self, call: str, name: str) -> Trouble:
        """What the next try of `call` for the charge or key `name` meets."""
        if not self._rates.of and not self._planned and self._latency == Latency():
            return _NONE
        tries = self._tries.pop((call, name), 0)
        self._tries[call, name] = tries + 1
        if len(self._tries) > CALLS_REMEMBERED_MAX:
            self._tries.popitem(last=False)
        dice = random.Random(f"{self._seed}/{call}/{name}/{tries}")
        planned = self._planned.get(call)
        fault = planned.pop(0) if planned else self._draw(dice)
        if fault is not None:
            self.met[fault] += 1
        return Trouble(latency_s=self._latency.draw(dice), fault=fault)

    def _draw(self, dice: random.Random) -> FaultKind | None:
        point = dice.random()
        for kind, rate in self._rates.of.items():
            if point < rate:
                return kind
            point -= rate
        return None
