"""Probes: what a push and a pull would do, done with a data key and bytes that mean nothing."""

from __future__ import annotations

import secrets
import time
from pathlib import Path
from urllib.parse import unquote, urlsplit

import uuid6

from secure_xcom.core import clock
from secure_xcom.core.access_policy import Compartment
from secure_xcom.core.coordinate import Coordinate, encryption_context, object_path
from secure_xcom.core.errors import KeyServiceError, ObjectMissing, SecureXComError, StoreDenied, StoreError
from secure_xcom.core.findings import Finding, as_finding
from secure_xcom.keys import DataKey, KeyService, KeyUri, Wrap
from secure_xcom.keys.local import keyring_path
from secure_xcom.stores import Store
from secure_xcom.stores.files import FileStore

PROBE_DAG = "secure_xcom_check"
# As many bytes as a small sealed payload has.
_PROBE_BYTES = 256
# AWS refuses requests whose time is 15 minutes off; long before that, `created` and `expires` mislead people.
_SKEW_SECONDS = 60


def probe_coordinate(dag_id: str = PROBE_DAG) -> Coordinate:
    """Where a probe pretends to live. Policies may be scoped by the DAG, so it can be chosen."""
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
            raise KeyServiceError("another data key came back than the one that was wrapped", where=service.uri)
    except SecureXComError as error:
        return as_finding(subject, error)
    return Finding(subject, "ok", f"a data key came back the same, in {_milliseconds(started)} ms")


def keyring_in_store(key_uri: str, store_uri: str) -> list[Finding]:
    """Whether a local keyring lies in the folder of a store, where both are of this machine.

    Whoever copies the store, for a backup say, would copy the wrapping keys along with what they protect.
    """
    if not (key_uri.startswith("local://") and store_uri.startswith("file://")):
        return []
    keyring = Path(keyring_path(KeyUri.parse(key_uri).service)).resolve()
    folder = Path(unquote(urlsplit(FileStore(store_uri).uri).path)).resolve()
    if not keyring.is_relative_to(folder):
        return []
    what = (
        f"the keyring lies in the folder of the store {store_uri}, so a copy of the store holds the keys as well"
    )
    return [Finding(f"key {key_uri}", "error", what, "keep the keyring in a folder that no store is in or above")]


def probe_store(store: Store, compartment: Compartment, coordinate: Coordinate) -> list[Finding]:
    """Put an object, get it, list it (for its time), delete it."""
    subject = f"put, get and delete in {store.uri}"
    path = object_path(compartment.name, coordinate, str(uuid6.uuid7()))
    payload = secrets.token_bytes(_PROBE_BYTES)
    started = time.monotonic()
    try:
        store.put(path, [payload])
        try:
            if b"".join(store.get(path)) != payload:
                raise StoreError("other bytes came back than were put", where=store.uri)
            took = _milliseconds(started)
            clock = _clock(store, path)
        finally:
            left = store.delete_many([path])[0]
        if isinstance(left, StoreDenied):
            told = f"the bytes came back the same, in {took} ms; this identity may not delete, as workers need not"
            return [Finding(subject, "ok", f"{told}: `secure-xcom gc` takes the probe's object"), clock]
        if left is not None:
            raise left
        _expect_missing(store, path)
    except SecureXComError as error:
        return [as_finding(subject, error)]
    return [Finding(subject, "ok", f"the bytes came back the same, in {took} ms, and are gone again"), clock]


def _expect_missing(store: Store, path: str) -> None:
    try:
        b"".join(store.get(path))
    except ObjectMissing:
        return
    raise StoreError("a deleted object is still there", where=store.uri)


def _clock(store: Store, path: str) -> Finding:
    """Hold this machine's clock against the store's: references and access logs carry the time of this one."""
    subject = f"clock against {store.uri}"
    now = clock.now()
    try:
        found = [entry for entry in store.list(path.rpartition("/")[0] + "/") if entry.path == path]
    except StoreDenied:
        return Finding(subject, "ok", "not compared: this identity may not list, which pushes and pulls need not")
    if not found:
        return Finding(subject, "warning", "a new object is not listed", "let `secure-xcom gc` list the store")
    skew = (now - found[0].modified).total_seconds()
    if abs(skew) > _SKEW_SECONDS:
        return Finding(
            subject,
            "warning",
            f"this machine is {skew:+.0f} s off",
            "set this machine's clock by NTP, or the store's",
        )
    return Finding(subject, "ok", f"within {_SKEW_SECONDS} s")


def _milliseconds(started: float) -> int:
    return round((time.monotonic() - started) * 1000)
