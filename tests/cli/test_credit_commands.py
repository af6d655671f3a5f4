"""`doorbuster credit …`: what makes no sense is refused, the rest works with the shop closed."""

from __future__ import annotations

import asyncio
from pathlib import Path
from uuid import UUID

import pytest
from typer.testing import CliRunner

from domain import ids
from domain.gift_cards import code_hash, plain_code
from serve_apps.credit_commands import credit_app
from serve_apps.credit_parts import gift_card_key, ledger_over
from serve_apps.settings import Settings
from storage.postgres import open_pool
from tests.storage.credit import ANN, charge

USER = ids.encode("user", UUID(ANN))
CARD = "BCDF-GHJK-LMNP-QRST-VWXZ-BCDF"


class Shell:
    """Runs commands on one closed shop."""

    def __init__(self, home: Path, database_url: str) -> None:
        self.home = home
        self.environment = {"DOORBUSTER_DATABASE_URL": database_url, "COLUMNS": "200"}

    def __call__(self, *arguments: str) -> str:
        """What a command that succeeds prints on stdout."""
        code, out, err = self.all(*arguments)
        assert code == 0, err
        return out.strip()

    def fails(self, *arguments: str) -> str:
        """What a command that fails says."""
        code, out, err = self.all(*arguments)
        assert (code, out) == (1, "")
        return err

    def all(self, *arguments: str) -> tuple[int, str, str]:
        line = [*arguments, "--home", str(self.home)]
        done = CliRunner().invoke(credit_app, line, env=self.environment)
        return done.exit_code, done.stdout, done.stderr


@pytest.fixture
def shell(tmp_path: Path, database_url: str) -> Shell:
    return Shell(tmp_path, database_url)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("giftcard", "issue", "0.001"), "more decimals"),
        (("giftcard", "issue", "ten"), "not an amount"),
        (("giftcard", "issue", "10", "--currency", "XXX"), "'XXX' is not sold in"),
        (("giftcard", "issue", "10", "--expires", "soon"), "write YYYY-MM-DD"),
        (("giftcard", "issue", "10", "--expires", "9999-12-31"), "write YYYY-MM-DD"),
        (("giftcard", "issue", "10", "--by", ""), "1 to 500 characters"),
        (("grant", USER, "10", "--reason", " "), "needs a --reason"),
        (("grant", "ann", "10", "--reason", "sorry"), "names no customer"),
        (("grant", "user_x", "10", "--reason", "sorry"), "names no customer"),
        (("terms", USER, "--limit", "lots"), "not an amount"),
        (("invoices", "list", "--status", "lost"), "not lost"),
        (("invoices", "pay", "INV-"), "is no invoice"),
        (("invoices", "pay", "9" * 19), "is no invoice"),
        (("invoices", "write-off", "1", "--reason", ""), "needs a --reason"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(
    tmp_path: Path, arguments: tuple[str, ...], says: str
) -> None:
    assert says in Shell(tmp_path, "").fails(*arguments)


def test_without_a_shop_there_is_nothing_to_do(tmp_path: Path) -> None:
    assert "there is no shop" in Shell(tmp_path, "").fails("giftcard", "show", "1")


def test_a_card_from_issue_to_block(shell: Shell) -> None:
    code = shell("giftcard", "issue", "1050.50", "--present", "--expires", "2999-12-31")
    assert plain_code(code) is not None
    shown = shell("giftcard", "show", code)
    assert shown == shell("giftcard", "show", "1")
    assert "active, 1,050.50 USD of 1,050.50 USD left; given" in shown
    assert f"(…{code[-4:]})" in shown
    assert "good until 2999-12-31" in shown
    assert "gift card 1 is blocked" in shell("giftcard", "block", code)
    assert ": blocked," in shell("giftcard", "show", "1")
    shell("giftcard", "block", "1", "--undo")
    assert ": active," in shell("giftcard", "show", "1")
    for card in (CARD, "2", "nonsense"):
        assert "no such gift card" in shell.fails("giftcard", "show", card)
    assert "is over" in shell.fails("giftcard", "issue", "5", "--expires", "2020-01-01")


def test_the_code_is_kept_nowhere(shell: Shell, database_url: str) -> None:
    code = shell("giftcard", "issue", "10")
    hashed = code_hash(gift_card_key(Settings(home=shell.home)), code)

    async def stored() -> str:
        pool = await open_pool(database_url, max_size=1)
        try:
            rows = await pool.fetch(
                "SELECT to_jsonb(c)::text AS row FROM gift_cards c"
                " UNION ALL SELECT to_jsonb(j)::text FROM credit_journals j"
            )
        finally:
            await pool.close()
        return " ".join(row["row"] for row in rows)

    everything = asyncio.run(stored())
    assert str(hashed) in everything
    assert code not in everything
    assert code.replace("-", "") not in everything


def test_a_customer_on_invoice_from_approval_to_write_off(shell: Shell, database_url: str) -> None:
    assert "20.00 USD of store credit" in shell("grant", USER, "20", "--reason", "late")
    assert "may pay on invoice: limit 1,000.00 USD, net 14 days" in shell(
        "terms", USER, "--limit", "1000", "--net-days", "14"
    )

    async def buy() -> None:
        pool = await open_pool(database_url, max_size=2)
        ledger = ledger_over(pool)
        for number, amount in enumerate((6_000, 4_000)):
            one = charge(f"c-{number}", amount, kind="invoice")
            assert (await ledger.authorize(one)).status == "authorized"
            assert (await ledger.capture(one)).status == "captured"
        await pool.close()

    asyncio.run(buy())
    first, second = shell("invoices", "list", "--user", USER).splitlines()
    overdue = shell.all("invoices", "list", "--status", "overdue", "--user", USER)
    assert overdue == (0, "", f"no overdue invoices of {USER}\n")
    assert first.startswith("INV-000001  due ")
    assert "60.00 USD open of 60.00 USD  no order" in first
    assert first.endswith(USER)
    assert "INV-000001: 50.00 USD open" in shell("invoices", "pay", "INV-000001", "--amount", "10")
    assert "INV-000001: 0.00 USD open" in shell("invoices", "pay", "1")
    assert "0.00 USD of invoice 1 are open, not 0.00 USD" in shell.fails("invoices", "pay", "1")
    assert "there is no invoice 7" in shell.fails("invoices", "pay", "7")
    assert shell("invoices", "list") == second
    assert "owes more than" in shell.fails("terms", USER, "--limit", "39.99")
    assert "may not pay" in shell("terms", USER, "--limit", "40", "--revoke")
    assert "INV-000002: 0.00 USD open" in shell("invoices", "write-off", "2", "--reason", "gone")
    assert "40.00 USD written off" in shell("invoices", "list", "--status", "settled")
