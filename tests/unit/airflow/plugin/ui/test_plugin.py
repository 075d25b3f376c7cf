"""What the page puts into Airflow's processes: everything into the API server, nothing into a task's.

Each test runs a fresh Python, as `tests/unit/airflow/plugin/test_plugin.py` does.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.support.airflow_here import airflow_here
from tests.unit.airflow.plugin.test_plugin import STOCK, run

__all__ = ["airflow_here"]

# Asked of a fresh process: the API server's app, as Airflow makes it.
SERVER = """
import json, sys
from airflow.api_fastapi.app import create_app
from starlette.routing import Mount
from fastapi.routing import APIRoute
app = create_app(apps="core")
from airflow import plugins_manager
def flat(routes, prefix=""):
    for route in routes:
        if isinstance(route, APIRoute):
            yield [prefix + route.path, sorted(route.methods), route.endpoint.__module__]
        elif hasattr(route, "routes") and isinstance(route, Mount):
            yield from flat(route.routes, prefix + route.path)
print(json.dumps({
    "modules": sorted(sys.modules),
    "routes": list(flat(app.routes)),
    "middlewares": [middleware.cls.__name__ for middleware in app.user_middleware],
    "plugins": [
        {name: [item.get("name") for item in getattr(plugin, name)]
         for name in ("fastapi_apps", "react_apps", "fastapi_root_middlewares")} | {"listeners": plugin.listeners}
        # Airflow 3.1 has a list of them.
        for plugin in (getattr(plugins_manager, "plugins", None) or plugins_manager._get_plugins()[0])
        if plugin.name == "secure_xcom"
    ],
}))
"""
# What Airflow does in every process: load the plugin, and its hooks.
TASK = """
import json, sys
import airflow.sdk.execution_time.task_runner
from airflow import plugins_manager
plugins_manager.ensure_plugins_loaded()
import secure_xcom.airflow.backend, secure_xcom.airflow.plugin.cluster_policy
print(json.dumps(sorted(name for name in sys.modules if name.startswith("secure_xcom.airflow.plugin.ui"))))
"""
POLICY = """
version: 1
compartments:
  - name: all
    dags: ["*"]
    key_uris: ["vault://vault_default/transit/keys/xcom", "aws-kms://aws_default/alias/xcom"]
    store_uri: "s3://aws_default@bucket/xcom"
"""


PARAMETERS = {
    "run_id", "task_id", "map_index", "key", "limit", "after", "dag_id", "compartment", "state", "since", "until",
}  # fmt: skip


@cache
def server(home: Path, **settings: str) -> dict[str, Any]:
    """What a new API server has."""
    (home / "policy.yaml").write_text(POLICY)
    found: dict[str, Any] = json.loads(
        run(
            SERVER, home, AIRFLOW__SECURE_XCOM__ACCESS_POLICY=str(home / "policy.yaml"), **settings
        ).stdout.splitlines()[-1]
    )
    return found


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What an API server has whose policy names Vault, KMS and S3."""
    return server(tmp_path_factory.mktemp("server"))


def test_the_page_is_in_the_api_server(found: dict[str, Any]) -> None:
    """The app, both entries with one name, and the middleware are there; there is no listener."""
    assert found["plugins"] == [
        {
            "fastapi_apps": ["secure_xcom"],
            "react_apps": ["Sealed XComs", "Sealed XComs"],
            "fastapi_root_middlewares": ["secure_xcom: no REST writes"],
            "listeners": [],
        }
    ]
    ours = [path for path, _, _ in found["routes"] if path.startswith("/secure-xcom/")]
    assert len(ours) >= 5
    assert "RefuseXComWrites" in found["middlewares"]


def test_no_key_and_no_store_is_loaded_in_the_api_server(found: dict[str, Any]) -> None:
    """No key service's module, no store's client and no service's library is in the API server."""
    banned = (
        "secure_xcom.keys.vault", "secure_xcom.keys.aws", "secure_xcom.keys.local", "secure_xcom.keys.keyring",
        "secure_xcom.connections.vault", "secure_xcom.stores.s3", "secure_xcom.stores.gcs",
        "secure_xcom.stores.azure",
        "secure_xcom.stores.files", "secure_xcom.stores.vault_kv.", "secure_xcom.core.pipeline.push_and_pull",
        "secure_xcom.ops.service_policies.compile", "secure_xcom.ops.service_policies.apply",
        "secure_xcom.ops.service_policies.verify",
        "secure_xcom.ops.jobs", "secure_xcom.cli", "boto3", "botocore", "hvac", "obstore", "google.cloud",
        "azure.storage",
    )  # fmt: skip
    loaded = [
        name for name in found["modules"] if f"{name}.".startswith(tuple(f"{one.rstrip('.')}." for one in banned))
    ]
    assert loaded == []


def test_a_task_loads_nothing_of_the_page(tmp_path: Path) -> None:
    """A process that runs a task has the plugin, and no module of the page."""
    assert json.loads(run(TASK, tmp_path).stdout.splitlines()[-1]) == []


def test_ui_false_takes_all_of_it_away(tmp_path: Path) -> None:
    """With [secure_xcom] ui = False there is no app, no entry and no middleware."""
    off = server(tmp_path, AIRFLOW__SECURE_XCOM__UI="False")
    assert off["plugins"] == [
        {"fastapi_apps": [], "react_apps": [], "fastapi_root_middlewares": [], "listeners": []}
    ]
    assert [path for path, _, _ in off["routes"] if "secure-xcom" in path] == []
    assert "RefuseXComWrites" not in off["middlewares"]
    assert [name for name in off["modules"] if name.startswith("secure_xcom.airflow.plugin.ui")] == []


@pytest.mark.usefixtures("airflow_here")
def test_every_route_names_a_permission() -> None:
    """Each route has one of the permission dependencies, and none of its dependencies became a query parameter."""
    from fastapi.routing import APIRoute

    from secure_xcom.airflow.plugin.ui.app import make_app
    from secure_xcom.airflow.plugin.ui.permissions import READ_XCOMS, SEE_COMPARTMENTS

    routes = [route for route in make_app().routes if isinstance(route, APIRoute)]
    assert len(routes) >= 5
    for route in routes:
        assert [one for one in route.dependencies if one in (READ_XCOMS, SEE_COMPARTMENTS)], route.path
        assert route.methods == {"GET"}, route.path
        parameters = {one.name for one in route.dependant.query_params}
        assert parameters <= PARAMETERS, (route.path, parameters - PARAMETERS)


# --- the middleware -----------------------------------------------------------------------------------------

_SAMPLE = {"dag_id": "xcomEntries", "dag_run_id": "a:b c", "task_id": "taskInstances", "xcom_key": "a/b"}


def _filled(path: str) -> str:
    for name, text in _SAMPLE.items():
        path = path.replace(f"{{{name}:path}}", text).replace(f"{{{name}}}", text)
    return path


def test_every_rest_write_of_an_xcom_is_refused(found: dict[str, Any]) -> None:
    """Every route of Airflow's that writes XComs by REST is one that the middleware refuses, and no other is."""
    writes = [
        (path, methods, module)
        for path, methods, module in found["routes"]
        if {"POST", "PATCH", "PUT"} & set(methods) and path.startswith("/api/v2/")
    ]
    of_xcoms = [module.endswith(".xcom") for _, _, module in writes]
    assert of_xcoms.count(True) == 2
    from secure_xcom.airflow.plugin.ui.refusing import _is_entries

    refused = [_is_entries(_filled(path)) for path, _, _ in writes]
    assert [path for (path, _, _), ours, no in zip(writes, of_xcoms, refused, strict=True) if ours != no] == []


@pytest.mark.parametrize(
    ("path", "refused"),
    [
        ("/api/v2/dags/d/dagRuns/r/taskInstances/t/xcomEntries", True),
        ("/airflow/api/v2/dags/d/dagRuns/r/taskInstances/t/xcomEntries/k", True),
        ("/api/v2/dags/d/dagRuns/r/taskInstances/t/xcomEntries/", True),
        ("/api/v2/dags/d\n/dagRuns/r/taskInstances/t/xcomEntries/a\nb", True),
        ("/api/v2/dags/xcomEntries/dagRuns", False),
        ("/api/v2/dags/d/dagRuns/r/taskInstances/xcomEntries", False),
        ("/api/v2/dags/d/dagRuns/r/taskInstances/t/xcomEntriesNot", False),
        ("/execution/xcoms/d/r/t/k", False),
    ],
)
def test_the_middleware_knows_its_routes(path: str, refused: bool) -> None:
    """Only the routes of XCom entries are refused, below any base path; tasks push past it."""
    from secure_xcom.airflow.plugin.ui.refusing import _is_entries

    assert _is_entries(path) is refused


@pytest.mark.parametrize(
    ("settings", "refused"),
    [
        ({}, True),
        ({"AIRFLOW__SECURE_XCOM__REFUSE_REST_WRITES": "False"}, False),
        ({"AIRFLOW__SECURE_XCOM__ON_PLAINTEXT": "allow"}, False),
        ({"AIRFLOW__SECURE_XCOM__ON_PLAINTEXT": "warn"}, False),
        ({"AIRFLOW__SECURE_XCOM__ON_PLAINTEXT": "typo"}, True),
        ({"AIRFLOW__CORE__XCOM_BACKEND": STOCK}, False),
    ],
)
def test_refusing_follows_the_settings(tmp_path: Path, settings: dict[str, str], refused: bool) -> None:
    """REST writes are refused while a pull would refuse them; a setting that cannot be read counts as on."""
    code = "from secure_xcom.airflow.plugin.ui.refusing import _is_on\nprint(_is_on())"
    assert run(code, tmp_path, **settings).stdout.split()[-1] == str(refused)
