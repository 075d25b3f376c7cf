"""Lint: keys that do not separate compartments, and routes that match nothing."""

from __future__ import annotations

from collections.abc import Iterator

from secure_xcom.core.access_policy.compartment import Compartment
from secure_xcom.core.access_policy.glob_relations import covers
from secure_xcom.core.access_policy.policy import AccessPolicy
from secure_xcom.core.access_policy.yaml_reader import Path
from secure_xcom.core.findings import Finding, Status
from secure_xcom.ops.service_policies.grants import grants_of
from secure_xcom.ops.service_policies.lint.lint_finding import lint_finding

_BATCHES = "may use all of the key, and Vault cannot inspect a batch, so nothing limits them to one compartment"


def findings(policy: AccessPolicy) -> Iterator[Finding]:
    """Return the findings about keys and stores."""
    yield from _shared(policy)
    for index, compartment in enumerate(policy.compartments):
        path: Path = ("compartments", index)
        yield from _of_one(compartment, path, alone=len(policy.compartments) == 1)
        yield from _routes(compartment, path)
        yield from _retentions(compartment, path)


def _keys(compartment: Compartment, path: Path) -> Iterator[tuple[str, Path]]:
    for number, uri in enumerate(compartment.key_uris):
        yield uri, (*path, "key_uris", number)
    for place, route in enumerate(compartment.routes):
        for number, uri in enumerate(route.key_uris or ()):
            yield uri, (*path, "routes", place, "key_uris", number)


def _shared(policy: AccessPolicy) -> Iterator[Finding]:
    whole: dict[str, set[str]] = {}
    for identity in policy.identities:
        for grant in grants_of(policy, identity):
            if grant.dags is None:
                whole.setdefault(grant.compartment, set()).add(identity.name)
    users: dict[tuple[str, str], tuple[Compartment, str]] = {}
    for index, compartment in enumerate(policy.compartments):
        for uri, path in _keys(compartment, ("compartments", index)):
            name = uri.partition("?")[0]
            scheme, _, rest = name.partition("://")
            # Another connection may lead to the same server, and then the key is the same.
            key = (scheme, rest if scheme == "local" else rest.partition("/")[2])
            other, first = users.setdefault(key, (compartment, name))
            if other is compartment:
                continue
            left, right = (whole.get(owner.name, set()) for owner in (compartment, other))
            status: Status = "error" if left != right else "warning"
            who = ", ".join(sorted(left ^ right)[:5])
            yield lint_finding(
                "shared-key",
                status,
                path,
                f"this is the key of {other.name!r}"
                + (", if both connections lead to one server" if name != first else "")
                + (f": {who} {_BATCHES}" if who else ": only the encryption context keeps the two apart"),
                "give each compartment its own key",
            )


def _of_one(compartment: Compartment, path: Path, *, alone: bool) -> Iterator[Finding]:
    for field, uri_path, uris in (
        ("key_uris", path, compartment.key_uris),
        *(("key_uris", (*path, "routes", n), route.key_uris or ()) for n, route in enumerate(compartment.routes)),
    ):
        if uris and all("wrap=never" in uri.partition("?")[2].split("&") for uri in uris):
            yield lint_finding(
                "no-key-wraps",
                "error",
                (*uri_path, field),
                "no key may wrap, so nothing can be pushed",
                "remove ?wrap=never from at least one key URI",
            )
    local = [uri for uri, _ in _keys(compartment, path) if uri.startswith("local://")]
    if local and not alone:
        yield lint_finding(
            "local-key",
            "warning",
            (*path, "key_uris"),
            f"whoever can read a keyring file opens everything with it: it does not protect {compartment.name!r}",
            "use Vault or KMS to separate compartments from each other's workers",
        )
    for number, uri in enumerate(compartment.former_store_uris):
        if uri in compartment.written_store_uris:
            yield lint_finding(
                "former-is-current",
                "warning",
                (*path, "former_store_uris", number),
                "this store is still written to",
                "remove it here",
            )


def _retentions(compartment: Compartment, path: Path) -> Iterator[Finding]:
    for number, entry in enumerate(compartment.retention_of):
        before = [glob for earlier in compartment.retention_of[:number] for glob in earlier.keys]
        if all(any(covers(wide, glob) for wide in before) for glob in entry.keys):
            yield lint_finding(
                "unreachable-retention",
                "error",
                (*path, "retention_of", number),
                "the entries above name every key that this one names",
                "move it up, or remove it",
            )


def _routes(compartment: Compartment, path: Path) -> Iterator[Finding]:
    for number, route in enumerate(compartment.routes):
        before = compartment.routes[:number]
        globs = [glob for earlier in before for glob in earlier.keys or ()]
        by_key = all(any(covers(wide, glob) for wide in globs) for glob in route.keys or ())
        by_name = route.sensitive is None or any(earlier.sensitive for earlier in before)
        if by_key and by_name:
            yield lint_finding(
                "unreachable-route",
                "error",
                (*path, "routes", number),
                "the routes above match everything that this one would match",
                "move it up, or remove it",
            )
