"""The payment provider as a process of its own, with books of its own, and what is done to it."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import httpx
import psutil

from storage.embedded import EmbeddedPostgres
from tests.shop.running import REPOSITORY, clean_environment, eventually, free_port

READY_WITHIN_S = 90.0
ENDED_WITHIN_S = 30.0
_CALL_TIMEOUT_S = 10.0
_LOG_SHOWN_MAX = 4_000
_KEY = "sk_test_matrix"
_MADE = """
    SELECT transaction_id FROM simulated_provider.charges
    WHERE status IN ('requires_action', 'authorized', 'captured', 'refunded')
"""


class PaymentProvider:
    """`doorbuster provider` in a folder and on a port that stay the same whoever runs there."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def environment(self) -> dict[str, str]:
        """Settings of a shop whose Stripe it is."""
        return {"DOORBUSTER_STRIPE_API_KEY": _KEY, "DOORBUSTER_STRIPE_BASE_URL": self.url}

    def start(self) -> None:
        """Start it, as an operator would, on whatever it left behind; it is not ready then."""
        self._home.mkdir(exist_ok=True)
        command = [sys.executable, "-m", "doorbuster", "provider", "--home", str(self._home)]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*command, "--port", str(self._port)],
                cwd=REPOSITORY,
                env=clean_environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def wait_until_ready(self) -> None:
        """Until it answers."""
        eventually(self._answers, within_s=READY_WITHIN_S, what=f"a provider at {self.url}")

    def kill(self) -> None:
        """kill -9. Its database lives on without it until the next one comes."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(ENDED_WITHIN_S)

    def clear_away(self) -> None:
        """End it and what it started."""
        if self._process is not None:
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(ENDED_WITHIN_S)
        for process in self._servers():
            with contextlib.suppress(psutil.Error):
                process.kill()

    async def approve(self, charge: str) -> None:
        """The buyer agrees to a charge, by our id. Raises httpx.HTTPError if it is away."""
        async with self._client() as http:
            answer = await http.post(f"/simulator/charges/{charge}/approve")
            answer.raise_for_status()

    async def let_lapse(self, charge: str) -> None:
        """The hold on a buyer's money ends before it is taken, as Stripe's do after a week."""
        async with self._client() as http:
            query = {"query": f"metadata['transaction_id']:'{charge}'"}
            found = await http.get("/v1/payment_intents/search", params=query)
            [intent] = found.raise_for_status().json()["data"]
            assert intent["status"] == "requires_capture", intent
            answer = await http.post(f"/v1/payment_intents/{intent['id']}/cancel")
            answer.raise_for_status()

    async def charges(self) -> set[str]:
        """Our ids of all that was ever asked of a buyer, out of its own books."""
        connection = await asyncpg.connect(EmbeddedPostgres(self._home).url(), timeout=10)
        try:
            return {row["transaction_id"] for row in await connection.fetch(_MADE, timeout=10)}
        finally:
            await connection.close()

    def log(self) -> str:
        """The last of what it logged."""
        return self._log.read_text(errors="replace")[-_LOG_SHOWN_MAX:]

    @property
    def _log(self) -> Path:
        return self._home / "provider.log"

    def _client(self) -> httpx.AsyncClient:
        headers = {"Authorization": f"Bearer {_KEY}"}
        return httpx.AsyncClient(base_url=self.url, headers=headers, timeout=_CALL_TIMEOUT_S)

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, f"the provider ended: {self.log()}"
        try:
            return httpx.get(f"{self.url}/simulator/health", timeout=3).status_code == 200
        except httpx.HTTPError:
            return False

    def _servers(self) -> Iterator[psutil.Process]:
        """Its Postgres and Redis, by their folders: no two homes have the same."""
        folders = {str(self._home / name) for name in ("postgres", "redis")}
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                if process.cwd() in folders:
                    yield process


@contextlib.contextmanager
def provider_apart(home: Path) -> Iterator[PaymentProvider]:
    """A provider that is being started; gone at the end, whatever happened to it."""
    provider = PaymentProvider(home)
    try:
        provider.start()
        yield provider
    finally:
        provider.clear_away()


async def restarted(provider: PaymentProvider) -> None:
    """The one that was killed is back, on the same books."""
    await asyncio.to_thread(provider.start)
    await asyncio.to_thread(provider.wait_until_ready)
