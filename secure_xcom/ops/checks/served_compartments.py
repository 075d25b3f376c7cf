"""Find out which compartments the worker on this machine serves, so that `check` tries no others.

A worker of one compartment is meant to be refused by the keys of the others. What it serves is told by its
identity in the access policy, if the key service names it; otherwise by what its login may do.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from secure_xcom.core.access_policy.compartment import Compartment
from secure_xcom.core.access_policy.identities import Identity
from secure_xcom.core.access_policy.policy import AccessPolicy
from secure_xcom.core.coordinate import Coordinate, encryption_context
from secure_xcom.core.errors import SecureXComError
from secure_xcom.core.findings import Finding
from secure_xcom.core.keyring_errors import KeyringMissing
from secure_xcom.core.service_errors import KeyServiceDenied, KeyServiceLoginRefused
from secure_xcom.core.vault_errors import VaultTrouble
from secure_xcom.keys import DataKey, KeyUri, key_service
from secure_xcom.keys.vault import VaultTransit
from secure_xcom.ops.compartments import carries_identity
from secure_xcom.ops.service_policies.compile.vault import policy_name
from secure_xcom.ops.service_policies.rights import Known, rights_of


@dataclass(frozen=True)
class Served:
    """What to try on this machine.

    :ivar compartments: those whose tasks push and pull here; :ivar findings: how that is known, and the others.
    """

    compartments: tuple[Compartment, ...]
    findings: tuple[Finding, ...] = ()


def served(policy: AccessPolicy, coordinate: Coordinate) -> Served:
    """Return the compartments that this worker serves: all, if the policy separates no workers.

    :param coordinate: the coordinate that probes act as.
    """
    if len(policy.compartments) == 1 or not _separates(policy):
        return Served(policy.compartments)
    identities, how = _recognized(policy)
    if identities:
        return _by_identity(policy, identities, how, coordinate)
    return _by_rights(policy, coordinate)


def _separates(policy: AccessPolicy) -> bool:
    """Check whether the policy gives compartments workers of their own, by an identity or a place."""
    return any(identity.workers_of or identity.grants for identity in policy.identities) or any(
        carries_identity(compartment.tasks_run_on) for compartment in policy.compartments
    )


# --- by the identity --------------------------------------------------------------------------------------


def _recognized(policy: AccessPolicy) -> tuple[list[Identity], str]:
    """Return the policy's identities that this process is, and what told so."""
    names = {policy_name(identity): identity for identity in policy.identities}
    for uri in dict.fromkeys(uri for compartment in policy.compartments for uri in compartment.all_key_uris):
        if uri.startswith("vault://") and (attached := names.keys() & _vault_policies(uri)):
            return [names[name] for name in sorted(attached)], "the policies of its Vault token"
    arn = os.environ.get("AWS_ROLE_ARN")
    by_role = [identity for identity in policy.identities if identity.aws and identity.aws.principal == arn]
    return by_role, f"AWS_ROLE_ARN = {arn}"


def _vault_policies(uri: str) -> set[str]:
    try:
        service = key_service(KeyUri.parse(uri).service)
        if not isinstance(service, VaultTransit):
            return set()
        data = service.client.call("GET", "auth/token/lookup-self").data
    except (SecureXComError, VaultTrouble):
        # The checks of the key say what is wrong.
        return set()
    return {*(data.get("policies") or ()), *(data.get("identity_policies") or ())}


def _by_identity(policy: AccessPolicy, identities: Sequence[Identity], how: str, coordinate: Coordinate) -> Served:
    acts: dict[str, set[str]] = {}
    for identity in identities:
        for right in rights_of(policy, identity, Known()):
            acts.setdefault(right.compartment.name, set()).add(right.act)
    names = ", ".join(identity.name for identity in identities)
    findings = [Finding("identity", "ok", f"this is {names} of the access policy, according to {how}")]
    serves: list[Compartment] = []
    for compartment in policy.compartments:
        held = acts.get(compartment.name, set())
        if {"push", "pull"} <= held:
            serves.append(compartment)
        elif held:
            words = " and ".join(sorted(held - {"look"}))
            text = f"{names} may {words} there but not both push and pull, so it is not probed"
            findings.append(Finding(f"compartment {compartment.name}", "ok", text))
        else:
            findings.append(_of_another(compartment, coordinate, names))
    return Served(tuple(serves), tuple(findings))


def _of_another(compartment: Compartment, coordinate: Coordinate, names: str) -> Finding:
    """Report a compartment that the identity has no right in: its keys have to refuse."""
    subject = f"compartment {compartment.name}"
    wrapping = [uri for uri in compartment.all_key_uris if _wraps(uri, compartment, coordinate) is None]
    if wrapping:
        return Finding(
            subject,
            "warning",
            f"{wrapping[0]} wraps for {names}, which has no right in this compartment",
            "compare the service's policy with the one that `secure-xcom policy compile` writes; "
            "`secure-xcom policy verify` tries all of them",
        )
    return Finding(subject, "ok", f"{names} has no rights there, and its keys refuse; it has workers of its own")


# --- by the rights ----------------------------------------------------------------------------------------


def _by_rights(policy: AccessPolicy, coordinate: Coordinate) -> Served:
    refused = {compartment.name: _refused_by(compartment, coordinate) for compartment in policy.compartments}
    serves = tuple(compartment for compartment in policy.compartments if refused[compartment.name] is None)
    if not serves:
        # Then it is no worker of another compartment: each refusal is a fault, and is reported as one.
        return Served(policy.compartments)
    findings = [
        Finding(
            f"compartment {compartment.name}",
            "ok",
            f"not tried: {refused[compartment.name]}; that is correct if it has workers of its own; otherwise "
            "name one of its DAGs with --dag to see why",
        )
        for compartment in policy.compartments
        if refused[compartment.name] is not None
    ]
    return Served(serves, tuple(findings))


def _refused_by(compartment: Compartment, coordinate: Coordinate) -> str | None:
    """Return how every key of a compartment refuses this identity; None if one does not, or has another fault."""
    errors = [_wraps(uri, compartment, coordinate) for uri in compartment.key_uris]
    for error in errors:
        refuses = isinstance(error, KeyringMissing) or (
            isinstance(error, KeyServiceDenied) and not isinstance(error, KeyServiceLoginRefused)
        )
        if not refuses:
            return None
    return errors[0].what if errors[0] else None


def _wraps(uri: str, compartment: Compartment, coordinate: Coordinate) -> SecureXComError | None:
    """Wrap a data key for a compartment, and return the error; None if it was wrapped."""
    try:
        key_service(uri).wrap(DataKey.generate(), encryption_context(compartment.name, coordinate))
    except SecureXComError as error:
        return error
    return None
