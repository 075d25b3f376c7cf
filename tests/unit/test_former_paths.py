"""Import paths and files that users have written down go on working where their contents have moved."""

from __future__ import annotations

import ast
import importlib
import json
from pathlib import Path

import pytest

import secure_xcom
from tests.support.error_modules import ERROR_MODULES

PACKAGE = Path(secure_xcom.__file__).parent

# Former path -> where the name is now. What was documented, is in an entry point, or stands in a DAG.
FORMER = {
    "secure_xcom.errors.SecureXComError": "secure_xcom.core.errors",
    "secure_xcom.errors.AccessRefused": "secure_xcom.core.policy_errors",
    "secure_xcom.config.Settings": "secure_xcom.core.config",
    "secure_xcom.backend.SecureXComBackend": "secure_xcom.airflow.backend",
    "secure_xcom.codecs.registry.Codec": "secure_xcom.core.codecs.registry",
    "secure_xcom.claims.marking.exclusive": "secure_xcom.claims.exclusive",
    "secure_xcom.keys.Finding": "secure_xcom.core.findings",
    "secure_xcom.keys.DataKey": "secure_xcom.keys",
    "secure_xcom.keys.KeyService": "secure_xcom.keys",
    "secure_xcom.keys.KeyUri": "secure_xcom.keys",
    "secure_xcom.keys.Wrap": "secure_xcom.keys",
    "secure_xcom.keys.key_service": "secure_xcom.keys",
    "secure_xcom.stores.Store": "secure_xcom.stores",
    "secure_xcom.stores.StoredObject": "secure_xcom.stores",
    "secure_xcom.stores.store": "secure_xcom.stores",
    "secure_xcom.maintenance.dag.maintenance_dag": "secure_xcom.ops.jobs.maintenance_dag",
    "secure_xcom.vault.context.transit_scope": "secure_xcom.keys.vault_context",
    "secure_xcom.plugin.SecureXComPlugin": "secure_xcom.airflow.plugin",
    "secure_xcom.plugin.policy.task_policy": "secure_xcom.airflow.plugin.cluster_policy",
    "secure_xcom.plugin.policy.dag_policy": "secure_xcom.airflow.plugin.cluster_policy",
    "secure_xcom.plugin.policy.get_airflow_context_vars": "secure_xcom.airflow.plugin.cluster_policy",
    "secure_xcom.provider_info.get_provider_info": "secure_xcom.provider_info",
    "secure_xcom.cli.main": "secure_xcom.cli",
    "secure_xcom.cli.airflow_cli.get_secure_xcom_cli_commands": "secure_xcom.cli.airflow_cli",
    "secure_xcom.access.schema.schema": "secure_xcom.core.access_policy.schema",
}
FORMER_FILES = {
    "access/access_policy.schema.json": "core/access_policy/access_policy.schema.json",
    "audit/event.schema.json": "core/event.schema.json",
}
"""An editor's ``$schema`` line and the schema's own ``$id`` name them by their former paths."""
ONLY_FORMER = [
    "access", "access/schema", "backend", "claims/marking", "codecs", "codecs/registry", "config", "errors",
    "maintenance", "maintenance/dag", "plugin", "plugin/policy", "vault", "vault/context",
]  # fmt: skip


@pytest.mark.parametrize("path", FORMER)
def test_a_former_path_gives_the_same_object(path: str) -> None:
    """What a user imports by a former path is what it is at its new one, not a copy."""
    module, _, name = path.rpartition(".")
    former = getattr(importlib.import_module(module), name)
    assert former is getattr(importlib.import_module(FORMER[path]), name)


@pytest.mark.parametrize("name", ONLY_FORMER)
def test_a_former_path_holds_nothing_of_its_own(name: str) -> None:
    """A module at a former path says where its contents are, imports them, and has no code."""
    file = PACKAGE / f"{name}.py"
    tree = ast.parse((file if file.exists() else PACKAGE / name / "__init__.py").read_text())
    assert ast.get_docstring(tree)
    allowed = (ast.Import, ast.ImportFrom, ast.Expr, ast.Assign)
    odd = [node for node in tree.body if not isinstance(node, allowed) and "__main__" not in ast.unparse(node)]
    assert odd == []


def test_every_error_has_its_former_path() -> None:
    """``except secure_xcom.errors.X`` catches each error of the tree."""
    former = importlib.import_module("secure_xcom.errors")
    rooms = [importlib.import_module(f"secure_xcom.core.{name}") for name in ERROR_MODULES]
    errors = {
        name: error
        for room in rooms
        for name, error in vars(room).items()
        if isinstance(error, type) and not name.startswith("_")
    }
    assert len(errors) > 90
    assert [name for name, error in errors.items() if getattr(former, name, None) is not error] == []


@pytest.mark.parametrize("path", FORMER_FILES)
def test_a_former_file_is_the_same(path: str) -> None:
    """A schema at its former path is the same file, byte for byte."""
    former, now = PACKAGE / path, PACKAGE / FORMER_FILES[path]
    assert json.loads(now.read_text())["$schema"]
    assert former.read_bytes() == now.read_bytes()
