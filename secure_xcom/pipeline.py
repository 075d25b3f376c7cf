"""The way of a value, written once: push and pull side by side, a list at a time.

push:  resolve compartment -> encode -> mask -> seal -> put -> reference (with preview) -> audit -> returned
pull:  parse reference -> check coordinate -> decide -> get and unwrap at the same time -> open -> decode ->
       mask -> audit -> returned
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from itertools import chain
from typing import Any

import uuid6

from secure_xcom import codecs, masking, reference
from secure_xcom.access import AccessPolicy, Compartment
from secure_xcom.audit import AccessLog, Event
from secure_xcom.audit.events import Action, Outcome
from secure_xcom.codecs import Codecs
from secure_xcom.config import Settings
from secure_xcom.coordinate import Asked, TaskTry, Coordinate, encryption_context, object_path
from secure_xcom.errors import (
    AccessError,
    AuditError,
    ContextRefused,
    CoordinateMismatch,
    KeyServiceDenied,
    PlaintextRefused,
    ReferenceExpired,
    ReferenceRefused,
    ReferenceVersionUnknown,
    SealError,
    SecureXComError,
    StoreDenied,
    StoreError,
    UnwrapRefused,
    ValueTooLarge,
)
from secure_xcom.keys import KeyService, key_service, openers
from secure_xcom.keys.holder import Candidates, DataKeys, Unwrapped
from secure_xcom.masking import SensitiveNames
from secure_xcom.reference import Head, Reference, WrappedKey
from secure_xcom.seal import HEADER_BYTES, seal, sealed_size, unseal
from secure_xcom.stores import Store, store

log = logging.getLogger(__name__)

# Over this a payload is streamed by itself instead of being fetched whole beside others.
_STREAM_FROM_BYTES = 16 << 20
_TIME_FORMAT = "%Y-%m-%dT%H:%M:%SZ"
# What says no, as opposed to what could not be done.
_REFUSALS = (AccessError, ReferenceRefused, SealError, UnwrapRefused, KeyServiceDenied, StoreDenied)


@dataclass(frozen=True, slots=True)
class Push:
    """One value on its way in."""

    coordinate: Coordinate
    value: object = field(repr=False)


@dataclass(frozen=True, slots=True)
class Row:
    """One value as Airflow's database gave it, and what the caller had asked for."""

    value: object = field(repr=False)
    asked: Asked | None = None


@dataclass(slots=True)
class _Passage:
    """One XCom on its way, filled in step by step; what is known of it when something fails is audited."""

    coordinate: Coordinate | None = None
    compartment: Compartment | None = None
    reference: Reference | None = None
    path: str | None = None
    codec: str | None = None
    size: int | None = None
    candidates: Candidates | None = field(default=None, repr=False)
    key: Unwrapped | None = None
    value: Any = field(default=None, repr=False)
    structure: object = field(default=None, repr=False)

    @property
    def where(self) -> str:
        return str(self.coordinate) if self.coordinate else ""


class Pipeline:
    """Push, pull and purge for one process. Not to be shared across a fork.

    :param codecs: with Airflow's serialisation handed in.
    :param register: registers sensitive values with Airflow's masker.
    :param services: key URI -> key service.
    :param stores: store URI -> store.
    """

    def __init__(
        self,
        settings: Settings,
        policy: AccessPolicy,
        access_log: AccessLog,
        names: SensitiveNames,
        codecs: Codecs,
        *,
        register: Callable[[masking.Secrets], None] = masking.register,
        services: Callable[[str], KeyService] = key_service,
        stores: Callable[[str], Store] = store,
    ) -> None:
        self.settings = settings
        self.policy = policy
        self.access_log = access_log
        self.keys = DataKeys(settings.key_cache_seconds, settings.key_cache_size, services)
        self._names = names
        self._codecs = codecs
        self._register = register
        self._open_store = stores
        self._stores: dict[str, Store] = {}
        self._lock = threading.Lock()
        # Threads start when they are first needed, so this costs nothing to a task that pulls nothing.
        self._beside = ThreadPoolExecutor(4, thread_name_prefix="secure_xcom")

    # --- push -----------------------------------------------------------------------------------------------

    def push(self, pushes: Sequence[Push], *, producer: TaskTry | None = None) -> list[dict[str, Any]]:
        """Seal values and give the references that Airflow's database is to keep, in order.

        :param producer: the pushing task instance, where known: each of its tries has a data key of its own.
        :raises SecureXComError: nothing is given, and what was put already is taken back.
        """
        passages = [_Passage(coordinate=push.coordinate) for push in pushes]
        try:
            with self._failures_recorded("push", passages, producer) as each:
                for passage, push in zip(each(), pushes, strict=True):
                    self._encode(passage, push.value)
                    self._seal_and_put(passage, producer.try_number if producer else 0)
                self._record([self._event("push", passage, producer) for passage in passages])
        except BaseException:
            self._take_back(passages)
            raise
        return [passage.reference.dump() for passage in passages if passage.reference is not None]

    def _encode(self, passage: _Passage, value: object) -> None:
        coordinate = passage.coordinate
        assert coordinate is not None
        passage.compartment = self.policy.resolve(coordinate)
        encoded = self._codecs.encode(value, where=passage.where)
        if len(encoded.data) > self.settings.max_bytes:
            raise ValueTooLarge(
                f"the encoded value has {len(encoded.data)} bytes, [secure_xcom] max_bytes is "
                f"{self.settings.max_bytes}",
                where=passage.where,
            )
        # Registered before anything can fail with the value in its hands.
        self._mask([(encoded.structure, coordinate.key)])
        passage.codec, passage.structure, passage.value = encoded.codec, encoded.structure, encoded.data

    def _seal_and_put(self, passage: _Passage, try_number: int) -> None:
        coordinate, compartment = passage.coordinate, passage.compartment
        assert coordinate is not None and compartment is not None and passage.codec is not None
        compression, plain = codecs.compress(passage.value, self.settings.compression)
        size = passage.size = sealed_size(len(plain))
        path = None
        if size > self.settings.inline_max_bytes:
            path = object_path(compartment.name, coordinate, str(uuid6.uuid7()))
        head = Head(
            dag_id=coordinate.dag_id,
            run_id=coordinate.run_id,
            task_id=coordinate.task_id,
            map_index=str(coordinate.map_index),
            key=coordinate.key,
            compartment=compartment.name,
            codec=passage.codec,
            compression=compression,
            created=datetime.now(timezone.utc).strftime(_TIME_FORMAT),
            object=None if path is None else _object_uri(compartment, path),
        )
        context = encryption_context(compartment.name, coordinate)
        data_key, wraps = self.keys.for_try(compartment.key_uris, context, try_number)
        pieces = seal(data_key.secret, head.canonical(), (plain,))
        first = next(pieces)
        payload = None
        if path is None:
            payload = b"".join(chain((first,), pieces))
        else:
            passage.path = path
            self._store(compartment).put(path, chain((first,), pieces))
        keys = tuple(WrappedKey(uri, wrapped) for uri, wrapped in wraps)
        bare = Reference(head, keys, first[:HEADER_BYTES], size, payload)
        preview = self._preview(bare, passage)
        passage.reference = Reference(head, keys, bare.header, size, payload, preview)
        # The value has been sealed: a long list of pushes holds no plaintext longer than it must.
        passage.value = passage.structure = None

    def _preview(self, bare: Reference, passage: _Passage) -> object:
        if self.settings.preview == "none":
            return None
        record = bare.dump()
        record.pop("payload", None)
        room = reference.TARGET_BYTES - len(json.dumps(record)) - len(', "preview": ')
        if room < len('"***"'):
            return None
        return masking.preview(
            passage.structure,
            mode=self.settings.preview,
            names=self._names,
            key=bare.head.key,
            max_bytes=room,
        )

    def _take_back(self, passages: Iterable[_Passage]) -> None:
        """Delete what was put for a push that gives no reference. What cannot be deleted is left to gc."""
        for passage in passages:
            if passage.path is None or passage.compartment is None:
                continue
            failed: StoreError | None
            try:
                failed = self._store(passage.compartment).delete_many([passage.path])[0]
            except StoreError as error:
                failed = error
            if failed is not None:
                log.warning("A payload that no reference names stays behind until gc: %s", failed)

    # --- pull -----------------------------------------------------------------------------------------------

    def pull(self, rows: Sequence[Row], *, consumer: TaskTry | None = None, order: int = 0) -> list[Any]:
        """Open references and give the values, in order. The first error stops all.

        :param consumer: the task instance that pulls, where Airflow says which it is.
        :param order: 1 or -1 where Airflow gives the rows of one task by rising or falling map index and does
            not say which row is which: a reference that was moved or copied among them is out of order.
        :raises SecureXComError: nothing is given.
        """
        passages = [_Passage() for _ in rows]
        with self._failures_recorded("pull", passages, consumer) as each:
            for passage, row in zip(each(), rows, strict=True):
                self._admit(passage, row, consumer)
            _check_order(each(), order)
            sealed = self._fetch(passages, each)
            for passage, pieces in zip(each(), sealed, strict=True):
                self._open_and_decode(passage, pieces)
            self._mask(
                [(passage.structure, _key_of(passage, row)) for passage, row in zip(passages, rows, strict=True)]
            )
            self._record(
                [
                    self._event("pull" if passage.reference else "plaintext", passage, consumer)
                    for passage in passages
                ]
            )
        return [passage.value for passage in passages]

    def _admit(self, passage: _Passage, row: Row, consumer: TaskTry | None) -> None:
        """All that is decided before a key or a payload is asked for."""
        if not reference.is_reference(row.value):
            self._admit_plaintext(passage, row)
            return
        found = reference.parse(row.value)
        head = found.head
        passage.coordinate, passage.reference = head.coordinate, found
        passage.codec, passage.size = head.codec, found.size
        if row.asked is not None:
            row.asked.check(head.coordinate)
        passage.compartment = self.policy.decide(head.coordinate, head.compartment, consumer)
        if head.exclusive is not None or head.readers is not None:
            raise ReferenceVersionUnknown(
                "the head carries a restriction that this release cannot enforce", where=passage.where
            )
        if head.expires is not None and head.expires <= datetime.now(timezone.utc).strftime(_TIME_FORMAT):
            raise ReferenceExpired(f"it expired at {head.expires}", where=passage.where)
        if found.size > sealed_size(self.settings.max_bytes):
            raise ValueTooLarge(
                f"the payload has {found.size} bytes, [secure_xcom] max_bytes is {self.settings.max_bytes}",
                where=passage.where,
            )
        passage.path = _path_within(passage)
        passage.candidates = _candidates(passage)

    def _admit_plaintext(self, passage: _Passage, row: Row) -> None:
        asked = row.asked
        where = (
            f"{asked.dag_id}/{asked.run_id or '*'}/{asked.task_id}:{asked.key}" if asked else "a row of Airflow's"
        )
        if self.settings.on_plaintext == "refuse":
            raise PlaintextRefused("the row holds a value without a reference", where=where)
        if self.settings.on_plaintext == "warn":
            log.warning(
                "A value without a reference was pulled from %s: it lies in plaintext in the database.", where
            )
        passage.structure = row.value
        passage.value = self._codecs.restore(row.value, where=where)

    def _fetch(
        self, passages: Sequence[_Passage], each: Callable[[], Iterator[_Passage]]
    ) -> Iterator[Iterable[bytes]]:
        """Get and unwrap at the same time; gives each passage's sealed pieces, in order."""
        payloads = self._payloads(passages)
        wanted: list[tuple[_Passage, Candidates]] = []
        for passage in passages:
            if passage.candidates is not None:
                passage.key = self.keys.cached(passage.candidates)
                if passage.key is None:
                    wanted.append((passage, passage.candidates))
        if wanted:
            # The key services are asked on this thread, because Airflow's connections are looked up on it; the
            # store, whose client was made on it as well, starts to fetch beside it.
            started = self._beside.submit(next, payloads, None)
            answers = self.keys.unwrap_many([candidates for _, candidates in wanted])
            failures = {}
            for (passage, _), answer in zip(wanted, answers, strict=True):
                if isinstance(answer, Unwrapped):
                    passage.key = answer
                else:
                    failures[id(passage)] = answer
            for passage in each():
                if id(passage) in failures:
                    started.cancel()
                    error = failures[id(passage)]
                    raise type(error)(
                        error.what, where=f"{error.where} {passage.where}".strip(), remedy=error.remedy
                    )
            first = started.result()
            payloads = chain(() if first is None else (first,), payloads)
        return iter(payloads)

    def _payloads(self, passages: Sequence[_Passage]) -> Iterator[Iterable[bytes]]:
        """Each passage's sealed pieces, in order, fetched concurrently within the store's bounded window."""
        whole: dict[str, list[str]] = {}
        for passage in passages:
            if passage.path is not None and not _streamed(passage):
                assert passage.compartment is not None
                whole.setdefault(passage.compartment.store_uri, []).append(passage.path)
        stores = {
            passage.compartment.store_uri: self._store(passage.compartment)
            for passage in passages
            if passage.compartment is not None and passage.path is not None
        }
        return _walk(passages, {uri: stores[uri].get_many(paths) for uri, paths in whole.items()}, stores)

    def _open_and_decode(self, passage: _Passage, pieces: Iterable[bytes]) -> None:
        found = passage.reference
        if found is None:
            return
        assert passage.key is not None
        plain = b"".join(
            unseal(
                passage.key.data_key.secret,
                found.head.canonical(),
                pieces,
                header=found.header,
                size=found.size,
                where=passage.where,
            )
        )
        data = codecs.decompress(
            plain, found.head.compression, max_bytes=self.settings.max_bytes, where=passage.where
        )
        passage.value, passage.structure = self._codecs.decode(found.head.codec, data, where=passage.where)

    # --- purge ----------------------------------------------------------------------------------------------

    def purge(self, row: Row, *, consumer: TaskTry | None = None) -> None:
        """Delete the payload of a row that Airflow is about to delete.

        Only an object below the coordinate's own path is ever deleted, so a reference that was copied from
        elsewhere cannot be used to delete what it names. A payload that cannot be deleted stops nothing: with
        the row goes the only wrapped data key, and gc removes the bytes.

        :raises AuditError: the access log cannot be written.
        """
        if not reference.is_reference(row.value):
            return
        passage = _Passage()
        try:
            with self._failures_recorded("purge", [passage], consumer):
                found = reference.parse(row.value)
                passage.coordinate, passage.reference, passage.size = found.head.coordinate, found, found.size
                if row.asked is not None:
                    row.asked.check(found.head.coordinate)
                passage.compartment = self.policy.resolve(found.head.coordinate)
                passage.path = _path_within(passage)
                if passage.path is not None:
                    failed = self._store(passage.compartment).delete_many([passage.path])[0]
                    if failed is not None:
                        raise failed
                self._record([self._event("purge", passage, consumer)])
        except AuditError:
            raise
        except SecureXComError as error:
            log.warning("The payload of a row that is being deleted stays behind until gc: %s", error)

    # --- shared ---------------------------------------------------------------------------------------------

    def _store(self, compartment: Compartment) -> Store:
        uri = compartment.store_uri
        with self._lock:
            if uri not in self._stores:
                self._stores[uri] = self._open_store(uri)
            return self._stores[uri]

    def _mask(self, values: Sequence[tuple[object, str]]) -> None:
        """Register the sensitive strings of several values in one call."""
        found: dict[str, None] = {}
        dropped = 0
        for structure, key in values:
            secrets = masking.secrets_of(
                structure,
                names=self._names,
                key=key,
                mode=self.settings.mask_values,
                cap=self.settings.mask_max_values,
            )
            found.update(dict.fromkeys(secrets.values))
            dropped += secrets.dropped
        kept = tuple(found)[: self.settings.mask_max_values]
        dropped += len(found) - len(kept)
        if kept or dropped:
            self._register(masking.Secrets(kept, dropped))

    def _record(self, events: Sequence[Event]) -> None:
        self.access_log.record(events)

    def _event(self, action: Action, passage: _Passage, task: TaskTry | None) -> Event:
        return self._described(action, "ok", None, passage, task)

    @contextmanager
    def _failures_recorded(
        self, action: Action, passages: Sequence[_Passage], task: TaskTry | None
    ) -> Iterator[Callable[[], Iterator[_Passage]]]:
        """Record what fails inside, with the passage that it failed at.

        :raises AuditError: the failure could not be recorded either.
        """
        current = passages[0] if passages else _Passage()

        def each() -> Iterator[_Passage]:
            nonlocal current
            for passage in passages:
                current = passage
                yield passage

        try:
            yield each
        except AuditError:
            raise
        except SecureXComError as error:
            outcome: Outcome = "refused" if isinstance(error, _REFUSALS) else "failed"
            self._record([self._described(action, outcome, type(error).__name__, current, task)])
            raise

    def _described(
        self, action: Action, outcome: Outcome, error: str | None, passage: _Passage, task: TaskTry | None
    ) -> Event:
        found = passage.reference
        return Event(
            action=action,
            outcome=outcome,
            error=error,
            coordinate=passage.coordinate,
            task=task,
            compartment=passage.compartment.name if passage.compartment else None,
            keys=tuple(key.uri for key in found.keys) if found else (),
            opened_with=passage.key.uri if passage.key else None,
            key_cached=passage.key.cached if passage.key else None,
            object=found.head.object if found else None,
            size=passage.size,
            codec=passage.codec,
            policy=self.policy.digest,
        )


def _walk(
    passages: Sequence[_Passage], fetched: dict[str, Iterator[bytes | StoreError]], stores: dict[str, Store]
) -> Iterator[Iterable[bytes]]:
    for passage in passages:
        found = passage.reference
        if found is None:
            yield ()
        elif passage.path is None:
            yield (found.payload or b"",)
        else:
            assert passage.compartment is not None
            uri = passage.compartment.store_uri
            if _streamed(passage):
                yield stores[uri].get(passage.path)
                continue
            payload = next(fetched[uri])
            if isinstance(payload, StoreError):
                yield _raising(payload)
            else:
                yield (payload,)


def _raising(error: StoreError) -> Iterator[bytes]:
    """Pieces that fail when they are read, so that the error meets the passage it belongs to."""
    raise error
    yield b""


def _streamed(passage: _Passage) -> bool:
    return passage.size is not None and passage.size > _STREAM_FROM_BYTES


def _check_order(passages: Iterable[_Passage], order: int) -> None:
    last: int | None = None
    for passage in passages:
        if not order or passage.coordinate is None:
            continue
        index = passage.coordinate.map_index
        if last is not None and (index - last) * order <= 0:
            raise CoordinateMismatch(
                f"map_index {index} comes after {last}: a reference was moved or copied among the instances of "
                "a mapped task",
                where=passage.where,
            )
        last = index


def _candidates(passage: _Passage) -> Candidates:
    """The wraps that may be asked for: those of the compartment's own keys, in the compartment's order.

    A reference comes from the database: who can write there must not be able to name a key of their own.

    :raises ContextRefused: none of its key URIs is one of the compartment's.
    """
    found, compartment = passage.reference, passage.compartment
    assert found is not None and compartment is not None
    wraps = openers(compartment.key_uris, [(key.uri, key.wrapped) for key in found.keys])
    if not wraps:
        raise ContextRefused(
            f"none of the reference's key URIs belongs to compartment {compartment.name!r}", where=passage.where
        )
    return Candidates(wraps, encryption_context(compartment.name, found.head.coordinate))


def _object_uri(compartment: Compartment, path: str) -> str:
    return f"{compartment.store_uri.rstrip('/')}/{path}"


def _path_within(passage: _Passage) -> str | None:
    """The object's path below its store, None for an inline payload.

    :raises ContextRefused: the object is not in the compartment's store, below this very coordinate.
    """
    found, compartment = passage.reference, passage.compartment
    assert found is not None and compartment is not None
    if found.head.object is None:
        return None
    folder = object_path(compartment.name, found.head.coordinate, "")
    unique = found.head.object.removeprefix(_object_uri(compartment, folder))
    if unique == found.head.object or not _is_uuid(unique):
        raise ContextRefused(
            f"the object is not below this coordinate in the store of compartment {compartment.name!r}",
            where=passage.where,
        )
    return folder + unique


def _is_uuid(text: str) -> bool:
    return len(text) == 36 and set(text) <= set("0123456789abcdef-")


def _key_of(passage: _Passage, row: Row) -> str:
    if passage.coordinate is not None:
        return passage.coordinate.key
    return row.asked.key if row.asked else ""
