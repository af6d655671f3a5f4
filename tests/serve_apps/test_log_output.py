"""A fault is logged with its traceback and without the values that it was about."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
import structlog

from serve_apps.http import new_app
from serve_apps.log_output import keep_values_out_of_tracebacks


@pytest.fixture(autouse=True)
def _configured_for_this_test() -> Iterator[None]:
    before = structlog.get_config().copy()
    structlog.reset_defaults()  # a command that ran in this process may write elsewhere
    yield
    structlog.configure(**before)


@pytest.mark.asyncio
async def test_a_traceback_tells_no_values(capsys: pytest.CaptureFixture[str]) -> None:
    app = new_app("Faults")

    @app.get("/fault", response_model=None)
    async def fault() -> None:
        street = "9 Hidden" + " Alley"
        raise RuntimeError(len(street))

    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    keep_values_out_of_tracebacks()
    keep_values_out_of_tracebacks()
    async with httpx.AsyncClient(transport=transport, base_url="http://shop") as client:
        answer = await client.get("/fault")
    assert answer.status_code == 500
    said = capsys.readouterr().out
    assert "request_failed" in said
    assert "in fault" in said
    assert "Hidden Alley" not in said
    del fault
