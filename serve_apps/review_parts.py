"""What the review queue is made of, in a process that can settle orders."""

from __future__ import annotations

import asyncpg

from actors.reviews import Reviews
from serve_apps.checkout_parts import CheckoutParts, utc_now
from serve_apps.identity import Identities
from serve_apps.review_app import ReviewService
from storage.orders import PostgresOrderBook
from storage.reviews import PostgresReviews


def review_service(
    checkout: CheckoutParts,
    *,
    pool: asyncpg.Pool,
    orders: PostgresOrderBook,
    identities: Identities,
) -> ReviewService:
    """The queue over these parts; what operators decide is settled by `checkout`."""
    book = PostgresReviews(pool)
    desk = Reviews(book=book, orders=orders, settlement=checkout.settlement, now=utc_now)
    return ReviewService(
        book=book, desk=desk, personal=orders.personal, identities=identities, now=utc_now
    )
