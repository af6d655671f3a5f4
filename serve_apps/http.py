"""What all apps share over HTTP: problem+json, body limits, JSON in and out, one description.

Errors follow RFC 9457; `PROBLEMS` is the list of all kinds that the platform answers with.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from http import HTTPStatus
from math import ceil
from typing import Any, TypeVar

import orjson
import structlog
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError
from pydantic.json_schema import models_json_schema
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Match, Route
from starlette.types import Receive, Scope, Send

from domain.card_numbers import token_carries_card_number
from serve_apps import text_fields
from serve_apps.card_refusal import WHAT_HELPS, announces_body, in_body, place_in_head, replayed

BODY_LIMIT_BYTES = 64 * 1024
PROBLEM_JSON = "application/problem+json"
RETRY_AFTER_S_MIN = 1
"""`Retry-After` is in whole seconds, and 0 would invite to ask again at once."""
LENGTH_DIGITS_MAX = 18
ERRORS_SHOWN_MAX = 20
_PYDANTIC_SAYS = "Value error, "  # before what our own validators say
FIELD_NAME_SHOWN_MAX = 80  # characters; who sends a longer one knows it by its beginning
M = TypeVar("M", bound=BaseModel)
Text = text_fields.Text
ShortText = text_fields.ShortText
_log = structlog.get_logger(__name__)

# kind → (status, title). The kind is the stable part: `type` is `/problems/<kind>`.
PROBLEMS: dict[str, tuple[int, str]] = {
    "idempotency_key_missing": (400, "An Idempotency-Key header is needed"),
    "idempotency_keys_differ": (400, "One Idempotency-Key header is needed"),
    "webhook_forged": (400, "The webhook is not by the payment provider"),
    "unauthorized": (401, "Who you are could not be established"),
    "payment_declined": (402, "The payment was declined"),
    "forbidden": (403, "This is not for you to do"),
    "not_found": (404, "There is no such thing here"),
    "method_not_allowed": (405, "This method is not available here"),
    "out_of_stock": (409, "Not enough in stock"),
    "cart_empty": (409, "The cart is empty"),
    "idempotency_key_in_flight": (409, "The first request with this key is still being worked on"),
    "checkout_interrupted": (409, "The checkout was interrupted and undone"),
    "coupon_used_up": (409, "The coupon is used up"),
    "total_changed": (409, "The total is not what was shown"),
    "payment_expired": (410, "The payment did not come in time"),
    "hold_expired": (410, "The hold on the stock has expired"),
    "too_large": (413, "The request body is too large"),
    "unsupported_media_type": (415, "The request body must be JSON"),
    "validation": (422, "The request is not valid"),
    "idempotency_key_reused": (422, "This key was used for another request"),
    "card_number_refused": (422, "Card numbers may not be sent here"),
    "limit_exceeded": (422, "More than one customer may have"),
    "too_many_attempts": (429, "Too many attempts"),
    "coupon_refused": (422, "The coupon cannot be used"),
    "refund_refused": (422, "This cannot be refunded"),
    "internal": (500, "Something went wrong on our side"),
    "busy": (503, "Too busy right now"),
    "not_ready": (503, "Not ready to sell"),
}


_PROBLEM_SCHEMA: dict[str, Any] = {
    "type": "object",
    "description": "A refusal (RFC 9457); more fields say what helps.",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string", "enum": [f"/problems/{kind}" for kind in PROBLEMS]},
        "title": {"type": "string"},
        "status": {"type": "integer", "minimum": 400, "maximum": 599},
        "detail": {"type": "string"},
    },
    "examples": [
        {
            "type": "/problems/out_of_stock",
            "title": PROBLEMS["out_of_stock"][1],
            "status": 409,
            "detail": "2 of VASE asked for, 1 left",
            "sku": "VASE",
            "requested": 2,
            "available": 1,
        }
    ],
}


class Problem(Exception):  # noqa: N818 - it is the RFC's word
    """An expected refusal on its way to the client: a kind of `PROBLEMS`, with details."""

    def __init__(
        self, kind: str, detail: str, *, headers: Mapping[str, str] | None = None, **extra: Any
    ) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail
        self.headers = dict(headers or {})
        self.extra = extra
        if kind in ("busy", "not_ready"):
            retry_after_s = extra.setdefault("retry_after", RETRY_AFTER_S_MIN)
            self.headers.setdefault("Retry-After", str(retry_after_s))

    @property
    def status(self) -> int:
        """The HTTP status of its kind."""
        return PROBLEMS[self.kind][0]

    def as_json(self) -> dict[str, Any]:
        """The problem document (RFC 9457, section 3)."""
        status, title = PROBLEMS[self.kind]
        document = {"type": f"/problems/{self.kind}", "title": title, "status": status}
        return {**document, "detail": self.detail, **self.extra}


def busy_problem(detail: str, retry_after_ms: int) -> Problem:
    """A `busy` that says when to come back: in whole seconds, rounded up so as not to be early."""
    return Problem("busy", detail, retry_after=max(RETRY_AFTER_S_MIN, ceil(retry_after_ms / 1_000)))


def problem_response(problem: Problem) -> Response:
    """The problem as an HTTP answer."""
    return Response(
        orjson.dumps(problem.as_json()),
        status_code=problem.status,
        media_type=PROBLEM_JSON,
        headers=problem.headers,
    )


def json_response(
    content: Any, *, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """A JSON answer."""
    return Response(
        orjson.dumps(content, option=orjson.OPT_UTC_Z),
        status_code=status,
        media_type="application/json",
        headers=headers,
    )


class ORJSONResponse(JSONResponse):
    """The default answer of the apps' endpoints; FastAPI describes only JSONResponse's kind."""

    def render(self, content: Any) -> bytes:
        return orjson.dumps(content)


def _no_card_number(token: str) -> str:
    if token_carries_card_number(token):
        raise _card_number("payment token")
    return token


NoCardNumber = AfterValidator(_no_card_number)
"""Of fields that hold tokens of means of payment."""


class RequestModel(BaseModel):
    """A request body: unknown fields and silently converted types are refused."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


def _field_name(path: tuple[Any, ...]) -> str:
    """`items.0.quantity`; where it was found (body, query, path) is no part of the name."""
    found_in, *names = path or ("body",)
    if found_in not in ("body", "query", "path", "header"):
        names = [found_in, *names]
    return ".".join(str(name)[:FIELD_NAME_SHOWN_MAX] for name in names) or "body"


def validation_problem(errors: list[dict[str, Any]]) -> Problem:
    """The answer to pydantic's complaints: each field by its path, and what is wrong with it."""
    listed = [
        {
            "field": _field_name(error["loc"]),
            "message": error["msg"].removeprefix(_PYDANTIC_SAYS),
        }
        for error in errors[:ERRORS_SHOWN_MAX]
    ]
    first = listed[0]
    return Problem("validation", f"{first['field']}: {first['message']}", errors=listed)


def field_problem(field: str, message: str) -> Problem:
    """A refusal that concerns one field of the request."""
    listed = [{"field": field, "message": message}]
    return Problem("validation", f"{field}: {message}", errors=listed)


async def read_body(request: Request, model: type[M]) -> M:
    """The request's JSON body as a `model`; raises the right Problem if it is not one."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise Problem(
            "unsupported_media_type",
            f"the body is {media_type or 'of no stated type'}; send Content-Type: application/json",
        )
    body = await request.body()
    try:
        read = model.model_validate_json(body)
    except ValidationError as error:
        raise validation_problem(
            error.errors(include_url=False, include_context=False, include_input=False)  # pyright: ignore[reportArgumentType]
        ) from None
    if (name := text_fields.name_given_twice(body)) is not None:
        raise field_problem(name[:FIELD_NAME_SHOWN_MAX], "is given twice; send it once")
    return read


HotEndpoint = Callable[[Request], Awaitable[Response]]
Vouching = Callable[[Request, bytes], bool]
"""True if a body is known to be by someone who sends no card numbers, whatever it looks like."""


class HotApp(FastAPI):
    """A FastAPI app whose hot routes are answered before FastAPI's machinery begins.

    Middlewares, exit stacks, dependency solving and response models cost a checkout more than
    its own work (docs/adr/0003). A hot route gets the same body limit and the same problems.
    """

    def __init__(self, *, body_limit_bytes: int, **settings: Any) -> None:
        super().__init__(**settings)
        self.body_limit_bytes = body_limit_bytes
        self.hot: dict[tuple[str, str], HotEndpoint] = {}
        self.vouching: Vouching | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One connection; only exact paths are hot. Card numbers get no further than here."""
        if scope["type"] == "lifespan":
            await super().__call__(scope, receive, send)
            return
        is_http = scope["type"] == "http"
        endpoint = self.hot.get((scope["method"], scope["path"])) if is_http else None
        body = b""
        try:
            if place := place_in_head(scope):
                raise _card_number(place)
            if endpoint is not None or (is_http and announces_body(scope)):
                body = await _whole_body(scope, receive, self.body_limit_bytes)
                if in_body(scope, body) and not self._vouched(scope, body):
                    raise _card_number("body")
                receive = replayed(body, receive)
        except Problem as problem:
            await _turn_away(problem, scope, receive, send)
            return
        except ClientDisconnect:
            return
        if endpoint is None:
            await super().__call__(scope, receive, send)
            return
        scope["app"] = self
        try:
            response = await endpoint(_HotRequest(scope, receive, body))
        except Problem as problem:
            response = problem_response(problem)
        except ClientDisconnect:
            return
        except Exception as error:
            response = await _on_fault(Request(scope), error)
        await response(scope, receive, send)

    def _vouched(self, scope: Scope, body: bytes) -> bool:
        if self.vouching is None:
            return False
        return self.vouching(Request({**scope, "app": self}), body)


def _card_number(place: str) -> Problem:
    return Problem("card_number_refused", f"a card number stands in the {place}; {WHAT_HELPS}")


async def _turn_away(problem: Problem, scope: Scope, receive: Receive, send: Send) -> None:
    """The answer to a connection that goes no further, HTTP or WebSocket."""
    if scope["type"] == "http" or "websocket.http.response" in scope.get("extensions", {}):
        await problem_response(problem)(scope, receive, send)
    else:
        await send({"type": "websocket.close", "code": 1008, "reason": problem.kind})


class _HotRequest(Request):
    """A request whose body has been read."""

    def __init__(self, scope: Scope, receive: Receive, body: bytes) -> None:
        super().__init__(scope, receive)
        self._body = body


async def _whole_body(scope: Scope, receive: Receive, limit: int) -> bytes:
    """The body, within the limit. Raises Problem or ClientDisconnect."""
    for name, value in scope["headers"]:
        if name == b"content-length" and not _fits(value, limit):
            raise _too_large(limit)
    body = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        body += message.get("body", b"")
        if len(body) > limit:
            raise _too_large(limit)
        if not message.get("more_body"):
            return body


def _fits(length: bytes, limit: int) -> bool:
    # Python refuses to read numbers of thousands of digits.
    return length.isdigit() and len(length) <= LENGTH_DIGITS_MAX and int(length) <= limit


def _too_large(limit: int) -> Problem:
    return Problem("too_large", f"the body is over {limit} bytes; send less at once")


async def _on_problem(_request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return problem_response(error)


async def _on_validation(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    for complaint in error.errors():
        if complaint["type"] == "json_invalid":
            return problem_response(field_problem("body", "is not valid JSON"))
    return problem_response(validation_problem(list(error.errors())))


async def _on_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        return problem_response(_method_problem(request))
    kinds = {404: "not_found", 413: "too_large"}
    kind = kinds.get(error.status_code, "validation")
    return problem_response(Problem(kind, str(error.detail), headers=error.headers))


def _method_problem(request: Request) -> Problem:
    """A 405 that names the methods of all routes of the path, not only of the first."""
    allowed: set[str] = set()
    for route in request.app.routes:
        if route.matches(request.scope)[0] is not Match.NONE:
            allowed |= getattr(route, "methods", None) or set()
    methods = ", ".join(sorted(allowed))
    detail = f"{request.method[:20]} is not available here; use {methods}"
    return Problem("method_not_allowed", detail, headers={"Allow": methods})


async def _on_fault(request: Request, error: Exception) -> Response:
    if not isinstance(error, ClientDisconnect):
        _log.error("request_failed", path=request.url.path, exc_info=error)
    detail = "the request was not carried out; it is safe to repeat with the same Idempotency-Key"
    return problem_response(Problem("internal", detail))


Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[Any]]


def new_app(
    title: str, *, lifespan: Lifespan | None = None, body_limit_bytes: int = BODY_LIMIT_BYTES
) -> HotApp:
    """A FastAPI app with the platform's manners: problems, body limit, orjson, no docs of its own."""
    return HotApp(
        body_limit_bytes=body_limit_bytes,
        title=title,
        lifespan=lifespan,
        default_response_class=ORJSONResponse,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        exception_handlers={
            Problem: _on_problem,
            RequestValidationError: _on_validation,
            HTTPException: _on_http,
            Exception: _on_fault,
            HTTPStatus.NOT_FOUND: _on_http,
        },
    )


def problem_answers(*kinds: str) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route that may refuse with these kinds of problems."""
    answers: dict[int | str, dict[str, Any]] = {}
    for kind in kinds:
        status, title = PROBLEMS[kind]
        known = answers.setdefault(status, {"description": title, "content": {PROBLEM_JSON: {}}})
        if title not in known["description"]:
            known["description"] += f"; {title}"
    return answers


def add_hot_route(
    app: HotApp,
    method: str,
    path: str,
    endpoint: HotEndpoint,
    *,
    summary: str,
    body: type[BaseModel],
    answers: Mapping[int, type[BaseModel]],
    parameters: tuple[dict[str, Any], ...] = (),
    problems: tuple[str, ...] = (),
) -> None:
    """A route without FastAPI's per-request machinery, described in OpenAPI all the same.

    `read_body` validates with the models that the description is made from. A path with
    parameters is routed by Starlette, still without FastAPI's part.
    """
    app.router.routes.append(Route(path, endpoint, methods=[method]))
    if "{" not in path:
        app.hot[method, path] = endpoint
    models: list[tuple[type[BaseModel], Any]] = [(body, "validation")]
    models += [(model, "serialization") for model in answers.values()]
    refs, definitions = models_json_schema(models, ref_template="#/components/schemas/{model}")
    responses: dict[str, Any] = {
        str(status): {
            "description": HTTPStatus(status).phrase,
            "content": {"application/json": {"schema": refs[(model, "serialization")]}},
        }
        for status, model in answers.items()
    }
    responses |= {str(status): answer for status, answer in problem_answers(*problems).items()}
    operation = {
        "summary": summary,
        "operationId": endpoint.__name__,
        "parameters": list(parameters),
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": refs[(body, "validation")]}},
        },
        "responses": responses,
    }
    described: list[Any] = getattr(app.state, "described", [])
    described.append((path, method.lower(), operation, definitions.get("$defs", {})))
    app.state.described = described


def describe(title: str, version: str, apps: tuple[FastAPI, ...]) -> dict[str, Any]:
    """One OpenAPI 3.1 document for all the apps."""
    document: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {"title": title, "version": version},
        "paths": {},
        "components": {
            "schemas": {"Problem": _PROBLEM_SCHEMA},
            "securitySchemes": {"customer": {"type": "http", "scheme": "bearer"}},
        },
        # A guest gets a token with the first cart; search and pages need none.
        "security": [{}, {"customer": []}],
    }
    for app in apps:
        own = app.openapi()
        for path, operations in own["paths"].items():
            document["paths"].setdefault(path, {}).update(operations)
        document["components"]["schemas"].update(own.get("components", {}).get("schemas", {}))
        for path, method, operation, definitions in getattr(app.state, "described", []):
            document["paths"].setdefault(path, {})[method] = operation
            document["components"]["schemas"].update(definitions)
    for operations in document["paths"].values():
        for operation in operations.values():
            _describe_refusals(operation)
    for name in ("HTTPValidationError", "ValidationError"):  # FastAPI's own, which nobody answers
        document["components"]["schemas"].pop(name, None)
    return document


def _describe_refusals(operation: dict[str, Any]) -> None:
    """Refusals are problems everywhere, whatever FastAPI says of its own accord."""
    for status, response in list(operation["responses"].items()):
        content = response.get("content", {})
        if PROBLEM_JSON in content:
            schema = {"$ref": "#/components/schemas/Problem"}
            response["content"] = {PROBLEM_JSON: {"schema": schema}}
        elif status == "422":
            del operation["responses"][status]
    # Whatever else it may refuse: every request is looked through for card numbers.
    _, title = PROBLEMS["card_number_refused"]
    schema = {"$ref": "#/components/schemas/Problem"}
    refused = {"description": title, "content": {PROBLEM_JSON: {"schema": schema}}}
    known = operation["responses"].setdefault("422", refused)
    if title not in known["description"]:
        known["description"] += f"; {title}"
