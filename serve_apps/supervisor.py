"""The supervisor: keeps a shop's servers and its Ray cluster running on one machine.

It owns the home folder (one supervisor at a time, by a file lock), ends what a killed
predecessor left behind, starts Postgres and Redis unless the settings name others, applies
the migrations, and starts again whatever dies. It imports nothing heavy: it must not be what
fails.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import httpx
import orjson
import psutil
import structlog

from serve_apps.port_blocks import BLOCK_SIZE, claim, claim_block, is_free
from serve_apps.settings import Settings
from storage.embedded import EmbeddedPostgres, EmbeddedRedis, socket_folder, wait_until_ended
from storage.postgres import migrate

MARK = "DOORBUSTER_RUN"
READY_TIMEOUT_S = 120.0
CLUSTER_STOP_TIMEOUT_S = 10.0
WATCH_EVERY_S = 0.1
RESTART_PAUSE_S = 1.0
RESTART_PAUSE_MAX_S = 30.0
STABLE_AFTER_S = 120.0  # who ran for so long did not fail to start: the pause is short again
_OPEN_SHOP = "doorbuster up "
_HOLDER_MAX = 200  # characters
_log = structlog.get_logger(__name__)

# Set before Ray starts, for the driver and every worker (each is explained in
# docs/operations.md; what each is worth was measured).
RAY_ENVIRONMENT = {
    "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
    "RAY_SERVE_ENABLE_HA_PROXY": "1",
    "RAY_SERVE_HAPROXY_METRICS_ENABLED": "0",
    # Its access log has whole addresses; else a syslog daemon on this machine would keep them.
    "RAY_SERVE_HAPROXY_LOG_TARGET": "/dev/null",
    "RAY_SERVE_HAPROXY_NBTHREAD": "1",
    "RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S": "1",  # three misses in a row start HAProxy again
    "RAY_SERVE_CONTROL_LOOP_INTERVAL_S": "1",
    "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "1",
    "RAY_worker_niceness": "0",
    "RAY_kill_worker_timeout_milliseconds": "500",
    "RAY_DEDUP_LOGS": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
}


class AlreadyRunningError(RuntimeError):
    """Another supervisor holds this home."""


class NotRunningError(RuntimeError):
    """No supervisor holds this home."""


class NotReadyError(RuntimeError):
    """The shop did not become ready in time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFile:
    """What a running shop tells other commands on this machine."""

    pid: int
    port: int
    host: str
    database_url: str
    redis_url: str

    @property
    def base_url(self) -> str:
        """Where the shop answers."""
        return f"http://{self.host}:{self.port}"


def read_run_file(home: Path) -> RunFile | None:
    """The running shop of this home, or None if none runs."""
    try:
        run = RunFile(**orjson.loads((home / "run.json").read_bytes()))
    except (FileNotFoundError, ValueError, TypeError):
        return None
    return run if _is_locked(home) else None


def _is_locked(home: Path) -> bool:
    try:
        with (home / "lock").open("r+") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            fcntl.flock(handle, fcntl.LOCK_UN)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


@contextlib.contextmanager
def hold(home: Path) -> Iterator[IO[str]]:
    """The home's lock. Raises AlreadyRunningError if someone else has it."""
    home.mkdir(parents=True, exist_ok=True)
    handle = (home / "lock").open("a+")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        handle.seek(0)
        holder = handle.read(_HOLDER_MAX).strip()
        handle.close()
        raise AlreadyRunningError(_held_by(holder, home)) from None
    handle.truncate(0)
    handle.write(f"{_command_name()} (pid {os.getpid()})\n")
    handle.flush()
    try:
        yield handle
    finally:
        handle.truncate(0)
        handle.close()


def _command_name() -> str:
    """What this process was started as, without its options: they may carry secrets."""
    program = Path(sys.argv[0]).stem
    command = sys.argv[1] if program == "doorbuster" and len(sys.argv) > 1 else ""
    return program if not command or command.startswith("-") else f"{program} {command}"


def _held_by(holder: str, home: Path) -> str:
    if holder.startswith(_OPEN_SHOP):
        return f"a shop runs already in {home}; `doorbuster status --home {home}` tells where"
    return f"{home} is in use by {holder or 'another command'}; stop it, or wait until it has ended"


def end_leftovers(home: Path) -> int:
    """Kill what a predecessor left running for this home; how many processes."""
    mark = str(home.resolve())
    own = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    found: list[psutil.Process] = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.pid not in own and process.environ().get(MARK) == mark:
                found.append(process)
    for process in found:
        with contextlib.suppress(psutil.Error):
            process.kill()
    wait_until_ended(found, timeout_s=10)
    return len(found)


@contextlib.contextmanager
def servers(
    settings: Settings,
) -> Iterator[tuple[Settings, list[EmbeddedPostgres | EmbeddedRedis]]]:
    """The databases, migrated: embedded ones are started and stopped here.

    Gives the settings with the URLs filled in, and the embedded servers to watch.
    """
    embedded: list[EmbeddedPostgres | EmbeddedRedis] = []
    try:
        if not settings.database_url:
            postgres = EmbeddedPostgres(settings.home)
            postgres.start()
            embedded.append(postgres)
            postgres.ensure_database()
            settings = settings.model_copy(update={"database_url": postgres.url()})
        if not settings.redis_url:
            redis = EmbeddedRedis(settings.home)
            redis.start()
            embedded.append(redis)
            settings = settings.model_copy(update={"redis_url": redis.url})
        asyncio.run(migrate(settings.database_url))
        yield settings, embedded
    finally:
        for server in reversed(embedded):
            server.stop()
        if embedded:
            shutil.rmtree(socket_folder(settings.home), ignore_errors=True)


class Supervisor:
    """Runs one shop in the foreground, from `run()` to a signal."""

    def __init__(self, settings: Settings, *, prepare: Callable[[Settings], None]) -> None:
        self._settings = settings
        self._home = settings.home.resolve()
        self._prepare = prepare
        self._stop = threading.Event()
        self._cluster: subprocess.Popen[bytes] | None = None
        self._ports_from = 0

    def stop(self) -> None:
        """Ask the shop to stop; `run` returns when it has."""
        self._stop.set()

    def run(self) -> None:
        """Start everything, keep it running, stop everything.

        `prepare` is called once with the databases up and before the apps start. Raises
        AlreadyRunningError, and ServerStartError when a server does not come up.
        """
        with hold(self._home):
            os.environ[MARK] = str(self._home)
            end_leftovers(self._home)
            try:
                with (
                    _claimed_ports(self._settings.port) as self._ports_from,
                    servers(self._settings) as (settings, embedded),
                ):
                    self._prepare(settings)
                    self._write_run_file(settings)
                    self._watch(settings, embedded)
            finally:
                (self._home / "run.json").unlink(missing_ok=True)
                end_leftovers(self._home)
                shutil.rmtree(socket_folder(self._home), ignore_errors=True)

    def _watch(self, settings: Settings, embedded: list[EmbeddedPostgres | EmbeddedRedis]) -> None:
        pause = RESTART_PAUSE_S
        try:
            self._start_cluster(settings)
            started = time.monotonic()
            while not self._stop.wait(WATCH_EVERY_S):
                for server in embedded:
                    if server.restart_if_gone():
                        _log.warning("server_restarted", server=type(server).__name__)
                if self._cluster is not None and self._cluster.poll() is not None:
                    if time.monotonic() - started > STABLE_AFTER_S:
                        pause = RESTART_PAUSE_S
                    _log.error("cluster_ended", status=self._cluster.returncode, again_in_s=pause)
                    if self._stop.wait(pause):
                        break
                    pause = min(pause * 2, RESTART_PAUSE_MAX_S)
                    self._start_cluster(settings)
                    started = time.monotonic()
        finally:
            self._stop_cluster()

    def _start_cluster(self, settings: Settings) -> None:
        """Ray and all on it, in a process of its own; what is left of an earlier one goes first."""
        self._end_ray()
        environment = (
            os.environ | RAY_ENVIRONMENT | _ports(self._ports_from) | _shop_environment(settings)
        )
        log = (self._home / "logs" / "shop.log").open("ab")
        with log:
            self._cluster = subprocess.Popen(
                [sys.executable, "-m", "serve_apps.cluster"],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _stop_cluster(self) -> None:
        if self._cluster is not None and self._cluster.poll() is None:
            self._cluster.terminate()
            try:
                self._cluster.wait(CLUSTER_STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self._cluster.kill()
        self._end_ray()

    def _end_ray(self) -> None:
        """Kill every process of this shop but the servers, which are our own children."""
        keep = {os.getpid()} | {child.pid for child in psutil.Process().children()}
        if self._cluster is not None:
            keep.discard(self._cluster.pid)
        found: list[psutil.Process] = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                marked = process.environ().get(MARK) == str(self._home)
                ours = process.pid in keep or process.ppid() in keep
                if marked and not ours and process.name() not in ("postgres", "redis-server"):
                    found.append(process)
        for process in found:
            with contextlib.suppress(psutil.Error):
                process.kill()
        wait_until_ended(found, timeout_s=10)
        shutil.rmtree(socket_folder(self._home) / "r", ignore_errors=True)

    def _write_run_file(self, settings: Settings) -> None:
        run = {
            "pid": os.getpid(),
            "port": settings.port,
            "host": settings.host,
            "database_url": settings.database_url,
            "redis_url": settings.redis_url,
        }
        fresh = self._home / f"run.{os.getpid()}"
        fresh.touch(mode=0o600)
        fresh.write_bytes(orjson.dumps(run))
        fresh.replace(self._home / "run.json")


def _shop_environment(settings: Settings) -> dict[str, str]:
    """The settings as the environment of the shop's processes."""
    folder = socket_folder(settings.home)
    haproxy = folder / "h"
    haproxy.mkdir(parents=True, exist_ok=True)
    return settings.as_environment() | {
        "DOORBUSTER_HOME": str(settings.home.resolve()),
        "DOORBUSTER_RAY_TEMP": str(folder / "r"),
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(haproxy / "haproxy.cfg"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(haproxy / "admin.sock"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(haproxy),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(haproxy / "server-state"),
    }


def _ports(low: int) -> dict[str, str]:
    """The block that begins with `low`: its last ports for HAProxy, the others for the replicas.

    None of them is a port that the kernel gives to whoever asks for any: HAProxy binds its own
    seconds after they were chosen.
    """
    return {
        "RAY_SERVE_HAPROXY_STATS_PORT": str(low + BLOCK_SIZE - 4),
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(low + BLOCK_SIZE - 3),
        "RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT": str(low),
        "RAY_SERVE_DIRECT_INGRESS_MAX_HTTP_PORT": str(low + BLOCK_SIZE - 5),
        # Where HAProxy sends what no replica can take.
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(low + BLOCK_SIZE - 2),
        "RAY_SERVE_FALLBACK_PROXY_GRPC_PORT": str(low + BLOCK_SIZE - 1),
    }


@contextlib.contextmanager
def _claimed_ports(port: int) -> Iterator[int]:
    """The shop's own port and a block for its replicas, where the block begins."""
    front = claim(port)
    try:
        if front is None or not is_free(port):
            raise RuntimeError(f"port {port} is in use by another program; choose one with --port")
        block = claim_block()
        try:
            yield block.low
        finally:
            block.release()
    finally:
        if front is not None:
            front.release()


def wait_until_ready(home: Path, *, alive: Callable[[], bool], timeout_s: float) -> RunFile:
    """Wait for the shop's /readyz; its run file.

    Raises NotReadyError when `alive` turns false or the time is over, with the parts missing.
    """
    deadline = time.monotonic() + timeout_s
    waiting = "it has not said where it answers"
    while time.monotonic() < deadline and alive():
        run = read_run_file(home)
        if run is not None:
            try:
                answer = httpx.get(f"{run.base_url}/readyz", timeout=5)
                if answer.status_code == 200:
                    return run
                waiting = answer.json().get("detail", "") if answer.content else "no answer"
            except (httpx.HTTPError, ValueError):
                waiting = "nothing answers at its port yet"
        time.sleep(WATCH_EVERY_S)
    logs = home / "logs"
    raise NotReadyError(f"the shop did not become ready: {waiting}; its logs are in {logs}")


def stop_shop(home: Path, *, timeout_s: float = 60.0) -> None:
    """Ask the running shop to stop and wait until it has. Raises NotRunningError."""
    run = read_run_file(home)
    if run is None:
        raise NotRunningError(f"no shop runs in {home}")
    process = psutil.Process(run.pid)
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(timeout_s)
    except psutil.TimeoutExpired:
        process.kill()
        end_leftovers(home)
