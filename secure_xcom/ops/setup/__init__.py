"""Create what a deployment's key and store URIs name, and test it.

Each URI scheme that needs something created has one file here: ``new_keyring.py``, ``folder.py``.
"""

from __future__ import annotations

from collections.abc import Callable

from secure_xcom.core.access_policy.policy import AccessPolicy
from secure_xcom.core.findings import Finding
from secure_xcom.core.operator_errors import CommandError
from secure_xcom.keys import key_service
from secure_xcom.ops.checks.key_services import check_key_service
from secure_xcom.ops.checks.probe import keyring_in_store, probe_coordinate, probe_key, probe_store
from secure_xcom.ops.setup import folder, new_keyring
from secure_xcom.stores import store as open_store

# Scheme -> the function that creates its resource. What other schemes name is only tested.
_KEY_MAKERS: dict[str, Callable[[str], Finding]] = {"local": new_keyring.prepare}
_STORE_MAKERS: dict[str, Callable[[str], Finding]] = {"file": folder.prepare}
# The same for --dry-run.
_KEY_PLANNERS: dict[str, Callable[[str], Finding]] = {"local": new_keyring.plan}
_STORE_PLANNERS: dict[str, Callable[[str], Finding]] = {"file": folder.plan}


def plan(key_uris: list[str], store_uri: str) -> list[Finding]:
    """Return what `prepare` would create or keep, and change nothing.

    :raises SecureXComError: a URI is invalid.
    """
    for uri in key_uris:
        if not uri.startswith("vault://"):
            key_service(uri)
    if not store_uri.startswith("vault-kv://"):
        open_store(store_uri)
    planned = [_KEY_PLANNERS[scheme](uri) for uri in key_uris if (scheme := _scheme(uri)) in _KEY_PLANNERS]
    if (scheme := _scheme(store_uri)) in _STORE_PLANNERS:
        planned.append(_STORE_PLANNERS[scheme](store_uri))
    return planned


def prepare(key_uris: list[str], store_uri: str) -> list[Finding]:
    """Create and test everything, and return what was created and found.

    :raises SecureXComError: it cannot be created or does not work, so there are no settings to print.
    """
    # Parse both URIs before anything is created.
    services = [key_service(uri) for uri in key_uris]
    target = open_store(store_uri)
    compartment = AccessPolicy.single(key_uris, store_uri).compartments[0]

    for finding in (problem for uri in key_uris for problem in keyring_in_store(uri, store_uri)):
        raise CommandError(finding.text, where=finding.subject, remedy=finding.remedy)
    findings = [_KEY_MAKERS[scheme](uri) for uri in key_uris if (scheme := _scheme(uri)) in _KEY_MAKERS]
    if (scheme := _scheme(store_uri)) in _STORE_MAKERS:
        findings.append(_STORE_MAKERS[scheme](store_uri))
    for service in services:
        findings += check_key_service(service)
        findings.append(probe_key(service, compartment, probe_coordinate()))
    findings += probe_store(target, compartment, probe_coordinate())
    for finding in findings:
        if finding.status == "error":
            raise CommandError(finding.text, where=finding.subject, remedy=finding.remedy)
    return findings


def _scheme(uri: str) -> str:
    return uri.partition("://")[0]
