"""The processes that are, one after the other or at once, the owner of the tests' pairs."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import orjson
import psutil

from actors.owner_stream import Address
from domain.ports import Unavailable
from tests.fault.owner_process import Options
from tests.shop.running import REPOSITORY, clean_environment, eventually_async

READY_WITHIN_S = 20.0
ENDED_WITHIN_S = 10.0
_LOG_SHOWN_MAX = 4_000


class Incarnation:
    """One process; `start` returns before it is ready."""

    def __init__(self, options: Options, log: Path) -> None:
        self._log = log
        with log.open("wb") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.fault.owner_process", options.packed()],
                cwd=REPOSITORY,
                env=clean_environment(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
            )
        self.address: Address = ("", 0)
        self.epoch = 0
        self.ready_at = 0.0
        """Monotonic time at which it said where it listens."""

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    async def ready(self, within_s: float = READY_WITHIN_S) -> Self:
        """Wait until it has raised its epoch and listens. TimeoutError if it does not."""
        assert self._process.stdout is not None
        async with asyncio.timeout(within_s):
            line = await asyncio.to_thread(self._process.stdout.readline)
        assert line, f"the owner ended: {self.log()}"
        said: dict[str, Any] = orjson.loads(line)
        self.address = (said["address"][0], said["address"][1])
        self.epoch = said["epoch"]
        self.ready_at = time.monotonic()
        return self

    def kill(self) -> None:
        """kill -9."""
        self._process.kill()

    def stop(self) -> None:
        """SIGSTOP: it runs no more, and does not know."""
        self._process.send_signal(signal.SIGSTOP)

    def wake_up(self) -> None:
        """SIGCONT: it goes on where it was."""
        self._process.send_signal(signal.SIGCONT)

    async def stopped(self) -> None:
        """Wait until it stands still."""

        async def stands_still() -> bool:
            return psutil.Process(self.pid).status() == psutil.STATUS_STOPPED

        await eventually_async(stands_still, within_s=ENDED_WITHIN_S, what="the owner is stopped")

    @property
    def runs(self) -> bool:
        """True while it has not ended."""
        return self._process.poll() is None

    async def exit_status(self) -> int:
        """Wait for its end."""

        async def ended() -> bool:
            return not self.runs

        await eventually_async(
            ended, within_s=ENDED_WITHIN_S, what=f"the owner's end; it said: {self.log()}"
        )
        return self._process.returncode

    def log(self) -> str:
        """The last of what it logged."""
        return self._log.read_text(errors="replace")[-_LOG_SHOWN_MAX:]

    def clear_away(self) -> None:
        """Kill and reap it, whatever state it is in."""
        self.kill()
        self._process.wait(ENDED_WITHIN_S)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()


class Incarnations:
    """Starts them, tells callers which to ask, and leaves none behind."""

    def __init__(self, database_url: str, logs: Path) -> None:
        self._database_url = database_url
        self._logs = logs
        self._all: list[Incarnation] = []
        self.found_at: Address | None = None
        """What callers are told who ask where the owner is."""

    @property
    def first(self) -> Incarnation:
        """The one that all others succeed."""
        return self._all[0]

    def launch(self, database_url: str | None = None, **options: Any) -> Incarnation:
        """Start a process; callers do not find it yet."""
        made = Incarnation(
            Options(database_url=database_url or self._database_url, **options),
            self._logs / f"owner-{len(self._all)}.log",
        )
        self._all.append(made)
        return made

    async def start(self, database_url: str | None = None, **options: Any) -> Incarnation:
        """Start a process, wait until it is ready, and send callers there from now on."""
        made = await self.launch(database_url, **options).ready()
        self.found_at = made.address
        return made

    async def find(self, owner: str) -> Address:
        """As OwnerFinder does. Raises Unavailable while there is none."""
        if self.found_at is None:
            raise Unavailable(f"owner {owner} is being started")
        return self.found_at

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for one in self._all:
            one.clear_away()
