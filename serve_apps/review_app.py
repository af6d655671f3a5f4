"""The review queue over HTTP, for operators: what waits, why, and the decision about it."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Iterator
from datetime import datetime
from typing import Annotated, Any, Literal
from urllib.parse import urlencode
from uuid import UUID

from fastapi import Query
from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from starlette.requests import Request
from starlette.responses import Response

from actors.reviews import Reviews
from domain import ids
from domain.money import to_wire
from domain.ports import Unavailable
from domain.reviews import NOTE_LENGTH_MAX, Review
from serve_apps.http import (
    HotApp,
    Problem,
    RequestModel,
    Text,
    add_hot_route,
    field_problem,
    json_response,
    problem_answers,
    read_body,
)
from serve_apps.identity import PREFIX
from serve_apps.operators import Operators
from serve_apps.order_answers import failure_problem
from storage.key_ring import TamperedError, UnknownKeyError
from storage.personal_data import PersonalData
from storage.reviews import PostgresReviews

LIMIT_MAX = 100
_PATH = "/api/v1/fraud/reviews"
_CURSOR = "cursor"
_EXAMPLE: dict[str, Any] = {
    "decision": "approve",
    "note": "Called the buyer; the address is her office.",
}

Limit = Annotated[int, Query(ge=1, le=LIMIT_MAX, description="Orders on a page")]
Note = Annotated[Text, StringConstraints(max_length=NOTE_LENGTH_MAX, strip_whitespace=True)]


class ReviewDecisionBody(RequestModel):
    """What to do with an order in review, and why."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    decision: Literal["approve", "decline"]
    note: Note = ""


class ReviewAnswer(BaseModel):
    """The order as it is now; `counted` says whether this decision is the one that counts."""

    order_id: str
    status: str
    counted: bool = Field(description="False: it had been decided, or its time was over")
    decision: dict[str, Any] | None = Field(description="`decision`, `by`, `at`, `note`")


class ReviewService:
    """The queue as operators read it, and who may. `personal` opens an order's sealed data."""

    def __init__(
        self,
        *,
        book: PostgresReviews,
        desk: Reviews,
        personal: Callable[[UUID], Awaitable[PersonalData | None]],
        operators: Operators,
        now: Callable[[], datetime],
    ) -> None:
        self._book = book
        self._desk = desk
        self._personal = personal
        self._now = now
        self.operators = operators

    async def page(
        self, *, decided: bool, limit: int, after: UUID | None
    ) -> tuple[list[dict[str, Any]], UUID | None, int]:
        """A page of orders, where the next one begins, and how many wait in all."""
        read = self._book.decided if decided else self._book.queue
        found = await read(limit + 1, after)
        shown = [self._told(one) for one in found[:limit]]
        following = found[limit - 1].order_id if len(found) > limit else None
        return shown, following, await self._book.waiting()

    async def review(self, order_id: UUID) -> dict[str, Any] | None:
        """One order with its addresses and contact data; None if it was never to be reviewed."""
        found = await self._book.find(order_id)
        if found is None:
            return None
        try:
            data = await self._personal(order_id)
        except (UnknownKeyError, TamperedError):
            data = None  # whoever has to decide can still decide without
        return {**self._told(found), "personal": data and data._asdict()}

    async def decide(
        self, order_id: UUID, *, approve: bool, by: str, note: str
    ) -> dict[str, Any] | None:
        """The order after the decision; None if it was never to be reviewed."""
        decided = await self._desk.decide(order_id, approve=approve, by=by, note=note)
        if decided is None:
            return None
        return {**self._told(decided.review), "counted": decided.counted}

    async def drain(self) -> None:
        """Wait for decisions that are being carried out."""
        await self._desk.drain()

    def _told(self, review: Review) -> dict[str, Any]:
        until, decision = review.waits_until, review.decision
        in_review = review.status == "in_review" and until is not None
        left_s = max(0.0, (until - self._now()).total_seconds()) if in_review and until else None
        return {
            "order_id": ids.encode("order", review.order_id),
            "customer": ids.encode(PREFIX, review.user_id),
            "status": review.status,
            "placed_at": review.placed_at,
            "decide_by": until if in_review else None,
            "seconds_left": left_s,
            "total": to_wire(review.total_minor, review.currency),
            "currency": review.currency,
            "payment_method": review.payment_method,
            "country": review.country,
            "risk_score": review.risk_score,
            "flags": review.flags,
            "reasons": review.reasons,
            "model_version": review.model_version,
            "items": [
                {
                    "sku": line.sku,
                    "name": line.name,
                    "quantity": line.quantity,
                    "price": to_wire(line.unit_price_minor, review.currency),
                }
                for line in review.lines
            ],
            "decision": decision
            and {
                "decision": "approve" if decision.approve else "decline",
                "by": decision.by,
                "at": decision.at,
                "note": decision.note,
            },
            "failure": review.failure and failure_problem(review.failure).as_json(),
        }


@contextlib.contextmanager
def _reached() -> Iterator[None]:
    try:
        yield
    except Unavailable as error:
        detail = f"the reviews cannot be reached right now ({error}); a decision may be repeated"
        raise Problem("busy", detail) from None


def _order_id(text: str) -> UUID:
    try:
        return ids.decode("order", text)
    except ValueError:
        raise _no_review(text) from None


def _no_review(order_id: str) -> Problem:
    return Problem("not_found", f"no order {order_id[:80]!r} was put up for review; see {_PATH}")


def _after(cursor: str | None) -> UUID | None:
    try:
        return None if cursor is None else ids.decode(_CURSOR, cursor)
    except ValueError:
        message = "is not one that a page gave; take it from the page before, unchanged"
        raise field_problem("cursor", message) from None


def add_review_routes(app: HotApp, service: Callable[[Request], ReviewService]) -> None:
    """The operators' routes; `service` finds the ReviewService of a request."""

    @app.get(
        _PATH,
        summary="Orders that wait for a decision, the oldest first",
        description="With `decided=true`, those that were decided, the newest decision first.",
        response_model=dict[str, Any],
        responses=problem_answers("unauthorized", "forbidden", "validation", "busy"),
        tags=["fraud"],
    )
    async def fraud_reviews(
        request: Request,
        limit: Limit = 50,
        cursor: Annotated[str | None, Query()] = None,
        decided: Annotated[bool, Query()] = False,
    ) -> Response:
        own = service(request)
        await own.operators.operator(request)
        with _reached():
            page, next_after, waiting = await own.page(
                decided=decided, limit=limit, after=_after(cursor)
            )
        following = None if next_after is None else ids.encode(_CURSOR, next_after)
        query = urlencode({"limit": limit, "decided": str(decided).lower(), "cursor": following})
        headers = {"Link": f'<{_PATH}?{query}>; rel="next"'} if following else {}
        content = {"reviews": page, "next_cursor": following, "waiting": waiting}
        return json_response(content, headers=headers | _NOT_KEPT)

    @app.get(
        f"{_PATH}/{{order_id}}",
        summary="One order that was put up for review, with its addresses",
        response_model=dict[str, Any],
        responses=problem_answers("unauthorized", "forbidden", "not_found", "busy"),
        tags=["fraud"],
    )
    async def fraud_review(request: Request, order_id: str) -> Response:
        own = service(request)
        await own.operators.operator(request)
        with _reached():
            shown = await own.review(_order_id(order_id))
        if shown is None:
            raise _no_review(order_id)
        return json_response(shown, headers=_NOT_KEPT)

    async def decide_review(request: Request) -> Response:
        own = service(request)
        by = await own.operators.operator(request)
        body = await read_body(request, ReviewDecisionBody)
        order_id: str = request.path_params["order_id"]
        with _reached():
            shown = await own.decide(
                _order_id(order_id), approve=body.decision == "approve", by=by, note=body.note
            )
        if shown is None:
            raise _no_review(order_id)
        return json_response(shown, headers=_NOT_KEPT)

    add_hot_route(
        app,
        "POST",
        f"{_PATH}/{{order_id}}/decision",
        decide_review,
        summary="Approve or decline an order in review",
        body=ReviewDecisionBody,
        answers={200: ReviewAnswer},
        parameters=(_ORDER_PARAMETER,),
        problems=(
            "unauthorized",
            "forbidden",
            "not_found",
            "too_large",
            "unsupported_media_type",
            "validation",
            "busy",
        ),
    )
    del fraud_reviews, fraud_review


_NOT_KEPT = {"Cache-Control": "no-store"}
"""Personal data is nothing for caches."""
_ORDER_PARAMETER: dict[str, Any] = {
    "name": "order_id",
    "in": "path",
    "required": True,
    "schema": {"type": "string"},
}
