"""Load on a shop: a closed loop of connections, or an open loop of arrivals at a constant rate.

The closed loop finds the highest throughput; the open loop tells what shoppers who come on their
own account feel. Its latencies count from the moment a request was due, not from when it could be
sent, so that a stall of the shop is seen by everybody who came during it (coordinated omission).
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from time import perf_counter

import orjson

from domain.histogram import LatencyHistogram
from sim.http_client import HttpClient
from sim.http_messages import Outcome, Prepared, Response

PROBLEM_PREFIX = "/problems/"
OVERFLOW = "overflow"
"""The failure counted for an arrival that found `in_flight_max` others under way."""

UNTYPED_PROBLEM = "untyped"
"""The problem type counted for a refusal that is not problem+json."""

PUMP_S = 0.001
"""The shortest pause of an open loop between two looks for arrivals that are due."""

RequestSource = Iterable[Prepared] | Callable[[], Prepared | None]
"""Requests made ahead; the load ends with the iterable, or with the callable's first None."""

OnResponse = Callable[[Prepared, Response], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadResult:
    """What a load run saw."""

    requests: int
    """Requests that were due and whose outcome is known, the refused and failed included."""
    by_status: dict[int, int]
    by_problem: dict[str, int]
    """Refusals (status 400 and above) by problem type, such as `out_of_stock`."""
    by_failure: dict[str, int]
    """Requests without an answer, by kind of failure."""
    errors: int
    """Answers of 500 and above, and requests without an answer."""
    requests_per_second: float
    """Answers per second, refusals included."""
    latency_ms_p50: float
    latency_ms_p99: float
    latency_ms_max: float
    duration_s: float
    """From the first request to the last outcome."""

    def to_json(self) -> dict[str, object]:
        """Plain values with text keys, for a JSON document."""
        document = asdict(self)
        document["by_status"] = {str(status): n for status, n in self.by_status.items()}
        return document


def problem_type(body: bytes) -> str:
    """The stable id in a problem+json body (`out_of_stock`), `untyped` if it has none."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return UNTYPED_PROBLEM
    kind = document.get("type") if isinstance(document, dict) else None
    return kind.removeprefix(PROBLEM_PREFIX) if isinstance(kind, str) else UNTYPED_PROBLEM


async def run_closed_loop(
    *,
    base_url: str,
    requests: RequestSource,
    connections: int,
    requests_max: int,
    seconds_max: float,
    timeout_s: float = 10.0,
    on_response: OnResponse | None = None,
) -> LoadResult:
    """Keeps `connections` requests under way, each next one sent when one is answered.

    Ends after `requests_max` requests, after `seconds_max` (what is under way is waited for), or
    with the source, whichever comes first. `on_response` sees every answer inside the measured
    window: keep it cheap.
    """
    tally = _Tally(on_response)
    async with HttpClient(
        base_url=base_url, connections_max=connections, timeout_s=timeout_s
    ) as client:
        await client.warm_up()
        loop = _ClosedLoop(
            client=client,
            source=_bounded(requests, requests_max),
            tally=tally,
            seconds_max=seconds_max,
        )
        await loop.run(connections)
    return tally.result()


async def run_open_loop(
    *,
    base_url: str,
    requests: RequestSource,
    rate_per_s: float,
    in_flight_max: int,
    requests_max: int,
    seconds_max: float,
    timeout_s: float = 10.0,
    on_response: OnResponse | None = None,
) -> LoadResult:
    """Sends `rate_per_s` requests a second at even distances, whatever the shop answers.

    Latency counts from the moment a request was due. An arrival that finds `in_flight_max` others
    under way is not sent and counts as an error of kind `overflow`. Ends like `run_closed_loop`.
    """
    if rate_per_s <= 0:
        raise ValueError(f"a rate of {rate_per_s} requests/s sends nothing; give one above zero")
    tally = _Tally(on_response)
    async with HttpClient(
        base_url=base_url, connections_max=in_flight_max, timeout_s=timeout_s
    ) as client:
        await client.warm_up()
        loop = _OpenLoop(
            client=client,
            source=_bounded(requests, min(requests_max, int(rate_per_s * seconds_max))),
            tally=tally,
            interval_s=1.0 / rate_per_s,
            in_flight_max=in_flight_max,
        )
        await loop.run()
    return tally.result()


def _bounded(requests: RequestSource, requests_max: int) -> Iterator[Prepared]:
    source = iter(requests, None) if callable(requests) else iter(requests)
    for _, prepared in zip(range(requests_max), source, strict=False):
        assert prepared is not None
        yield prepared


class _Tally:
    """Counts outcomes as they come."""

    def __init__(self, on_response: OnResponse | None) -> None:
        self._on_response = on_response
        self._histogram = LatencyHistogram()
        self._by_status: Counter[int] = Counter()
        self._by_problem: Counter[str] = Counter()
        self._by_failure: Counter[str] = Counter()
        self._started = perf_counter()
        self._ended = self._started

    def start(self) -> float:
        self._started = self._ended = perf_counter()
        return self._started

    def add(self, prepared: Prepared, outcome: Outcome, since: float) -> None:
        """Counts one outcome; `since` is when the request was due, by `perf_counter`."""
        self._ended = now = perf_counter()
        self._histogram.record((now - since) * 1000.0)
        if isinstance(outcome, Response):
            self._by_status[outcome.status] += 1
            if outcome.status >= 400:
                self._by_problem[problem_type(outcome.body)] += 1
            if self._on_response is not None:
                self._on_response(prepared, outcome)
        else:
            self._by_failure[outcome.kind.value] += 1

    def add_overflow(self) -> None:
        self._by_failure[OVERFLOW] += 1

    def result(self) -> LoadResult:
        answered = self._by_status.total()
        failed = self._by_failure.total()
        duration_s = self._ended - self._started
        return LoadResult(
            requests=answered + failed,
            by_status=dict(sorted(self._by_status.items())),
            by_problem=dict(sorted(self._by_problem.items())),
            by_failure=dict(sorted(self._by_failure.items())),
            errors=failed + sum(n for status, n in self._by_status.items() if status >= 500),
            requests_per_second=answered / duration_s if duration_s else 0.0,
            latency_ms_p50=self._histogram.quantile(0.5),
            latency_ms_p99=self._histogram.quantile(0.99),
            latency_ms_max=self._histogram.max_ms,
            duration_s=duration_s,
        )


class _ClosedLoop:
    """Callbacks instead of tasks: an answer sends the next request in the same turn of the loop."""

    def __init__(
        self, *, client: HttpClient, source: Iterator[Prepared], tally: _Tally, seconds_max: float
    ) -> None:
        self._client = client
        self._source = source
        self._tally = tally
        self._seconds_max = seconds_max
        self._ends_at = 0.0
        self._in_flight = 0
        self._done = asyncio.Event()

    async def run(self, connections: int) -> None:
        self._ends_at = self._tally.start() + self._seconds_max
        self._in_flight = connections
        for _ in range(connections):
            self._send_next(perf_counter())
        await self._done.wait()

    def _send_next(self, now: float) -> None:
        prepared = next(self._source, None) if now < self._ends_at else None
        if prepared is None:
            self._in_flight -= 1
            if not self._in_flight:
                self._done.set()
            return

        def on_outcome(outcome: Outcome) -> None:
            self._tally.add(prepared, outcome, now)
            self._send_next(perf_counter())

        self._client.submit(prepared, on_outcome)


class _OpenLoop:
    """Sends what is due by the clock and never waits for an answer."""

    def __init__(
        self,
        *,
        client: HttpClient,
        source: Iterator[Prepared],
        tally: _Tally,
        interval_s: float,
        in_flight_max: int,
    ) -> None:
        self._client = client
        self._source = source
        self._tally = tally
        self._interval_s = interval_s
        self._in_flight_max = in_flight_max
        self._in_flight = 0
        self._idle = asyncio.Event()
        self._idle.set()

    async def run(self) -> None:
        now = due = self._tally.start()
        for prepared in self._source:
            # `now` is read only after a pause: whoever is behind still lets answers in between.
            while now < due:
                await asyncio.sleep(max(due - now, PUMP_S))
                now = perf_counter()
            self._send(prepared, due)
            due += self._interval_s
        await self._idle.wait()

    def _send(self, prepared: Prepared, due: float) -> None:
        if self._in_flight >= self._in_flight_max:
            self._tally.add_overflow()
            return
        self._in_flight += 1
        self._idle.clear()

        def on_outcome(outcome: Outcome) -> None:
            self._tally.add(prepared, outcome, due)
            self._in_flight -= 1
            if not self._in_flight:
                self._idle.set()

        self._client.submit(prepared, on_outcome)
