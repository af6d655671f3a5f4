"""Looks through all that a shop has kept and logged for what must not be there."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterable, Iterator
from pathlib import Path

import asyncpg

from domain.card_numbers import carries_card_number

_TEXT_TYPES = ("text", "character varying", "character", "json", "jsonb", "bytea", "ARRAY", "name")
# Postgres' own files are full of numbers of other kinds: they are searched for the texts alone,
# which must not stand in the write-ahead log either; what is stored is asked for in SQL.
_BINARY_FOLDER = "postgres"
_WORD = re.compile(rb"[^\x00-\x1f\x7f]{13,}")


async def grep_for_card_numbers(
    folder: Path | None, pool: asyncpg.Pool | None, *, also: Iterable[str] = ()
) -> list[str]:
    """Where card numbers, or any of the texts `also`, stand: files below `folder`, columns of `pool`.

    Logs, Redis' files, and whatever else is there; links are not followed.

    Nothing of what was found is told but its place.
    """
    sought = tuple(text.encode() for text in also)
    found = [] if folder is None else [str(file) for file in _files(folder) if _holds(file, sought)]
    return found if pool is None else found + [one async for one in _columns(pool, sought)]


def _files(folder: Path) -> Iterator[Path]:
    yield from (
        path for path in sorted(folder.rglob("*")) if path.is_file() and not path.is_symlink()
    )


def _holds(file: Path, sought: tuple[bytes, ...]) -> bool:
    try:
        with file.open("rb") as lines:
            if _BINARY_FOLDER in file.parts:
                content = lines.read()
                return any(text in content for text in sought)
            return any(_stands_in(line, sought) for line in lines)
    except FileNotFoundError:  # a running server's, and gone since
        return False


def _stands_in(data: bytes, sought: tuple[bytes, ...]) -> bool:
    # Binary files are looked at for readable parts, as `strings` does.
    return any(text in data for text in sought) or any(
        carries_card_number(word) for word in _WORD.findall(data)
    )


async def _columns(pool: asyncpg.Pool, sought: tuple[bytes, ...]) -> AsyncIterator[str]:
    columns = await pool.fetch(
        "SELECT table_schema, table_name, column_name, data_type FROM information_schema.columns"
        " JOIN information_schema.tables USING (table_schema, table_name)"
        " WHERE table_schema NOT IN ('pg_catalog', 'information_schema')"
        " AND table_type = 'BASE TABLE' AND data_type = ANY ($1::text[])",
        list(_TEXT_TYPES),
    )
    assert columns, "there are no tables to look through"
    for schema, table, column, kind in columns:
        as_bytes = f'"{column}"' if kind == "bytea" else f"convert_to(\"{column}\"::text, 'UTF8')"
        rows = await pool.fetch(
            f'SELECT DISTINCT {as_bytes} AS kept FROM "{schema}"."{table}"'
            f' WHERE "{column}" IS NOT NULL',
            timeout=60,
        )
        if any(_stands_in(row["kept"], sought) for row in rows):
            yield f"{schema}.{table}.{column}"
