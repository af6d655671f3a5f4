"""Calls to Stripe by its SDK: keys, replays, and what each kind of failure means to us.

Stripe keeps the first answer under an idempotency key, also if that was a fault of its own
(status 500). Such a key can never do its work any more. Everyone then goes on to the next key of
the same row, so that all who repeat a step still meet in one place.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any

import stripe

from domain.ports import Misconfigured, NotReached, Unavailable
from gateways.bounded_http import CONNECTIONS_MAX, BoundedHttp, Transport
from gateways.stripe_charges import Body, Refusal

KEYS_OF_A_STEP_MAX = 5
SEARCHED_MAX = 10
_TRANSIENT = frozenset({408, 409, 429})
_REFUSED_KEY = frozenset({401, 403})
# Facts about this machine and its timings, which Stripe does not need for a charge.
_NOT_SENT = frozenset({"x-stripe-client-telemetry", "x-stripe-client-user-agent"})


class StripeMisconfigured(Misconfigured):
    """Stripe does not let us in, or what answers is not Stripe: an operator has to act."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A 2xx answer; `replayed`: as it was when the key was used first, so perhaps long ago."""

    body: Body
    replayed: bool


Call = Callable[[stripe.RequestOptions], Coroutine[Any, Any, Any]]


class StripeCalls:
    """StripeClient with our own HTTP client, and its errors as values or as conditions."""

    def __init__(
        self,
        api_key: str,
        *,
        base_url: str | None,
        timeout_s: float,
        connections_max: int = CONNECTIONS_MAX,
        transport: Transport | None = None,
    ) -> None:
        if not api_key.strip():
            raise StripeMisconfigured("no Stripe key: set DOORBUSTER_STRIPE_API_KEY")
        # It would send the platform and an id that it writes into the home folder.
        stripe.enable_telemetry = False
        self._http = BoundedHttp(
            "Stripe", timeout_s=timeout_s, connections_max=connections_max, transport=transport
        )
        client = stripe.StripeClient(
            api_key,
            base_addresses={"api": base_url.rstrip("/")} if base_url else {},
            http_client=_SdkHttp(self._http),
            max_network_retries=0,  # the saga repeats by itself, and knows when to stop
        )
        self.v1 = client.v1

    async def close(self) -> None:
        """Close the connections."""
        await self._http.close()

    async def get(self, call: Coroutine[Any, Any, Any]) -> Answer | Refusal:
        """Read something. Raises NotReached, Unavailable or StripeMisconfigured."""
        answer = await _outcome(call)
        if isinstance(answer, Refusal) and answer.status >= 500:
            raise _at_fault(answer)
        return answer

    async def post(self, key: str, call: Call) -> Answer | Refusal:
        """Do a step once, under `key`. Raises NotReached, Unavailable or StripeMisconfigured."""
        for number in range(1, KEYS_OF_A_STEP_MAX + 1):
            try:
                answer = await self.post_once(key_of(key, number), call)
            except NotReached as error:
                if number == 1:
                    raise
                raise Unavailable(f"{error}; what came of {key} is not known") from error
            if answer is not None:
                return answer
        raise Unavailable(f"Stripe: every try of {key} ended in a fault; ask Stripe's support")

    async def post_once(self, key: str, call: Call) -> Answer | Refusal | None:
        """The same with exactly this key; None if the key only ever gives a fault."""
        answer = await _outcome(call({"idempotency_key": key}))
        if not isinstance(answer, Refusal) or answer.status < 500:
            return answer
        if answer.replayed:
            return None
        raise _at_fault(answer)


class _SdkHttp(stripe.HTTPClient):
    """What the SDK takes for the network."""

    name = "aiohttp"

    def __init__(self, http: BoundedHttp) -> None:
        super().__init__()
        self._http = http

    async def request_async(
        self, method: str, url: str, headers: Mapping[str, str], post_data: Any = None
    ) -> tuple[bytes, int, Mapping[str, str]]:
        sent = {name: value for name, value in headers.items() if name.lower() not in _NOT_SENT}
        content = post_data.encode() if isinstance(post_data, str) else post_data
        answer = await self._http.request(method, url, sent, content)
        return answer.content, answer.status, answer.headers


def key_of(step: str, number: int) -> str:
    """The keys of a step, from 1."""
    return step if number == 1 else f"{step}:{number}"


def id_of(body: Body) -> str:
    """The id of what an answer shows. Raises Unavailable."""
    id_ = body.get("id")
    if not isinstance(id_, str):
        raise Unavailable("Stripe: the answer has no id; the outcome is not known")
    return id_


def listed(answer: Answer | Refusal) -> list[dict[str, Any]]:
    """What a list or a search has found. Raises Unavailable."""
    if isinstance(answer, Refusal):
        raise Unavailable(f"Stripe does not list what it has ({why(answer)})")
    data = answer.body.get("data")
    return data if isinstance(data, list) else []


def quoted(text: str) -> str:
    """Text as it stands between single quotes in a search."""
    return text.replace("\\", "\\\\").replace("'", "\\'")


def why(refusal: Refusal) -> str:
    """A refusal in a message: codes only, as its own text may repeat what was sent."""
    return f"status {refusal.status}, code {refusal.code}, request {refusal.request_id}"


async def _outcome(call: Coroutine[Any, Any, Any]) -> Answer | Refusal:
    try:
        response = getattr(await call, "last_response", None)
    except stripe.StripeError as error:
        return _refusal(error)
    if response is None or not isinstance(response.data, Mapping):
        raise Unavailable("Stripe: the answer is no object; the outcome is not known")
    return Answer(response.data, _replayed(response.headers))


def _refusal(error: stripe.StripeError) -> Refusal:
    """What an error says for certain. Raises Unavailable or StripeMisconfigured otherwise."""
    status = error.http_status or 0
    request_id = error.request_id
    # The message may repeat what was sent, so only codes go into ours.
    what = f"status {status}, code {error.code}, request {request_id}"
    if status in _REFUSED_KEY:
        raise StripeMisconfigured(
            f"Stripe refuses our key ({what}): check DOORBUSTER_STRIPE_API_KEY and its rights"
        ) from error
    if isinstance(error, stripe.RateLimitError) or status in _TRANSIENT or status < 300:
        raise Unavailable(f"Stripe did not settle the request ({what})") from error
    body = error.json_body if isinstance(error.json_body, Mapping) else {}
    details = body.get("error")
    if not isinstance(details, Mapping):
        if status >= 500:
            raise Unavailable(f"Stripe did not settle the request ({what})") from error
        raise StripeMisconfigured(
            f"what answers is not Stripe's API ({what}): check DOORBUSTER_STRIPE_BASE_URL"
        ) from error
    intent = details.get("payment_intent")
    return Refusal(
        status=status,
        type=str(details.get("type") or ""),
        code=details.get("code"),
        decline_code=details.get("decline_code"),
        param=details.get("param"),
        intent=intent if isinstance(intent, Mapping) else None,
        replayed=_replayed(error.headers or {}),
        request_id=request_id,
    )


def _replayed(headers: Mapping[str, str]) -> bool:
    return headers.get("idempotent-replayed", "").lower() == "true"


def _at_fault(refusal: Refusal) -> Unavailable:
    return Unavailable(
        f"Stripe failed (status {refusal.status}, request {refusal.request_id});"
        " the outcome is not known"
    )
