"""Named queries: each storage module keeps its SQL in a `.sql` file beside it."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

_NAME = re.compile(r"^-- name: (\w+)\s*$", re.MULTILINE)


@cache
def load(module: str) -> dict[str, str]:
    """The queries of `storage/<module>.sql` by name.

    A query begins at a line `-- name: <name>` and ends where the next begins.
    Raises FileNotFoundError for an unknown module, ValueError for a name given twice.
    """
    text = (Path(__file__).parent / f"{module}.sql").read_text()
    parts = _NAME.split(text)
    queries: dict[str, str] = {}
    for name, body in zip(parts[1::2], parts[2::2], strict=True):
        if name in queries:
            raise ValueError(f"storage/{module}.sql names {name!r} twice; give one another name")
        queries[name] = body.strip().rstrip(";")
    return queries
