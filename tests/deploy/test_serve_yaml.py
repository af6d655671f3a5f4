"""serve.yaml is what `serve deploy` expects, and deploys what `doorbuster up` deploys."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pydantic
import pytest
import yaml

from serve_apps.settings import Settings

if TYPE_CHECKING:
    from ray.serve.schema import ServeDeploySchema

# Importing ray.serve warns of Ray's own use of pydantic.
pytestmark = pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecatedSince20")
SERVE = Path(__file__).parents[2] / "serve.yaml"
CLUSTER = SERVE.with_name("cluster.yaml")


@pytest.fixture(scope="module")
def written() -> dict[str, Any]:
    return yaml.safe_load(SERVE.read_text())


@pytest.fixture(scope="module")
def config(written: dict[str, Any]) -> ServeDeploySchema:
    from ray.serve.schema import ServeDeploySchema

    return ServeDeploySchema.model_validate(written)


def test_serves_own_schema_knows_every_word(
    config: ServeDeploySchema, written: dict[str, Any]
) -> None:
    """Serve ignores unknown words; a misspelt one would be lost without a sound."""
    assert set(written) <= set(type(config).model_fields)
    assert set(written["http_options"]) <= set(type(config.http_options).model_fields)
    for application in written["applications"]:
        assert set(application) <= set(type(config.applications[0]).model_fields)


def test_a_wrong_import_path_is_refused(written: dict[str, Any]) -> None:
    """The schema check can fail."""
    from ray.serve.schema import ServeDeploySchema

    broken = {**written, "applications": [{"name": "catalog", "import_path": "catalog"}]}
    with pytest.raises(pydantic.ValidationError):
        ServeDeploySchema.model_validate(broken)


def test_the_routes_are_those_of_the_shop(config: ServeDeploySchema) -> None:
    from serve_apps.deployments import ROUTES

    assert {one.name: one.route_prefix for one in config.applications} == ROUTES


def test_import_paths_build_the_shops_applications(config: ServeDeploySchema) -> None:
    """By the way that `serve deploy` itself takes from an import path to an application."""
    from ray._common.utils import import_attr
    from ray.serve._private.api import call_user_app_builder_with_args_if_necessary
    from ray.serve.deployment import Application

    from serve_apps.deployments import APPLICATIONS

    for one in config.applications:
        builder = import_attr(one.import_path)
        assert builder is APPLICATIONS[one.name]
        built = call_user_app_builder_with_args_if_necessary(builder, one.args)
        assert isinstance(built, Application)


def test_it_listens_where_the_cluster_does(config: ServeDeploySchema) -> None:
    """Serve ignores other options once it has started; a difference would only mislead."""
    assert f"DOORBUSTER_HOST={config.http_options.host}\n" in CLUSTER.read_text()
    assert config.http_options.port == Settings.model_fields["port"].default


def test_environment_has_placeholders_only(config: ServeDeploySchema) -> None:
    """Secrets come from the node's environment; Ray puts them in."""
    for one in config.applications:
        for name, value in one.runtime_env["env_vars"].items():
            assert value == f"${{{name}}}"
            assert name.removeprefix("DOORBUSTER_").lower() in Settings.model_fields
