"""Probes: do what a push and a pull do, with a random data key and random bytes."""

from __future__ import annotations

import secrets
import time
from pathlib import Path
from urllib.parse import unquote, urlsplit

import uuid6

from secure_xcom.core import clock
from secure_xcom.core.access_policy.compartment import Compartment
from secure_xcom.core.coordinate import Coordinate, encryption_context, object_path
from secure_xcom.core.errors import KeyServiceError, ObjectMissing, SecureXComError, StoreError
from secure_xcom.core.findings import Finding
from secure_xcom.core.store_errors import StoreDenied
from secure_xcom.keys import DataKey, KeyService, KeyUri, Wrap
from secure_xcom.keys.local import keyring_path
from secure_xcom.ops.error_findings import as_finding
from secure_xcom.stores import Store
from secure_xcom.stores.files import FileStore

PROBE_DAG = "secure_xcom_check"
# The size of a small sealed payload.
_PROBE_BYTES = 256
# AWS refuses requests that are 15 minutes off; `created` and `expires` mislead people long before that.
_SKEW_SECONDS = 60


def probe_coordinate(dag_id: str = PROBE_DAG) -> Coordinate:
    """Return the coordinate of a probe. Policies may depend on the DAG, so the caller can choose it."""
    return Coordinate(dag_id, "secure_xcom_check", "secure_xcom_check", -1, "probe")


def probe_key(service: KeyService, compartment: Compartment, coordinate: Coordinate) -> Finding:
    """Wrap a fresh data key and unwrap it again, with the encryption context of the coordinate."""
    subject = f"wrap and unwrap {service.uri}"
    context = encryption_context(compartment.name, coordinate)
    data_key = DataKey.generate()
    started = time.monotonic()
    try:
        answer = service.unwrap_many([Wrap(service.wrap(data_key, context), context)])[0]
        if isinstance(answer, KeyServiceError):
            raise answer
        if answer != data_key:
            raise KeyServiceError("the unwrapped data key differs from the wrapped one", where=service.uri)
    except SecureXComError as error:
        return as_finding(subject, error)
    return Finding(subject, "ok", f"a data key was wrapped and unwrapped in {_milliseconds(started)} ms")


def keyring_in_store(key_uri: str, store_uri: str) -> list[Finding]:
    """Report a local keyring that is in the folder of a store on this machine.

    A copy of the store, such as a backup, would then contain the wrapping keys as well.
    """
    if not (key_uri.startswith("local://") and store_uri.startswith("file://")):
        return []
    keyring = Path(keyring_path(KeyUri.parse(key_uri).service)).resolve()
    folder = Path(unquote(urlsplit(FileStore(store_uri).uri).path)).resolve()
    if not keyring.is_relative_to(folder):
        return []
    what = (
        f"the keyring is in the folder of the store {store_uri}, so a copy of the store contains the keys as well"
    )
    return [Finding(f"key {key_uri}", "error", what, "move the keyring to a folder outside of every store")]


def probe_store(store: Store, compartment: Compartment, coordinate: Coordinate) -> list[Finding]:
    """Put an object, get it, list it (for its time), and delete it."""
    subject = f"put, get and delete in {store.uri}"
    path = object_path(compartment.name, coordinate, str(uuid6.uuid7()))
    payload = secrets.token_bytes(_PROBE_BYTES)
    started = time.monotonic()
    try:
        store.put(path, [payload])
        try:
            if b"".join(store.get(path)) != payload:
                raise StoreError("the bytes that were read differ from those that were written", where=store.uri)
            took = _milliseconds(started)
            clock = _clock(store, path)
        finally:
            left = store.delete_many([path])[0]
        if isinstance(left, StoreDenied):
            told = (
                f"an object was written and read in {took} ms; this identity may not delete, as workers need not"
            )
            return [Finding(subject, "ok", f"{told}: `secure-xcom gc` removes the probe's object"), clock]
        if left is not None:
            raise left
        _expect_missing(store, path)
    except SecureXComError as error:
        return [as_finding(subject, error)]
    return [Finding(subject, "ok", f"an object was written, read and deleted in {took} ms"), clock]


def _expect_missing(store: Store, path: str) -> None:
    try:
        b"".join(store.get(path))
    except ObjectMissing:
        return
    raise StoreError("a deleted object still exists", where=store.uri)


def _clock(store: Store, path: str) -> Finding:
    """Compare this machine's clock, which references and access logs use, with the store's."""
    subject = f"clock against {store.uri}"
    now = clock.now()
    try:
        entries = [entry for entry in store.list(path.rpartition("/")[0] + "/") if entry.path == path]
    except StoreDenied:
        return Finding(
            subject, "ok", "not compared: this identity may not list, which pushes and pulls do not need"
        )
    if not entries:
        return Finding(subject, "warning", "a new object is not listed", "let `secure-xcom gc` list the store")
    skew = (now - entries[0].modified).total_seconds()
    if abs(skew) > _SKEW_SECONDS:
        return Finding(
            subject,
            "warning",
            f"this machine is {skew:+.0f} s off",
            "synchronize the clocks of this machine and the store with NTP",
        )
    return Finding(subject, "ok", f"within {_SKEW_SECONDS} s")


def _milliseconds(started: float) -> int:
    return round((time.monotonic() - started) * 1000)
