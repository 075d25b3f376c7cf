"""Lint: access log sinks of the environment that lie among payloads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from secure_xcom.core.access_policy.folders import sink_inside
from secure_xcom.core.access_policy.policy import AccessPolicy
from secure_xcom.core.findings import Finding
from secure_xcom.ops.service_policies.lint.lint_finding import lint_finding

_SINKS = "AIRFLOW__SECURE_XCOM__AUDIT_SINKS"


def findings(policy: AccessPolicy, environment: Mapping[str, str]) -> Iterator[Finding]:
    """Return the findings about sinks."""
    for uri in filter(None, map(str.strip, environment.get(_SINKS, "").split(","))):
        overlap = sink_inside(policy.compartments, uri)
        if overlap is not None:
            compartment, folder = overlap
            yield lint_finding(
                "access-log-in-store",
                "error",
                ("compartments", policy.compartments.index(compartment), "store_uri"),
                f"a sink of the access log ({_SINKS}) and the folder {folder:.200} of {compartment.name!r} "
                "overlap, so whoever has a right on one has it on the other",
                "give the access log a bucket of its own, or a prefix or folder beside the store's",
            )
