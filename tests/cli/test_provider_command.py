"""`doorbuster provider`: what ends it is told in one line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from serve_apps import provider_commands
from serve_apps.supervisor import hold
from sim.provider_process import BooksLostError, ProviderOptions

app = typer.Typer()
app.command()(provider_commands.provider)


def test_a_provider_whose_books_are_lost_says_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def lost(url: str, options: ProviderOptions, is_closed: Callable[[], bool]) -> None:
        assert not is_closed()
        raise BooksLostError(
            f"{url} is gone, as databases sometimes are: {'x' * 100} {options.port}"
        )

    monkeypatch.setattr(provider_commands, "_serve", lost)
    environment = {"DOORBUSTER_DATABASE_URL": "postgresql://db/shop", "COLUMNS": "80"}
    done = CliRunner().invoke(app, ["--port", "8100"], env=environment)
    assert (done.exit_code, done.stdout) == (1, "")
    [line] = done.stderr.splitlines()
    assert line.startswith("doorbuster: postgresql://db/shop is gone")


def test_a_home_that_is_in_use_is_refused(tmp_path: Path) -> None:
    with hold(tmp_path):
        done = CliRunner().invoke(app, ["--home", str(tmp_path)])
    assert done.exit_code == 1
    assert "in use by" in done.stderr
