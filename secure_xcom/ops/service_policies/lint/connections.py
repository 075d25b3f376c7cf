"""Lint: connections in the environment that every team's tasks may look up. It reads no database."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from secure_xcom.connections.connection_ids import connection_id, variable
from secure_xcom.core.access_policy.policy import AccessPolicy
from secure_xcom.core.access_policy.yaml_reader import Path
from secure_xcom.core.findings import Finding
from secure_xcom.ops.service_policies.lint.lint_finding import lint_finding

# A process that signs tasks' tokens is an API server or a scheduler, not a worker.
_SIGNS = "AIRFLOW__API_AUTH__JWT_"
_BACKENDS = ("AIRFLOW__WORKERS__SECRETS_BACKEND", "AIRFLOW__SECRETS__BACKEND")
_LOCAL = "LocalFilesystemBackend"


def findings(policy: AccessPolicy, environment: Mapping[str, str]) -> Iterator[Finding]:
    """Return the findings about connections, if several compartments use some."""
    if len(policy.compartments) < 2:
        return
    backends = [name for name in _BACKENDS if environment.get(name)]
    shared = [name for name in backends if not environment[name].endswith(_LOCAL)]
    uses = _first_uses(policy)
    defined = {conn_id: path for conn_id, path in uses.items() if variable(conn_id) in environment}
    unseen = {conn_id: path for conn_id, path in uses.items() if conn_id not in defined}
    if defined and any(name.startswith(_SIGNS) for name in environment):
        yield lint_finding(
            "server-connection",
            "error",
            next(iter(defined.values())),
            f"{', '.join(map(variable, list(defined)[:5]))} in an environment that signs tasks' tokens "
            f"({_SIGNS}...): what an API server has there, every task of every team reads with get_connection",
            "give each worker its own login in its own environment, take it out of this one, and revoke this "
            "login, because every task could read it",
        )
    if unseen and shared:
        yield lint_finding(
            "shared-backend",
            "warning",
            next(iter(unseen.values())),
            f"connections ({', '.join(list(unseen)[:5])}) may come from the secrets backend of {shared[0]}: every "
            "process with this setting and this login reads what is stored there for all teams",
            "give each worker's backend a login of its own that reads its own team's path alone, and replace "
            "the logins that all could read",
        )
    elif unseen and not backends:
        yield lint_finding(
            "connection-not-seen",
            "ok",
            next(iter(unseen.values())),
            f"connections ({', '.join(list(unseen)[:5])}) are not in this environment, and lint reads no "
            "database: in Airflow's, every task of every team could read them (`secure-xcom check` and "
            "`doctor` "
            "look there)",
        )


def _first_uses(policy: AccessPolicy) -> dict[str, Path]:
    """Return each connection with the place of the first URI that names it."""
    uses: dict[str, Path] = {}
    for index, compartment in enumerate(policy.compartments):
        path: Path = ("compartments", index)
        uris = [(uri, (*path, "key_uris", number)) for number, uri in enumerate(compartment.key_uris)]
        uris.append((compartment.store_uri, (*path, "store_uri")))
        uris += [
            (uri, (*path, "former_store_uris", number)) for number, uri in enumerate(compartment.former_store_uris)
        ]
        for place, route in enumerate(compartment.routes):
            uris.append((route.store_uri, (*path, "routes", place, "store_uri")))
            uris += [(uri, (*path, "routes", place, "key_uris", n)) for n, uri in enumerate(route.key_uris or ())]
        for uri, uri_path in uris:
            conn_id = connection_id(uri)
            if conn_id is not None:
                uses.setdefault(conn_id, uri_path)
    return uses
