"""`doorbuster token …`: a token that the shop of the same home knows."""

from __future__ import annotations

from pathlib import Path

import pytest
from starlette.requests import Request
from typer.testing import CliRunner, Result

from serve_apps.identity import Identities
from serve_apps.settings import Settings
from serve_apps.token_commands import token_app


def run(*arguments: str, secret: str = "", database_url: str = "") -> Result:
    environment = {"DOORBUSTER_SECRET": secret, "COLUMNS": "200"}
    if database_url:
        environment["DOORBUSTER_DATABASE_URL"] = database_url
    return CliRunner().invoke(token_app, arguments, env=environment)


def operator_of(settings: Settings, token: str) -> str:
    headers = [(b"authorization", f"Bearer {token}".encode())]
    request = Request({"type": "http", "headers": headers})
    return Identities(settings.signing_key()).operator_token(request).name


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


def test_tokens_are_revoked_by_name_and_listed(tmp_path: Path, database_url: str) -> None:
    home = ("--home", str(tmp_path))
    about = ("--by", "bob", "--reason", "laptop lost", *home)
    done = run("revoke", "ann", *about, database_url=database_url)
    assert (done.exit_code, done.stdout) == (0, ""), done.stderr
    assert "tokens of ann that were made until now are refused" in done.stderr
    listed = run("revoked", *home, database_url=database_url).stdout.strip()
    assert listed.endswith("  ann  by bob  laptop lost")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("7up",), "cannot name an operator"),
        (("ann", "--by", ""), "1 to 200 characters"),
        (("ann", "--reason", "x" * 201), "1 to 200 characters"),
        (("ann",), "there is no shop in"),
    ],
)
def test_what_cannot_be_revoked_is_said(
    tmp_path: Path, arguments: tuple[str, ...], says: str
) -> None:
    done = run("revoke", *arguments, "--home", str(tmp_path))
    assert (done.exit_code, done.stdout) == (1, "")
    assert says in done.stderr
