"""What ``secure-xcom check`` looks at, one function per subject; each gives findings and raises nothing."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from importlib import metadata

from secure_xcom.core.access_policy import AccessPolicy, Compartment, check_told
from secure_xcom.core.config import RELEASE
from secure_xcom.core.coordinate import Coordinate
from secure_xcom.core.errors import SecureXComError, UriInvalid
from secure_xcom.core.findings import Finding, as_finding
from secure_xcom.core.hashed_ids import IdHasher
from secure_xcom.deployment import Deployment, airflow_is_installed
from secure_xcom.keys import key_service
from secure_xcom.ops.checks.key_services import check_key_service
from secure_xcom.ops.checks.probe import PROBE_DAG, keyring_in_store, probe_coordinate, probe_key, probe_store
from secure_xcom.sinks import check_apart, sink
from secure_xcom.sinks.sink_uri import SinkUri, shown
from secure_xcom.stores import store

_ENTRY_POINTS = {
    "apache_airflow_provider": "Airflow lists the options of [secure_xcom]",
    "airflow.plugins": "Airflow lists the plugin",
    "airflow.policy": "the hooks that place tasks, hide return values and mask component logs",
}
# What an older Airflow does with rendered template fields, and the release that mended it: the first by
# https://github.com/apache/airflow/pull/58767, the second by the task SDK's own serializer of these fields.
_RENDERED_FIELDS = (
    ("3.1.4", "keeps in plaintext what templates and TaskFlow arguments pulled"),
    (
        "3.1.6",
        (
            "cuts rendered fields of over [core] max_templated_field_length characters (4,096 by default) before "
            "it masks them, so the part of a secret that the cut leaves is kept in plaintext"
        ),
    ),
)
_RENDERED_FIELDS_MENDED = _RENDERED_FIELDS[-1][0]
_DISTRIBUTIONS = ("apache-airflow", "cryptography", "obstore")


def check_deployment(deployment: Deployment, dag_id: str | None) -> Iterator[Finding]:
    """Look at everything, in the order in which a push would meet it.

    :param dag_id: the DAG that the probes pretend to be, in its compartment alone. None: in every compartment.
    """
    yield versions()
    yield from airflow_uses_us(deployment)
    try:
        policy = deployment.policy
        coordinate = probe_coordinate(dag_id or PROBE_DAG)
        compartments = policy.compartments if dag_id is None else (policy.resolve(coordinate),)
    except SecureXComError as error:
        yield as_finding("settings", error)
        yield from access_log(deployment)
        return
    yield Finding("settings", "ok", f"read from {deployment.source}")
    yield access_policy(deployment, policy)
    yield from _guarded("access log", partial(_apart, policy, deployment.sinks))
    yield from connections(deployment, policy)
    yield from places(compartments, coordinate)
    if deployment.settings.claims_uri:
        yield from _guarded("claims", partial(_claims, deployment.settings.claims_uri))
    yield from access_log(deployment)


def versions() -> Finding:
    """What is installed, for a report of trouble."""
    found = [f"secure-xcom {RELEASE}", f"Python {sys.version.split()[0]}"]
    for name in _DISTRIBUTIONS:
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            found.append(f"no {name}")
    return Finding("versions", "ok", ", ".join(found))


def airflow_uses_us(deployment: Deployment) -> Iterator[Finding]:
    """Whether values pass our backend at all, and whether our hooks beside it are there."""
    subject = "[core] xcom_backend"
    if deployment.backend:
        yield Finding(subject, "ok", "values pass secure_xcom.SecureXComBackend")
    else:
        yield Finding(
            subject,
            "error",
            "Airflow does not use our backend here, so values are kept in plaintext",
            "set [core] xcom_backend = secure_xcom.SecureXComBackend for every component and worker",
        )
    if not airflow_is_installed():
        yield Finding("hooks", "ok", "not looked at: Airflow is not installed here")
        return
    yield from rendered_fields(metadata.version("apache-airflow-core"))
    for group, purpose in _ENTRY_POINTS.items():
        yield _entry_point(group, purpose)
    for name, leak in (
        ("hide_return_values", "operators log what they return before it is sealed"),
        ("mask_component_logs", "the LocalExecutor copies task logs to the scheduler's output unmasked"),
        ("place_tasks", "a DAG's author decides on which workers, and with whose identity, its tasks run"),
    ):
        if not getattr(deployment.settings, name):
            yield Finding(f"[secure_xcom] {name}", "warning", f"is off: {leak}", f"set {name} = True")


def rendered_fields(release: str) -> Iterator[Finding]:
    """Return what an Airflow leaves unmasked of the rendered template fields that it keeps in its database.

    :param release: the version of apache-airflow-core.
    """
    from packaging.version import InvalidVersion, Version

    try:
        version = Version(release)
    except InvalidVersion:
        # A build of somebody's own has whatever name they gave it.
        return
    for mended, fault in _RENDERED_FIELDS:
        if version < Version(mended):
            yield Finding(
                "rendered template fields",
                "warning",
                f"Airflow {release} {fault} (mended in {mended})",
                f"upgrade Airflow to {_RENDERED_FIELDS_MENDED} or later; until then pull secrets with xcom_pull "
                "inside the task",
            )


def _entry_point(group: str, purpose: str) -> Finding:
    subject = f"entry point {group}"
    remedy = "install secure-xcom with pip into the environment of every Airflow component"
    for found in metadata.entry_points(group=group):
        if found.value.partition(":")[0].partition(".")[0] == "secure_xcom":
            try:
                found.load()
            except Exception as error:  # noqa: BLE001  # whatever an import raises, Airflow would meet it too
                return Finding(subject, "error", f"cannot be loaded ({type(error).__name__}): {purpose}", remedy)
            return Finding(subject, "ok", purpose)
    return Finding(subject, "warning", f"is not installed: {purpose}", remedy)


def access_policy(deployment: Deployment, policy: AccessPolicy) -> Finding:
    """What the access policy says."""
    names = ", ".join(compartment.name for compartment in policy.compartments)
    if deployment.settings.access_policy:
        if deployment.told is not None:
            try:
                check_told(
                    policy.compartments,
                    deployment.told,
                    where=deployment.settings.access_policy,
                    identities=policy.identities,
                )
            except SecureXComError as error:
                return as_finding("access policy", error)
        return Finding("access policy", "ok", f"{deployment.settings.access_policy}: {names}")
    return Finding("access policy", "ok", "no file: one compartment takes every DAG, and every DAG may pull")


def connections(deployment: Deployment, policy: AccessPolicy) -> Iterator[Finding]:
    """Return the connections in use that lie where every task of every team may look them up."""
    from secure_xcom.ops.checks.stored_connections import examine_connections, used_by

    yield from examine_connections(policy, used_by(policy, deployment.settings, deployment.sinks))


def places(compartments: Sequence[Compartment], coordinate: Coordinate) -> Iterator[Finding]:
    """Each compartment's keys and store; what several compartments share is looked at once for itself."""
    looked: set[str] = set()
    store_uris = dict.fromkeys(uri for compartment in compartments for uri in compartment.all_store_uris)
    for compartment in compartments:
        for uri in compartment.all_key_uris:
            if uri not in looked:
                for store_uri in store_uris:
                    yield from _guarded(f"key {uri}", partial(keyring_in_store, uri, store_uri))
            yield from _guarded(f"key {uri}", partial(_key, uri, compartment, coordinate, looked))
        for uri in compartment.written_store_uris:
            yield from _guarded(f"store {uri}", partial(_store, uri, compartment, coordinate))


def _key(uri: str, compartment: Compartment, coordinate: Coordinate, looked: set[str]) -> Iterable[Finding]:
    service = key_service(uri)
    findings = [] if uri in looked else check_key_service(service)
    looked.add(uri)
    return [*findings, probe_key(service, compartment, coordinate)]


def _store(uri: str, compartment: Compartment, coordinate: Coordinate) -> list[Finding]:
    return probe_store(store(uri), compartment, coordinate)


def access_log(deployment: Deployment) -> Iterator[Finding]:
    """Whether each sink would take an event, of which none is written, and whether ids can be hashed as it is set.

    What is wrong with an optional sink stops no push or pull, so it is a warning.
    """
    for uri in deployment.sinks:
        for finding in _guarded(f"access log {shown(uri)}", partial(_sink, uri)):
            lenient = finding.status == "error" and _is_optional(uri)
            yield replace(finding, status="warning") if lenient else finding
    if all(map(_is_optional, deployment.sinks)):
        text = "every sink is optional, so nothing is pushed or pulled"
        yield Finding("access log", "error", text, "leave optional=true out of at least one sink URI")
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
        # Nobody knows what it was to be.
        return False


def _hasher(path: str, names: Sequence[str]) -> list[Finding]:
    hashed = sorted(IdHasher.load(path, names).names)
    return [Finding("hashed ids", "ok", f"the access log holds {', '.join(hashed)} as keyed hashes")]


def _sink(uri: str) -> list[Finding]:
    # An empty batch opens and locks what an event would be appended to, and appends nothing; a bucket, which has
    # no other way to tell whether a worker may write, gets an empty object below check/.
    sink(uri).write([])
    return [Finding(f"access log {shown(uri)}", "ok", "can be written")]


def _claims(uri: str) -> list[Finding]:
    from secure_xcom.claims.claim_table import ClaimTable

    table = ClaimTable(uri)
    # No compartment is named so; the database says all the same whether it has the table and lets it be read.
    next(iter(table.list([("", "-")])), None)
    return [
        Finding(
            f"claims in {table.uri}", "ok", "the table can be read; the first claim shows if it can be added to"
        )
    ]


def _guarded(subject: str, looks: Callable[[], Iterable[Finding]]) -> list[Finding]:
    try:
        return list(looks())
    except SecureXComError as error:
        return [as_finding(subject, error)]
