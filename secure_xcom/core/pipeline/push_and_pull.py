"""The way of a value, written once: push and pull side by side, a list at a time.

push:  decide -> encode -> mask -> seal -> put -> reference (with preview) -> audit -> returned
pull:  parse reference -> check coordinate -> decide -> get and unwrap at the same time -> (claim, where it is
       exclusive) -> open -> decode -> mask -> audit -> returned
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any

import uuid6

from secure_xcom.claims import Claim, Claimant, Exclusive, Ledger
from secure_xcom.claims.claim_objects import ClaimObjects
from secure_xcom.claims.claiming import Wanted, check_claimant, check_proof, take
from secure_xcom.claims.shred import Rows, Shredded, shred
from secure_xcom.core import codecs, masking, reference
from secure_xcom.core.access_policy import AccessPolicy, Compartment
from secure_xcom.core.codecs import Codecs, Encoded
from secure_xcom.core.config import Settings
from secure_xcom.core.coordinate import Coordinate, TaskTry, encryption_context, object_path, object_uri
from secure_xcom.core.errors import (
    AccessRefused,
    AuditError,
    ClaimRefused,
    PlaintextRefused,
    SecureXComError,
    StoreError,
)
from secure_xcom.core.event import Action
from secure_xcom.core.masking import SensitiveNames
from secure_xcom.core.pipeline.gc_pause import pause_gc
from secure_xcom.core.pipeline.open_payload import opened
from secure_xcom.core.pipeline.pull_checks import (
    Admitted,
    Row,
    admit,
    check_order,
    describe,
    place_within,
    recognise,
)
from secure_xcom.core.pipeline.push_routing import Destination, destination, mask_mode
from secure_xcom.core.pipeline.telemetry import Telemetry
from secure_xcom.core.reference import HEADER_BYTES, Head, Reference, WrappedKey
from secure_xcom.core.seal import Counted, seal, sealed_size
from secure_xcom.keys import KeyService, key_service
from secure_xcom.keys.data_keys import DataKeys, Unwrapped
from secure_xcom.sinks import AccessLog, Draft, recording
from secure_xcom.stores import Store, store
from secure_xcom.stores.read_many import Payload, read_all

__all__ = ["Pipeline", "Push", "Row"]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Push:
    """One value on its way in."""

    coordinate: Coordinate
    value: object = field(repr=False)


class Pipeline:
    """Push, pull and purge for one process. Not to be shared across a fork.

    :param codecs: with Airflow's serialisation handed in.
    :param register: registers sensitive values with Airflow's masker.
    :param services: key URI -> key service.
    :param stores: store URI -> store.
    :param ledger: where claims are kept; without one, in the payloads' own stores.
    :param telemetry: what is told how long all this took; without one, nobody.
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
        ledger: Ledger | None = None,
        telemetry: Telemetry | None = None,
    ) -> None:
        self.settings = settings
        self.policy = policy
        self.access_log = access_log
        self._telemetry = telemetry or Telemetry()
        services = self._telemetry.services(services)
        self.keys = DataKeys(settings.key_cache_seconds, settings.key_cache_size, services)
        self._names = names
        self._codecs = codecs
        self._register = register
        self._open_store = stores
        self._stores: dict[str, Store] = {}
        self._task: TaskTry | None = None
        self._lock = threading.Lock()
        self.ledger: Ledger = ClaimObjects(self.store) if ledger is None else ledger
        self.claimed: dict[str, Wanted] = {}
        """What was given of exclusive XComs, by the payload's name: to be shredded when its claimant succeeds."""
        # Threads start when they are first needed, so this costs nothing to a task that pulls nothing.
        self._beside = ThreadPoolExecutor(4, thread_name_prefix="secure_xcom")

    # --- push -----------------------------------------------------------------------------------------------

    @pause_gc()
    def push(
        self, pushes: Sequence[Push], *, producer: TaskTry | None = None, operator: str | None = None
    ) -> list[dict[str, Any]]:
        """Seal values and give the references that Airflow's database is to keep, in order.

        :param producer: the pushing task instance, where known: each of its tries has a data key of its own.
        :param operator: who runs the maintenance job that seals values for no task, for the access log.
        :raises SecureXComError: nothing is given, and what was put already is taken back.
        """
        self._enter(producer)
        pushed: list[Reference] = []
        placed: list[tuple[str, str]] = []
        try:
            drafts = [Draft(coordinate=push.coordinate, operator=operator) for push in pushes]
            with self._recording("push", drafts, producer) as each:
                for draft, push in zip(each(), pushes, strict=True):
                    compartment = self._decide_write(draft, producer, maintenance=operator is not None)
                    marked = isinstance(push.value, Exclusive)
                    value = push.value.value if isinstance(push.value, Exclusive) else push.value
                    encoded = self._codecs.encode(value, where=draft.where)
                    draft.codec = encoded.codec
                    key, limit = push.coordinate.key, self.settings.max_bytes
                    # Registered before anything can fail with the value in its hands.
                    clean = encoded.parts is not None and masking.is_clean(encoded.parts, self._names)
                    mode = mask_mode([compartment], self.settings.mask_values)
                    self._mask([(encoded.structure, key, clean)], mode)
                    to = destination(
                        compartment, encoded, key, self._names, marked=marked, max_bytes=limit, where=draft.where
                    )
                    pushed.append(self._seal_and_put(encoded, to, push.coordinate, producer, placed, clean))
                    describe(pushed[-1], draft)
        except BaseException:
            self._take_back(placed)
            raise
        return [one.dump() for one in pushed]

    def _seal_and_put(
        self,
        encoded: Encoded,
        to: Destination,
        coordinate: Coordinate,
        producer: TaskTry | None,
        placed: list[tuple[str, str]],
        clean: bool,
    ) -> Reference:
        path = None
        inline_to = 0 if to.exclusive else self.settings.inline_max_bytes
        compression, plain, size = codecs.pack(encoded, self.settings.compression, whole_to=inline_to)
        if size is None or to.routed or to.exclusive or sealed_size(size) > inline_to:
            path = object_path(to.compartment, coordinate, str(uuid6.uuid7()))
        head = Head(
            dag_id=coordinate.dag_id,
            run_id=coordinate.run_id,
            task_id=coordinate.task_id,
            map_index=str(coordinate.map_index),
            key=coordinate.key,
            compartment=to.compartment,
            codec=encoded.codec,
            compression=compression,
            created=to.created,
            object=None if path is None else object_uri(to.store_uri, path),
            expires=to.expires,
            exclusive=self.ledger.kind if to.exclusive else None,
        )
        context = encryption_context(to.compartment, coordinate)
        if to.exclusive:
            data_key, wraps = self.keys.fresh(to.key_uris, context)
        else:
            number = producer.try_number if producer else 0
            data_key, wraps = self.keys.for_try(to.key_uris, context, number)
        pieces = seal(data_key.secret, head.canonical(), plain)
        first = next(pieces)
        count = Counted(chain((first,), pieces))
        payload = None
        if path is None:
            payload = b"".join(count)
        else:
            placed.append((to.store_uri, path))
            self.store(to.store_uri).put(path, count)
        keys = tuple(WrappedKey(name, wrapped) for name, wrapped in wraps)
        routes = reference.routes_of(coordinate.key, encoded.structure)
        bare = Reference(head, keys, first[:HEADER_BYTES], count.size, payload, routes)
        return bare.with_preview(self._preview(bare, encoded.structure, clean))

    def _preview(self, bare: Reference, structure: object, clean: bool) -> object:
        if self.settings.preview == "none":
            return None
        record = bare.dump()
        record.pop("payload", None)
        room = reference.TARGET_BYTES - len(json.dumps(record)) - len(', "preview": ')
        if room < len('"***"'):
            return None
        # What one reader may see is shown to nobody else, so of an exclusive value there are shapes at the most.
        mode = "shape" if bare.head.exclusive else self.settings.preview
        key, names = bare.head.key, self._names
        return masking.preview(structure, mode=mode, names=names, key=key, max_bytes=room, clean=clean)

    def _take_back(self, placed: Iterable[tuple[str, str]]) -> None:
        """Delete what was put for a push that gives no reference. What cannot be deleted is left to gc."""
        by_store: dict[str, list[str]] = {}
        for store_uri, path in placed:
            by_store.setdefault(store_uri, []).append(path)
        for store_uri, paths in by_store.items():
            try:
                failed = self.store(store_uri).delete_many(paths)
            except StoreError as error:
                failed = [error]
            for one in filter(None, failed):
                log.warning("A payload that no reference names stays behind until gc: %s", one)

    # --- pull -----------------------------------------------------------------------------------------------

    @pause_gc()
    def pull(
        self,
        rows: Sequence[Row],
        *,
        consumer: TaskTry | None = None,
        claimant: Claimant | None = None,
        order: int = 0,
        sizes: list[int] | None = None,
    ) -> list[Any]:
        """Open references and give the values, in order. The first error stops all.

        :param consumer: the task instance that pulls, where Airflow says which it is.
        :param claimant: the same, where it is certain to its map index: who claims what is exclusive.
        :param order: 1 or -1 where Airflow gives the rows of one task by rising or falling map index and does
            not say which row is which: a reference that was moved or copied among them is out of order.
        :param sizes: filled with the bytes that each value unfolded to before it was decoded; 0 for a plain one.
        :raises SecureXComError: nothing is given.
        """
        self._enter(consumer)
        values: list[Any] = []
        structures: list[tuple[object, str, bool]] = []
        with self._recording("pull", [Draft(asked=row.asked) for row in rows], consumer) as each:
            admitted = [
                self._admit(row, consumer, claimant, draft) for draft, row in zip(each(), rows, strict=True)
            ]
            check_order(each(), order)
            claims = self._claims(admitted, each, consumer)
            fetched = self._get_and_unwrap(admitted, each)
            for draft, row, entry, (key, pieces) in zip(each(), rows, admitted, fetched, strict=True):
                if entry is None or key is None:
                    value, structure = self._codecs.restore(row.value, where=str(row.asked or "")), row.value
                    clean, size = False, 0
                else:
                    self._claim(entry, key, claims, draft, consumer)
                    value, structure, clean, size = self._open_and_decode(entry, key, pieces, draft.where)
                if sizes is not None:
                    sizes.append(size)
                values.append(value)
                structures.append((structure, _key_of(draft, row), clean))
            compartments = [None if entry is None else entry.compartment for entry in admitted]
            self._mask(structures, "all" if claims else mask_mode(compartments, self.settings.mask_values))
        self.claimed.update((one.target.object, one) for one in _exclusive(admitted))
        return values

    def _admit(
        self, row: Row, consumer: TaskTry | None, claimant: Claimant | None, draft: Draft
    ) -> Admitted | None:
        """The reference, or None for a plain value that the settings let pass."""
        if reference.is_reference(row.value):
            return admit(
                row,
                self.policy,
                consumer,
                claimant=claimant,
                ledger=self.ledger.kind,
                max_bytes=self.settings.max_bytes,
                draft=draft,
            )
        where = str(row.asked or "a row that was not asked for by its coordinate")
        draft.plaintext = True
        if self.settings.on_plaintext == "refuse":
            raise PlaintextRefused("the row holds a value without a reference", where=where)
        if self.settings.on_plaintext == "warn":
            log.warning("A value without a reference was pulled, it lies in the database in plaintext: %s", where)
        return None

    def _claims(
        self, admitted: Sequence[Admitted | None], each: Callable[[], Iterator[Draft]], consumer: TaskTry | None
    ) -> dict[str, Claim | None]:
        """What is claimed already of the exclusive XComs, by the payload's name; all of it by who pulls.

        Looked at before a key is asked for, so that whoever comes second unwraps nothing; and all of a list before
        anything of it is claimed.
        """
        targets = {one.target.object: one.target for one in _exclusive(admitted)}
        if not targets:
            return {}
        found = dict(zip(targets, self.ledger.find_many(list(targets.values())), strict=True))
        for draft, entry in zip(each(), admitted, strict=True):
            if entry is None or entry.wanted is None:
                continue
            claim = found[entry.wanted.target.object]
            if claim is None:
                continue
            try:
                check_claimant(entry.wanted, claim)
            except ClaimRefused:
                # Recorded as the claim that it was as well, which is what an alarm watches.
                with self._recording("claim", [draft], consumer) as alone:
                    for _ in alone():
                        raise
        return found

    def _claim(
        self,
        entry: Admitted,
        key: Unwrapped,
        claims: dict[str, Claim | None],
        draft: Draft,
        consumer: TaskTry | None,
    ) -> None:
        """Have the claim on an exclusive XCom before it is opened; a new one is an event of its own."""
        if entry.wanted is None:
            return
        name = entry.wanted.target.object
        found = claims[name]
        if found is not None:
            check_proof(found, key.data_key.secret)
            return
        # The pull's own event says that a key was unwrapped; told twice, it would be looked for twice elsewhere.
        alone = replace(draft, opened_by=None, cache_hit=None)
        with self._recording("claim", [alone], consumer) as each:
            for _ in each():
                # Kept, because the same XCom may stand in a list twice.
                claims[name] = take(self.ledger, entry.wanted, key.data_key.secret)

    def _get_and_unwrap(
        self, admitted: Sequence[Admitted | None], each: Callable[[], Iterator[Draft]]
    ) -> Iterator[tuple[Unwrapped | None, Iterable[bytes]]]:
        """Get and unwrap at the same time; gives the key and the sealed pieces of each, in order."""
        payloads = read_all([self._payload(entry) for _, entry in zip(each(), admitted, strict=True)])
        keys: list[Unwrapped | SecureXComError | None] = [
            None if entry is None else self.keys.cached(entry.candidates) for entry in admitted
        ]
        wanted = [
            (index, entry.candidates)
            for index, entry in enumerate(admitted)
            if entry is not None and keys[index] is None
        ]
        started = None
        if wanted:
            # The key services are asked on this thread, because Airflow's connections are looked up on it; the
            # store, whose client was made on it as well, starts to fetch beside it.
            started = self._beside.submit(next, payloads)
            answers = self.keys.unwrap_many([candidates for _, candidates in wanted])
            for (index, _), answer in zip(wanted, answers, strict=True):
                keys[index] = answer
        log.debug("Data keys: %d unwrapped now, %d in the cache", len(wanted), len(self.keys.cache))
        for draft, key in zip(each(), keys, strict=True):
            # First of all of them, because what was unwrapped is recorded also where another one fails.
            if isinstance(key, Unwrapped):
                draft.opened_by, draft.cache_hit = key.uri, key.cached
        opened: list[Unwrapped | None] = []
        for draft, key in zip(each(), keys, strict=True):
            if isinstance(key, SecureXComError):
                raise type(key)(key.what, where=f"{key.where} {draft.where}".strip(), remedy=key.remedy)
            opened.append(key)
        if started is not None:
            payloads = chain((started.result(),), payloads)
        return zip(opened, payloads, strict=True)

    def _payload(self, entry: Admitted | None) -> Payload:
        if entry is None:
            return Payload(0)
        if entry.place is None:
            return Payload(entry.reference.size, inline=entry.reference.payload or b"")
        store_uri, path = entry.place
        return Payload(entry.reference.size, self.store(store_uri), path)

    def _open_and_decode(
        self, entry: Admitted, key: Unwrapped, pieces: Iterable[bytes], where: str
    ) -> tuple[Any, object, bool, int]:
        """The value, its plain structure, whether nothing in it can be secret by its name, and its encoded size.

        The encoded bytes end here, because a large value is not to be held twice while it is masked.
        """
        found, limit = entry.reference, self.settings.max_bytes
        data = opened(found, key.data_key.secret, pieces, max_bytes=limit, where=where)
        value, structure, parts = self._codecs.decode(found.head.codec, data, max_bytes=limit, where=where)
        return value, structure, parts is not None and masking.is_clean(parts, self._names), len(data)

    # --- purge ----------------------------------------------------------------------------------------------

    def purge(self, row: Row, *, producer: TaskTry | None = None) -> SecureXComError | None:
        """Delete the payload of a row that Airflow is about to delete; gives why it stays where it does.

        Only an object below the coordinate's own path is ever deleted, so a reference that was copied from
        elsewhere cannot be used to delete what it names; only for a task of its compartment; and none that is
        under a legal hold. What is not deleted stops nothing here: with the row goes the only wrapped data key,
        and gc removes the bytes.

        :raises AuditError: the access log cannot be written.
        """
        if not reference.is_reference(row.value):
            return None
        try:
            with self._recording("purge", [Draft(asked=row.asked)], producer) as each:
                for draft in each():
                    found = recognise(row, draft)
                    compartment = self._decide_write(draft, producer)
                    at = found.head.coordinate
                    if (hold := self.policy.held(at.dag_id, at.run_id)) is not None:
                        raise AccessRefused(
                            f"it is under the legal hold {hold.name!r}",
                            where=draft.where,
                            remedy="lift the hold, and gc deletes it",
                        )
                    place = place_within(found, compartment, draft.where)
                    failed = self.store(place[0]).delete_many([place[1]])[0] if place else None
                    if failed is not None:
                        raise failed
        except AuditError:
            raise
        except SecureXComError as error:
            log.warning("The payload of a row that is being deleted stays behind until gc: %s", error)
            return error
        return None

    # --- shred ----------------------------------------------------------------------------------------------

    def shred(self, rows: Rows, claimant: Claimant) -> list[Shredded]:
        """Destroy what a task instance was given of exclusive XComs, in this process; for when it has succeeded.

        What is under a legal hold stays, and so does what this identity may not delete: maintenance does the rest.
        Each is in the access log as purged.

        :raises SecureXComError: a row cannot be read or written; :raises AuditError: the access log cannot be.
        """
        done = []
        for name, wanted in list(self.claimed.items()):
            # A process may run several tasks (`dag.test()`), and the others' right to pull is theirs.
            if wanted.claimant != claimant:
                continue
            target = wanted.target
            if self.policy.held(target.coordinate.dag_id, target.coordinate.run_id) is None:
                draft = Draft(coordinate=target.coordinate, compartment=target.compartment, object=target.object)
                with self._recording("purge", [draft], self._task) as each:
                    done += [shred(target, rows, self.store) for _ in each()]
            del self.claimed[name]
        return done

    # --- shared ---------------------------------------------------------------------------------------------

    def _enter(self, task: TaskTry | None) -> None:
        """Drop the data keys of another try: a process that runs several tasks keeps only its own task's."""
        if task is not None:
            if self._task is not None and not self._task.same_task(task):
                self.keys.forget()
            self._task = task

    def _decide_write(self, draft: Draft, producer: TaskTry | None, *, maintenance: bool = False) -> Compartment:
        """Give the compartment that a push or a purge at the draft's coordinate is allowed in."""
        if draft.coordinate is None:
            raise ValueError("the coordinate is not read yet")
        verdict = self.policy.decide_write(draft.coordinate, producer, maintenance=maintenance)
        draft.compartment, draft.rule = verdict.decided_in.name, verdict.rule
        return verdict.enforce()

    def store(self, uri: str) -> Store:
        """The store of a URI, opened once per process."""
        with self._lock:
            if uri not in self._stores:
                self._stores[uri] = self._open_store(uri)
            return self._stores[uri]

    def _mask(self, values: Sequence[tuple[object, str, bool]], mode: str) -> None:
        """Register the sensitive strings of several values in one call, within one cap.

        :param values: each as a plain structure, with its XCom's key, and whether it is clean by all names in it.
        """
        cap, names = self.settings.mask_max_values, self._names
        asked = [
            (structure, key)
            for structure, key, clean in values
            if mode == "all" or not clean or names.matches(key)
        ]
        secrets = masking.secrets_of_all(asked, names=names, mode=mode, cap=cap)
        if secrets.values or secrets.dropped:
            self._register(secrets)

    @contextmanager
    def _recording(
        self, action: Action, drafts: Sequence[Draft], task: TaskTry | None
    ) -> Iterator[Callable[[], Iterator[Draft]]]:
        with (
            self._telemetry.operation(action, drafts),
            recording(self.access_log, action, drafts, task=task, policy=self.policy.digest) as each,
        ):
            yield each


def _exclusive(admitted: Iterable[Admitted | None]) -> Iterator[Wanted]:
    return (entry.wanted for entry in admitted if entry is not None and entry.wanted is not None)


def _key_of(draft: Draft, row: Row) -> str:
    if draft.coordinate is not None:
        return draft.coordinate.key
    return row.asked.key if row.asked else ""
