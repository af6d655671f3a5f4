"""Carries out what operators have asked for: movements, transfers, deliveries, changed rules.

All that is asked for is in Postgres before anything happens, and every step may be repeated: a
movement is named by its instruction, and its owner records it once. So whoever dies in between
leaves nothing half done for longer than until the next pass.
"""

from __future__ import annotations

from actors.stock_client import StockClient
from domain.ports import StockInBook
from domain.stock import RETRYABLE, Load, MovementStatus

BATCH_MAX = 200
_REFUSALS = {
    MovementStatus.SHORT: "it would take more than is available ({available})",
    MovementStatus.UNKNOWN_PAIR: "there is no such pair",
    MovementStatus.INVALID: "the quantity is not possible for this kind of movement",
    MovementStatus.CONFLICT: "the id names another movement",
}


class StockIn:
    """Passes of the caretaker; each goes on from what the database says."""

    def __init__(self, book: StockInBook, stock: StockClient) -> None:
        self._book = book
        self._stock = stock
        self.moved_total = 0
        self.refused_total = 0
        self.ordered_total = 0

    async def carry_out(self) -> None:
        """Carry out what is pending, oldest first. Raises Unavailable."""
        await self._reload()
        asked = await self._book.pending(BATCH_MAX)
        answers = await self._stock.ask(asked) if asked else []
        for movement, answer in zip(asked, answers, strict=True):
            if answer.status == MovementStatus.RECORDED:
                self.moved_total += 1
            elif answer.status not in RETRYABLE:
                text = _REFUSALS[MovementStatus(answer.status)]
                refusal = text.format(available=answer.available)
                await self._book.refuse(movement.movement_id, refusal)
                self.refused_total += 1
        await self._book.follow_up(BATCH_MAX)

    async def reorder(self) -> None:
        """Order what has run low. Raises Unavailable."""
        self.ordered_total += await self._book.reorder(BATCH_MAX)

    async def _reload(self) -> None:
        """Let owners look again at pairs whose rules have changed."""
        for inventory_id, asked_at in await self._book.reloads(BATCH_MAX):
            [answer] = await self._stock.ask([Load(inventory_id)])
            if answer.status not in RETRYABLE:
                await self._book.reloaded(inventory_id, asked_at)
