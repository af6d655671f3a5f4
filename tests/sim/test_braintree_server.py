"""The Braintree-like provider as a process: what it acknowledged survives `kill -9`."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from domain.payments import ChargeRequest
from domain.ports import NotReached
from gateways.braintree_gateway import BraintreeGateway

pytestmark = pytest.mark.asyncio
POLL_S = 0.05
START_TIMEOUT_S = 30.0
HELD = ChargeRequest("tx-1", 1_580, "USD", "card_1")
TAKEN = ChargeRequest("tx-2", 1_580, "USD", "card_1")
VOIDED = ChargeRequest("tx-3", 1_580, "USD", "card_1")


@contextlib.contextmanager
def provider(port: int, books: Path) -> Iterator[None]:
    """The provider until it is killed without warning."""
    command = [sys.executable, "-m", "sim.braintree_server", "--port", str(port)]
    process = subprocess.Popen([*command, "--books", str(books)])
    try:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not _listens(port):
            assert process.poll() is None, "it ended by itself"
            assert time.monotonic() < deadline, "it does not start"
            time.sleep(POLL_S)
        yield
    finally:
        process.kill()
        process.wait(10)


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1.0):
        return True
    return False


async def test_its_books_survive_kill_9(tmp_path: Path) -> None:
    with socket.socket() as taken_for_a_moment:
        taken_for_a_moment.bind(("127.0.0.1", 0))
        port = taken_for_a_moment.getsockname()[1]
    gateway = BraintreeGateway("public", "private", f"http://127.0.0.1:{port}")
    with provider(port, tmp_path / "books.sqlite"):
        await gateway.authorize(HELD)
        await gateway.authorize(TAKEN)
        await gateway.capture(TAKEN)
        await gateway.void(VOIDED)
    await gateway.close()
    with pytest.raises(NotReached):
        await gateway.lookup(HELD)
    with provider(port, tmp_path / "books.sqlite"):
        for charge, status in ((HELD, "authorized"), (TAKEN, "captured"), (VOIDED, "voided")):
            state = await gateway.lookup(charge)
            assert state is not None
            assert state.status == status
        assert (await gateway.authorize(VOIDED)).status == "voided"
    await gateway.close()
