"""Airflow's own configuration of places: bundles, teams, queues, users and pod templates."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from secure_xcom.deployment.airflow_config import multi_team, option


def bundles() -> list[dict[str, Any]]:
    """Return the entries of ``[dag_processor] dag_bundle_config_list`` that have the documented form."""
    try:
        entries = json.loads(option("dag_processor", "dag_bundle_config_list") or "[]")
    except ValueError:
        return []
    return [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []


def team_of(bundle: str | None) -> str | None:
    """Return the team that a DAG bundle belongs to, from Airflow's configuration."""
    if bundle is None or not multi_team():
        return None
    return next((entry.get("team_name") for entry in bundles() if entry.get("name") == bundle), None)


def default_queue() -> str:
    """Return the queue of tasks that name none."""
    return option("operators", "default_queue") or "default"


def default_impersonation() -> str | None:
    """Return the operating-system user of tasks that name none."""
    return option("core", "default_impersonation") or None


def pod_template() -> Path | None:
    """Return the pod template of the KubernetesExecutor, if one is set."""
    path = option("kubernetes_executor", "pod_template_file")
    return Path(path) if path else None


def bundle_of(file: str) -> str | None:
    """Return the bundle that a DAG file is in, as far as the configuration tells where bundles are.

    :param file: an absolute path.
    """
    roots: list[tuple[int, str]] = []
    path = Path(file).resolve()
    for entry in bundles():
        name = str(entry.get("name"))
        for root in _roots(name, entry):
            if path.is_relative_to(root):
                roots.append((len(root.parts), name))
    if not roots:
        return None
    deepest = max(roots)[0]
    names = {name for depth, name in roots if depth == deepest}
    return names.pop() if len(names) == 1 else None


def _roots(name: str, entry: dict[str, Any]) -> list[Path]:
    """Return where a bundle may be: the folder of a local one, and the one below Airflow's storage of bundles."""
    from airflow.dag_processing.bundles.base import get_bundle_storage_root_path

    roots = [Path(get_bundle_storage_root_path()) / name]
    if str(entry.get("classpath", "")).endswith(".LocalDagBundle"):
        kwargs = entry.get("kwargs")
        path = kwargs.get("path") if isinstance(kwargs, dict) else None
        roots.append(Path(str(path or option("core", "dags_folder") or "")))
    return [root.expanduser().resolve() for root in roots if root.is_absolute()]
