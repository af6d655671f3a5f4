"""Settings: from the environment, checked, and a signing key that stays."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from serve_apps.pause_points import pause_in
from serve_apps.settings import Settings


def test_a_shop_runs_without_any_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"DOORBUSTER_{name.upper()}", raising=False)
    settings = Settings()
    assert settings.port == 8000
    assert settings.home == Path(".doorbuster")
    assert settings.embedded_database()


def test_the_environment_sets_what_it_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOORBUSTER_PORT", "9000")
    monkeypatch.setenv("DOORBUSTER_DATABASE_URL", "postgresql://db/shop")
    monkeypatch.setenv("DOORBUSTER_OF_A_LATER_VERSION", "1")
    settings = Settings()
    assert settings.port == 9000
    assert not settings.embedded_database()


@pytest.mark.parametrize("given", [{}, {"pause_dir": "/pauses", "provider_latency_ms": 150.5}])
def test_another_process_reads_the_same_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, Any]
) -> None:
    settings = Settings(**given)
    for name, value in settings.as_environment().items():
        monkeypatch.setenv(name, value)
    assert Settings() == settings


def test_a_shop_that_no_test_runs_pauses_nowhere() -> None:
    assert pause_in(Settings().pause_dir) is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "0"),
        ("PORT", "65536"),
        ("PORT", "http"),
        ("STOCK_OWNERS", "0"),
        ("STOCK_OWNERS", "1001"),
        ("RESERVATION_TTL_S", "0.5"),
        ("RESERVATION_TTL_S", "3601"),
        ("CHECKOUT_REPLICAS", "0"),
        ("CHECKOUT_IN_FLIGHT_MAX", "-1"),
        ("STALLED_AFTER_S", "0"),
        ("PROVIDER_LATENCY_MS", "-1"),
    ],
)
def test_a_setting_out_of_bounds_is_named(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(f"DOORBUSTER_{name}", value)
    with pytest.raises(ValidationError, match=name.lower()):
        Settings()


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        Settings().port = 1


def test_the_signing_key_is_made_once_and_for_its_owner_only(tmp_path: Path) -> None:
    home = tmp_path / "not" / "there" / "yet"
    key = Settings(home=home).signing_key()
    assert len(key) == 32
    assert Settings(home=home).signing_key() == key
    assert Settings(home=tmp_path).signing_key() != key
    assert stat.S_IMODE((home / "secret").stat().st_mode) == 0o600
    assert [path.name for path in home.iterdir()] == ["secret"]


def test_a_secret_that_is_set_leaves_nothing_on_disk(tmp_path: Path) -> None:
    one = Settings(home=tmp_path, secret="one").signing_key()
    assert one == Settings(home=tmp_path / "elsewhere", secret="one").signing_key()
    assert one != Settings(home=tmp_path, secret="two").signing_key()
    assert list(tmp_path.iterdir()) == []


def test_a_key_that_another_process_made_is_taken_over(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("made before")
    with ThreadPoolExecutor(8) as threads:
        keys = set(threads.map(lambda _: Settings(home=tmp_path).signing_key(), range(8)))
    assert len(keys) == 1
