"""What decides where tasks run, read from Airflow's configuration."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from secure_xcom.core.config import SECTION, Settings
from secure_xcom.core.errors import SettingInvalid
from secure_xcom.deployment.airflow_config import backend_is_ours, multi_team, option


def switched_on(name: str) -> bool:
    """Whether a boolean option is on. One that cannot be read counts as on: pushing and pulling say what is wrong.

    :param name: an option of which on is the safe side.
    """
    try:
        return bool(getattr(Settings.parse({name: option(SECTION, name)}), name))
    except SettingInvalid:
        return True


def placing_policy() -> str | None:
    """The path of the access policy that tasks are placed by; None where they are left where Airflow runs them."""
    path = policy_path()
    return path if path and switched_on("place_tasks") else None


def policy_path() -> str | None:
    """The path of the access policy, where values pass our backend and there is one."""
    return (option(SECTION, "access_policy") or None) if backend_is_ours() else None


def bundles() -> list[dict[str, Any]]:
    """The entries of ``[dag_processor] dag_bundle_config_list`` that have the form that Airflow documents."""
    try:
        entries = json.loads(option("dag_processor", "dag_bundle_config_list") or "[]")
    except ValueError:
        return []
    return [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []


def team_of(bundle: str | None) -> str | None:
    """The team that a DAG bundle belongs to, as Airflow's configuration says."""
    if bundle is None or not multi_team():
        return None
    return next((entry.get("team_name") for entry in bundles() if entry.get("name") == bundle), None)


def default_queue() -> str:
    """The queue of tasks that name none."""
    return option("operators", "default_queue") or "default"


def default_impersonation() -> str | None:
    """The operating-system user of tasks that name none."""
    return option("core", "default_impersonation") or None


def pod_template() -> Path | None:
    """The pod template of the KubernetesExecutor, where one is set."""
    path = option("kubernetes_executor", "pod_template_file")
    return Path(path) if path else None


def bundle_of(file: str) -> str | None:
    """The bundle that a DAG file lies in, as far as the configuration tells where bundles lie.

    :param file: an absolute path.
    """
    found: list[tuple[int, str]] = []
    path = Path(file).resolve()
    for entry in bundles():
        name = str(entry.get("name"))
        for root in _roots(name, entry):
            if path.is_relative_to(root):
                found.append((len(root.parts), name))
    if not found:
        return None
    deepest = max(found)[0]
    names = {name for depth, name in found if depth == deepest}
    return names.pop() if len(names) == 1 else None


def _roots(name: str, entry: dict[str, Any]) -> list[Path]:
    """Where a bundle may lie: the folder of a local one, and the one below Airflow's storage of bundles."""
    from airflow.dag_processing.bundles.base import get_bundle_storage_root_path

    roots = [Path(get_bundle_storage_root_path()) / name]
    if str(entry.get("classpath", "")).endswith(".LocalDagBundle"):
        kwargs = entry.get("kwargs")
        path = kwargs.get("path") if isinstance(kwargs, dict) else None
        roots.append(Path(str(path or option("core", "dags_folder") or "")))
    return [root.expanduser().resolve() for root in roots if root.is_absolute()]
