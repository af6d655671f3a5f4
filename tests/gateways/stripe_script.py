"""Stripe's answers as tests write them down: by method and path, and the objects in them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from domain.payments import ChargeRequest, ChargeState
from tests.gateways.scripted_http import Asked, Says, ScriptedHttp, Trouble

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
CHARGE = ChargeRequest("tx-1", 1_580, "USD", "pm_1", payer="u-1", asked_at=NOW)
REPLAYED = {"Idempotent-Replayed": "true"}
TIMEOUT_S = 0.5
Answers = dict[str, Says | Trouble | list[Says | Trouble]]


def intent(status: str, **more: Any) -> dict[str, Any]:
    base = {"id": "pi_1", "object": "payment_intent", "amount": 1_580, "currency": "usd"}
    return base | {"status": status, "metadata": {"transaction_id": "tx-1"}} | more


def taken(refunded: int = 0) -> dict[str, Any]:
    return intent("succeeded", latest_charge={"id": "ch_1", "amount_refunded": refunded})


def refused(status: int, replayed: bool = False, **error: Any) -> Says:
    return Says(
        {"error": {"type": "invalid_request_error"} | error}, status, REPLAYED if replayed else {}
    )


def listed(*items: Any) -> Says:
    return Says({"object": "list", "data": list(items), "has_more": False})


CREATE, CONFIRM = "POST /v1/payment_intents", "POST /v1/payment_intents/pi_1/confirm"
CAPTURE, CANCEL = "POST /v1/payment_intents/pi_1/capture", "POST /v1/payment_intents/pi_1/cancel"
RETRIEVE, SEARCH = "GET /v1/payment_intents/pi_1", "GET /v1/payment_intents/search"
REFUNDS, REFUND = "GET /v1/refunds", "POST /v1/refunds"
NEW = Says(intent("requires_payment_method"))
KNOWN = Says(intent("requires_payment_method"), headers=REPLAYED)


class Stripe(ScriptedHttp):
    """Answers by method and path; of a list, the next one each time, the last one for ever."""

    def __init__(self) -> None:
        super().__init__(self._answer)
        self.answers: Answers = {}

    def _answer(self, asked: Asked) -> Says | Trouble:
        says = self.answers.get(f"{asked.method} {asked.path}")
        assert says is not None, f"not in the script: {asked.method} {asked.path}"
        if isinstance(says, list):
            return says.pop(0) if len(says) > 1 else says[0]
        return says

    def was_asked(self) -> list[str]:
        return [f"{one.method} {one.path}" for one in self.asked]

    def only(self, what: str) -> Asked:
        (found,) = [one for one in self.asked if f"{one.method} {one.path}" == what]
        return found


def is_(status: Any, code: str | None = None, **more: Any) -> ChargeState:
    return ChargeState(status, 1_580, "USD", code, **more)
