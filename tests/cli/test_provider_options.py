"""`doorbuster provider` with options that make no sense: one line, and nothing is started."""

from __future__ import annotations

import pytest
import typer
from typer.testing import CliRunner

from serve_apps import provider_commands
from serve_apps.provider_commands import provider

app = typer.Typer()
app.command()(provider)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--fault", "silent_after=nan"), "rates are 0 or more"),
        (("--fault", "silent_after=inf"), "rates are 0 or more"),
        (("--fault", "silent_after=much"), "KIND=RATE"),
        (("--fault", "sunspots=0.1"), "no such fault"),
        (("--fault-rate", "nan"), "--fault-rate"),
        (("--latency-ms", "nan"), "--latency-ms"),
        (("--search-lag-ms", "inf"), "--search-lag-ms"),
        (("--settle-after-s", "inf"), "--settle-after-s"),
        (("--webhook-late-ms", "inf"), "--webhook-late-ms"),
        (("--webhook-fault-rate", "nan"), "--webhook-fault-rate"),
        (("--webhook-url", "ftp://x"), "http://"),
        (("--webhook-url", "http://["), "Invalid IPv6 URL"),
        (("--webhook-url", "http://"), "with a host"),
        (("--webhook-url", "http://x:99999/"), "--webhook-url"),
        (("--webhook-url", "localhost:8000"), "http://"),
    ],
    ids=str,
)
def test_what_makes_no_sense_is_refused(
    monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], says: str
) -> None:
    def started(*_: object) -> None:
        raise AssertionError("it was started")

    monkeypatch.setattr(provider_commands, "_run", started)
    done = CliRunner().invoke(app, list(arguments), env={"COLUMNS": "200"})
    assert done.exit_code in (1, 2)  # 2: typer's own bounds
    assert done.stdout == ""
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_an_address_for_webhooks_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    monkeypatch.setattr(
        provider_commands, "_run", lambda _, options: seen.append(options.webhook_url)
    )
    for url in ("", "http://127.0.0.1:8000/hooks", "https://shop.example/a?b=c"):
        assert CliRunner().invoke(app, ["--webhook-url", url]).exit_code == 0
        assert seen[-1] == url
