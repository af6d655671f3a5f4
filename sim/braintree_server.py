"""A Braintree-like payment provider to talk to over HTTP: takes no money, forgets nothing.

It speaks what `gateways/braintree_gateway.py` says: GraphQL's envelope at `POST /graphql`; which
field is asked for is read from the query, what of it is selected is not. Its books are an SQLite
file, synced at every change, so they survive `kill -9`; several processes may serve one file.

    python -m sim.braintree_server --port 8450 --books second.sqlite

Any payment method is charged, but for `DECLINES` and those that begin with `unknown`.
"""

from __future__ import annotations

import argparse
import base64
import re
import sqlite3
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing, contextmanager
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from domain.money import EXPONENTS, scale_of
from domain.payments import ChargeStatus
from domain.promises import Charge

# Processor response codes of Braintree's documentation.
DECLINES = {
    "card_declined": "2046",
    "card_insufficient_funds": "2001",
    "card_expired": "2004",
    "card_processing_error": "3000",
}
BODY_BYTES_MAX = 100_000
LOCK_TIMEOUT_S = 5.0
_FIELD = re.compile(r"\{\s*(?:search\s*\{\s*)?(\w+)\s*\(")
_SCHEMA = """
    CREATE TABLE IF NOT EXISTS orders (
        order_id text PRIMARY KEY,
        transaction_id text NOT NULL UNIQUE,
        amount_minor integer NOT NULL CHECK (amount_minor >= 0),
        currency text NOT NULL,
        status text NOT NULL,
        response_code text,
        refunded_minor integer NOT NULL DEFAULT 0
            CHECK (refunded_minor BETWEEN 0 AND amount_minor),
        CHECK (refunded_minor = 0 OR status = 'SETTLED')
    );
    CREATE TABLE IF NOT EXISTS refunds (
        refund_id text PRIMARY KEY,
        transaction_id text NOT NULL REFERENCES orders (transaction_id),
        amount_minor integer NOT NULL CHECK (amount_minor > 0)
    );
"""
_MAKE = """
    INSERT INTO orders (order_id, transaction_id, amount_minor, currency, status, response_code)
    VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (order_id) DO NOTHING
"""
_BY_ORDER = "SELECT * FROM orders WHERE order_id = ?"
_BY_ID = "SELECT * FROM orders WHERE transaction_id = ?"
_MOVE = "UPDATE orders SET status = ? WHERE transaction_id = ? AND status = 'AUTHORIZED'"
_FIND_REFUND = "SELECT * FROM refunds WHERE refund_id = ?"
_MAKE_REFUND = "INSERT INTO refunds (refund_id, transaction_id, amount_minor) VALUES (?, ?, ?)"
_ADD_REFUND = "UPDATE orders SET refunded_minor = refunded_minor + ? WHERE transaction_id = ?"
_ALL = "SELECT * FROM orders ORDER BY order_id"
_STATUSES: dict[str, ChargeStatus] = {
    "AUTHORIZED": "authorized",
    "SETTLED": "captured",
    "VOIDED": "voided",
    "PROCESSOR_DECLINED": "declined",
}


class _Invalid(Exception):  # noqa: N818
    """What was asked is refused; nothing was done."""

    def __init__(self, message: str, code: str = "91500") -> None:
        super().__init__(message)
        self.code = code


class BraintreeBooks:
    """What the provider holds and took, in an SQLite file of its own."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with self._open() as connection:
            connection.executescript(_SCHEMA)

    def authorize(self, asked: dict[str, Any]) -> sqlite3.Row:
        """Hold money for an order, once; repeated, it tells the order's transaction."""
        transaction = asked["transaction"]
        order_id, token = str(transaction["orderId"]), str(asked["paymentMethodId"])
        amount_minor, currency = _amount(transaction)
        if not token or token.startswith("unknown"):
            raise _Invalid("Unknown or expired payment method ID.", "91565")
        code = DECLINES.get(token)
        status = "PROCESSOR_DECLINED" if code else "AUTHORIZED"
        with self._changing() as connection:
            id_ = uuid.uuid4().hex
            connection.execute(_MAKE, (order_id, id_, amount_minor, currency, status, code))
            found = connection.execute(_BY_ORDER, (order_id,)).fetchone()
        if (found["amount_minor"], found["currency"]) != (amount_minor, currency):
            raise _Invalid("The order id was used for another amount.")
        return found

    def capture(self, asked: dict[str, Any]) -> sqlite3.Row:
        """Take what is held; refused if nothing is, but for a repeat."""
        with self._changing() as connection:
            connection.execute(_MOVE, ("SETTLED", str(asked["transactionId"])))
            found = _found(connection, asked)
        if found["status"] != "SETTLED":
            raise _Invalid("Cannot submit for settlement unless status is authorized.", "91507")
        return found

    def close(self, asked: dict[str, Any]) -> sqlite3.Row:
        """Drop what is held for an order, or make sure that nothing ever will be."""
        order_id = str(asked["orderId"])
        amount_minor, currency = _amount(asked)
        with self._changing() as connection:
            id_ = uuid.uuid4().hex
            connection.execute(_MAKE, (order_id, id_, amount_minor, currency, "VOIDED", None))
            found = connection.execute(_BY_ORDER, (order_id,)).fetchone()
            connection.execute(_MOVE, ("VOIDED", found["transaction_id"]))
            return connection.execute(_BY_ORDER, (order_id,)).fetchone()

    def refund(self, asked: dict[str, Any]) -> sqlite3.Row:
        """Give back a part or all of what was taken, once per order id of the refund."""
        refund_id = str(asked["refund"]["orderId"])
        with self._changing() as connection:
            found = _found(connection, asked)
            id_ = found["transaction_id"]
            amount_minor = _minor(asked["refund"]["amount"], found["currency"])
            known = connection.execute(_FIND_REFUND, (refund_id,)).fetchone()
            if known:
                if (known["transaction_id"], known["amount_minor"]) != (id_, amount_minor):
                    raise _Invalid("The order id was used for another refund.")
                return found
            if found["status"] != "SETTLED":
                raise _Invalid("Cannot refund a transaction unless it is settled.", "91506")
            if amount_minor > found["amount_minor"] - found["refunded_minor"]:
                raise _Invalid("Refund amount is too large.", "91521")
            connection.execute(_MAKE_REFUND, (refund_id, id_, amount_minor))
            connection.execute(_ADD_REFUND, (amount_minor, id_))
            return connection.execute(_BY_ID, (id_,)).fetchone()

    def search(self, asked: dict[str, Any]) -> sqlite3.Row | None:
        """The transaction of an order."""
        with self._open() as connection:
            return connection.execute(_BY_ORDER, (str(asked["orderId"]["is"]),)).fetchone()

    async def charges(self) -> AsyncIterator[Charge]:
        """All charges, for the audit."""
        with self._open() as connection:
            for row in connection.execute(_ALL):
                status = _STATUSES[row["status"]]
                if status == "captured" and row["refunded_minor"] == row["amount_minor"]:
                    status = "refunded"
                yield Charge(
                    transaction_id=row["order_id"],
                    amount_minor=row["amount_minor"],
                    currency=row["currency"],
                    status=status,
                    refunded_minor=row["refunded_minor"],
                )

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        connection = sqlite3.connect(self._path, timeout=LOCK_TIMEOUT_S, isolation_level=None)
        with closing(connection):
            connection.row_factory = sqlite3.Row
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            yield connection

    @contextmanager
    def _changing(self) -> Iterator[sqlite3.Connection]:
        with self._open() as connection:
            connection.execute("BEGIN IMMEDIATE")  # one change at a time, in all processes
            try:
                yield connection
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")


def braintree_app(books: BraintreeBooks, *, public_key: str, private_key: str) -> Starlette:
    """The provider as an ASGI application."""
    keys = "Basic " + base64.b64encode(f"{public_key}:{private_key}".encode()).decode()
    fields: dict[str, Callable[[dict[str, Any]], sqlite3.Row | None]] = {
        "authorizePaymentMethod": books.authorize,
        "captureTransaction": books.capture,
        "closeOrder": books.close,
        "refundTransaction": books.refund,
        "transactions": books.search,
    }

    async def graphql(request: Request) -> Response:
        if request.headers.get("authorization") != keys:
            return _error("Authentication credentials are invalid.", "AUTHENTICATION")
        content = await request.body()
        try:
            if len(content) > BODY_BYTES_MAX:
                raise ValueError("too long")
            body = orjson.loads(content)
            field = _FIELD.search(body["query"])
            answer = fields[field[1] if field else ""]
            asked = body["variables"]["input"]
        except (ValueError, LookupError, TypeError):
            return _error("The request is no query that is known here.", "VALIDATION")
        try:
            return _answer(field[1] if field else "", answer(asked))
        except _Invalid as error:
            return _error(str(error), "VALIDATION", error.code)
        except (LookupError, TypeError) as error:
            return _error(f"The input is not complete: {error!r}", "VALIDATION")
        except sqlite3.OperationalError:
            return _error("Busy.", "SERVICE_AVAILABILITY")

    return Starlette(routes=[Route("/graphql", graphql, methods=["POST"])])


def _answer(field: str, row: sqlite3.Row | None) -> Response:
    if field == "transactions":
        edges = [] if row is None else [{"node": _transaction(row)}]
        return _json({"data": {"search": {"transactions": {"edges": edges}}}})
    assert row is not None
    return _json({"data": {field: {"transaction": _transaction(row)}}})


def _transaction(row: sqlite3.Row) -> dict[str, Any]:
    currency = row["currency"]
    return {
        "id": row["transaction_id"],
        "orderId": row["order_id"],
        "status": row["status"],
        "amount": {"value": _decimal(row["amount_minor"], currency), "currencyIsoCode": currency},
        "refundedAmount": {"value": _decimal(row["refunded_minor"], currency)},
        "processorResponse": {"legacyCode": row["response_code"]},
    }


def _error(message: str, kind: str, code: str | None = None) -> Response:
    extensions = {"errorClass": kind, "legacyCode": code}
    return _json({"data": None, "errors": [{"message": message, "extensions": extensions}]})


def _json(body: Any) -> Response:
    return Response(orjson.dumps(body), media_type="application/json")


def _found(connection: sqlite3.Connection, asked: dict[str, Any]) -> sqlite3.Row:
    found = connection.execute(_BY_ID, (str(asked["transactionId"]),)).fetchone()
    if found is None:
        raise _Invalid("There is no such transaction.")
    return found


def _amount(asked: dict[str, Any]) -> tuple[int, str]:
    currency = str(asked["merchantAccountId"])
    if currency not in EXPONENTS:
        raise _Invalid("Merchant account ID is invalid.", "91513")
    return _minor(asked["amount"], currency), currency


def _minor(value: Any, currency: str) -> int:
    try:
        minor = Decimal(value) * scale_of(currency)
    except (InvalidOperation, TypeError, ValueError):
        minor = Decimal(0)
    if not (minor.is_finite() and 0 < minor < 2**63 and minor == int(minor)):
        raise _Invalid("Amount is an invalid format.", "81503")
    return int(minor)


def _decimal(minor: int, currency: str) -> str:
    return str(Decimal(minor).scaleb(-EXPONENTS[currency]))


def main() -> None:
    """Serve until killed."""
    import uvicorn

    parser = argparse.ArgumentParser(description="A Braintree-like provider that takes no money.")
    parser.add_argument("--port", type=int, default=8450)
    parser.add_argument("--books", type=Path, default=Path("second-provider.sqlite"))
    parser.add_argument("--public-key", default="public")
    parser.add_argument("--private-key", default="private")
    given = parser.parse_args()
    app = braintree_app(
        BraintreeBooks(given.books), public_key=given.public_key, private_key=given.private_key
    )
    uvicorn.run(app, host="127.0.0.1", port=given.port, log_level="warning", access_log=False)


if __name__ == "__main__":
    main()
