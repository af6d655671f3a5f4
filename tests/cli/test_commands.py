"""The command line without a running shop: what it says, and its exit status."""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path

import orjson
import pytest
from typer.testing import CliRunner

from domain.ports import Misconfigured, Unavailable
from doorbuster import _json_argument, app
from serve_apps import composition, shop_process
from tests.shop.running import free_port, run_command

COMMANDS = ("up", "down", "status", "demo", "import", "audit", "bench")


def test_help_lists_every_command() -> None:
    done = run_command("--help")
    assert done.returncode == 0
    assert all(name in done.stdout for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_explains_itself(name: str) -> None:
    done = CliRunner().invoke(app, [name, "--help"], env={"COLUMNS": "120", "NO_COLOR": "1"})
    assert done.exit_code == 0
    assert "--home" in done.stdout
    assert done.stderr == ""


def test_an_unknown_command_fails() -> None:
    done = run_command("sell-everything")
    assert done.returncode == 2
    assert "sell-everything" in done.stderr


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DOORBUSTER_PORT", "nonsense"),
        ("DOORBUSTER_PORT", "70000"),
        ("DOORBUSTER_STOCK_OWNERS", "0"),
        ("DOORBUSTER_RESERVATION_TTL_S", "-1"),
    ],
)
def test_a_bad_setting_is_named_in_one_line(tmp_path: Path, name: str, value: str) -> None:
    done = run_command("status", "--home", str(tmp_path), environment={name: value})
    assert done.returncode == 1
    assert done.stdout == ""
    [line] = done.stderr.splitlines()
    assert name in line
    assert value in line


def test_status_without_a_shop_is_one_document(tmp_path: Path) -> None:
    done = run_command("status", "--home", str(tmp_path), "--json")
    assert done.returncode == 1
    assert orjson.loads(done.stdout) == {"running": False, "ready": False, "parts": {}}


def test_the_document_goes_to_a_file_when_one_is_named(tmp_path: Path) -> None:
    target = tmp_path / "status.json"
    done = run_command("status", "--home", str(tmp_path), "--json", str(target))
    assert done.stdout == ""
    assert orjson.loads(target.read_bytes())["running"] is False


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    target = tmp_path / "no such folder" / "status.json"
    done = run_command("status", "--home", str(tmp_path), "--json", str(target))
    assert done.returncode == 1
    assert str(target) in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("given", "understood"),
    [
        (["status", "--json"], ["status", "--json=-"]),
        (["status", "--json", "--home", "x"], ["status", "--json=-", "--home", "x"]),
        (["status", "--json", "out"], ["status", "--json", "out"]),
        (["import", "--json", "file.csv"], ["import", "--json=-", "file.csv"]),
        (["import", "f.csv", "--json", "o.json"], ["import", "f.csv", "--json", "o.json"]),
        (["bench", "--json", "hot-pair"], ["bench", "--json=-", "hot-pair"]),
        (["audit", "--json=x"], ["audit", "--json=x"]),
    ],
)
def test_json_stands_alone_or_before_a_file(given: list[str], understood: list[str]) -> None:
    assert _json_argument(given) == understood


def test_down_without_a_shop_fails(tmp_path: Path) -> None:
    done = run_command("down", "--home", str(tmp_path))
    assert done.returncode == 1
    assert "no shop runs" in done.stderr


def test_a_command_outside_the_shops_folder_says_how_to_name_it(tmp_path: Path) -> None:
    done = run_command("promotion", "list", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert "no shop in .doorbuster; name its folder with --home or DOORBUSTER_HOME" in done.stderr


def test_an_audit_of_nothing_is_no_clean_audit(tmp_path: Path) -> None:
    home = tmp_path / "empty"
    done = run_command("audit", "--home", str(home), "--json")
    assert done.returncode == 2  # 1 is a broken promise
    assert done.stdout == ""
    assert "no shop" in done.stderr
    assert not home.exists()


@pytest.mark.parametrize("error", [Unavailable("Stripe is away"), Misconfigured("no such key")])
def test_an_audit_that_cannot_ask_the_provider_has_no_verdict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    async def away(*_args: object, **_kwargs: object) -> None:
        raise error

    monkeypatch.setattr(composition, "open_parts", lambda *_: contextlib.nullcontext())
    monkeypatch.setattr(shop_process, "audit_shop", away)
    monkeypatch.setattr(shop_process, "databases", contextlib.nullcontext)
    monkeypatch.setattr(shop_process, "has_data", lambda *_: True)
    done = CliRunner().invoke(app, ["audit", "--home", str(tmp_path), "--json=-"])
    assert (done.exit_code, done.stdout) == (2, "")
    assert str(error) in done.stderr
    assert "Traceback" not in done.stderr


def test_an_import_of_what_is_no_file_fails(tmp_path: Path) -> None:
    for path in (tmp_path / "missing.csv", tmp_path):
        done = run_command("import", str(path), "--home", str(tmp_path / "home"), "--json")
        assert done.returncode == 1
        assert done.stdout == ""
        assert str(path) in done.stderr
        assert not (tmp_path / "home").exists()


def test_an_import_of_bytes_that_are_no_text_says_so(tmp_path: Path) -> None:
    path = tmp_path / "picture.csv"
    path.write_bytes(bytes(range(256)) * 64)
    done = run_command("import", str(path), "--home", str(tmp_path / "home"), "--json")
    assert done.returncode == 1, done.stdout
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert "doorbuster:" in done.stderr


def test_an_import_in_an_unknown_format_fails(tmp_path: Path) -> None:
    path = tmp_path / "catalog.csv"
    path.write_text("Handle,Title\n")
    done = run_command("import", str(path), "--home", str(tmp_path / "home"), "--format", "tarot")
    assert done.returncode == 1
    assert "tarot" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("how", [(), ("--detach",)])
def test_up_on_a_port_in_use_says_which(tmp_path: Path, how: tuple[str, ...]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = run_command("up", "--home", str(tmp_path), "--port", str(port), "--empty", *how)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(f"doorbuster: port {port} is in use")
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run.json").exists()


def test_an_unknown_benchmark_is_named_and_the_known_are_listed(tmp_path: Path) -> None:
    done = run_command("bench", "nonsense", "--home", str(tmp_path), "--port", str(free_port()))
    assert done.returncode == 1
    assert "nonsense" in done.stderr
    assert "hot-pair" in done.stderr
