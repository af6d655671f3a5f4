"""`doorbuster promotion …` and `doorbuster rates …` on a closed shop's database."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from serve_apps.pricing_commands import promotion_app, rates_app

app = typer.Typer()
app.add_typer(promotion_app)
app.add_typer(rates_app)


def run(*arguments: str, database_url: str = "") -> tuple[int, str, str]:
    environment = {"COLUMNS": "200"}
    if database_url:
        environment["DOORBUSTER_DATABASE_URL"] = database_url
    done = CliRunner().invoke(app, list(arguments), env=environment)
    return done.exit_code, done.stdout, done.stderr


def test_a_promotion_is_added_listed_and_ended(database_url: str) -> None:
    def own(*arguments: str) -> tuple[int, str, str]:
        return run("promotion", *arguments, database_url=database_url)

    assert own("list") == (0, "", "")
    added = own(
        *("add", "percent", "--percent", "12.5", "--label", "Black Friday", "--code", "friday"),
        *("--uses", "500", "--per-customer", "1", "--category", "Shoes"),
        *("--minimum", "50.00", "--currency", "USD", "--until", "2999-01-01T00:00:00Z"),
    )
    assert added == (0, "added FRIDAY\n", "")
    code, out, _ = own("list")
    assert code == 0
    for shown in ("FRIDAY", "12.5 % off", "0 of 500 used", "2999-01-01", "Black Friday"):
        assert shown in out
    code, out, err = own("add", "free_shipping", "--label", "again", "--code", "FRIDAY")
    assert (code, out) == (1, "")
    assert "take another" in err
    assert own("end", "friday") == (0, "ended friday\n", "")
    code, _, err = own("end", "friday")
    assert code == 1
    assert "promotion list" in err
    assert own("list") == (0, "", "")
    assert "FRIDAY" in own("list", "--all")[1]


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (("amount", "--amount", "5.00", "--currency", "EUR"), "5.0 EUR off"),
        (("free_shipping",), "free shipping"),
        (("buy_x_get_y", "--buy", "2", "--get", "1"), "buy 2, get 1 at 100 % off"),
        (("percent", "--percent", "0.01"), "0.01 % off"),
    ],
)
def test_automatic_ones_are_named_by_an_id(
    database_url: str, arguments: tuple[str, ...], shown: str
) -> None:
    code, out, err = run("promotion", "add", *arguments, "--label", "x", database_url=database_url)
    assert (code, err) == (0, "")
    name = out.split()[-1]
    assert name.startswith("promo_")
    assert shown in run("promotion", "list", database_url=database_url)[1]
    assert run("promotion", "end", name, database_url=database_url)[0] == 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("percent",), "percentage is above 0"),
        (("percent", "--percent", "101"), "at most 100"),
        (("percent", "--percent", "0.001"), "steps of 0.01"),
        (("percent", "--percent", "NaN"), "percent"),
        (("percent", "--percent", "much"), "no number"),
        (("amount", "--amount", "5.00"), "needs a --currency"),
        (("amount", "--amount", "5.001", "--currency", "USD"), "more decimals"),
        (("amount", "--amount", "-5", "--currency", "USD"), "plain digits"),
        (("free_shipping", "--until", "tomorrow"), "no time"),
        (("free_shipping", "--until", "2020-01-01T00:00:00Z"), "ends before it begins"),
        (("free_shipping", "--product", "5"), "not an id"),
        (("free_shipping", "--per-customer", "1"), "needs a code"),
        (("buy_x_get_y", "--buy", "2"), "buy and get"),
        (("free_shipping", "--code", "no spaces"), "a code is"),
        (("free_shipping", "--code", "straße"), "a code is"),
        (("free_shipping", "--from", "9999-12-31T23:59:59-23:59"), "in UTC"),
        (("free_shipping", "--until", "0001-01-01T00:00:00+23:59"), "in UTC"),
    ],
    ids=str,
)
def test_what_makes_no_sense_is_refused(arguments: tuple[str, ...], says: str) -> None:
    code, out, err = run("promotion", "add", *arguments, "--label", "x")
    assert (code, out) == (1, "")
    assert says in err


@pytest.mark.parametrize("label", ["\u200b", "two\nlines", "\x1b[31mred", "a\udcff"])
def test_a_label_is_a_line_to_be_seen(label: str) -> None:
    code, out, err = run("promotion", "add", "free_shipping", "--label", label)
    assert (code, out) == (1, "")
    assert "a label is one line" in err


def test_rates_are_loaded_and_shown(database_url: str, tmp_path: Path) -> None:
    code, _, err = run("rates", "show", database_url=database_url)
    assert code == 1
    assert "rates load" in err
    file = tmp_path / "rates.csv"
    file.write_text("currency,rate\nEUR,0.92\nJPY,151.30\n")
    today = datetime.now(UTC).date()
    loaded = run("rates", "load", str(file), database_url=database_url)
    assert loaded == (0, f"loaded 2 rates to USD of {today}\n", "")
    code, out, _ = run("rates", "show", database_url=database_url)
    assert code == 0
    assert out.splitlines() == [f"of {today}, for one USD:", "  EUR  0.92", "  JPY  151.3"]


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "rates.csv"
    assert run("rates", "load", str(file))[0] == 1
    file.write_text("currency,rate\nEUR,cheap\n")
    code, _, err = run("rates", "load", str(file))
    assert code == 1
    assert "cheap" in err
    assert "no day" in run("rates", "load", str(file), "--as-of", "today")[2]
