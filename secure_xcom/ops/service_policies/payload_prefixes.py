"""The buckets and prefixes of a right's sealed payloads."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from secure_xcom.core.access_policy.compartment import Compartment
from secure_xcom.core.coordinate import CLAIMS, path_segment
from secure_xcom.ops.service_policies.rights import Right
from secure_xcom.stores.bucket_uri import BucketUri


@dataclass(frozen=True, slots=True)
class Prefix:
    """A bucket and a prefix in it that ends in a slash."""

    bucket: str
    prefix: str


def buckets(uris: tuple[str, ...], scheme: str) -> Iterator[BucketUri]:
    """Yield the stores of a scheme among store URIs."""
    for uri in uris:
        if uri.startswith(f"{scheme}://"):
            yield BucketUri.parse(uri, scheme)


def prefixes(right: Right, scheme: str) -> tuple[Prefix, ...]:
    """Return a right's prefixes: of the compartment or its DAGs. Paths have tasks only after the run."""
    compartment = right.compartment
    uris = compartment.written_store_uris if right.act == "push" else compartment.all_store_uris
    places = [
        Prefix(place.bucket, below(place, compartment, dag))
        for place in buckets(uris, scheme)
        for dag in right.scope.dags
    ]
    return tuple(dict.fromkeys(places))


def claim_prefixes(right: Right, scheme: str) -> tuple[Prefix, ...]:
    """Return the prefixes of the claims that a right needs: a pull creates claims, maintenance deletes them.

    Empty if no key of the compartment is exclusive, or the right reads nothing exclusive.
    """
    compartment = right.compartment
    if not compartment.exclusive or not right.claims or right.act not in ("pull", "rewrap"):
        return ()
    places = [
        Prefix(place.bucket, below(place, compartment, dag, claims=True))
        for place in buckets(compartment.all_store_uris, scheme)
        for dag in right.scope.dags
    ]
    return tuple(dict.fromkeys(places))


def below(place: BucketUri, compartment: Compartment, dag: str | None = None, *, claims: bool = False) -> str:
    """Return the prefix of a compartment, or of a DAG of it, with a trailing slash.

    :param claims: True for the prefix of the claims on its payloads.
    """
    parts = [
        *([place.prefix] if place.prefix else []),
        *([CLAIMS] if claims else []),
        path_segment(compartment.name),
    ]
    return "/".join([*parts, *([] if dag is None else [path_segment(dag)])]) + "/"
