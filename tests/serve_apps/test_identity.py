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


# -- operators -----------------------------------------------------------------------------------


NOON = 1_800_000_000.0


def operator_refused(identities: Identities, authorization: str | None, kind: str) -> Problem:
    with pytest.raises(Problem) as caught:
        identities.operator_token(request(authorization))
    assert caught.value.kind == kind
    assert "doorbuster token operator" in caught.value.detail
    return caught.value


@pytest.mark.parametrize("name", ["ann", "Ann.Lee@shop-7", "a" * 64, "a.1"])
def test_an_operators_token_names_the_operator(name: str) -> None:
    token = HERE.issue_operator(name)
    assert token.startswith(f"operator_{name}.")
    assert Identities(b"key").operator_token(request(f"bearer {token}")).name == name


def test_an_operators_token_ends() -> None:
    token = Identities(b"key", now=lambda: NOON).issue_operator("ann", days=2)
    end = NOON + 2 * 86_400
    told = Identities(b"key", now=lambda: end - 1).operator_token(request(f"Bearer {token}"))
    assert (told.name, told.issued_ms) == ("ann", int(NOON) * 1_000)
    problem = operator_refused(
        Identities(b"key", now=lambda: end), f"Bearer {token}", "unauthorized"
    )
    assert "has ended" in problem.detail


def test_a_token_from_before_they_said_when_they_were_issued_is_good_until_a_revocation() -> None:
    claim = f"operator_a.1.{int(NOON) + 60}"
    header = f"Bearer {claim}.{HERE._sign(claim)}".encode()
    told = Identities(b"key", now=lambda: NOON).operator_token(request(header))
    assert (told.name, told.issued_ms) == ("a.1", 0)


def test_a_customer_is_no_operator() -> None:
    problem = operator_refused(HERE, f"Bearer {HERE.issue(USER)}", "forbidden")
    assert problem.status == 403


def test_an_operator_is_no_customer() -> None:
    refused(HERE, f"Bearer {HERE.issue_operator('ann')}")


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "Basic b3BlcmF0b3I6eA==",
        "Bearer ",
        "Bearer operator_ann",
        "Bearer operator_ann.99999999999",
        "Bearer operator_ann.99999999999.",
    ],
)
def test_without_an_operators_token_nobody_is_one(authorization: str | None) -> None:
    problem = operator_refused(HERE, authorization, "unauthorized")
    assert problem.headers["WWW-Authenticate"].startswith("Bearer")


def test_an_operators_token_of_another_key_is_refused() -> None:
    other = Identities(b"other")
    for token in (other.issue_operator("ann"), other.issue(USER)):
        operator_refused(HERE, f"Bearer {token}", "unauthorized")


def test_an_operators_signature_holds_for_its_name_and_its_end_only() -> None:
    name, end, signature = HERE.issue_operator("ann").split(".")
    operator_refused(HERE, f"Bearer operator_bob.{end}.{signature}", "unauthorized")
    operator_refused(HERE, f"Bearer {name}.{end}0.{signature}", "unauthorized")
    operator_refused(HERE, f"Bearer {name}.1{end}.{signature}", "unauthorized")
    operator_refused(HERE, f"Bearer {name}.{end}.{signature[:-1]}", "unauthorized")


@given(position=st.integers(0, 80), put=st.characters(codec="ascii", categories=("L", "N")))
def test_an_operators_token_with_one_other_character_is_refused(position: int, put: str) -> None:
    token = HERE.issue_operator("ann")
    position %= len(token)
    altered = token[:position] + put + token[position + 1 :]
    if altered != token:
        operator_refused(HERE, f"Bearer {altered}", "unauthorized")


@pytest.mark.parametrize(
    "claim",
    ["operator_.99999999999", "operator_ann.soon", "operator_ann.²", "operator_ann.-99999999999"],
)
def test_a_signed_claim_that_makes_no_sense_is_refused(claim: str) -> None:
    header = f"Bearer {claim}.{HERE._sign(claim)}".encode()
    with pytest.raises(Problem):
        HERE.operator_token(request(header))


@pytest.mark.parametrize("name", ["", "7up", "a b", "a/b", "ä", "a" * 65, "a\n"])
def test_a_name_that_a_token_cannot_have_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="cannot name an operator"):
        HERE.issue_operator(name)


@pytest.mark.parametrize("days", [0, -1, 367, float("nan"), float("inf")])
def test_a_time_that_a_token_cannot_have_is_refused(days: float) -> None:
    with pytest.raises(ValueError, match="cannot hold"):
        HERE.issue_operator("ann", days=days)
