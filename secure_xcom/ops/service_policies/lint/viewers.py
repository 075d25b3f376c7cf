"""Lint: who may see values, and where the service that shows them is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import urlsplit

from secure_xcom.core.access_policy.compartment import Compartment, Viewer
from secure_xcom.core.access_policy.field_types import is_glob
from secure_xcom.core.access_policy.glob_relations import covers
from secure_xcom.core.access_policy.policy import AccessPolicy
from secure_xcom.core.access_policy.reveal_section import Reveal
from secure_xcom.core.access_policy.yaml_reader import Path
from secure_xcom.core.findings import Finding
from secure_xcom.ops.service_policies.lint.lint_finding import lint_finding

_LOOPBACK = re.compile(r"http://(localhost|127\.[0-9.]+|\[::1\])(:[0-9]+)?(/.*)?")


def findings(policy: AccessPolicy) -> Iterator[Finding]:
    """Return the findings about viewers and the reveal service."""
    seen: dict[str, str] = {}
    for index, compartment in enumerate(policy.compartments):
        path: Path = ("compartments", index)
        for number, viewer in enumerate(compartment.viewers):
            viewer_path: Path = (*path, "viewers", number)
            yield from _of_viewer(policy, compartment, number, viewer, viewer_path)
            other = seen.setdefault(viewer.group.lower(), viewer.group)
            if other != viewer.group:
                yield lint_finding(
                    "viewer-case",
                    "error",
                    (*viewer_path, "group"),
                    f"{viewer.group!r} and {other!r} differ only in case: Vault treats them as one group, so "
                    "people in one may get the rights of the other",
                    "write the group as the provider does",
                )
        if compartment.viewers:
            yield from _of_compartment(policy, compartment, path)
    if policy.reveal is not None:
        yield from _of_service(policy, policy.reveal)


def _of_viewer(
    policy: AccessPolicy, compartment: Compartment, number: int, viewer: Viewer, path: Path
) -> Iterator[Finding]:
    for place, dag in enumerate(viewer.dags):
        if not is_glob(dag) and policy.resolve_dag(dag) is not compartment:
            yield lint_finding(
                "viewer-never",
                "error",
                (*path, "dags", place),
                f"the DAG {dag!r} does not belong to {compartment.name!r}",
                "correct the id",
            )
    for earlier in compartment.viewers[:number]:
        if (
            earlier.group == viewer.group
            and _covered(earlier.dags, viewer.dags)
            and _covered(earlier.tasks, viewer.tasks)
        ):
            yield lint_finding(
                "viewer-repeated",
                "warning",
                path,
                f"an earlier entry shows {viewer.group!r} all of this",
                "leave one out",
            )
            return


def _covered(wide: tuple[str, ...], narrow: tuple[str, ...]) -> bool:
    return all(any(covers(glob, inner) for glob in wide) for inner in narrow)


def _of_compartment(policy: AccessPolicy, compartment: Compartment, path: Path) -> Iterator[Finding]:
    reveal = policy.reveal
    if reveal is None:
        yield lint_finding(
            "viewers-without-reveal",
            "warning",
            (*path, "viewers"),
            "the file has no section reveal, so nobody is shown anything",
            "add reveal at the top level, or remove the viewers",
        )
        return
    if "*" in compartment.exclusive:
        yield lint_finding(
            "viewers-of-exclusive",
            "warning",
            (*path, "viewers"),
            f"every XCom of {compartment.name!r} is exclusive, and exclusive XComs are never revealed",
            "remove the viewers",
        )
    if reveal.vault is not None and not any(uri.startswith("vault://") for uri in compartment.key_uris):
        for number, uri in enumerate(compartment.key_uris):
            yield lint_finding(
                "viewer-key-elsewhere",
                "warning",
                (*path, "key_uris", number),
                f"browsers unwrap at Vault, and {uri.partition('?')[0]!r} is not one of its keys: nobody is "
                f"shown anything of {compartment.name!r}",
                "add a Vault key, or run the service with --opens (reveal.oidc)",
            )
    role = "fetcher" if reveal.vault is not None else "revealer"
    grants = (grant for identity in policy.identities for grant in identity.grants)
    if policy.identities and not any(
        grant.compartment == compartment.name and grant.role == role for grant in grants
    ):
        yield lint_finding(
            "reveal-without-rights",
            "warning",
            (*path, "viewers"),
            f"no identity is a {role} in {compartment.name!r}, so nothing gives the reveal service its "
            "rights there",
            f"grant it {{compartment: {compartment.name}, as: {role}}}",
        )


def _of_service(policy: AccessPolicy, reveal: Reveal) -> Iterator[Finding]:
    if not any(compartment.viewers for compartment in policy.compartments):
        yield lint_finding(
            "reveal-without-viewers",
            "warning",
            ("reveal",),
            "no compartment has viewers, so nobody is shown anything",
            "give a compartment viewers, or remove reveal",
        )
    addresses = {"origin": reveal.origin, "airflow_origin": reveal.airflow_origin}
    below: dict[str, Path] = {name: ("reveal", name) for name in addresses}
    if reveal.vault is not None:
        addresses["address"], below["address"] = reveal.vault.address, ("reveal", "vault", "address")
    if reveal.oidc is not None:
        addresses["issuer"], below["issuer"] = reveal.oidc.issuer, ("reveal", "oidc", "issuer")
    for name, address in addresses.items():
        if address.startswith("http://") and not _LOOPBACK.fullmatch(address):
            yield lint_finding(
                "reveal-plain-http",
                "error",
                below[name],
                f"{address} is plain http: anyone on the path reads tokens and values, or changes the page",
                "write https://",
            )
        if name != "origin" and _origin(address) == reveal.origin:
            yield lint_finding(
                "reveal-same-origin",
                "error",
                below[name],
                f"{name} is also the origin of the reveal service: every script there can read what it shows",
                "give the service a host of its own",
            )
    if urlsplit(reveal.origin).hostname == urlsplit(reveal.airflow_origin).hostname and (
        reveal.origin != reveal.airflow_origin and not _LOOPBACK.fullmatch(reveal.origin)
    ):
        yield lint_finding(
            "reveal-same-host",
            "warning",
            ("reveal", "origin"),
            "Airflow and the reveal service differ only in the port: cookies of one reach the other",
            "give the service a host of its own",
        )
    if reveal.vault is None:
        return
    for index, identity in enumerate(policy.identities):
        if any(grant.role == "revealer" for grant in identity.grants):
            yield lint_finding(
                "reveal-holds-key",
                "error",
                ("identities", index, "grants"),
                f"{identity.name!r} may unwrap, although people's browsers do that (reveal.vault)",
                "make it a fetcher, which has no key",
            )


def _origin(address: str) -> str:
    parts = urlsplit(address)
    return f"{parts.scheme}://{parts.netloc}"
