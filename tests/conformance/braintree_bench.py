"""The second provider's gateway, against its server in this process."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from sim.braintree_server import BraintreeBooks
from tests.conformance.providers import Bench, Stage
from tests.gateways.in_process import InProcess, second_gateway

# It knows no buyer's pages and no transfers.
_TOKENS: Any = {
    "good": ("card", "card_1"),
    "declined": ("card", "card_declined"),
    "no_funds": ("card", "card_insufficient_funds"),
    "expired": ("card", "card_expired"),
    "processing_error": ("card", "card_processing_error"),
    "unknown": ("card", "unknown_1"),
}


async def second_provider(stage: Stage) -> AsyncIterator[Bench]:
    """`gateways.braintree_gateway` on books of its own; it needs nothing of the stage."""
    del stage
    with tempfile.TemporaryDirectory() as folder:
        books = BraintreeBooks(Path(folder) / "books.sqlite")
        gateway = second_gateway(InProcess(books))

        async def taken(transaction_id: str) -> int:
            return sum(
                [
                    one.amount_minor - one.refunded_minor
                    async for one in books.charges()
                    if one.transaction_id == transaction_id
                    and one.status in ("captured", "refunded")
                ]
            )

        yield Bench(provider=gateway, tokens=_TOKENS, taken=taken)
