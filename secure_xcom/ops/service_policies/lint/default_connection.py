"""Lint: stores and sinks that name a connection ``default``, where the default credentials were probably meant."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from secure_xcom.connections.airflow_connections import airflow_connection
from secure_xcom.connections.connection_ids import DEFAULT, leave_default_out, names_default, variable
from secure_xcom.core.access_policy.policy import AccessPolicy
from secure_xcom.core.access_policy.yaml_reader import Path
from secure_xcom.core.findings import Finding
from secure_xcom.core.service_errors import ConnectionUnknown
from secure_xcom.ops.service_policies.lint.lint_finding import lint_finding

_SINKS = "AIRFLOW__SECURE_XCOM__AUDIT_SINKS"


def findings(
    policy: AccessPolicy,
    environment: Mapping[str, str],
    exists: Callable[[], bool],
) -> Iterator[Finding]:
    """Return the findings about ``default@`` before a bucket, unless there is a connection of that id.

    :param exists: asks Airflow for one, where the environment has none.
    """
    named = [(uri, path) for uri, path in _uris(policy, environment) if names_default(uri)]
    if not named or variable(DEFAULT) in environment or exists():
        return
    for uri, path in named:
        what = "a store" if path else f"a sink of the access log ({_SINKS})"
        yield lint_finding(
            "default-connection",
            "error",
            path,
            f"{what} names the connection {DEFAULT!r}, which Airflow does not have here: nothing could be opened",
            leave_default_out(uri),
        )


def airflow_has_default() -> bool:
    """Return whether Airflow finds a connection of this id on this machine. Without Airflow there is none."""
    try:
        airflow_connection(DEFAULT, where="lint", named="the id before the @")
    except ConnectionUnknown:
        return False
    return True


def _uris(policy: AccessPolicy, environment: Mapping[str, str]) -> Iterator[tuple[str, Path]]:
    for index, compartment in enumerate(policy.compartments):
        path: Path = ("compartments", index)
        yield compartment.store_uri, (*path, "store_uri")
        yield from (
            (uri, (*path, "former_store_uris", number)) for number, uri in enumerate(compartment.former_store_uris)
        )
        yield from (
            (route.store_uri, (*path, "routes", n, "store_uri")) for n, route in enumerate(compartment.routes)
        )
    yield from ((uri, ()) for uri in map(str.strip, environment.get(_SINKS, "").split(",")))
