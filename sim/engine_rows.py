"""Rows of the simulated stock engine, and the log that tells what each turn did."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


@dataclass(slots=True)
class PairRow:
    """A row of inventory, with its rule."""

    variant_id: bytes
    quantity: int
    reserved: int = 0
    backordered: int = 0
    version: int = 0
    logged_to: int = 0
    owner_name: str = ""
    safety_stock: int = 0


@dataclass(slots=True)
class ReservationRow:
    """A row of inventory_reservations; times in Unix seconds."""

    order_id: bytes
    inventory_id: bytes
    quantity: int
    expires_at: float
    created_at: float
    status: str = "active"
    customer_id: bytes | None = None
    extension_id: bytes | None = None
    backordered: bool = False


@dataclass(slots=True)
class OrderRow:
    """A row of orders, as far as stock is concerned."""

    key: str
    body: str
    units: int
    created_at: float
    status: str = "pending"


@dataclass(slots=True)
class InstructionRow:
    """A row of stock_instructions."""

    inventory_id: bytes
    kind: int
    quantity: int
    status: str = "pending"


class LedgerLine(NamedTuple):
    """A row of stock_movements."""

    instruction_id: bytes
    inventory_id: bytes
    change: int
    balance: int


class Logged(NamedTuple):
    """What a turn took from one pair, in a row of stock_log."""

    turn: int
    inventory_id: bytes
    taken: int


class PairChange(NamedTuple):
    """What one turn did to one pair; `low` is what was available in between, at the least.

    `version` is that of the row, which a turn that only went into the log leaves as it is.
    """

    inventory_id: bytes
    version: int
    before: int
    low: int
    after: int
    waiting_after: int
    handed_to: str | None
    logged: bool = False


class LogLine(NamedTuple):
    """One committed transaction of an owner, or of who took its pairs home."""

    at: float
    owner: str
    epoch: int
    pairs: tuple[PairChange, ...]
    created: tuple[bytes, ...]
    closed: tuple[tuple[bytes, str], ...]
