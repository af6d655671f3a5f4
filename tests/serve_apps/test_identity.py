"""Tokens: who they name, and that nobody can make one up."""

from __future__ import annotations

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request

from domain.ids import encode
from serve_apps import identity
from serve_apps.http import Problem
from serve_apps.identity import Identities

USER = UUID("018f0000-0000-7000-8000-000000000001")
HERE = Identities(b"key")


def request(authorization: bytes | str | None = None) -> Request:
    headers: list[tuple[bytes, bytes]] = []
    if authorization is not None:
        value = authorization if isinstance(authorization, bytes) else authorization.encode()
        headers = [(b"authorization", value)]
    return Request({"type": "http", "headers": headers})


def refused(identities: Identities, authorization: bytes | str) -> Problem:
    with pytest.raises(Problem) as caught:
        identities.customer(request(authorization))
    assert caught.value.kind == "unauthorized"
    assert caught.value.headers["WWW-Authenticate"].startswith("Bearer")
    return caught.value


def test_a_token_names_its_customer() -> None:
    token = HERE.issue(USER)
    assert token.startswith(encode("user", USER))
    for scheme in ("Bearer", "bearer", "BEARER"):
        assert HERE.customer(request(f"{scheme} {token}")) == USER
    assert HERE.required(request(f"Bearer  {token} ")) == USER


def test_every_process_with_the_key_knows_it() -> None:
    assert Identities(b"key").customer(request(f"Bearer {HERE.issue(USER)}")) == USER


def test_no_token_is_nobody() -> None:
    assert HERE.customer(request()) is None
    with pytest.raises(Problem) as caught:
        HERE.required(request())
    assert caught.value.status == 401


def test_a_token_of_another_key_is_refused() -> None:
    refused(HERE, f"Bearer {Identities(b'other').issue(USER)}")


def test_a_signature_holds_for_one_customer_only() -> None:
    _, _, signature = HERE.issue(USER).partition(".")
    refused(HERE, f"Bearer {encode('user', UUID(int=7))}.{signature}")


def test_a_signed_name_of_another_kind_is_no_customer() -> None:
    name = encode("order", USER)
    refused(HERE, f"Bearer {name}.{HERE._sign(name)}")
    refused(HERE, f"Bearer .{HERE._sign('')}")


def test_a_token_seen_before_is_no_use_with_another_scheme() -> None:
    own = Identities(b"key")
    token = own.issue(USER)
    assert own.customer(request(f"Bearer {token}")) == USER
    refused(own, f"Basic {token}")
    refused(own, token)


@given(position=st.integers(0, 60), put=st.characters(codec="ascii", categories=("L", "N")))
def test_a_token_with_one_other_character_is_refused(position: int, put: str) -> None:
    token = HERE.issue(USER)
    position %= len(token)
    altered = token[:position] + put + token[position + 1 :]
    if altered != token:
        refused(HERE, f"Bearer {altered}")


@given(st.binary(max_size=200))
def test_anything_else_is_refused(header: bytes) -> None:
    refused(HERE, header)


def test_a_refusal_does_not_repeat_the_token() -> None:
    problem = refused(HERE, "Bearer secret-of-someone")
    assert "secret-of-someone" not in str(problem.as_json())


def test_no_more_tokens_are_remembered_than_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identity, "_KNOWN_MAX", 3)
    own = Identities(b"key")
    for number in range(10):
        token = own.issue(UUID(int=number))
        assert own.customer(request(f"Bearer {token}")) == UUID(int=number)
        assert len(own._known) <= 3
