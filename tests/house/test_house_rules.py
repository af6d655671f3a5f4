"""The house rules of CONTRIBUTING.md that a machine can check."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LIBRARY_ROOMS = ("actors", "domain", "gateways", "serve_apps", "storage")
ROOMS = (*LIBRARY_ROOMS, "benchmarks", "sim")
DOCUMENTED_ROOMS = ("actors", "domain", "gateways", "storage")
MODULE_LINES_MAX = 500
FUNCTION_LINES_MAX = 60
VAGUE_NAMES = frozenset({"utils", "util", "common", "helpers", "helper", "manager", "misc"})

# Written so that they do not find themselves.
UNFINISHED = re.compile(r"\bTO[D]O\b|\bFIX[M]E\b|\bH[A]CK\b|NotImplemented[E]rror")
REGISTRIES = re.compile(
    r"py[p]i\.org|python[h]osted|npm[j]s\.|npm[m]irror|un[p]kg\.com|js[d]elivr|cdn[j]s|crates[.]io"
    r"|docker[.]io|ghcr[.]io|quay[.]io|repo1?[.]maven|deb[.]debian|archive[.]ubuntu"
    r"|(?<!no-emit-)index[-_]url|(?<!no-emit-)find[-]links|/sim[p]le/",
    re.IGNORECASE,
)
RAY_ALLOWED = ("actors/ray_runtime.py", "serve_apps/", "benchmarks/", "tests/")

SQL = re.compile(r"^\s*(WITH\s+\w+\s+AS\b|SELECT\b|INSERT\s+INTO\b|UPDATE\s+\w|DELETE\s+FROM\b)")
# Not about a shop's tables: the server itself, its health, and the table of migrations.
UNNAMED_SQL_ALLOWED = frozenset({"storage/postgres.py", "storage/embedded.py"})
ABOUT_THE_SERVER = re.compile(r"^SELECT (1$|pg_\w+\(|current_setting\()")


@cache
def tracked() -> tuple[Path, ...]:
    """Files that belong to the repository, relative to its root."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, timeout=30)
    names = listed.stdout.decode().split("\0")
    return tuple(sorted(Path(name) for name in names if name and (ROOT / name).is_file()))


def modules(*rooms: str) -> list[Path]:
    """Python modules of the rooms; of everything if no room is named."""
    return [
        path for path in tracked() if path.suffix == ".py" and (not rooms or path.parts[0] in rooms)
    ]


@cache
def parsed(path: Path) -> ast.Module:
    """The module's syntax tree."""
    return ast.parse((ROOT / path).read_text(), filename=str(path))


@cache
def text_of(path: Path) -> str:
    """The file as text; bytes that are none are left out."""
    return (ROOT / path).read_text(errors="ignore")


def calls(path: Path) -> Iterator[tuple[ast.Call, str]]:
    """Every call with the dotted name of what is called."""
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Call):
            yield node, ast.unparse(node.func)


def test_the_rules_see_the_repository() -> None:
    """An empty list would make all rules hold."""
    names = {str(path) for path in tracked()}
    assert {"doorbuster.py", "actors/stock_owner.py", "serve.yaml"} <= names
    assert len(modules(*ROOMS)) > 40


def test_a_module_is_read_in_one_sitting() -> None:
    long = {
        str(path): lines
        for path in modules()
        if (lines := len(text_of(path).splitlines())) > MODULE_LINES_MAX
    }
    assert not long, f"over {MODULE_LINES_MAX} lines, split by responsibility: {long}"


def test_a_function_is_read_on_one_screen() -> None:
    """Functions inside it are counted by themselves: what only holds routes is no long function."""
    long: dict[str, int] = {}
    for path in modules():
        for node in ast.walk(parsed(path)):
            if isinstance(node, _Function) and (lines := _own_lines(node)) > FUNCTION_LINES_MAX:
                long[f"{path}:{node.lineno} {node.name}"] = lines
    assert not long, f"over {FUNCTION_LINES_MAX} lines: {long}"


_Function = ast.FunctionDef | ast.AsyncFunctionDef


def _lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> set[int]:
    return set(range(node.lineno, (node.end_lineno or node.lineno) + 1))


def _own_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    lines = _lines(node)
    for inner in ast.walk(node):
        if inner is not node and isinstance(inner, _Function):
            lines -= _lines(inner)
    return len(lines)


def test_modules_are_named_by_what_they_do() -> None:
    vague = [
        str(path)
        for path in modules()
        if VAGUE_NAMES & {*path.with_suffix("").parts, *path.stem.split("_")}
    ]
    assert not vague, f"say what these are responsible for: {vague}"


def test_nothing_is_left_for_later() -> None:
    found = _lines_with(UNFINISHED, skip={".lock"})
    assert not found, f"finish it or open an issue: {found}"


def test_no_registry_host_and_no_index_address() -> None:
    """The registry is the user's choice; the lock names packages and hashes alone."""
    found = _lines_with(REGISTRIES, skip=set())
    assert not found, f"leave the address out: {found}"


def _lines_with(pattern: re.Pattern[str], *, skip: set[str]) -> list[str]:
    return [
        f"{path}:{number} {line.strip()[:80]}"
        for path in tracked()
        if path.suffix not in skip
        for number, line in enumerate(text_of(path).splitlines(), 1)
        if pattern.search(line)
    ]


def test_tests_wait_for_conditions_and_never_sleep() -> None:
    """They wait for an event, or ask for a condition again and again: in a `while`, with a pause
    of 0 or of the named POLL_S. A pause of any other length is a guess."""
    guessing: list[str] = []
    for path in modules("tests"):
        asking = {
            id(call)
            for loop in ast.walk(parsed(path))
            if isinstance(loop, ast.While)
            for call in ast.walk(loop)
        }
        for call, name in calls(path):
            if name.rpartition(".")[2] != "sleep":
                continue
            pause = [ast.unparse(one) for one in call.args]
            gives_way = name != "time.sleep" and pause == ["0"]
            asks_again = id(call) in asking and pause == ["POLL_S"]
            if not gives_way and not asks_again:
                guessing.append(f"{path}:{call.lineno} {ast.unparse(call)}")
    assert not guessing, f"wait for a condition instead: {guessing}"


def test_ray_is_imported_where_it_may_be() -> None:
    """Lazy imports count too; import-linter holds the same for the rest of the layers."""
    found: list[str] = []
    for path in modules():
        if str(path).startswith(RAY_ALLOWED):
            continue
        for node in ast.walk(parsed(path)):
            match node:
                case ast.Import(names=names):
                    imported = [one.name for one in names]
                case ast.ImportFrom(module=str(module), level=0):
                    imported = [module]
                case _:
                    continue
            if any(name.split(".")[0] == "ray" for name in imported):
                found.append(f"{path}:{node.lineno}")
    assert not found, f"reach Ray through actors/ray_runtime.py: {found}"


@pytest.mark.parametrize("room", DOCUMENTED_ROOMS)
def test_what_is_public_says_what_it_is(room: str) -> None:
    """Modules, classes, functions and methods; a method that implements a port is told there."""
    ports = _port_methods()
    silent: list[str] = []
    for path in modules(room):
        tree = parsed(path)
        if tree.body and ast.get_docstring(tree) is None:
            silent.append(f"{path}: the module")
        for name, node in _public(tree):
            told_by_port = "." in name and node.name in ports
            if ast.get_docstring(node) is None and not told_by_port:
                silent.append(f"{path}:{node.lineno} {name}")
    assert not silent, f"one line at least, and units, shapes and errors: {silent}"


_Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def _public(tree: ast.Module) -> Iterator[tuple[str, _Definition]]:
    for node in tree.body:
        if isinstance(node, _Definition) and not node.name.startswith("_"):
            yield node.name, node
            if isinstance(node, ast.ClassDef):
                for inner in node.body:
                    if isinstance(inner, _Definition) and not inner.name.startswith("_"):
                        yield f"{node.name}.{inner.name}", inner


@cache
def _port_methods() -> frozenset[str]:
    """The methods that the protocols of domain and actors document."""
    return frozenset(
        method.name
        for path in modules("domain", "actors")
        for node in parsed(path).body
        if isinstance(node, ast.ClassDef) and "Protocol" in map(ast.unparse, node.bases)
        for method in node.body
        if isinstance(method, _Function) and ast.get_docstring(method)
    )


def test_library_rooms_do_not_print() -> None:
    """They log through structlog; what a user reads is printed by the command line."""
    printing = [
        f"{path}:{call.lineno}"
        for path in modules(*LIBRARY_ROOMS)
        for call, name in calls(path)
        if name == "print"
    ]
    assert not printing, f"log it, or give it back: {printing}"


def test_every_query_has_a_name() -> None:
    """Storage keeps queries in `.sql` files; elsewhere a query is a constant of its module."""
    unnamed: list[str] = []
    for path in modules(*ROOMS):
        if str(path) in UNNAMED_SQL_ALLOWED:
            continue
        named = set() if path.parts[0] == "storage" else _values_of_constants(path)
        for node in ast.walk(parsed(path)):
            match node:
                case ast.Constant(value=str(text)) if id(node) not in named:
                    if SQL.match(text) and not ABOUT_THE_SERVER.match(text):
                        unnamed.append(f"{path}:{node.lineno}")
                case _:
                    pass
    assert not unnamed, f"give it a name: in the .sql file beside, or as a constant: {unnamed}"


def _values_of_constants(path: Path) -> set[int]:
    return {
        id(inner)
        for node in parsed(path).body
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None
        for inner in ast.walk(node.value)
    }


def test_every_named_query_is_used() -> None:
    """A query that nobody asks for by its name is dead."""
    from storage.sql import load

    dead: list[str] = []
    for path in tracked():
        if path.parent != Path("storage") or path.suffix != ".sql":
            continue
        beside = text_of(path.with_suffix(".py"))
        dead += [f"{path} {name}" for name in load(path.stem) if name not in beside]
    assert not dead, f"remove these or use them: {dead}"
