"""Which of two payment providers a new charge goes to, and when it may change over.

The rule that no money is taken twice rests on: a charge goes to the other provider only if nothing
can have been authorized at the first. So either the first was not asked at all, because it is
known to be down, or it could not be reached, on the first try. A try whose outcome is not known
stays where it was made, and recovery asks there.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from typing import Literal, TypeVar

from domain.payments import ChargeRequest, ChargeState, PaymentKind
from domain.ports import NotReached, PaymentProvider, Unavailable

T = TypeVar("T")
Outcome = Literal["answered", "unavailable", "not_reached", "fault"]
BreakerState = Literal["closed", "open", "half_open"]
OUTCOMES_MAX = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerPolicy:
    """When a provider counts as down; times in seconds."""

    failures_min: int = 5
    """Failures in the window before anything is concluded from them."""
    failing_share: float = 0.5
    """Share of the calls in the window that must have failed."""
    window_s: float = 10.0
    """How far back calls count."""
    open_s: float = 15.0
    """How long a provider that is down is left alone before one charge tries it."""
    probe_s: float = 60.0
    """After that time, a probe of which nothing was heard is lost, and another one goes."""


class Breaker:
    """A circuit breaker: closed while a provider answers, open while it is down.

    Time comes from `monotonic`, in seconds. Once it was open for long enough it is half open: one
    probe is let through, and what comes of it closes the breaker or opens it again.
    """

    def __init__(self, policy: BreakerPolicy, monotonic: Callable[[], float]) -> None:
        self._policy = policy
        self._monotonic = monotonic
        self._outcomes: deque[tuple[float, bool]] = deque()
        self._failures = 0
        self._opened_at: float | None = None
        self._probe_at: float | None = None

    @property
    def state(self) -> BreakerState:
        """Where the breaker is now."""
        if self._opened_at is None:
            return "closed"
        waited = self._monotonic() - self._opened_at >= self._policy.open_s
        return "half_open" if waited else "open"

    def admits(self) -> bool:
        """Whether a new charge may go there; in half open it is the probe, if it may."""
        state = self.state
        if state != "half_open":
            return state == "closed"
        now = self._monotonic()
        if self._probe_at is not None and now - self._probe_at < self._policy.probe_s:
            return False
        self._probe_at = now
        return True

    def note(self, *, failed: bool) -> None:
        """What came of a call."""
        state = self.state
        if state == "open":
            return  # a call from before; it changes nothing about what is known
        if state == "half_open":
            self._forget()
            self._opened_at = self._monotonic() if failed else None
            return
        self._remember(failed)
        policy = self._policy
        enough = self._failures >= policy.failures_min
        if enough and self._failures >= policy.failing_share * len(self._outcomes):
            self._forget()
            self._opened_at = self._monotonic()

    def _remember(self, failed: bool) -> None:
        now = self._monotonic()
        self._outcomes.append((now, failed))
        self._failures += failed
        oldest = now - self._policy.window_s
        while len(self._outcomes) > OUTCOMES_MAX or self._outcomes[0][0] < oldest:
            _, was_failed = self._outcomes.popleft()
            self._failures -= was_failed

    def _forget(self) -> None:
        self._outcomes.clear()
        self._failures = 0
        self._probe_at = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Authorized:
    """What came of authorizing, and at which provider."""

    gateway: str
    state: ChargeState


class Failover:
    """Two providers behind one door; `secondary` None: there is only one.

    `secondary_kinds` are the ways to pay that the second one takes. `monotonic` in seconds.
    """

    def __init__(
        self,
        primary: PaymentProvider,
        secondary: PaymentProvider | None,
        *,
        monotonic: Callable[[], float],
        policy: BreakerPolicy | None = None,
        secondary_kinds: Collection[PaymentKind] = ("card", "wallet"),
    ) -> None:
        policy = policy or BreakerPolicy()
        both = (primary,) if secondary is None else (primary, secondary)
        self._providers = {one.name: one for one in both}
        assert len(self._providers) == len(both), "two providers need two names"
        self._breakers = {one.name: Breaker(policy, monotonic) for one in both}
        self._primary = primary.name
        self._secondary = None if secondary is None else secondary.name
        self._secondary_kinds = frozenset(secondary_kinds)

    def gateway_for_new(self, kind: PaymentKind = "card") -> str:
        """The provider that a new charge is to be written down with, before it is asked.

        The first one, unless it is down and the second is not.
        """
        secondary = self._secondary
        if secondary is None or kind not in self._secondary_kinds:
            return self._primary
        if self._breakers[self._primary].admits():
            return self._primary
        return secondary if self._breakers[secondary].admits() else self._primary

    def knows(self, name: str) -> bool:
        """True for the providers that stand in for each other."""
        return name in self._providers

    def provider(self, name: str) -> PaymentProvider:
        """The provider that a charge was written down with.

        KeyError if it is not configured any more: its charges cannot be settled without it.
        """
        provider = self._providers.get(name)
        if provider is None:
            raise KeyError(
                f"no payment provider {name!r} is configured, but charges are recorded with it;"
                " configure it until they are settled"
            )
        return provider

    def state(self, name: str) -> BreakerState:
        """Whether a provider is in use (closed), down (open), or about to be tried."""
        return self._breakers[name].state

    def note(self, name: str, outcome: Outcome) -> None:
        """What came of any call to a provider. An answer is an answer, also a decline."""
        self._breakers[name].note(failed=outcome != "answered")

    async def ask(self, name: str, call: Callable[[PaymentProvider], Awaitable[T]]) -> T:
        """One call to a provider, with its outcome noted. Raises what the provider raises."""
        try:
            answer = await call(self.provider(name))
        except NotReached:
            self.note(name, "not_reached")
            raise
        except Unavailable:
            self.note(name, "unavailable")
            raise
        except Exception:
            self.note(name, "fault")
            raise
        self.note(name, "answered")
        return answer

    async def authorize(
        self,
        charge: ChargeRequest,
        gateway: str,
        on_switch: Callable[[str], Awaitable[ChargeRequest | None]],
        *,
        first_try: bool,
    ) -> Authorized:
        """Authorize at `gateway`, or at the other one if that was certainly never asked.

        `first_try` says that no call to authorize this charge was ever made before, by anyone;
        only then may it change over. `on_switch` writes the other provider down for the charge,
        before that is asked, and gives the charge as it is to be made there; None if it must
        not be (someone else has taken the charge over, or its token is of no use there).
        Raises as the provider does; from the other provider it never comes back.
        """
        try:
            state = await self.ask(gateway, lambda one: one.authorize(charge))
            return Authorized(gateway=gateway, state=state)
        except NotReached:
            other = self._other(gateway, charge)
            switched = await on_switch(other) if first_try and other is not None else None
            if other is None or switched is None:
                raise
        return Authorized(
            gateway=other, state=await self.ask(other, lambda one: one.authorize(switched))
        )

    def _other(self, gateway: str, charge: ChargeRequest) -> str | None:
        """The other provider, if it can take the charge and is not known to be down."""
        if self._secondary is None or charge.kind not in self._secondary_kinds:
            return None
        if charge.customer is not None:  # kept in the vault of one provider only
            return None
        other = self._primary if gateway == self._secondary else self._secondary
        return None if self._breakers[other].state == "open" else other
