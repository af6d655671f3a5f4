"""The money of whole orders: every part of a payment held, taken or given back.

All or nothing: an order is held when each of its parts is, and what one part cannot do is undone
for the others. No call is made twice with another meaning: each names its charge by our own id.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

from actors.failover import Failover
from actors.retry import until_reached
from domain.orders import PaymentPart
from domain.payments import OPEN, ChargeRequest, ChargeState, RefundRequest
from domain.ports import PaymentForecast, PaymentProvider, Unavailable

States = Mapping[str, ChargeState]
"""What providers say, by our id of the charge."""

_HELD = frozenset({"authorized", "captured"})


@dataclass(frozen=True, slots=True)
class Outcome:
    """How far the parts of an order have come together."""

    status: Literal["held", "waiting", "failed"]
    """`waiting` if no part has failed and some need their buyer or a bank."""
    states: States
    parts: tuple[PaymentPart, ...]
    """As they were asked: a part may have gone to another provider."""

    @property
    def decline_code(self) -> str | None:
        """Why the first part that was declined was; None if nothing was: a charge that failed has
        then been called off, by whoever settled the order meanwhile or by its buyer.
        """
        failed = [state for state in self.states.values() if state.status not in _HELD | OPEN]
        return next((state.decline_code for state in failed if state.decline_code), None)


def outcome_of(parts: Sequence[PaymentPart], states: States) -> Outcome:
    """What the states of an order's parts come to; a charge that is not there has failed."""
    seen = [states.get(part.transaction_id) for part in parts]
    if any(state is None or state.status not in _HELD | OPEN for state in seen):
        return Outcome("failed", states, tuple(parts))
    waits = any(state is not None and state.status in OPEN for state in seen)
    return Outcome("waiting" if waits else "held", states, tuple(parts))


def all_captured(parts: Sequence[PaymentPart], states: States) -> bool:
    """True if every part has been taken; also if nothing is to pay."""
    return all(
        (state := states.get(part.transaction_id)) is not None and state.status == "captured"
        for part in parts
    )


class Charges:
    """Asks the providers. Every method raises Unavailable if one gave no answer in time.

    What happened by then is not known: whoever settles the order asks again.
    """

    def __init__(
        self,
        providers: Mapping[str, PaymentProvider],
        *,
        monotonic: Callable[[], float],
        failover: Failover | None = None,
        switch: Callable[[str, str], Awaitable[bool]] | None = None,
        forecasts: Mapping[str, PaymentForecast] | None = None,
    ) -> None:
        """`switch` writes down that a charge, by its id, goes to another gateway; False if it may
        not any more. `failover` knows the providers that can stand in for each other.
        `forecasts` are the gateways, by name, that know beforehand what they would decline."""
        self._providers = providers
        self._monotonic = monotonic
        self._failover = failover
        self._switch = switch
        self._forecasts = forecasts or {}

    async def foresee(self, parts: Sequence[PaymentPart]) -> str | None:
        """The decline code of a payment that could not be made now; None if nobody knows of any.

        Asks those gateways only that can tell, and holds nothing.
        """
        for gateway, forecast in self._forecasts.items():
            charges = [part.charge for part in parts if part.gateway == gateway]
            foresee = partial(forecast.foresee, charges)
            code = await until_reached(foresee, monotonic=self._monotonic) if charges else None
            if code is not None:
                return code
        return None

    async def hold(self, parts: Sequence[PaymentPart], *, first_try: bool = False) -> Outcome:
        """Hold the money of every part; what is taken at once is held, too.

        `first_try`: nobody has asked for these charges before. Only then may a part go to another
        provider if the first one cannot be reached.
        """
        answers = await self._each(parts, lambda part: self._authorize(part, first_try))
        asked = [answers[part.transaction_id][0] for part in parts]
        return outcome_of(asked, {name: state for name, (_, state) in answers.items()})

    async def take(self, parts: Sequence[PaymentPart], states: States) -> States:
        """Take what is held. A part that could not be taken says so in the answer."""
        held = [part for part in parts if states[part.transaction_id].status == "authorized"]
        return {**states, **await self._each(held, self._capture)}

    async def look_up(self, parts: Sequence[PaymentPart]) -> States:
        """What the providers know of an order's charges; those that were never made are missing."""
        found = await self._each(parts, self._lookup)
        return {name: state for name, state in found.items() if state is not None}

    async def void(self, parts: Sequence[PaymentPart]) -> States:
        """Drop every hold, for ever; what was taken stays so, and the answer tells."""
        return await self._each(parts, self._void)

    async def give_back(self, parts: Sequence[PaymentPart], states: States) -> dict[str, str]:
        """Refund in full what was taken: the final status of every charge, by its id.

        Raises Unavailable if a charge is on its way and can be neither stopped nor given back yet.
        """
        taken = [part for part in parts if states[part.transaction_id].status == "captured"]
        after = {**states, **await self._each(taken, self._refund)}
        if any(state.status in OPEN for state in after.values()):
            raise Unavailable("a payment is still on its way; it is given back when it has arrived")
        return {name: state.status for name, state in after.items()}

    async def undo(self, parts: Sequence[PaymentPart]) -> dict[str, str]:
        """Void what can be voided and refund the rest: the final status of every charge."""
        return await self.give_back(parts, await self.void(parts))

    async def _each(
        self, parts: Sequence[PaymentPart], call: Callable[[PaymentPart], Awaitable[Any]]
    ) -> dict[str, Any]:
        if len(parts) == 1:
            return {parts[0].transaction_id: await call(parts[0])}
        answers = await asyncio.gather(*[call(part) for part in parts], return_exceptions=True)
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer
        return {part.transaction_id: one for part, one in zip(parts, answers, strict=True)}

    async def _authorize(
        self, part: PaymentPart, first_try: bool
    ) -> tuple[PaymentPart, ChargeState]:
        failover, switch = self._failover, self._switch
        if not first_try or failover is None or switch is None or not failover.knows(part.gateway):
            return part, await self._ask(part, _authorized)
        asked, unclear = part, False

        async def on_switch(gateway: str) -> ChargeRequest | None:
            nonlocal asked, unclear
            unclear = True  # until the database has said whose it is
            switched = await until_reached(
                lambda: switch(part.transaction_id, gateway), monotonic=self._monotonic
            )
            unclear = False
            if not switched:
                return None
            asked = replace(part, gateway=gateway)
            return part.charge

        try:
            found = await failover.authorize(part.charge, part.gateway, on_switch, first_try=True)
        except Unavailable:
            if unclear:
                raise
            return asked, await self._ask(asked, _authorized)
        return asked, found.state

    async def _capture(self, part: PaymentPart) -> ChargeState:
        return await self._ask(part, lambda provider, charge: provider.capture(charge))

    async def _void(self, part: PaymentPart) -> ChargeState:
        return await self._ask(part, lambda provider, charge: provider.void(charge))

    async def _lookup(self, part: PaymentPart) -> ChargeState | None:
        return await self._ask(part, lambda provider, charge: provider.lookup(charge))

    async def _refund(self, part: PaymentPart) -> ChargeState:
        # Everything that was taken: an order that failed has had no refund before.
        whole = RefundRequest(f"{part.transaction_id}-undo", part.charge.amount_minor)
        return await self._ask(part, lambda provider, charge: provider.refund(charge, whole))

    async def _ask(
        self, part: PaymentPart, call: Callable[[PaymentProvider, ChargeRequest], Awaitable[Any]]
    ) -> Any:
        provider = self._providers.get(part.gateway)
        if provider is None:
            raise Unavailable(
                f"charge {part.transaction_id} is at {part.gateway}, which is not connected; "
                "set its keys again"
            )
        failover = self._failover
        if failover is None or not failover.knows(part.gateway):
            return await until_reached(
                lambda: call(provider, part.charge), monotonic=self._monotonic
            )
        return await until_reached(
            lambda: failover.ask(part.gateway, lambda one: call(one, part.charge)),
            monotonic=self._monotonic,
        )


def _authorized(provider: PaymentProvider, charge: ChargeRequest) -> Awaitable[ChargeState]:
    return provider.authorize(charge)
