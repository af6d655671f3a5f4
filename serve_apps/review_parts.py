"""What the review queue is made of, in a process that can settle orders."""

from __future__ import annotations

import asyncpg

from actors.reviews import Reviews
from serve_apps.checkout_parts import CheckoutParts, utc_now
from serve_apps.operators import Operators
from serve_apps.review_app import ReviewService
from storage.orders import PostgresOrderBook
from storage.reviews import PostgresReviews


def review_service(
    checkout: CheckoutParts,
    *,
    pool: asyncpg.Pool,
    orders: PostgresOrderBook,
    operators: Operators,
) -> ReviewService:
    """The queue over these parts; what operators decide is settled by `checkout`."""
    book = PostgresReviews(pool)
    desk = Reviews(book=book, orders=orders, settlement=checkout.settlement, now=utc_now)
    return ReviewService(
        book=book, desk=desk, personal=orders.personal, operators=operators, now=utc_now
    )
