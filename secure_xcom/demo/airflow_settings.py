"""The settings of a throwaway Airflow, and the environment of its processes."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from pathlib import Path

USER = "admin"


def default_settings(folder: Path, dags_folder: Path, port: int) -> dict[str, str]:
    """Return the settings as ``{"section.option": "text"}``: SQLite and loopback, below one folder.

    :param port: of the API server.
    """
    url = f"http://127.0.0.1:{port}"
    return {
        "api.base_url": url,
        "api.host": "127.0.0.1",
        "api.port": str(port),
        "api.secret_key": secrets.token_urlsafe(32),
        "api_auth.jwt_secret": secrets.token_urlsafe(48),
        "core.auth_manager": "airflow.api_fastapi.auth.managers.simple.simple_auth_manager.SimpleAuthManager",
        "core.dagbag_import_timeout": "300",
        "core.dags_are_paused_at_creation": "False",
        "core.dags_folder": str(dags_folder),
        "core.execution_api_server_url": f"{url}/execution/",
        "core.executor": "LocalExecutor",
        # As many tasks at once as a small machine has cores: SQLite has one writer anyway.
        "core.parallelism": "2",
        "core.load_examples": "False",
        "core.simple_auth_manager_passwords_file": str(folder / "passwords.json"),
        "core.simple_auth_manager_users": f"{USER}:admin",
        "dag_processor.dag_file_processor_timeout": "300",
        # DAG files that have changed are read anyway; reading the others again and again takes CPU time.
        "dag_processor.min_file_process_interval": "3600",
        "dag_processor.refresh_interval": "5",
        "database.sql_alchemy_conn": f"sqlite:///{folder / 'airflow.db'}",
        "logging.base_log_folder": str(folder / "logs"),
        # The health check is a web server on all interfaces; the API server says how the others are.
        "scheduler.enable_health_check": "False",
        "scheduler.scheduler_health_check_server_host": "127.0.0.1",
        "usage_data_collection.enabled": "False",
        # By default, a task fails if the API server is silent for some seconds, as it is on a slow machine.
        "workers.execution_api_timeout": "60",
        "workers.max_failed_heartbeats": "20",
    }


def environment_of(folder: Path, settings: Mapping[str, str], more: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of the processes: the caller's without its Airflow, the settings, and more."""
    environment = {
        name: value for name, value in os.environ.items() if not name.upper().startswith(("AIRFLOW", "_AIRFLOW"))
    }
    for name, value in settings.items():
        section, _, option = name.rpartition(".")
        environment[f"AIRFLOW__{section.replace('.', '_').upper()}__{option.upper()}"] = value
    environment["AIRFLOW_HOME"] = str(folder)
    # A proxy would be asked for 127.0.0.1 too.
    environment["NO_PROXY"] = environment["no_proxy"] = "127.0.0.1,localhost"
    # A checkout that is not installed is found as the caller found it.
    checkout = str(Path(__file__).resolve().parents[2])
    known = environment.get("PYTHONPATH", "")
    environment["PYTHONPATH"] = os.pathsep.join(part for part in (checkout, known) if part)
    return {**environment, **more}
