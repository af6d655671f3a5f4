"""Starting on what a killed server has left."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from storage.embedded import EmbeddedPostgres, socket_folder
from tests.shop.running import eventually

pytestmark = [pytest.mark.fault, pytest.mark.timeout(60)]


@pytest.fixture
def home() -> Iterator[Path]:
    # Not below pytest's own folder: see tests/conftest.py.
    with tempfile.TemporaryDirectory(prefix="doorb-tests-", ignore_cleanup_errors=True) as made:
        yield Path(made)
        shutil.rmtree(socket_folder(Path(made)), ignore_errors=True)


def test_postgres_starts_where_a_killed_postmaster_is_not_reaped_yet(home: Path) -> None:
    """Its process id looks alive for as long as its parent has not asked about it."""
    first = EmbeddedPostgres(home, settings={"fsync": "off"})
    first.start()
    assert first.pid is not None
    postmaster = psutil.Process(first.pid)
    second = EmbeddedPostgres(home, settings={"fsync": "off"})
    try:
        postmaster.kill()
        eventually(lambda: postmaster.status() == psutil.STATUS_ZOMBIE, within_s=5, what="a zombie")
        second.start()
        assert second.pid not in (None, postmaster.pid)
    finally:
        second.stop()
        first.stop()
