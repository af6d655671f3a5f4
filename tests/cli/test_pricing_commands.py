"""`doorbuster promotion …` and `doorbuster rates …` on a closed shop's database."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner

from domain import ids
from domain.promotions import Kind, Promotion
from serve_apps.pricing_commands import _table, promotion_app, rates_app
from storage.promotions import PromotionInUse

app = typer.Typer()
app.add_typer(promotion_app)
app.add_typer(rates_app)


def run(*arguments: str, database_url: str = "", columns: str = "200") -> tuple[int, str, str]:
    environment = {"COLUMNS": columns}
    if database_url:
        environment["DOORBUSTER_DATABASE_URL"] = database_url
    done = CliRunner().invoke(app, list(arguments), env=environment)
    return done.exit_code, done.stdout, done.stderr


def test_a_promotion_is_added_listed_and_ended(database_url: str) -> None:
    def own(*arguments: str) -> tuple[int, str, str]:
        return run("promotion", *arguments, database_url=database_url)

    nothing = (0, "", "no promotions but those that are over: see --all\n")
    assert own("list") == nothing
    assert own("list", "--all") == (0, "", "no promotions\n")
    added = own(
        *("add", "percent", "--percent", "12.5", "--label", "Black Friday", "--code", "friday"),
        *("--uses", "500", "--per-customer", "1", "--category", "Shoes"),
        *("--minimum", "50.00", "--currency", "USD", "--until", "2999-01-01T00:00:00Z"),
    )
    assert added == (0, "added FRIDAY\n", "")
    code, out, _ = own("list")
    assert code == 0
    for shown in ("FRIDAY", "12.5 % off", "0 of 500", "2999-01-01", "Black Friday"):
        assert shown in out
    code, out, err = own("add", "free_shipping", "--label", "again", "--code", "FRIDAY")
    assert (code, out) == (1, "")
    assert "take another" in err
    assert own("end", "friday") == (0, "ended friday\n", "")
    code, _, err = own("end", "friday")
    assert code == 1
    assert "promotion list" in err
    assert own("list") == nothing
    assert "FRIDAY" in own("list", "--all")[1]


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (("amount", "--amount", "5.00", "--currency", "EUR"), "5.00 EUR off"),
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


@pytest.mark.parametrize("columns", ["60", "100"])
def test_the_list_fits_and_cuts_no_id(database_url: str, columns: str) -> None:
    adding = (
        ("amount", "--amount", "1234.50", "--currency", "USD", "--label", "[b]welcome back[/b]"),
        ("buy_x_get_y", "--buy", "2", "--get", "1", "--percent", "12.5", "--label", "three " * 9),
        ("free_shipping", "--label", "x", "--uses", "99999", "--until", "2999-11-30T18:30:00Z"),
        ("free_shipping", "--label", "y", "--until", "2999-11-30T01:00:00+01:00"),
    )
    names = [
        run("promotion", "add", *one, database_url=database_url)[1].split()[-1] for one in adding
    ]
    _, out, _ = run("promotion", "list", database_url=database_url, columns=columns)
    heading, *lines = out.splitlines()
    assert heading.split() == ["promotion", "used", "until", "(UTC)", "does", "label"]
    assert all(len(one) <= 100 for one in lines)
    assert all(name in out for name in names)
    for shown in ("1,234.50 USD off", "[b]welcome", "0 of 99,999", "2999-11-30 18:30", "no end"):
        assert shown in out
    assert "2999-11-30 00" not in out


def test_a_narrow_terminal_has_what_a_promotion_does_below_its_name() -> None:
    one = Promotion(
        promotion_id=UUID(int=7),
        label="all that is left",
        kind=Kind.PERCENT,
        percent_bps=1_250,
        starts_at=datetime.now(UTC),
    )
    out = io.StringIO()
    Console(file=out, width=80).print(_table([PromotionInUse(promotion=one, uses=3)], 80))
    lines = [line.rstrip() for line in out.getvalue().splitlines()]
    name = ids.encode("promo", one.promotion_id)
    assert lines[1].split() == [name, "3", "no", "end"]
    assert lines[2:] == ["  12.5 % off", "  all that is left"]


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


def test_one_rate_is_one(database_url: str, tmp_path: Path) -> None:
    file = tmp_path / "rates.csv"
    file.write_text("currency,rate\nEUR,0.92\n")
    loaded = run("rates", "load", str(file), database_url=database_url)[1]
    assert loaded.startswith("loaded 1 rate to USD of ")


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "rates.csv"
    assert run("rates", "load", str(file))[0] == 1
    file.write_text("currency,rate\nEUR,cheap\n")
    code, _, err = run("rates", "load", str(file))
    assert code == 1
    assert "cheap" in err
    assert "no day" in run("rates", "load", str(file), "--as-of", "today")[2]
