"""Where tax rates come from: the shop's own table, or a service outside that is asked over HTTP.

The service is asked for rates, never for amounts, and told no more than a destination and what
kinds of goods go there: no name, no street, no prices. It gets

    POST <url>   {"questions": [{"country": "US", "state": "NY", "postal_code": "10001",
                                 "categories": ["Shoes", "Books"]}]}

and answers each question in its order, with one rate for each category or a single one for all,
as decimal fractions of the net price of at most six places:

    {"answers": [{"place": "US-NY", "rates": ["0.08875", "0"]}]}
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation
from typing import Any, Literal

import httpx
import structlog

from domain.ports import Unavailable
from domain.tax import PPM, RATE_PPM_MAX, TaxAnswer, TaxQuestion
from domain.tax_rates import tax_of

_log = structlog.get_logger(__name__)
KEPT_MAX = 20_000  # answers remembered
PLACE_LENGTH_MAX = 100
ANSWER_BYTES_MAX = 1_000_000

OnFailure = Literal["table", "refuse"]


class TableTaxes:
    """TaxService of domain.ports: the shop's own table, which is always there."""

    async def rates(self, questions: Sequence[TaxQuestion]) -> list[TaxAnswer]:
        return [tax_of(one.country, one.state) for one in questions]


@dataclass(frozen=True, slots=True, kw_only=True)
class TaxServiceConfig:
    """How a service outside is asked."""

    url: str
    token: str = ""
    """Sent as a bearer token, if there is one."""
    timeout_s: float = 0.5
    """A checkout waits for it no longer than this."""
    on_failure: OnFailure = "table"
    """Without an answer: the shop's table, and the quote says so; or no order at all."""
    pause_s: float = 5.0
    """So long it is not asked again after it gave no answer: nobody waits for it meanwhile."""
    kept_s: float = 300.0
    """So long an answer is good for the same question."""
    batch_max: int = 100
    """Questions in one call."""


class HttpTaxes:
    """TaxService of domain.ports: a service outside, with the table behind it.

    `monotonic` gives seconds. Raises Unavailable where there is no answer and `on_failure` is
    `refuse`.
    """

    def __init__(
        self,
        client: httpx.AsyncClient,
        config: TaxServiceConfig,
        *,
        monotonic: Callable[[], float],
    ) -> None:
        self._client = client
        self._config = config
        self._monotonic = monotonic
        self._known: dict[TaxQuestion, tuple[float, TaxAnswer]] = {}
        self._silent_until = float("-inf")

    async def rates(self, questions: Sequence[TaxQuestion]) -> list[TaxAnswer]:
        now = self._monotonic()
        answers: dict[TaxQuestion, TaxAnswer] = {}
        for one in questions:
            until, known = self._known.get(one, (now, None))
            if known is not None and until > now:
                answers[one] = known
        missing = [one for one in dict.fromkeys(questions) if one not in answers]
        step = self._config.batch_max
        for start in range(0, len(missing), step):
            batch = missing[start : start + step]
            answers.update(zip(batch, await self._answered(batch), strict=True))
        return [answers[one] for one in questions]

    async def _answered(self, batch: list[TaxQuestion]) -> list[TaxAnswer]:
        if self._monotonic() >= self._silent_until:
            try:
                answers = await self._ask(batch)
            except (httpx.HTTPError, ValueError, ArithmeticError) as error:
                self._silent_until = self._monotonic() + self._config.pause_s
                _log.warning(
                    "tax_service_failed", reason=repr(error)[:500], then=self._config.on_failure
                )
            else:
                self._keep(batch, answers)
                return answers
        if self._config.on_failure == "refuse":
            raise Unavailable("the tax service gave no answer; try again shortly")
        return [replace(tax_of(one.country, one.state), source="fallback") for one in batch]

    async def _ask(self, batch: list[TaxQuestion]) -> list[TaxAnswer]:
        """Raises httpx.HTTPError, or ValueError for an answer that is none."""
        asked = [
            {
                "country": one.country,
                "state": one.state,
                "postal_code": one.postal_code,
                "categories": one.categories,
            }
            for one in batch
        ]
        token = self._config.token
        response = await self._client.post(
            self._config.url,
            json={"questions": asked},
            headers={"Authorization": f"Bearer {token}"} if token else {},
            timeout=self._config.timeout_s,
        )
        response.raise_for_status()
        if len(response.content) > ANSWER_BYTES_MAX:
            raise ValueError(f"the answer is over {ANSWER_BYTES_MAX} bytes")
        answers = _field(response.json(), "answers", list)
        if len(answers) != len(batch):
            raise ValueError(f"{len(batch)} questions, {len(answers)} answers")
        return [_answer(one, said) for one, said in zip(batch, answers, strict=True)]

    def _keep(self, batch: list[TaxQuestion], answers: list[TaxAnswer]) -> None:
        if len(self._known) + len(batch) > KEPT_MAX:
            self._known.clear()
        until = self._monotonic() + self._config.kept_s
        for one, answer in zip(batch, answers, strict=True):
            self._known[one] = (until, answer)


def _field(document: Any, name: str, kind: type) -> Any:
    value = document.get(name) if isinstance(document, dict) else None
    if not isinstance(value, kind):
        raise ValueError(f"there is no {kind.__name__} {name!r} in the answer")
    return value


def _answer(question: TaxQuestion, said: Any) -> TaxAnswer:
    rates = tuple(_ppm(rate) for rate in _field(said, "rates", list))
    if len(rates) not in {1, len(question.categories)}:
        raise ValueError(f"{len(question.categories)} lines, {len(rates)} rates")
    place = _field(said, "place", str)[:PLACE_LENGTH_MAX]
    return TaxAnswer(rates_ppm=rates, place=place, source="service")


def _ppm(rate: Any) -> int:
    if isinstance(rate, bool) or not isinstance(rate, str | int | float):
        raise ValueError(f"{str(rate)[:40]!r} is no rate")
    try:
        ppm = Decimal(str(rate)[:40]) * PPM
    except InvalidOperation:
        raise ValueError(f"{str(rate)[:40]!r} is no rate") from None
    if not ppm.is_finite() or not 0 <= ppm <= RATE_PPM_MAX or ppm != int(ppm):
        raise ValueError(f"rate {rate} is not 0 to 1 with at most six places")
    return int(ppm)
