"""Refunds: each part is given back by the provider that took it, once, however often it is asked.

A refund is written down first and counts from then on. Whoever wrote it down carries it out; what
a provider that is away leaves open is found by `finish_open`. What a provider refuses is left to
an operator.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

import structlog

from actors.retry import RetryPolicy, until_reached
from domain.payments import RefundRequest
from domain.ports import PaymentProvider, RefundBook, RefundRefused, Unavailable
from domain.refunds import (
    Refund,
    RefundDraft,
    RefundPart,
    RefundRecord,
    RefundRefusal,
    refunded_event,
)

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class RefundsConfig:
    """How long and how often providers are asked."""

    at_first: RetryPolicy = field(default_factory=RetryPolicy)
    """While an operator waits for the answer."""
    later: RetryPolicy = field(default_factory=lambda: RetryPolicy(deadline_s=0.5))
    """In a pass: the next one asks again."""
    look_again_after_s: float = 2.0
    """How long a pass leaves a refund alone, and first of all whoever wrote it down."""
    batch_max: int = 256
    at_once_max: int = 32
    """Refunds of a pass that providers are asked for at the same time."""


class Refunds:
    """Keeps nothing between refunds. Two at the same one come to the same end."""

    def __init__(
        self,
        *,
        book: RefundBook,
        providers: Mapping[str, PaymentProvider],
        new_id: Callable[[], UUID],
        now: Callable[[], datetime],
        monotonic: Callable[[], float],
        config: RefundsConfig | None = None,
    ) -> None:
        self._config = config or RefundsConfig()
        self._book = book
        self._providers = providers
        self._new_id = new_id
        self._now = now
        self._monotonic = monotonic
        self._at_once = asyncio.Semaphore(self._config.at_once_max)
        self.parts_done_total = 0
        self.parts_refused_total = 0

    async def refund(self, draft: RefundDraft) -> RefundRecord | RefundRefusal | None:
        """Write a refund down and give it back; None if there is no such order.

        A repeat of its key gets the first one, as it was found. Raises Unavailable if it could
        not be written down: repeat it with the same key. Once it is written down it will be given
        back, whatever becomes of this call.
        """
        made = await self._book.create(draft)
        if isinstance(made, RefundRecord) and not made.repeated:
            try:
                await self._give_back(made.refund, self._config.at_first)
            except Unavailable as error:
                refund_id = str(draft.refund_id)
                _log.warning("refund_left_open", refund_id=refund_id, reason=str(error))
        return made

    async def finish_open(self) -> int:
        """Give back what was left open, as far as the providers answer; how many were found.

        Raises Unavailable when one cannot be reached, after trying all the others.
        """
        before = self._now() - timedelta(seconds=self._config.look_again_after_s)
        found = await self._book.due(before, self._config.batch_max)
        results = await asyncio.gather(*map(self._finish, found), return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result
        return len(found)

    async def _finish(self, refund: Refund) -> None:
        async with self._at_once:
            await self._give_back(refund, self._config.later)

    async def _give_back(self, refund: Refund, policy: RetryPolicy) -> None:
        """Ask for all open parts at once, and note what came of them.

        Raises what the first part failed with that was neither given back nor refused.
        """
        open_parts = [part for part in refund.parts if part.status == "pending"]
        answers = await asyncio.gather(
            *[self._ask(refund, part, policy) for part in open_parts], return_exceptions=True
        )
        done: list[UUID] = []
        refused: dict[UUID, str] = {}
        failures: list[BaseException] = []
        for part, answer in zip(open_parts, answers, strict=True):
            if isinstance(answer, RefundRefused):
                refused[part.payment_id] = str(answer)
                self._tell(refund, part, answer)
            elif isinstance(answer, BaseException):
                failures.append(answer)
            else:
                done.append(part.payment_id)
        if done or refused:
            event = refunded_event(self._new_id(), refund)
            await self._book.settle(refund, done, refused, event)
            self.parts_done_total += len(done)
            self.parts_refused_total += len(refused)
        if failures:
            raise failures[0]

    async def _ask(self, refund: Refund, part: RefundPart, policy: RetryPolicy) -> None:
        provider = self._providers.get(part.gateway)
        if provider is None:
            raise Unavailable(
                f"charge {part.charge.transaction_id} is at {part.gateway}, which is not"
                " connected; set its keys again"
            )
        request = RefundRequest(f"{refund.refund_id}-{part.part}", part.amount_minor)
        await until_reached(
            lambda: provider.refund(part.charge, request), monotonic=self._monotonic, policy=policy
        )

    @staticmethod
    def _tell(refund: Refund, part: RefundPart, error: RefundRefused) -> None:
        # Our books say that there is more to give back than the provider's: somebody has to look.
        _log.error(
            "refund_refused_by_provider",
            refund_id=str(refund.refund_id),
            order_id=str(refund.order_id),
            transaction_id=part.charge.transaction_id,
            gateway=part.gateway,
            amount_minor=part.amount_minor,
            reason=str(error),
        )
