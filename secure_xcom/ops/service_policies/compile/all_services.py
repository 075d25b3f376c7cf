"""Compile the access policy for all services. The same policy always gives the same bytes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from secure_xcom.core.access_policy.glob_relations import holds_in
from secure_xcom.core.access_policy.policy import AccessPolicy
from secure_xcom.core.policy_errors import PolicyInvalid
from secure_xcom.ops.compartments import longest_retention_seconds
from secure_xcom.ops.service_policies.compile import aws_iam, aws_kms, aws_s3, azure, google, vault, vault_reveal
from secure_xcom.ops.service_policies.rights import Known, Right, rights_of

INDEX = "README.md"
_MARK = "<!-- compiled by secure-xcom -->"


@dataclass
class Compiled:
    """The compiled files and notes for people.

    :ivar files: path below the output folder -> text.
    :ivar about: path -> the control that the file implements and for whom, because JSON has no comments.
    """

    files: dict[str, str] = field(default_factory=dict)
    about: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def add(self, path: str, content: str | dict[str, Any] | list[Any], about: str) -> None:
        """Add a file. Anything but text is written as JSON."""
        self.files[path] = content if isinstance(content, str) else json.dumps(content, indent=2) + "\n"
        self.about[path] = about


def compile_policy(policy: AccessPolicy, dags: Sequence[str] = ()) -> Compiled:
    """Return everything that Vault, AWS, Google and Azure need to enforce the access policy.

    :param dags: the ids of existing DAGs, for globs that limit a grant.
    :raises PolicyInvalid: a DAG id is invalid; :raises UriInvalid: a key URI or store URI is invalid.
    """
    for dag in dags:
        if not dag.isprintable():
            raise PolicyInvalid("a DAG id cannot contain this character", where=f"--dag {dag!r:.80}")
    compiled, known = Compiled(), Known(tuple(sorted(set(dags))))
    rights: list[Right] = []
    for identity in policy.identities:
        granted = rights_of(policy, identity, known)
        rights += granted
        if identity.vault is not None:
            hcl = vault.policy_hcl(policy, identity, granted, known.notes)
            if hcl is not None:
                name = vault.policy_name(identity)
                compiled.add(f"vault/policies/{name}.hcl", hcl, f"Vault's ACL for {identity.name}: control 1")
                role = vault.role(identity)
                if role is not None:
                    path, body = role
                    about = f"who gets the policy {name}"
                    compiled.add(f"vault/roles/{identity.name}.json", {"path": path, "body": body}, about)
        if identity.aws is not None:
            document = aws_iam.identity_policy(granted)
            if document is not None:
                about = f"IAM policy of {identity.aws.principal}: controls 1 (KMS) and 2 (S3)"
                compiled.add(f"aws/identities/{identity.name}.json", document, about)
    for name, hcl in vault_reveal.policies(policy, known).items():
        compiled.add(f"vault/policies/{name}.hcl", hcl, "Vault's ACL for a group of viewers: control 1")
    if login := vault_reveal.record(policy):
        compiled.add("vault/reveal.json", {"reveal": login}, "how viewers log in, and their groups")
    for (mount, name), settings in vault.transit_settings(policy).items():
        about = "settings of a transit key: derived, not exportable, rotated"
        # A tilde is in no mount's name, so no two keys share a file.
        compiled.add(f"vault/transit/{mount.replace('/', '~')}~{name}.json", settings, about)
    _shared_aws(compiled, policy, rights, known.notes)
    for bucket, bindings in google.bindings(rights).items():
        compiled.add(
            f"google/{bucket}.bindings.json",
            bindings,
            f"IAM bindings of the bucket {bucket}, with uniform access and policy version 3: control 2",
        )
        compiled.add("google/roles.json", google.ROLES, "custom roles that the bindings name")
    for container, assignments in azure.assignments(rights).items():
        about = f"role assignments on the container {container}: control 2"
        compiled.add(f"azure/{container}.assignments.json", assignments, about)
        compiled.add("azure/roles.json", azure.roles(), "custom roles that the assignments name")
    compiled.notes = list(dict.fromkeys(known.notes))
    compiled.files = dict(sorted(compiled.files.items()))
    compiled.files[INDEX] = _index(policy, compiled)
    return compiled


def _shared_aws(compiled: Compiled, policy: AccessPolicy, rights: Sequence[Right], notes: list[str]) -> None:
    for key, document in aws_kms.key_policies(policy, rights).items():
        name = key.replace("/", "~").replace(":", "+")
        compiled.add(f"aws/keys/{name}.json", document, f"key policy of {key}: control 1")
    if not any(right.identity.aws for right in rights):
        return
    for right in rights:
        for shared in aws_kms.kms_keys(right.compartment) if right.identity.aws else ():
            if others := aws_kms.shared_with(right, shared):
                notes.append(
                    f"{right.identity.name}: no rewrap in {right.compartment.name} with {shared.request_id}, "
                    f"which is also a key of {', '.join(others)}: KMS cannot keep it from wrapping what is of one "
                    "for the other"
                )
    for bucket, document in aws_s3.bucket_policies(policy, rights).items():
        compiled.add(f"aws/buckets/{bucket}.policy.json", document, f"bucket policy of {bucket}: control 2")
        about = f"no public access to {bucket}, whatever a policy says"
        compiled.add(f"aws/buckets/{bucket}.public-access.json", aws_s3.NO_PUBLIC_ACCESS, about)
    for compartment in policy.compartments:
        holds = holds_in(policy, compartment)
        if holds and longest_retention_seconds(compartment) is not None:
            notes.append(
                f"{compartment.name}: no bucket deletes what expired by itself, for the legal hold "
                f"{holds[0].name!r}"
            )
    for bucket, rules in aws_s3.lifecycles(policy).items():
        compiled.add(f"aws/buckets/{bucket}.lifecycle.json", rules, f"when payloads in {bucket} go")


def _index(policy: AccessPolicy, compiled: Compiled) -> str:
    lines = [
        _MARK,
        "# Compiled from the access policy",
        "",
        f"SHA-256 of the file: `{policy.digest}`. Do not edit: ",
    ]
    lines[-1] += "compile again."
    lines += ["", "| file | what it is |", "|---|---|"]
    lines += [f"| `{path}` | {compiled.about[path]} |" for path in compiled.files]
    if compiled.notes:
        lines += ["", "Notes:", "", *(f"- {note}" for note in compiled.notes)]
    return "\n".join(lines) + "\n"


def write(compiled: Compiled, folder: Path, *, dry_run: bool = False) -> tuple[str, ...]:
    """Write the files, delete those of an earlier run that are not needed any more, and return the changed paths.

    :param dry_run: only return the paths that would change.
    :raises PolicyInvalid: the folder contains other files, or cannot be written.
    """
    try:
        index = folder / INDEX
        former = index.read_text() if index.exists() else ""
        if folder.exists() and any(folder.iterdir()) and not former.startswith(_MARK):
            raise PolicyInvalid(
                "the folder contains other files", where=str(folder), remedy="name a new or an empty folder"
            )
        changed = []
        for line in former.splitlines():
            path = line.split("`")[1] if line.startswith("| `") else ""
            if path and path not in compiled.files and ".." not in path and (folder / path).is_file():
                changed.append(path)
                if not dry_run:
                    (folder / path).unlink()
        for path, text in compiled.files.items():
            target = folder / path
            if not target.exists() or target.read_text() != text:
                changed.append(path)
                if not dry_run:
                    target.parent.mkdir(parents=True, exist_ok=True)
                    target.write_text(text)
    except OSError as error:
        raise PolicyInvalid(f"the folder cannot be written ({type(error).__name__})", where=str(folder)) from None
    return tuple(sorted(changed))
