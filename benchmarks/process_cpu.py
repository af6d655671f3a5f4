"""Where the processor's time goes: seconds of each part of a shop, by its processes' clocks."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path

import psutil

from serve_apps.supervisor import MARK, read_run_file

REST = "everything else of the shop"
_PARTS = (
    ("ray::ServeReplica:checkout", "checkout replica"),
    ("ray::_Owner", "stock owners"),
    ("ray::_Caretaker", "caretaker"),
    ("postgres", "Postgres"),
    ("haproxy", "HAProxy"),
    ("redis-server", "Redis"),
)
"""What a process's title or program begins with → what it is called."""

Clocks = Mapping[int, tuple[str, float]]
"""By process id: the part it belongs to, and seconds of processor time so far."""


def part_of(title: str) -> str:
    """The part that a process of a shop with this title (or command line) belongs to."""
    program = title.partition(" ")[0].rstrip(":")
    for prefix, part in _PARTS:
        if title.startswith(prefix) or program.rpartition("/")[2] == prefix:
            return part
    return REST


def read_clocks(home: Path, others: Mapping[int, str]) -> Clocks:
    """The clocks of all processes of the shop in `home`, and of `others` by their process ids."""
    ours = _below_supervisor(home)
    mark = str(home.resolve())
    clocks: dict[int, tuple[str, float]] = {}
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            part = others.get(process.pid)
            if part is None and (process.pid in ours or process.environ().get(MARK) == mark):
                part = part_of(" ".join(process.cmdline()))
            if part is not None:
                spent = process.cpu_times()
                clocks[process.pid] = (part, spent.user + spent.system)
    return clocks


def _below_supervisor(home: Path) -> set[int]:
    # Postgres and Redis write their titles over their environment, and the mark with it.
    run = read_run_file(home)
    if run is None:
        return set()
    try:
        return {child.pid for child in psutil.Process(run.pid).children(recursive=True)}
    except psutil.NoSuchProcess:
        return set()


def spent_between(before: Clocks, after: Clocks) -> dict[str, float]:
    """Seconds that each part took, the most expensive first.

    What a process took that ended in between is not known, and left out.
    """
    spent: dict[str, float] = {}
    for pid, (part, seconds) in after.items():
        spent[part] = spent.get(part, 0.0) + seconds - before.get(pid, (part, 0.0))[1]
    return dict(sorted(spent.items(), key=lambda one: -one[1]))
