"""Check a deployment, one function for each subject; each returns findings and raises nothing."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from importlib import metadata

from secure_xcom.core.access_policy.compartment import Compartment
from secure_xcom.core.access_policy.dag_origin import check_told
from secure_xcom.core.access_policy.policy import AccessPolicy
from secure_xcom.core.config import RELEASE
from secure_xcom.core.coordinate import Coordinate, encryption_context
from secure_xcom.core.errors import SecureXComError, UriInvalid
from secure_xcom.core.findings import Finding
from secure_xcom.deployment import Deployment, airflow_is_installed
from secure_xcom.keys import key_service
from secure_xcom.ops.checks import backend_class, task_pods
from secure_xcom.ops.checks.key_services import check_key_service
from secure_xcom.ops.checks.misspelled_settings import misspelled_settings, sections_of_airflow
from secure_xcom.ops.checks.probe import PROBE_DAG, keyring_in_store, probe_coordinate, probe_key, probe_store
from secure_xcom.ops.checks.served_compartments import Served, served
from secure_xcom.ops.checks.tested_releases import examine_release
from secure_xcom.ops.error_findings import as_finding
from secure_xcom.sinks.apart_from_payloads import check_apart
from secure_xcom.sinks.hashed_ids import IdHasher
from secure_xcom.sinks.interface import sink
from secure_xcom.sinks.sink_uri import SinkUri, shown
from secure_xcom.stores import store

_ENTRY_POINTS = {
    "apache_airflow_provider": "Airflow lists the options of [secure_xcom]",
    "airflow.plugins": "Airflow lists the plugin",
    "airflow.policy": "the hooks that place tasks, hide return values and mask component logs",
}
_DISTRIBUTIONS = ("apache-airflow", "cryptography", "obstore")


def check_deployment(deployment: Deployment, dag_id: str | None, *, backend: str) -> Iterator[Finding]:
    """Check everything, in the order in which a push would use it. What several keys share is reported once.

    :param dag_id: the DAG that the probes act as, only in its compartment; None tries every compartment that this
        worker serves.
    :param backend: the value of ``[core] xcom_backend``.
    """
    reported: set[tuple[str, str, str]] = set()
    for finding in _check_deployment(deployment, dag_id, backend):
        identity = (finding.subject, finding.status, finding.text)
        if identity not in reported:
            reported.add(identity)
            yield finding


def _check_deployment(deployment: Deployment, dag_id: str | None, backend: str) -> Iterator[Finding]:
    yield versions()
    yield from misspelled_settings(sections_of_airflow())
    yield from airflow_uses_the_backend(deployment, backend)
    try:
        policy = deployment.policy
        coordinate = probe_coordinate(dag_id or PROBE_DAG)
        # Settings from another file than Airflow's say nothing of where its tasks run.
        pods = task_pods.of_this_airflow() if deployment.told is not None else None
        elsewhere = task_pods.only_in_pods(policy, pods) if pods else ()
        chosen = _chosen(policy, coordinate, dag_id, elsewhere)
    except SecureXComError as error:
        yield as_finding("settings", error)
        yield from access_log(deployment)
        return
    yield Finding("settings", "ok", f"read from {deployment.source}")
    yield access_policy(deployment, policy)
    yield from _guarded("access log", partial(_apart, policy, deployment.sinks))
    yield from connections(deployment, policy, pods, elsewhere)
    yield from chosen.findings
    yield from places(chosen.compartments, coordinate)
    claims_uri = deployment.settings.claims_uri
    if claims_uri and (pods is None or task_pods.has_login(claims_uri)):
        yield from _guarded("claims", partial(_claims, claims_uri))
    yield from access_log(deployment, pods)


def _chosen(
    policy: AccessPolicy, coordinate: Coordinate, dag_id: str | None, elsewhere: Sequence[Compartment]
) -> Served:
    """Return the compartments to try on this machine, without those whose tasks run elsewhere."""
    if len(elsewhere) == len(policy.compartments):
        return Served(())
    chosen = served(policy, coordinate) if dag_id is None else Served((policy.resolve(coordinate),))
    return replace(chosen, compartments=tuple(own for own in chosen.compartments if own not in elsewhere))


def versions() -> Finding:
    """Return the installed versions, for bug reports."""
    installed = [f"secure-xcom {RELEASE}", f"Python {sys.version.split()[0]}"]
    for name in _DISTRIBUTIONS:
        try:
            installed.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            installed.append(f"no {name}")
    return Finding("versions", "ok", ", ".join(installed))


def airflow_uses_the_backend(deployment: Deployment, backend: str) -> Iterator[Finding]:
    """Check that values pass through the backend, and that the hooks are installed."""
    if airflow_is_installed():
        yield from backend_class.findings(backend)
    elif not deployment.backend:
        yield from backend_class.findings("")
    if not airflow_is_installed():
        yield Finding("hooks", "ok", "not checked: Airflow is not installed on this machine")
        return
    yield from examine_release(metadata.version("apache-airflow-core"))
    for group, purpose in _ENTRY_POINTS.items():
        yield _entry_point(group, purpose)
    for name, leak in (
        ("hide_return_values", "operators log their return values before these are sealed"),
        ("mask_component_logs", "the LocalExecutor copies task logs to the scheduler's output unmasked"),
        ("place_tasks", "the author of a DAG decides on which workers, and with whose identity, its tasks run"),
    ):
        if not getattr(deployment.settings, name):
            yield Finding(f"[secure_xcom] {name}", "warning", f"is off: {leak}", f"set {name} = True")


def _entry_point(group: str, purpose: str) -> Finding:
    subject = f"entry point {group}"
    remedy = "install secure-xcom with pip into the environment of every Airflow component"
    for entry_point in metadata.entry_points(group=group):
        if entry_point.value.partition(":")[0].partition(".")[0] == "secure_xcom":
            try:
                entry_point.load()
            except Exception as error:  # noqa: BLE001  # an import may raise anything, in Airflow too
                return Finding(subject, "error", f"cannot be loaded ({type(error).__name__}): {purpose}", remedy)
            return Finding(subject, "ok", purpose)
    return Finding(subject, "warning", f"is not installed: {purpose}", remedy)


def access_policy(deployment: Deployment, policy: AccessPolicy) -> Finding:
    """Report the compartments of the access policy."""
    path, told = deployment.settings.access_policy, deployment.told
    if not path:
        text = "no file: a single compartment has every DAG, and every DAG may pull"
        return Finding("access policy", "ok", text)
    if told is not None:
        try:
            check_told(policy.compartments, told, where=path, identities=policy.identities)
        except SecureXComError as error:
            return as_finding("access policy", error)
    names = ", ".join(compartment.name for compartment in policy.compartments)
    return Finding("access policy", "ok", f"{path}: {names}")


def connections(
    deployment: Deployment, policy: AccessPolicy, pods: task_pods.TaskPods | None, elsewhere: Sequence[Compartment]
) -> Iterator[Finding]:
    """Report connections in use that every task of every team can look up, and those that only task pods have."""
    from secure_xcom.ops.checks.stored_connections import examine_connections, used_by

    uses = used_by(policy, deployment.settings, deployment.sinks)
    stored = list(examine_connections(policy, uses))
    yield from stored
    if pods is not None:
        told = {finding.subject for finding in stored}
        rest = {conn_id: what for conn_id, what in uses.items() if f"connection {conn_id}" not in told}
        yield from task_pods.findings(pods, elsewhere, rest)


def places(compartments: Sequence[Compartment], coordinate: Coordinate) -> Iterator[Finding]:
    """Check each compartment's keys and stores; what compartments share is checked once."""
    checked: set[str] = set()
    store_uris = dict.fromkeys(uri for compartment in compartments for uri in compartment.all_store_uris)
    for compartment in compartments:
        for uri in compartment.all_key_uris:
            if uri not in checked:
                for store_uri in store_uris:
                    yield from _guarded(f"key {uri}", partial(keyring_in_store, uri, store_uri))
            yield from _guarded(f"key {uri}", partial(_key, uri, compartment, coordinate, checked))
        for uri in compartment.written_store_uris:
            yield from _guarded(f"store {uri}", partial(_store, uri, compartment, coordinate))


def _key(uri: str, compartment: Compartment, coordinate: Coordinate, checked: set[str]) -> Iterable[Finding]:
    service = key_service(uri)
    context = encryption_context(compartment.name, coordinate)
    findings = [] if uri in checked else check_key_service(service, context)
    checked.add(uri)
    return [*findings, probe_key(service, compartment, coordinate)]


def _store(uri: str, compartment: Compartment, coordinate: Coordinate) -> list[Finding]:
    return probe_store(store(uri), compartment, coordinate)


def access_log(deployment: Deployment, pods: task_pods.TaskPods | None = None) -> Iterator[Finding]:
    """Check that each sink can be written, without writing an event, and that ids can be hashed as configured.

    A fault of an optional sink stops no push or pull, so it is a warning.

    :param pods: the pods of tasks, where this process is none of them: those write the access log.
    """
    for uri in deployment.sinks:
        if pods is not None and not task_pods.has_login(uri):
            text = "not tried here: task pods write it, with a login that this machine does not have"
            yield Finding(f"access log {shown(uri)}", "ok", text)
            continue
        for finding in _guarded(f"access log {shown(uri)}", partial(_sink, uri)):
            lenient = finding.status == "error" and _is_optional(uri)
            yield replace(finding, status="warning") if lenient else finding
    if all(map(_is_optional, deployment.sinks)):
        text = "every sink is optional, so nothing is pushed or pulled"
        yield Finding("access log", "error", text, "remove optional=true from at least one sink URI")
    settings = deployment.settings
    if settings.audit_hash_key:
        yield from _guarded("hashed ids", partial(_hasher, settings.audit_hash_key, settings.audit_hash_ids))


def _apart(policy: AccessPolicy, sinks: Sequence[str]) -> list[Finding]:
    check_apart(policy, sinks)
    return []


def _is_optional(uri: str) -> bool:
    try:
        return SinkUri.parse(uri).optional
    except UriInvalid:
        # An invalid URI says nothing about it.
        return False


def _hasher(path: str, names: Sequence[str]) -> list[Finding]:
    hashed = sorted(IdHasher.load(path, names).names)
    return [Finding("hashed ids", "ok", f"the access log stores {', '.join(hashed)} as keyed hashes")]


def _sink(uri: str) -> list[Finding]:
    # An empty batch opens and locks the file without appending to it. A bucket cannot tell otherwise whether a
    # worker may write, so it gets an empty object below check/.
    sink(uri).write([])
    return [Finding(f"access log {shown(uri)}", "ok", "can be written")]


def _claims(uri: str) -> list[Finding]:
    from secure_xcom.claims.claim_table import ClaimTable

    table = ClaimTable(uri)
    # No compartment has this name, but the query shows whether the table exists and can be read.
    next(iter(table.list([("", "-")])), None)
    return [
        Finding(
            f"claims in {table.uri}",
            "ok",
            "the table can be read; the first claim shows whether rows can be added",
        )
    ]


def _guarded(subject: str, checks: Callable[[], Iterable[Finding]]) -> list[Finding]:
    try:
        return list(checks())
    except SecureXComError as error:
        return [as_finding(subject, error)]
