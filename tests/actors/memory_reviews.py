"""The in-memory twin of the review book, over MemoryOrders."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from domain.reviews import Review, ReviewDecision, ReviewLine
from tests.actors.faults import Faults
from tests.actors.memory import MemoryOrders


class MemoryReviews:
    """ReviewBook."""

    def __init__(self, orders: MemoryOrders) -> None:
        self._orders = orders
        self.faults = Faults()

    async def find(self, order_id: UUID) -> Review | None:
        return self.faults.do("find", lambda: self._find(order_id))

    def _find(self, order_id: UUID) -> Review | None:
        noted = [one for one in self._orders.notes if one[0] == order_id and one[2] == "review"]
        order = self._orders.orders.get(order_id)
        if order is None or not noted:
            return None
        _, score, _, flags, explained = noted[-1]
        draft = order.draft
        return Review(
            order_id=order_id,
            user_id=draft.user_id,
            status=order.status,
            risk_score=score,
            flags=flags,
            reasons=tuple(explained["reasons"]),
            model_version=explained["model_version"],
            total_minor=draft.total_minor,
            currency=draft.currency,
            payment_method=draft.payment_method,
            country=draft.shipping_address.get("country"),
            placed_at=order.created_at,
            waits_until=order.waits_until,
            lines=tuple(
                ReviewLine(
                    sku=line.sku,
                    name=line.name,
                    quantity=line.quantity,
                    unit_price_minor=line.unit_price_minor,
                )
                for line in draft.lines
            ),
            decision=order.decision,
            failure=order.failure,
        )

    async def accept(
        self, order_id: UUID, decision: ReviewDecision, charge_until: datetime
    ) -> None:
        def accept() -> None:
            order = self._orders.orders[order_id]
            until = order.waits_until
            if order.status == "in_review" and until is not None and until > decision.at:
                order.status, order.decision = "accepted", decision
                order.waits_until = max(until, charge_until)
                order.looked_at = decision.at

        self.faults.do("accept", accept)
