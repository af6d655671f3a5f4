"""`doorbuster fraud …`: from generated orders to a model that scores, and every refusal in words."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest
from typer.testing import CliRunner

from doorbuster import _json_argument
from serve_apps.fraud_commands import fraud_commands
from storage.fraud_files import load_model
from tests.shop.running import run_command


def _run(*arguments: object, **environment: str) -> tuple[int, str, str]:
    done = CliRunner().invoke(
        fraud_commands, [str(one) for one in arguments], env={"COLUMNS": "200", **environment}
    )
    return done.exit_code, done.stdout, done.stderr


@pytest.fixture(scope="module")
def orders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("orders") / "orders.csv"
    code, out, err = _run("generate", file, "--orders", 8_000, "--seed", 2)
    assert (code, out) == (0, "")
    assert "8,000 generated orders" in err
    return file


def test_a_model_is_trained_measured_drawn_and_used(orders: Path, tmp_path: Path) -> None:
    model, picture = tmp_path / "model.json", tmp_path / "curve.svg"
    told = tmp_path / "told.json"
    code, out, err = _run(
        *("train", orders, "--out", model, "--picture", picture, "--json", told),
        *("--date", "2026-11-26", "--held-out", 0.4),
    )
    assert (code, out) == (0, ""), err
    assert "These orders were generated" in err
    document = orjson.loads(told.read_bytes())
    assert document["orders"] == 3_200, "measured on what was held out"
    assert document["trained"]["trained_on"]["orders"] == 4_800
    assert load_model(model).version == document["model_version"]
    assert document["model_version"].startswith("2026-11-26.")
    assert load_model(model).facts["source"] == "8,000 generated orders"
    assert "<svg" in picture.read_text()

    code, out, err = _run("evaluate", orders, DOORBUSTER_FRAUD_MODEL=str(model))
    assert (code, err) == (0, "")
    assert document["model_version"] in out
    for heading in ("precision", "recall", "average precision", "Brier", "review 30", "decline 60"):
        assert heading in out


def test_the_shipped_model_is_measured_when_none_is_named(orders: Path, tmp_path: Path) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text('name = "ours"\nreview_from = 17\n')
    picture = tmp_path / "curve.png"
    code, out, _ = _run(
        *("evaluate", orders, "--policy", policy, "--json", "-", "--picture", picture)
    )
    assert code == 0
    document = orjson.loads(out)
    assert document["model_version"] == load_model().version
    assert (document["policy"], document["at_review"]["risk_score"]) == ("ours", 17)
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_bad_rows_are_told_with_their_lines_and_nothing_is_written(
    orders: Path, tmp_path: Path
) -> None:
    lines = orders.read_text().splitlines(keepends=True)
    lines[3] = lines[3].replace("2026-", "20x6-")
    lines[5] = "1,2\n"
    bad = tmp_path / "bad.csv"
    bad.write_text("".join(lines))
    model = tmp_path / "model.json"
    code, out, err = _run("train", bad, "--out", model)
    assert (code, out) == (1, "")
    assert "line 4: ordered_at is '20x6-" in err
    assert "line 6: it has 2 cells" in err
    assert not model.exists()


def test_no_more_than_ten_mistakes_are_told(orders: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.csv"
    bad.write_text(orders.read_text().replace(",USD,", ",XXX,"))
    code, _, err = _run("evaluate", bad)
    assert code == 1
    assert err.count("line ") == 10


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("evaluate", "nowhere.csv"), "cannot read nowhere.csv"),
        (("train", "/"), "cannot read /"),
        (("train", "x.csv", "--picture", "curve.gif"), "must end in .svg or .png"),
        (("train", "x.csv", "--date", "tomorrow"), "write YYYY-MM-DD"),
        (("evaluate", "x.csv", "--model", "none.json"), "cannot read none.json"),
        (("train", "x.csv", "--policy", "none.toml"), "cannot read none.toml"),
        (("generate", "/nowhere/x.csv"), "cannot write /nowhere/x.csv"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(arguments: tuple[str, ...], says: str) -> None:
    code, out, err = _run(*arguments)
    assert (code, out) == (1, "")
    assert says in err


def test_a_file_of_something_else(tmp_path: Path) -> None:
    file = tmp_path / "products.csv"
    file.write_text("Handle,Title\nmug,Mug\n")
    code, _, err = _run("train", file)
    assert code == 1
    assert "its heading has no order_id" in err


def test_too_few_orders(tmp_path: Path) -> None:
    file = tmp_path / "few.csv"
    assert _run("generate", file, "--orders", 100)[0] == 0
    code, _, err = _run("train", file, "--out", tmp_path / "model.json")
    assert code == 1
    assert "give more orders" in err


def test_a_setting_that_names_no_file_is_told(tmp_path: Path, orders: Path) -> None:
    missing = str(tmp_path / "none.toml")
    code, _, err = _run("evaluate", orders, DOORBUSTER_FRAUD_POLICY=missing)
    assert code == 1
    assert "DOORBUSTER_FRAUD_POLICY" in err
    assert "no such file" in err


def test_a_shop_with_a_policy_that_makes_no_sense_does_not_open(tmp_path: Path) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text("review_from = 99\n")
    environment = {"DOORBUSTER_FRAUD_POLICY": str(policy)}
    done = run_command("up", "--home", str(tmp_path / "home"), environment=environment)
    assert done.returncode == 1
    assert "review must not begin after decline" in done.stderr


def test_the_command_is_known(tmp_path: Path) -> None:
    assert "fraud" in run_command("--help").stdout
    file = tmp_path / "orders.csv"
    assert run_command("fraud", "generate", str(file), "--orders", "10").returncode == 0
    assert len(file.read_text().splitlines()) == 11


def test_the_orders_are_not_taken_for_the_file_of_figures() -> None:
    assert _json_argument(["fraud", "train", "--json", "orders.csv"]) == [
        *("fraud", "train", "--json=-", "orders.csv")
    ]
