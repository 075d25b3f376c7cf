"""Lint: key URIs and store URIs that are invalid for their service.

A process parses a URI when it uses it, so without lint a typo would appear at the first push.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from secure_xcom.core.access_policy.compartment import Compartment
from secure_xcom.core.access_policy.policy import AccessPolicy
from secure_xcom.core.access_policy.yaml_reader import Path
from secure_xcom.core.errors import UriInvalid
from secure_xcom.core.findings import Finding
from secure_xcom.keys import KeyUri
from secure_xcom.keys.aws_kms_format import KmsKey
from secure_xcom.keys.local import keyring_path
from secure_xcom.keys.vault import split_uri as split_key
from secure_xcom.ops.service_policies.lint.lint_finding import lint_finding
from secure_xcom.stores.bucket_uri import BucketUri, memory_name
from secure_xcom.stores.files import FileStore
from secure_xcom.stores.vault_kv_uri import split_uri as split_kv

_KEYS: dict[str, Callable[[str], object]] = {"vault": split_key, "aws-kms": KmsKey.parse, "local": keyring_path}
_BUCKETS = ("s3", "gs", "abfs")


def findings(policy: AccessPolicy) -> Iterator[Finding]:
    """Return the findings about URIs."""
    for index, compartment in enumerate(policy.compartments):
        for read, uri, path in _uris(compartment, ("compartments", index)):
            try:
                read(uri)
            except UriInvalid as error:
                # The error repeats only safe parts of a URI: the text before an @ may be a password.
                yield lint_finding("unreadable-uri", "error", path, f"{error.what} [{error.where}]", error.remedy)


def _uris(compartment: Compartment, path: Path) -> Iterator[tuple[Callable[[str], object], str, Path]]:
    for number, uri in enumerate(compartment.key_uris):
        yield _key, uri, (*path, "key_uris", number)
    yield _store, compartment.store_uri, (*path, "store_uri")
    for number, uri in enumerate(compartment.former_store_uris):
        yield _store, uri, (*path, "former_store_uris", number)
    for place, route in enumerate(compartment.routes):
        yield _store, route.store_uri, (*path, "routes", place, "store_uri")
        for number, uri in enumerate(route.key_uris or ()):
            yield _key, uri, (*path, "routes", place, "key_uris", number)


def _key(uri: str) -> None:
    scheme = uri.partition("://")[0]
    if scheme not in _KEYS:
        remedy = "write vault://, aws-kms:// or local://"
        raise UriInvalid("no key service has this scheme", where=f"{scheme:.40}://", remedy=remedy)
    _KEYS[scheme](KeyUri.parse(uri).service)


def _store(uri: str) -> None:
    scheme = uri.partition("://")[0]
    if scheme in _BUCKETS:
        BucketUri.parse(uri, scheme)
    elif scheme == "memory":
        memory_name(uri)
    elif scheme == "vault-kv":
        split_kv(uri)
    elif scheme == "file":
        FileStore(uri)
    else:
        remedy = "write s3://, gs://, abfs://, file:// or vault-kv://"
        raise UriInvalid("no store has this scheme", where=f"{scheme:.40}://", remedy=remedy)
