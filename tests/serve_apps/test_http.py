"""What all apps share: problems, bodies, the limit on them, and faults that tell nothing."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from serve_apps.http import (
    BODY_LIMIT_BYTES,
    ERRORS_SHOWN_MAX,
    PROBLEMS,
    Problem,
    RequestModel,
    ShortText,
    add_hot_route,
    busy_problem,
    field_problem,
    json_response,
    new_app,
    problem_answers,
    problem_response,
    read_body,
)
from tests.serve_apps.conftest import assert_problem

pytestmark = pytest.mark.asyncio


class Note(RequestModel):
    text: ShortText
    urgent: bool = False


class Echo(BaseModel):
    text: str


@pytest_asyncio.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    app = new_app("Notes")

    async def note(request: Request) -> Response:
        return json_response({"text": (await read_body(request, Note)).text})

    add_hot_route(app, "POST", "/notes", note, summary="Note", body=Note, answers={200: Echo})

    @app.get("/fault", response_model=None)
    async def fault() -> Response:
        raise RuntimeError("postgresql://secret@host is down")

    @app.get("/numbers", response_model=None)
    async def numbers(page: int) -> Response:
        return json_response({"page": page})

    del fault, numbers
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://notes") as opened:
        yield opened


async def _post(client: httpx.AsyncClient, content: Any, **headers: str) -> httpx.Response:
    headers = {"Content-Type": "application/json", **headers}
    return await client.post("/notes", content=content, headers=headers)


@pytest.mark.parametrize("kind", PROBLEMS)
async def test_every_problem_is_a_document_of_its_own_status(kind: str) -> None:
    response = problem_response(Problem(kind, "what happened", sku="A"))
    assert response.status_code == PROBLEMS[kind][0]
    assert response.media_type == "application/problem+json"
    document = json.loads(bytes(response.body))
    assert document["type"] == f"/problems/{kind}"
    assert document["status"] == response.status_code
    assert (document["detail"], document["sku"]) == ("what happened", "A")
    if response.status_code == 503:
        assert response.headers["retry-after"] == str(document["retry_after"])


async def test_the_caller_says_when_to_come_back() -> None:
    assert Problem("busy", "x", retry_after=7).headers["Retry-After"] == "7"


@pytest.mark.parametrize(
    ("ms", "seconds"), [(0, 1), (20, 1), (1_000, 1), (1_001, 2), (2_400, 3), (5_000, 5)]
)
async def test_busy_is_told_in_whole_seconds_and_never_too_early(ms: int, seconds: int) -> None:
    problem = busy_problem("x", ms)
    assert problem.headers["Retry-After"] == str(seconds)
    assert problem.as_json()["retry_after"] == seconds


async def test_a_field_problem_names_its_field() -> None:
    document = field_problem("cart_id", "is not yours").as_json()
    assert document["errors"] == [{"field": "cart_id", "message": "is not yours"}]


async def test_problems_of_one_status_share_its_description() -> None:
    answers = problem_answers("out_of_stock", "cart_empty", "not_found")
    assert answers.keys() == {409, 404}
    for kind in ("out_of_stock", "cart_empty"):
        assert PROBLEMS[kind][1] in answers[409]["description"]


async def test_a_body_is_read_as_its_model(client: httpx.AsyncClient) -> None:
    answer = await _post(client, '{"text": "  hello 👋 "}')
    assert answer.json() == {"text": "hello 👋"}


@pytest.mark.parametrize("length", [1, 200])
async def test_text_may_be_as_long_as_said(client: httpx.AsyncClient, length: int) -> None:
    text = "é" * length
    assert (await _post(client, json.dumps({"text": f" {text} "}))).json() == {"text": text}


@pytest.mark.parametrize("text", ["", " ", "\t\n", "x" * 201, "a\x00"])
async def test_other_text_is_refused_by_name(client: httpx.AsyncClient, text: str) -> None:
    answer = await _post(client, json.dumps({"text": text}))
    problem = assert_problem(answer, 422, "validation")
    assert [error["field"] for error in problem["errors"]] == ["text"]
    assert "items" not in problem["detail"]


async def test_no_more_complaints_are_listed_than_the_bound(client: httpx.AsyncClient) -> None:
    answer = await _post(client, json.dumps({f"f{n}": n for n in range(500)}))
    assert len(assert_problem(answer, 422, "validation")["errors"]) == ERRORS_SHOWN_MAX


def _note_of(size: int) -> bytes:
    return b'{"text": "x"' + b" " * (size - 13) + b"}"


async def _streamed(body: bytes) -> AsyncIterator[bytes]:
    for begin in range(0, len(body), 4_096):
        yield body[begin : begin + 4_096]


@pytest.mark.parametrize("streamed", [False, True])
async def test_the_limit_is_exact(client: httpx.AsyncClient, streamed: bool) -> None:
    fits, too_much = _note_of(BODY_LIMIT_BYTES), _note_of(BODY_LIMIT_BYTES + 1)
    assert len(fits) == BODY_LIMIT_BYTES
    answer = await _post(client, _streamed(fits) if streamed else fits)
    assert answer.status_code == 200, answer.text
    answer = await _post(client, _streamed(too_much) if streamed else too_much)
    problem = assert_problem(answer, 413, "too_large")
    assert str(BODY_LIMIT_BYTES) in problem["detail"]


async def test_a_length_that_is_a_lie_does_not_help(client: httpx.AsyncClient) -> None:
    answer = await _post(client, _note_of(BODY_LIMIT_BYTES * 2), **{"Content-Length": "20"})
    assert_problem(answer, 413, "too_large")


@pytest.mark.parametrize("length", ["", "-5", "1.0", "0x10", "٣", "1" * 19, "1" * 5_000])
async def test_a_length_that_is_none_is_refused(client: httpx.AsyncClient, length: str) -> None:
    headers: Any = {"Content-Type": "application/json", "Content-Length": length.encode()}
    answer = await client.post("/notes", content=b'{"text": "x"}', headers=headers)
    assert_problem(answer, 413, "too_large")


async def test_a_fault_tells_nothing_of_the_inside(
    client: httpx.AsyncClient, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = await client.get("/fault")
    assert_problem(answer, 500, "internal")
    assert "secret" not in answer.text
    assert "RuntimeError" not in answer.text
    assert "request_failed" in capsys.readouterr().out


async def test_parameters_are_refused_as_fields_are(client: httpx.AsyncClient) -> None:
    problem = assert_problem(await client.get("/numbers", params={"page": "x"}), 422, "validation")
    assert [error["field"] for error in problem["errors"]] == ["page"]
    assert_problem(await client.get("/numbers"), 422, "validation")


async def test_unknown_paths_and_methods(client: httpx.AsyncClient) -> None:
    assert_problem(await client.get("/nothing"), 404, "not_found")
    answer = await client.get("/notes")
    assert_problem(answer, 405, "method_not_allowed")
    assert answer.headers["allow"] == "POST"
    for path in ("/openapi.json", "/redoc", "/docs"):  # the site has them, for all apps
        assert_problem(await client.get(path), 404, "not_found")
