"""One command at a time has a home: the others are told which one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from serve_apps.supervisor import AlreadyRunningError, hold


def _refusal(home: Path) -> str:
    with pytest.raises(AlreadyRunningError) as caught, hold(home):
        pass
    return str(caught.value)


@pytest.mark.parametrize(
    ("started_as", "says"),
    [
        (("/venv/bin/doorbuster", "up", "--port", "8001"), "a shop runs already in"),
        (("/src/doorbuster.py", "provider"), "in use by doorbuster provider (pid {pid})"),
        (("/venv/bin/doorbuster", "--secret"), "in use by doorbuster (pid {pid})"),
        (("/src/bench.py", "secret"), "in use by bench (pid {pid})"),
    ],
)
def test_who_has_the_home_is_named_without_its_options(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, started_as: tuple[str, ...], says: str
) -> None:
    monkeypatch.setattr("sys.argv", [*started_as])
    with hold(tmp_path):
        refusal = _refusal(tmp_path)
    assert says.format(pid=os.getpid()) in refusal
    assert str(tmp_path) in refusal
    assert "secret" not in refusal
    with hold(tmp_path):
        pass


def test_who_was_killed_is_not_named_for_the_next(tmp_path: Path) -> None:
    (tmp_path / "lock").write_text("doorbuster provider (pid 1)\n")
    with hold(tmp_path):
        assert "provider" not in _refusal(tmp_path)
