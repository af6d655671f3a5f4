"""Webhooks of Stripe: what is signed with our secret, and lately, is believed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime

import orjson
import stripe

from domain.payments import ForgedEvent, ProviderEvent

TOLERANCE_S = 300.0


def event_of(
    headers: Mapping[str, str], body: bytes, secret: str | None, now: Callable[[], datetime]
) -> ProviderEvent:
    """The event in a webhook's body, if its `Stripe-Signature` is by `secret` and not too old.

    The scheme is v1 of Stripe's documentation: HMAC-SHA256 of time and body. Raises ForgedEvent,
    or ValueError if what is signed is no event.
    """
    _verify(headers.get("stripe-signature", ""), body, secret, now)
    event = orjson.loads(body)
    if not isinstance(event, dict) or event.get("object") != "event":
        raise ValueError("the webhook's body is no event of Stripe's")
    id_, type_ = event.get("id"), event.get("type")
    if not (isinstance(id_, str) and isinstance(type_, str)):
        raise ValueError("the webhook's event has no id or no type")
    data = event.get("data")
    subject = data.get("object") if isinstance(data, dict) else None
    metadata = subject.get("metadata") if isinstance(subject, dict) else None
    ours = metadata.get("transaction_id") if isinstance(metadata, dict) else None
    return ProviderEvent(id_, type_, ours if isinstance(ours, str) else None)


def _verify(header: str, body: bytes, secret: str | None, now: Callable[[], datetime]) -> None:
    if not secret:
        raise ForgedEvent("no secret to check webhooks: set DOORBUSTER_STRIPE_WEBHOOK_SECRET")
    if not header.isascii():
        raise ForgedEvent("the webhook's Stripe-Signature is no signature")
    try:
        # The SDK would ask its own clock, so the time is checked below.
        stripe.WebhookSignature.verify_header(body, header, secret, None)
    except (stripe.SignatureVerificationError, UnicodeDecodeError) as error:
        raise ForgedEvent("the webhook's signature is missing or wrong") from error
    signed_at = int(next(p for p in header.split(",") if p.startswith("t="))[2:])
    age_s = now().timestamp() - signed_at
    if abs(age_s) > TOLERANCE_S:
        raise ForgedEvent(f"the webhook was signed {age_s:.0f} s ago: too old to be believed")
