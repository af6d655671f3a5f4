"""cluster.yaml is what Ray's cluster launcher expects, and starts Ray as the supervisor does."""

from __future__ import annotations

import os
import re
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from serve_apps.supervisor import RAY_ENVIRONMENT

ROOT = Path(__file__).parents[2]
CLUSTER = ROOT / "cluster.yaml"
_SETTINGS = {"DOORBUSTER_DATABASE_URL": "postgresql://db/shop", "DOORBUSTER_STOCK_OWNERS": "4"}
_CLUSTER_WIDE = {"DOORBUSTER_RAY_ADDRESS": "auto", "DOORBUSTER_HOST": "0.0.0.0"}
_FAKE_RAY = """#!/bin/bash
printf '%s\\n' "$@" > "$HOME/arguments"
env > "$HOME/environment"
"""


@pytest.fixture(scope="module")
def config() -> dict[str, Any]:
    return yaml.safe_load(CLUSTER.read_text())


@pytest.fixture(scope="module")
def prepared(config: dict[str, Any]) -> dict[str, Any]:
    """As `ray up` sees it: with Ray's own defaults filled in."""
    from ray.autoscaler._private.util import prepare_config

    return prepare_config(config)


def test_rays_own_schema_accepts_it(prepared: dict[str, Any]) -> None:
    from ray.autoscaler._private.util import validate_config

    validate_config(prepared)


def test_a_word_that_ray_does_not_know_is_refused(prepared: dict[str, Any]) -> None:
    """The check above can fail."""
    import jsonschema
    from ray.autoscaler._private.util import validate_config

    with pytest.raises(jsonschema.ValidationError):
        validate_config({**prepared, "max_wrokers": 4})


def test_node_types_have_bounds(prepared: dict[str, Any]) -> None:
    types = prepared["available_node_types"]
    worker = types["worker"]
    assert prepared["provider"]["type"] == "aws"
    assert prepared["head_node_type"] in types
    assert 1 <= worker["min_workers"] <= worker["max_workers"] <= prepared["max_workers"]
    for node in types.values():
        assert node["node_config"]["InstanceType"]
        assert node["node_config"]["ImageId"], "Ray's own default image has too old a Python"


def test_nothing_secret_and_no_download_address_is_in_it() -> None:
    text = CLUSTER.read_text()
    assert not re.search(r"https?://", text)
    assert not re.search(r"://\w+:\w+@", text)
    assert not re.search(r"AKIA[0-9A-Z]{16}|BEGIN [A-Z ]*PRIVATE KEY", text)


def test_requirements_come_from_the_lock(prepared: dict[str, Any]) -> None:
    for commands in (prepared["head_setup_commands"], prepared["worker_setup_commands"]):
        assert any("make install" in command for command in commands)
    assert "--require-hashes -r requirements.lock" in (ROOT / "Makefile").read_text()


@pytest.fixture
def node(tmp_path: Path) -> Path:
    """A home folder as on a node: the repository's place, the settings, and a `ray` that tells."""
    programs = tmp_path / "doorbuster" / ".venv" / "bin"
    programs.mkdir(parents=True)
    ray = programs / "ray"
    ray.write_text(_FAKE_RAY)
    ray.chmod(ray.stat().st_mode | stat.S_IXUSR)
    settings = "".join(f"{name}={value}\n" for name, value in _SETTINGS.items())
    (tmp_path / "doorbuster.env").write_text(settings)
    return tmp_path


def _run(home: Path, command: str) -> None:
    environment = {"HOME": str(home), "PATH": os.environ["PATH"], "RAY_HEAD_IP": "10.0.0.7"}
    command = command.replace("ulimit -n 65536;", "")
    subprocess.run(["bash", "-c", command], env=environment, check=True, timeout=30)


@pytest.mark.parametrize("role", ["head", "worker"])
def test_ray_starts_with_the_flags_and_the_settings(
    node: Path, prepared: dict[str, Any], role: str
) -> None:
    """The node's own commands are run, but for those that install."""
    for command in prepared[f"{role}_setup_commands"]:
        if command.startswith("printf"):
            _run(node, command)
    stop, start = prepared[f"{role}_start_ray_commands"]
    _run(node, stop)
    assert (node / "arguments").read_text().split() == ["stop"]
    _run(node, start)

    lines = (node / "environment").read_text().splitlines()
    seen = dict(line.split("=", 1) for line in lines if "=" in line)
    given = {name: value for name, value in seen.items() if name.startswith("RAY_")}
    given.pop("RAY_HEAD_IP")
    assert given == RAY_ENVIRONMENT
    settings = {name: value for name, value in seen.items() if name.startswith("DOORBUSTER_")}
    assert settings == _SETTINGS | _CLUSTER_WIDE
    arguments = (node / "arguments").read_text().split()
    assert arguments[0] == "start"
    assert ("--head" if role == "head" else "--address=10.0.0.7:6379") in arguments
    if role == "head":
        assert any(one.startswith("--autoscaling-config=") for one in arguments)
        assert "--dashboard-host=127.0.0.1" in arguments
