"""The `Idempotency-Key` of a request."""

from __future__ import annotations

from starlette.requests import Request

from serve_apps.http import Problem, field_problem

IDEMPOTENCY_KEY_LENGTH_MAX = 255


def idempotency_key(request: Request, *, of: str) -> str:
    """The key; `of` is what each is for, such as `order`. Raises Problem.

    Two different ones are refused: proxies and clients do not agree which of them counts.
    """
    keys = {key.strip() for key in request.headers.getlist("idempotency-key")}
    if len(keys) > 1:
        detail = f"{len(keys)} different Idempotency-Keys came with one request; send one"
        raise Problem("idempotency_keys_differ", detail)
    key = next(iter(keys), "")
    if not key:
        detail = f"send an Idempotency-Key, a fresh UUID for each new {of}"
        raise Problem("idempotency_key_missing", detail)
    if len(key) > IDEMPOTENCY_KEY_LENGTH_MAX or not key.isprintable():
        raise field_problem(
            "Idempotency-Key", f"must be at most {IDEMPOTENCY_KEY_LENGTH_MAX} printable characters"
        )
    return key
