"""`doorbuster token …`: a token that the shop of the same home knows."""

from __future__ import annotations

from pathlib import Path

import pytest
from starlette.requests import Request
from typer.testing import CliRunner, Result

from serve_apps.identity import Identities
from serve_apps.settings import Settings
from serve_apps.token_commands import token_app


def run(*arguments: str, secret: str = "") -> Result:
    environment = {"DOORBUSTER_SECRET": secret, "COLUMNS": "200"}
    return CliRunner().invoke(token_app, arguments, env=environment)


def operator_of(settings: Settings, token: str) -> str:
    headers = [(b"authorization", f"Bearer {token}".encode())]
    return Identities(settings.signing_key()).operator(
        Request({"type": "http", "headers": headers})
    )


def test_the_shop_of_the_home_knows_the_token(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    settings.signing_key()
    done = run("operator", "ann", "--days", "2", "--home", str(tmp_path))
    assert (done.exit_code, done.stderr) == (0, "")
    assert operator_of(settings, done.stdout.strip()) == "ann"


def test_with_a_secret_no_home_is_needed(tmp_path: Path) -> None:
    done = run("operator", "ann", "--home", str(tmp_path / "none"), secret="of the cluster")
    assert done.exit_code == 0
    assert operator_of(Settings(secret="of the cluster"), done.stdout.strip()) == "ann"
    assert not (tmp_path / "none").exists()


def test_no_key_is_made_where_there_is_no_shop(tmp_path: Path) -> None:
    done = run("operator", "ann", "--home", str(tmp_path / "none"))
    assert (done.exit_code, done.stdout) == (1, "")
    assert "there is no shop in" in done.stderr
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("7up",), 1, "cannot name an operator"),
        (("ann", "--days", "0"), 2, "--days"),
        (("ann", "--days", "367"), 2, "--days"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments: tuple[str, ...], code: int, says: str) -> None:
    done = run("operator", *arguments, secret="x")
    assert (done.exit_code, done.stdout) == (code, "")
    assert says in done.stderr
