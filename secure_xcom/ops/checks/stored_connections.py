"""Find out where connections of keys, stores and the access log are stored: every task can look some of them up.

A task asks its own worker's environment and secrets backend for a connection, and then Airflow's Execution API.
That answers with what the API server finds in its environment, in its secrets backend and in Airflow's database,
whichever task asks (`airflow.api_fastapi.execution_api.routes.connections`). So a login that lies there is no
team's own.
Nothing of a connection is read but its id, and whether it has a password or an extra.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from typing import Literal

from secure_xcom.connections.connection_ids import connection_id, variable
from secure_xcom.core.access_policy.policy import AccessPolicy
from secure_xcom.core.config import Settings
from secure_xcom.core.findings import Finding
from secure_xcom.core.operator_errors import MaintenanceError
from secure_xcom.ops.xcom_table import Database, database_url

_LOCAL_FILE = "airflow.secrets.local_filesystem.LocalFilesystemBackend"
# Only an API server or a scheduler signs tasks' tokens, never a worker.
_SIGNS = "AIRFLOW__API_AUTH__JWT_"
_OWN = (
    "give each worker its own login as {} in its own environment, or in a file of mode 0600 for the "
    "LocalFilesystemBackend of its [workers] secrets_backend"
)
_ROTATE = "then revoke this login and create a new one, because every task could read it"


def used_by(policy: AccessPolicy, settings: Settings, sinks: Sequence[str]) -> dict[str, list[str]]:
    """Return the id of each connection that a deployment uses, and what it is used for."""
    uses: dict[str, list[str]] = {}

    def note(uri: str, what: str) -> None:
        conn_id = connection_id(uri)
        if conn_id is not None and what not in uses.setdefault(conn_id, []):
            uses[conn_id].append(what)

    for compartment in policy.compartments:
        for uri in compartment.all_key_uris:
            note(uri, f"the keys of {compartment.name}")
        for uri in compartment.all_store_uris:
            note(uri, f"the store of {compartment.name}")
    for uri in sinks:
        note(uri, "the access log")
    if settings.claims_uri:
        note(settings.claims_uri, "claims")
    for alarm in policy.alarms:
        for way in alarm.notify:
            if way.connection is not None and "alarms" not in uses.setdefault(way.connection, []):
                uses[way.connection].append("alarms")
    return uses


def examine_connections(
    policy: AccessPolicy, uses: Mapping[str, Sequence[str]], database: Database | None = None
) -> Iterator[Finding]:
    """Report connections that every task of every team can look up, as far as this machine can tell.

    :param database: Airflow's, if it is open already; by default the one that this process knows, if any.
    """
    if not uses:
        return
    # With one compartment, whoever reads its login has the same rights anyway.
    serious: Literal["warning", "error"] = "error" if len(policy.compartments) > 1 else "warning"
    yield from _in_database(uses, serious, database)
    if len(policy.compartments) > 1:
        yield from _in_server_environment(uses)
        yield from _in_backends()


def _in_database(
    uses: Mapping[str, Sequence[str]], serious: Literal["warning", "error"], database: Database | None
) -> Iterator[Finding]:
    subject = "connections in Airflow's database"
    try:
        stored = _looked_up(list(uses), database)
    except (MaintenanceError, ImportError) as error:
        what = error.what if isinstance(error, MaintenanceError) else "SQLAlchemy is not installed"
        yield Finding(subject, "ok", f"not checked on this machine: {what}; run check where the scheduler runs")
        return
    if stored is None:
        yield Finding(
            subject,
            "ok",
            f"not checked: this database user may not read the ids of the table connection ({', '.join(uses)} "
            "are used); run check where the scheduler runs",
        )
        return
    for conn_id, secret in stored.items():
        # MySQL's usual collations ignore case, in Airflow's lookup as well.
        name = next((name for name in uses if name.lower() == conn_id.lower()), None)
        yield _stored(conn_id, uses[name] if name else (), serious, secret=secret)
    if not stored:
        yield Finding(subject, "ok", f"none of {', '.join(uses)}")


def _looked_up(conn_ids: list[str], database: Database | None) -> dict[str, bool | None] | None:
    if database is not None:
        return database.stored_connections(conn_ids)
    opened = Database(database_url())
    try:
        return opened.stored_connections(conn_ids)
    finally:
        opened.close()


def _stored(
    conn_id: str, uses: Sequence[str], serious: Literal["warning", "error"], *, secret: bool | None
) -> Finding:
    subject = f"connection {conn_id}"
    where = f"of {', '.join(uses[:5])} is stored in Airflow's database"
    if secret is False:
        return Finding(subject, "ok", f"{where}; it has no password and no extra, so it holds no login")
    return Finding(
        subject,
        serious,
        f"{where}, where every task of every team reads it with get_connection",
        f"{_OWN.format(variable(conn_id))}; delete it there (`airflow connections delete {conn_id}`); {_ROTATE}",
    )


def _in_server_environment(uses: Mapping[str, Sequence[str]]) -> Iterator[Finding]:
    if not any(name.startswith(_SIGNS) for name in os.environ):
        return
    for conn_id, what in uses.items():
        if variable(conn_id) in os.environ:
            yield Finding(
                f"connection {conn_id}",
                "error",
                f"of {', '.join(what[:5])} is in this environment, which signs tasks' tokens ({_SIGNS}...) and so "
                "is an API server's or a scheduler's: what an API server has there, every task of every team "
                "reads with get_connection",
                f"{_OWN.format(variable(conn_id))}, and take it out of this one; {_ROTATE}",
            )


def _in_backends() -> Iterator[Finding]:
    for option, backend, kwargs in _backends():
        subject = f"{option} {backend.rpartition('.')[2]:.80}"
        if backend == _LOCAL_FILE:
            yield from _file(subject, kwargs)
            continue
        yield Finding(
            subject,
            "warning",
            "connections and variables come from a source that others may share: every process with this setting "
            "and this login reads what is stored there for all teams, and what an API server reads there it "
            "gives to "
            "every task of every team",
            "give each worker's backend ([workers] secrets_backend) a login of its own that reads its own team's "
            "path alone, and the API server's ([secrets] backend) one that reads none of these connections; where "
            "all could read them, revoke those logins and create new ones",
        )


def _file(subject: str, kwargs: str) -> Iterator[Finding]:
    try:
        path = json.loads(kwargs or "{}").get("connections_file_path")
        mode = stat.S_IMODE(os.stat(path).st_mode) if path else 0
    except (ValueError, AttributeError, TypeError, OSError):
        # Airflow reports what is wrong with it; there is no file that other users could read.
        return
    if mode & 0o077:
        yield Finding(
            subject,
            "warning",
            f"the file {path} has mode {mode:04o}, so users other than its owner can read the logins in it",
            f"run `chmod 600 {path}` as the worker's user; then revoke these logins and create new ones, because "
            "others could read them",
        )


def _backends() -> Iterator[tuple[str, str, str]]:
    if find_spec("airflow") is None:
        return
    from airflow.configuration import conf

    for section, name in (("secrets", "backend"), ("workers", "secrets_backend")):
        backend = str(conf.get(section, name, fallback="") or "").strip()
        if backend:
            yield f"[{section}] {name}", backend, str(conf.get(section, f"{name}_kwargs", fallback="") or "")
