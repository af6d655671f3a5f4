"""What refunds are made of, for the shop's processes and the command line."""

from __future__ import annotations

import time
from collections.abc import Mapping

import asyncpg

from actors.refunds import Refunds
from domain.ports import PaymentProvider
from serve_apps.checkout_parts import new_id, utc_now
from serve_apps.operators import Operators
from serve_apps.refund_app import RefundService
from storage.refunds import PostgresRefunds


def refunds_over(pool: asyncpg.Pool, providers: Mapping[str, PaymentProvider]) -> Refunds:
    """Refunds over the shop's database; `providers` by their names in `payments.gateway`."""
    return Refunds(
        book=PostgresRefunds(pool),
        providers=providers,
        new_id=new_id,
        now=utc_now,
        monotonic=time.monotonic,
    )


def refund_service(
    pool: asyncpg.Pool, providers: Mapping[str, PaymentProvider], operators: Operators
) -> RefundService:
    """What answers operators over HTTP."""
    return RefundService(refunds_over(pool, providers), PostgresRefunds(pool), operators)
