"""Where the sealed payloads of a right lie: buckets, and the prefixes in them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from secure_xcom.core.access_policy import Compartment
from secure_xcom.core.coordinate import CLAIMS, path_segment
from secure_xcom.ops.service_policies.rights import Right
from secure_xcom.stores.bucket_uri import BucketUri


@dataclass(frozen=True, slots=True)
class Prefix:
    """A bucket and a prefix in it that ends in a slash."""

    bucket: str
    prefix: str


def buckets(uris: tuple[str, ...], scheme: str) -> Iterator[BucketUri]:
    """The stores of a scheme among store URIs."""
    for uri in uris:
        if uri.startswith(f"{scheme}://"):
            yield BucketUri.parse(uri, scheme)


def prefixes(right: Right, scheme: str) -> tuple[Prefix, ...]:
    """The prefixes of a right: the compartment's, or its DAGs'. Tasks stand behind the run: no prefix has one."""
    own = right.compartment
    uris = own.written_store_uris if right.act == "push" else own.all_store_uris
    found = [
        Prefix(place.bucket, below(place, own, dag)) for place in buckets(uris, scheme) for dag in right.scope.dags
    ]
    return tuple(dict.fromkeys(found))


def claim_prefixes(right: Right, scheme: str) -> tuple[Prefix, ...]:
    """The prefixes of the claims that a right needs: who pulls makes them, who maintains takes them away.

    None where nothing of the compartment is exclusive by its key.
    """
    own = right.compartment
    if not own.exclusive or right.act not in ("pull", "rewrap"):
        return ()
    found = [
        Prefix(place.bucket, below(place, own, dag, claims=True))
        for place in buckets(own.all_store_uris, scheme)
        for dag in right.scope.dags
    ]
    return tuple(dict.fromkeys(found))


def below(place: BucketUri, compartment: Compartment, dag: str | None = None, *, claims: bool = False) -> str:
    """The prefix of a compartment, or of a DAG of it, with its slash.

    :param claims: that of the claims on its payloads.
    """
    parts = [
        *([place.prefix] if place.prefix else []),
        *([CLAIMS] if claims else []),
        path_segment(compartment.name),
    ]
    return "/".join([*parts, *([] if dag is None else [path_segment(dag)])]) + "/"
