"""Webhooks of the simulated provider: signed, repeated until they are taken, and unreliable.

Events wait in the books, where they were written with the change they tell of. A sender takes
the due ones, BATCH_MAX at a time, so what is in memory is bounded however many wait.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import asyncpg
import httpx
import structlog

from sim.provider_books import UNREACHABLE

BATCH_MAX = 64
ATTEMPTS_MAX = 12
BACKOFF_S = 0.5
BACKOFF_MAX_S = 60.0
POLL_S = 0.25
TIMEOUT_S = 10.0
EVENTS_KEPT_FOR = timedelta(days=1)
_log = structlog.get_logger()

_DUE = """
    SELECT number, event_id, body, created_at, attempts FROM simulated_provider.events
    WHERE delivered_at IS NULL AND due_at <= $1 ORDER BY number LIMIT $2
"""
_DELIVERED = """
    UPDATE simulated_provider.events SET delivered_at = $2, attempts = attempts + 1
    WHERE number = $1
"""
_AGAIN = """
    UPDATE simulated_provider.events SET attempts = attempts + $3, due_at = $2 WHERE number = $1
"""
_GIVEN_UP = """
    UPDATE simulated_provider.events SET attempts = attempts + 1, due_at = 'infinity'
    WHERE number = $1
"""
_FORGET = "DELETE FROM simulated_provider.events WHERE delivered_at < $1"


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookFaults:
    """Chances from 0 to 1 per event; `seed` makes them repeatable for the same event ids."""

    late: float = 0.0
    """Sent `late_s` after the change."""
    doubled: float = 0.0
    """Sent twice, with the same id."""
    swapped: float = 0.0
    """Held back until later ones have gone."""
    lost: float = 0.0
    """The first try goes nowhere; the event comes with the next."""
    late_s: float = 2.0
    swapped_s: float = 0.2
    seed: int = 0

    def __post_init__(self) -> None:
        chances = (self.late, self.doubled, self.swapped, self.lost)
        if not all(0 <= one <= 1 for one in chances):
            raise ValueError(f"chances are from 0 to 1: {self}")

    @staticmethod
    def spread(rate: float, *, seed: int) -> WebhookFaults:
        """Every fault with the same chance."""
        return WebhookFaults(late=rate, doubled=rate, swapped=rate, lost=rate, seed=seed)

    def happens(self, what: str, chance: float, event_id: str) -> bool:
        """Whether this event meets this fault."""
        return random.Random(f"{self.seed}/{what}/{event_id}").random() < chance


def signature(secret: str, body: bytes, at: datetime) -> str:
    """The value of `Stripe-Signature`: `t=<seconds>,v1=<HMAC-SHA256 of "t.body">`, in hex."""
    moment = int(at.timestamp())
    signed = hmac.new(secret.encode(), f"{moment}.".encode() + body, hashlib.sha256)
    return f"t={moment},v1={signed.hexdigest()}"


class WebhookSender:
    """Sends the events of the books to `url`; one of them per database.

    `client` makes the requests. Run it as a task; `wake` tells that there is something to send.
    """

    def __init__(
        self,
        pool: asyncpg.Pool,
        client: httpx.AsyncClient,
        *,
        url: str,
        secret: str,
        now: Callable[[], datetime],
        faults: WebhookFaults | None = None,
        backoff_s: float = BACKOFF_S,
    ) -> None:
        self._pool = pool
        self._client = client
        self._url = url
        self._secret = secret
        self._now = now
        self._faults = faults or WebhookFaults()
        self._backoff_s = backoff_s
        self._woken = asyncio.Event()

    def wake(self) -> None:
        """There is something to send."""
        self._woken.set()

    async def run(self) -> None:
        """Send what is due, for ever."""
        while True:
            self._woken.clear()
            try:
                while await self.send_due() == BATCH_MAX:
                    pass
                await self._pool.execute(_FORGET, self._now() - EVENTS_KEPT_FOR)
            except UNREACHABLE as error:
                _log.warning("webhooks_wait_for_the_books", error=repr(error))
            try:
                async with asyncio.timeout(POLL_S):
                    await self._woken.wait()
            except TimeoutError:
                pass

    async def send_due(self) -> int:
        """Send what is due now, BATCH_MAX at most; how many were looked at."""
        rows = await self._pool.fetch(_DUE, self._now(), BATCH_MAX)
        await asyncio.gather(*[self._send(row) for row in rows])
        return len(rows)

    async def _send(self, row: Any) -> None:
        number, event_id, attempts = row["number"], row["event_id"], row["attempts"]
        faults, now = self._faults, self._now()
        wait_s = 0.0
        if faults.happens("late", faults.late, event_id):
            wait_s = faults.late_s
        elif faults.happens("swapped", faults.swapped, event_id):
            wait_s = faults.swapped_s
        if not attempts and now < (due := row["created_at"] + timedelta(seconds=wait_s)):
            await self._pool.execute(_AGAIN, number, due, 0)
            return
        lost = not attempts and faults.happens("lost", faults.lost, event_id)
        taken = not lost and await self._post(row["body"].encode())
        if taken and faults.happens("doubled", faults.doubled, event_id):
            await self._post(row["body"].encode())
        if taken:
            await self._pool.execute(_DELIVERED, number, self._now())
        elif attempts + 1 >= ATTEMPTS_MAX:
            _log.warning("webhook_given_up", event=event_id, url=self._url)
            await self._pool.execute(_GIVEN_UP, number)
        else:
            pause = min(self._backoff_s * 2**attempts, BACKOFF_MAX_S)
            again = self._now() + timedelta(seconds=pause)
            await self._pool.execute(_AGAIN, number, again, 1)

    async def _post(self, body: bytes) -> bool:
        headers = {
            "content-type": "application/json; charset=utf-8",
            "stripe-signature": signature(self._secret, body, self._now()),
        }
        try:
            answer = await self._client.post(
                self._url, content=body, headers=headers, timeout=TIMEOUT_S
            )
        except httpx.HTTPError:
            return False
        return answer.is_success
