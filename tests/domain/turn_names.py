"""Pairs, orders and ids that the tests of turns are about."""

from __future__ import annotations

from domain.stock import NOBODY, Policy

OWNER, HOT = "pool-0", 1_000_000
PAIRS = [bytes([n]) * 16 for n in (1, 2, 3)]
UNKNOWN = b"?" * 16
VARIANTS = dict(zip(PAIRS, (b"a" * 16, b"a" * 16, b"b" * 16), strict=True))
PLAIN, LIMITED, KEPT = Policy(), Policy(backorder_max=6, customer_max=5), Policy(2, 4)
POLICIES = dict(zip(PAIRS, (LIMITED, LIMITED._replace(safety_stock=1), KEPT), strict=True))
ORDERS = [bytes([50 + n]) * 16 for n in range(4)]
# An order has one customer; the last one has none.
CUSTOMERS = dict(zip(ORDERS, (b"x" * 16, b"x" * 16, b"y" * 16, NOBODY), strict=True))
RESERVATIONS = [bytes([100 + n]) * 16 for n in range(9)]
EXTENSIONS = [NOBODY, b"e" * 16, b"f" * 16]
MOVEMENTS = [bytes([200 + n]) * 16 for n in range(24)]
