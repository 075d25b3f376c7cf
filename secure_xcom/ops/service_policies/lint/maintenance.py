"""Lint: the consequences of one maintenance identity for several compartments, by service."""

from __future__ import annotations

from collections.abc import Iterator

from secure_xcom.core.access_policy.compartment import Compartment
from secure_xcom.core.access_policy.identities import Identity
from secure_xcom.core.access_policy.policy import AccessPolicy
from secure_xcom.core.access_policy.yaml_reader import Path
from secure_xcom.core.findings import Finding
from secure_xcom.ops.service_policies.lint.lint_finding import lint_finding

# The field of an identity, the schemes of the service's URIs, and the consequence there.
_MEANS = (
    ("vault", ("vault",), "Vault: a rewrap keeps key and context, so no data key gets from one to another"),
    (
        "aws",
        ("aws-kms",),
        (
            "KMS: ReEncrypt is compiled for one key at a time (kms:ReEncryptOnSameKey), so no data key gets from "
            "one to another; moving wraps to another key needs an identity of that compartment alone"
        ),
    ),
    ("vault", ("vault-kv",), "Vault KV: it lists and destroys payloads of all of them"),
    ("aws", ("s3",), "S3: it lists and deletes payloads and claims of all of them, and reads no payload"),
    (
        "google",
        ("gs",),
        (
            "Google: it deletes payloads and claims of all of them, reads no payload, and sees the names of all "
            "objects of the bucket, because a condition on listing names the bucket alone"
        ),
    ),
    ("azure", ("abfs",), "Azure: it lists and deletes payloads and claims of all of them, and reads no payload"),
)


def findings(policy: AccessPolicy) -> Iterator[Finding]:
    """Return the findings about maintenance."""
    for index, identity in enumerate(policy.identities):
        maintained = _maintained(policy, identity)
        path: Path = ("identities", index, "grants")
        if len(maintained) > 1:
            yield _several(identity, maintained, path)
            yield from _of_shared_keys(identity, maintained, path)
        yield from _of_contexts(policy, identity, maintained, path)


def _maintained(policy: AccessPolicy, identity: Identity) -> list[Compartment]:
    names = dict.fromkeys(grant.compartment for grant in identity.grants if grant.role == "maintenance")
    return [policy.compartment(name) for name in names]


def _several(identity: Identity, maintained: list[Compartment], path: Path) -> Finding:
    schemes = {
        uri.partition("://")[0]
        for compartment in maintained
        for uri in (*compartment.all_key_uris, *compartment.all_store_uris)
    }
    means = [text for field, of, text in _MEANS if getattr(identity, field) is not None and schemes & set(of)]
    return lint_finding(
        "shared-maintenance",
        "ok",
        path,
        f"one identity maintains {', '.join(compartment.name for compartment in maintained[:5])}: whoever "
        "compromises it can delete in all of them" + "".join(f". {text}" for text in means),
    )


def _of_shared_keys(identity: Identity, maintained: list[Compartment], path: Path) -> Iterator[Finding]:
    if identity.aws is None:
        return
    owners: dict[str, list[str]] = {}
    for compartment in maintained:
        for name in dict.fromkeys(map(_key_name, compartment.all_key_uris)):
            if name:
                owners.setdefault(name, []).append(compartment.name)
    for name, names in owners.items():
        if len(names) > 1:
            yield lint_finding(
                "rewrap-shared-key",
                "warning",
                path,
                f"{identity.name!r} maintains {', '.join(names[:5])}, which share the KMS key {name:.100}: no "
                "condition compares the two contexts of a ReEncrypt, so it could wrap what is of one for the "
                "other, and no right to rewrap with this key is compiled for it",
                "give each compartment a key of its own, or a maintenance identity of its own",
            )


def _key_name(uri: str) -> str:
    """Return how KMS knows a key within an account and region, or nothing for another service's."""
    scheme, _, rest = uri.partition("?")[0].partition("://")
    return rest.partition("/")[2].rpartition(":")[2].removeprefix("key/") if scheme == "aws-kms" else ""


def _of_contexts(
    policy: AccessPolicy, identity: Identity, maintained: list[Compartment], path: Path
) -> Iterator[Finding]:
    """Return where somebody may open a part of a KMS key, and maintenance decides what is in that part."""
    for compartment in maintained if identity.aws is not None else ():
        if not any(_key_name(uri) for uri in compartment.all_key_uris):
            continue
        limited = any(reader.of_dags != ("*",) or reader.of_tasks != ("*",) for reader in compartment.readers)
        limited |= any(
            grant.compartment == compartment.name and grant.dags is not None and grant.role != "maintenance"
            for other in policy.identities
            for grant in other.grants
        )
        if limited:
            yield lint_finding(
                "rewrap-changes-context",
                "ok",
                path,
                f"some may open a part of {compartment.name!r} only, and no condition of KMS compares the two "
                f"contexts of a ReEncrypt: {identity.name!r} could wrap what is of one DAG as if it "
                "were of another (Vault's rewrap cannot)",
            )
