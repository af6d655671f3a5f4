"""The documents say what the code does: settings, flags, problems, state machines, links."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from domain import diagrams
from domain.promises import PROMISES
from serve_apps.http import PROBLEMS
from serve_apps.settings import Settings
from serve_apps.supervisor import RAY_ENVIRONMENT
from tests.house.test_house_rules import ROOT, tracked

REASON_LENGTH_MIN = 20
_DOCUMENT = re.compile(r"(?<![\w/.*])((?:docs/[\w/-]+|[A-Z]{4,})\.md)\b")
_LINK = re.compile(r"\]\((?!https?:|mailto:|#)([^)#\s]+)(?:#[^)]*)?\)")
_FILE = re.compile(r"`((?:actors|domain|gateways|serve_apps|sim|storage|benchmarks)/[\w./-]+)`")


def _rows(document: str) -> dict[str, list[str]]:
    """The rows of a document's tables by what their first cell has in backticks."""
    rows: dict[str, list[str]] = {}
    for line in (ROOT / document).read_text().splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if line.startswith("|") and cells[0].startswith("`"):
            rows[cells[0].strip("`")] = cells[1:]
    return rows


def test_every_setting_is_told_with_its_default_and_its_reason() -> None:
    rows = _rows("docs/operations.md")
    for name, field in Settings.model_fields.items():
        variable = f"DOORBUSTER_{name.upper()}"
        assert variable in rows, f"tell about {variable} in docs/operations.md"
        default, reason = rows[variable]
        told = "—" if field.default == "" else f"`{field.default}`"
        assert default == told, variable
        assert len(reason) >= REASON_LENGTH_MIN, f"why would one set {variable}?"


def test_no_setting_is_told_that_does_not_exist() -> None:
    told = {name for name in _rows("docs/operations.md") if name.startswith("DOORBUSTER_")}
    assert told == {f"DOORBUSTER_{name.upper()}" for name in Settings.model_fields}


def test_every_flag_of_ray_is_told_with_its_reason() -> None:
    rows = _rows("docs/operations.md")
    for name, value in RAY_ENVIRONMENT.items():
        assert name in rows, f"tell about {name} in docs/operations.md"
        told, reason = rows[name]
        assert told == f"`{value}`", name
        assert len(reason) >= REASON_LENGTH_MIN, f"why is {name} set?"


def test_every_problem_is_listed_with_its_status() -> None:
    rows = _rows("docs/http.md")
    for kind, (status, _) in PROBLEMS.items():
        assert kind in rows, f"list the problem {kind} in docs/http.md"
        assert rows[kind][0] == str(status), kind
        assert len(rows[kind][1]) >= REASON_LENGTH_MIN, f"when does {kind} come, and what helps?"


# Importing ray.serve warns of Ray's own use of pydantic.
@pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecatedSince20")
def test_every_application_is_on_the_map() -> None:
    from serve_apps.deployments import ROUTES

    architecture = (ROOT / "ARCHITECTURE.md").read_text()
    assert [path for path in ROUTES.values() if f" {path} " not in architecture] == []


def test_every_promise_is_on_the_map() -> None:
    rows = _rows("ARCHITECTURE.md")
    assert [promise.id for promise in PROMISES if promise.id not in rows] == []


def test_the_diagrams_are_made_from_the_tables() -> None:
    written = (ROOT / "docs" / "state-machines.md").read_text()
    assert written == diagrams.page(), "python -m domain.diagrams > docs/state-machines.md"


def test_the_diagrams_show_every_step() -> None:
    for machine in diagrams.MACHINES:
        lines = diagrams.mermaid(machine).splitlines()
        for before, after in machine.transitions.items():
            steps = [f"    {before} --> {step}" for step in (after or ("[*]",))]
            assert set(steps) <= set(lines)
        reached = {step for after in machine.transitions.values() for step in after}
        assert reached | {machine.initial} == set(type(machine.initial))


def _documents() -> list[Path]:
    return [path for path in tracked() if path.suffix == ".md"]


@pytest.mark.parametrize("document", _documents(), ids=str)
def test_links_and_file_names_lead_somewhere(document: Path) -> None:
    text = (ROOT / document).read_text()
    folder = (ROOT / document).parent
    lost = [link for link in _LINK.findall(text) if not (folder / link).exists()]
    lost += [name for name in _FILE.findall(text) if not (ROOT / name).exists()]
    assert not lost, f"{document} names what is not there: {lost}"


def test_code_names_documents_that_exist() -> None:
    lost = [
        f"{path}: {name}"
        for path in tracked()
        if path.suffix in (".py", ".sql", ".js", ".yaml", ".toml")
        for name in _DOCUMENT.findall((ROOT / path).read_text())
        if not (ROOT / name).exists()
    ]
    assert not lost, f"name a document of the repository: {lost}"
