"""Stripe's doubles as processes of their own: localstripe (GPL, never imported) and stripe-mock."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx
import orjson

from gateways.bounded_http import HttpAnswer

POLL_S = 0.05
START_TIMEOUT_S = 40.0
# Pinned: Stripe's specification moves, and a test that fails is to say that we changed.
STRIPE_MOCK = "github.com/stripe/stripe-mock@v0.203.0"
BUILD_TIMEOUT_S = 300.0


def free_port() -> int:
    with socket.socket() as taken_for_a_moment:
        taken_for_a_moment.bind(("127.0.0.1", 0))
        return taken_for_a_moment.getsockname()[1]


@contextlib.contextmanager
def running(command: Sequence[str], url: str, log: Path) -> Iterator[str]:
    """A server process that answers at `url`; ended afterwards."""
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, cwd=log.parent)
    try:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not _answers(url):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{command[0]} does not start: {log.read_text()[-2000:]}")
            time.sleep(POLL_S)
        yield url
    finally:
        process.kill()
        process.wait(10)


def _answers(url: str) -> bool:
    try:
        httpx.get(url, timeout=2.0)
    except httpx.TransportError:
        return False
    return True


@contextlib.contextmanager
def localstripe(folder: Path) -> Iterator[str]:
    port = free_port()
    command = [sys.executable, "-m", "localstripe", "--port", str(port), "--from-scratch"]
    with running(command, f"http://localhost:{port}", folder / "localstripe.log") as url:
        yield url


@contextlib.contextmanager
def stripe_mock(binary: Path, folder: Path) -> Iterator[str]:
    port = free_port()
    command = [str(binary), "-http-addr", f"127.0.0.1:{port}"]
    with running(command, f"http://127.0.0.1:{port}", folder / "stripe-mock.log") as url:
        yield url


def stripe_mock_binary() -> Path | str:
    """stripe-mock from the PATH, from our cache, or built into it; else why there is none."""
    if found := shutil.which("stripe-mock"):
        return Path(found)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "doorbuster" / STRIPE_MOCK.rpartition("/")[2]
    if (folder / "stripe-mock").exists():
        return folder / "stripe-mock"
    go = shutil.which("go")
    if go is None:
        return f"no stripe-mock on the PATH, and no Go to build it: go install {STRIPE_MOCK}"
    folder.mkdir(parents=True, exist_ok=True)
    built = subprocess.run(
        [go, "install", STRIPE_MOCK],
        env={**os.environ, "GOBIN": str(folder)},
        capture_output=True,
        text=True,
        timeout=BUILD_TIMEOUT_S,
        check=False,
    )
    if built.returncode:
        return f"go install {STRIPE_MOCK} failed: {built.stderr.strip()[-300:]}"
    return folder / "stripe-mock"


class _ByHttpx:
    """Another way to the provider than the gateway's own, for something to be done on it."""

    def __init__(self) -> None:
        self.client = httpx.AsyncClient(timeout=30.0)

    async def send(
        self, method: str, url: str, headers: Mapping[str, str], content: bytes | None
    ) -> HttpAnswer:
        answer = await self.client.request(method, url, headers=dict(headers), content=content)
        return HttpAnswer(answer.status_code, answer.headers, answer.content)


class ForLocalstripe(_ByHttpx):
    """Says what localstripe does not understand in words that it does.

    It takes a payment method on the intent, but not at its confirmation, and has no search.
    """

    async def __call__(
        self, method: str, url: str, headers: Mapping[str, str], content: bytes | None
    ) -> HttpAnswer:
        if "/search?" in url:
            return HttpAnswer(200, {}, orjson.dumps({"object": "search_result", "data": []}))
        if url.endswith("/confirm"):
            method_id = dict(parse_qsl((content or b"").decode()))["payment_method"]
            form = urlencode({"payment_method": method_id}).encode()
            await self.send(method, url.removesuffix("/confirm"), headers, form)
            content = None
        return await self.send(method, url, headers, content)


class Noting(_ByHttpx):
    """Notes each request and its answer; `becomes` is written over what intents tell.

    stripe-mock keeps nothing: every intent looks the same, whatever was done to it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.noted: list[tuple[str, str, int, bytes]] = []
        self.becomes: dict[str, Any] = {}

    async def __call__(
        self, method: str, url: str, headers: Mapping[str, str], content: bytes | None
    ) -> HttpAnswer:
        answer = await self.send(method, url, headers, content)
        self.noted.append((method, urlsplit(url).path, answer.status, answer.content))
        body = orjson.loads(answer.content)
        if body.get("object") == "payment_intent":
            body |= self.becomes
        return replace(answer, content=orjson.dumps(body))
