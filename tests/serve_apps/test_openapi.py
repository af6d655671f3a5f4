"""The API's description: sound, whole, with examples that the API itself would take."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.routing import APIRoute
from jsonschema import Draft202012Validator
from starlette.routing import Route

from serve_apps import composition
from serve_apps.http import PROBLEM_JSON, PROBLEMS, describe

METHODS = {"get", "put", "post", "delete", "patch"}
APPS = (
    composition.site_app(),
    composition.catalog_app(),
    composition.cart_app(),
    composition.checkout_app(),
    composition.fraud_app(),
)
DOCUMENT = describe("Doorbuster", "1", APPS)

# What of the OpenAPI 3.1 meta-schema our documents make use of.
_STRUCTURE: dict[str, Any] = {
    "type": "object",
    "required": ["openapi", "info", "paths", "components"],
    "properties": {
        "openapi": {"pattern": r"^3\.1\.\d+$"},
        "info": {
            "type": "object",
            "required": ["title", "version"],
            "additionalProperties": {"type": "string"},
        },
        "paths": {
            "type": "object",
            "propertyNames": {"pattern": "^/"},
            "additionalProperties": {
                "type": "object",
                "propertyNames": {"enum": sorted(METHODS)},
                "additionalProperties": {"$ref": "#/$defs/operation"},
            },
        },
        "components": {
            "type": "object",
            "properties": {
                "schemas": {
                    "type": "object",
                    "propertyNames": {"pattern": "^[a-zA-Z0-9._-]+$"},
                    "additionalProperties": {"type": "object"},
                },
                "securitySchemes": {
                    "additionalProperties": {
                        "required": ["type", "scheme"],
                        "properties": {"type": {"const": "http"}},
                    }
                },
            },
        },
        "security": {"type": "array", "items": {"type": "object"}},
    },
    "additionalProperties": False,
    "$defs": {
        "operation": {
            "type": "object",
            "required": ["summary", "operationId", "responses"],
            "properties": {
                "parameters": {"type": "array", "items": {"$ref": "#/$defs/parameter"}},
                "requestBody": {
                    "required": ["content"],
                    "properties": {"content": {"$ref": "#/$defs/content"}},
                },
                "responses": {
                    "type": "object",
                    "minProperties": 1,
                    "propertyNames": {"pattern": "^([1-5][0-9]{2}|default)$"},
                    "additionalProperties": {
                        "required": ["description"],
                        "properties": {"content": {"$ref": "#/$defs/content"}},
                    },
                },
            },
        },
        "parameter": {
            "required": ["name", "in", "schema"],
            "properties": {"in": {"enum": ["query", "path", "header"]}},
            "if": {"properties": {"in": {"const": "path"}}},
            "then": {"properties": {"required": {"const": True}}, "required": ["required"]},
        },
        "content": {
            "type": "object",
            "minProperties": 1,
            "propertyNames": {"pattern": "^[a-z]+/[a-z+.-]+$"},
        },
    },
}


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in DOCUMENT["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for inner in value.values():
            yield from references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)


def whole_schema(name: str) -> dict[str, Any]:
    """A named schema that can stand alone."""
    return {"$ref": f"#/components/schemas/{name}", "components": DOCUMENT["components"]}


def _routes() -> list[tuple[str, str]]:
    found: set[tuple[str, str]] = set()
    for app in APPS:
        for route in app.routes:
            if isinstance(route, APIRoute | Route) and getattr(route, "path", "").startswith(
                "/api"
            ):
                found |= {(route.path_format, method.lower()) for method in route.methods or ()}
    return sorted(one for one in found if one[1] in METHODS and "openapi" not in one[0])


def _shape(path: str) -> str:
    """A path with its parameters left out, however they are written."""
    return re.sub(
        r"(?<=/)(?:\{[^}/]*\}|\$\w+|[^/]*[…<>*][^/]*|[a-z]+_[0-9a-z]{26})(?=/|$)", "{}", path
    )


def test_every_address_in_the_documents_is_one_of_the_shop() -> None:
    root = Path(__file__).parents[2]
    shapes = {_shape(path) for path, _ in _routes()} | {"/api/v1/openapi.json"}
    shapes |= {shape.replace("/webhooks/{}", "/webhooks/stripe") for shape in shapes}
    unknown = [
        f"{page.relative_to(root)}: {path}"
        for page in [
            root / "README.md",
            root / "ARCHITECTURE.md",
            *sorted((root / "docs").rglob("*.md")),
        ]
        for path in re.findall(r"/api/v1/[\w/{}$…<>*.-]*[\w}…>]", page.read_text())
        if not any(f"{shape}/".startswith(f"{_shape(path)}/") for shape in shapes)
    ]
    assert not unknown


def test_the_document_is_built_as_openapi_asks() -> None:
    errors = list(Draft202012Validator(_STRUCTURE).iter_errors(DOCUMENT))
    assert not errors, [f"{error.json_path}: {error.message}" for error in errors]


def test_every_schema_is_a_json_schema() -> None:
    for schema in DOCUMENT["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)
    for _, _, operation in operations():
        for answer in (operation.get("requestBody"), *operation["responses"].values()):
            for content in (answer or {}).get("content", {}).values():
                Draft202012Validator.check_schema(content.get("schema", {}))


def test_every_reference_leads_somewhere_and_every_schema_is_used() -> None:
    used = set(references(DOCUMENT))
    known = {f"#/components/schemas/{name}" for name in DOCUMENT["components"]["schemas"]}
    assert used == known


def test_every_route_is_described() -> None:
    assert _routes()
    described = {(path, method) for path, method, _ in operations()}
    assert set(_routes()) <= described
    assert {("/healthz", "get"), ("/readyz", "get")} <= described


def test_operations_have_names_of_their_own() -> None:
    names = [operation["operationId"] for _, _, operation in operations()]
    assert len(set(names)) == len(names)


def test_parameters_of_a_path_are_described() -> None:
    for path, method, operation in operations():
        in_path = {p["name"] for p in operation.get("parameters", ()) if p["in"] == "path"}
        assert in_path == set(re.findall(r"{(\w+)}", path)), f"{method} {path}"


def test_refusals_are_problems_and_answers_are_described() -> None:
    for path, method, operation in operations():
        for status, response in operation["responses"].items():
            where = f"{method} {path} {status}"
            if int(status) >= 400:
                schema = {"$ref": "#/components/schemas/Problem"}
                assert response["content"] == {PROBLEM_JSON: {"schema": schema}}, where
            elif "text/event-stream" in response["content"]:
                assert "event: snapshot" in response["content"]["text/event-stream"]["example"]
            elif "/api/" in path:
                schema = response["content"]["application/json"]["schema"]
                assert "$ref" in schema or schema["type"] == "object", where


@pytest.mark.parametrize(
    ("path", "method", "statuses"),
    [
        ("/api/v1/cart/items", "post", {200, 401, 404, 413, 415, 422, 503}),
        ("/api/v1/cart/items/{variant_id}", "patch", {200, 401, 404, 413, 415, 422, 503}),
        (
            "/api/v1/orders/checkout",
            "post",
            {201, 202, 400, 401, 402, 404, 409, 410, 413, 415, 422, 503},
        ),
        ("/api/v1/fraud/score", "post", {200, 413, 415, 422}),
        ("/api/v1/fraud/score/batch", "post", {200, 413, 415, 422}),
    ],
)
def test_hot_routes_describe_body_and_every_outcome(
    path: str, method: str, statuses: set[int]
) -> None:
    operation = DOCUMENT["paths"][path][method]
    assert {int(status) for status in operation["responses"]} == statuses
    assert operation["requestBody"]["required"] is True
    assert operation["requestBody"]["content"]["application/json"]["schema"]["$ref"]


def test_checkout_needs_an_idempotency_key() -> None:
    [key] = DOCUMENT["paths"]["/api/v1/orders/checkout"]["post"]["parameters"]
    assert (key["name"], key["in"], key["required"]) == ("Idempotency-Key", "header", True)


@pytest.mark.parametrize("name", ["AddItem", "SetQuantity", "CheckoutRequest", "FraudOrder"])
def test_bodies_have_examples_that_fit(name: str) -> None:
    schema = DOCUMENT["components"]["schemas"][name]
    assert schema["additionalProperties"] is False
    assert schema["examples"]
    for example in schema["examples"]:
        Draft202012Validator(whole_schema(name)).validate(example)


def test_the_card_token_is_described_by_its_form() -> None:
    body = {
        "cart_id": "cart_1",
        "shipping_address": dict.fromkeys(("name", "street", "city", "zip"), "x")
        | {"country": "US"},
        "payment_method": {"type": "card", "card_id": "card_1"},
    }
    validator = Draft202012Validator(whole_schema("CheckoutRequest"))
    assert validator.is_valid(body)
    body["payment_method"] = {"type": "card", "card_id": "4242424242424242"}
    assert not validator.is_valid(body)


def test_problems_are_listed() -> None:
    types = DOCUMENT["components"]["schemas"]["Problem"]["properties"]["type"]["enum"]
    assert types == [f"/problems/{kind}" for kind in PROBLEMS]


def test_the_document_refers_to_nothing_elsewhere() -> None:
    assert not re.findall(r"https?://", str(DOCUMENT))
