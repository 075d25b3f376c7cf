"""The data path, written once: push and pull side by side, each a list of stages that return values.

push:  decide -> encode -> mask -> route -> seal -> put -> reference (with preview) -> audit -> returned
pull:  decide -> fetch (payloads and data keys at the same time) -> claim (where it is exclusive) -> open -> reveal
       (decode, mask) -> audit -> returned
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from secure_xcom.claims import Claimant, Exclusive, Ledger
from secure_xcom.core import masking
from secure_xcom.core.access_policy import AccessPolicy, Compartment
from secure_xcom.core.codecs import Codecs, Encoded
from secure_xcom.core.config import Settings
from secure_xcom.core.coordinate import Coordinate, TaskTry, encryption_context
from secure_xcom.core.errors import (
    AccessRefused,
    AuditError,
    ClaimRefused,
    CoordinateMismatch,
    PlaintextRefused,
    SecureXComError,
)
from secure_xcom.core.event import Action
from secure_xcom.core.masking import SensitiveNames
from secure_xcom.core.pipeline.fetch import data_key_of, fetch, payload_of
from secure_xcom.core.pipeline.gc_pause import pause_gc
from secure_xcom.core.pipeline.open_payload import key_uses, opened, place_within
from secure_xcom.core.pipeline.pull_checks import Admitted, Row, admit, first_out_of_order
from secure_xcom.core.pipeline.push_routing import Destination, destination, mask_mode
from secure_xcom.core.pipeline.seal_payload import Puts, Sealed, pack, preview_of, reference_of, seal_packed
from secure_xcom.core.pipeline.telemetry import NotMeasured
from secure_xcom.core.reference import LEDGER_STORE, Reference, is_reference, parse
from secure_xcom.keys import KeyService, key_service
from secure_xcom.keys.data_keys import DataKeys, Unwrapped
from secure_xcom.sinks import AccessLog, Draft, Record, recording
from secure_xcom.stores import Store, store
from secure_xcom.stores.read_many import Payload

if TYPE_CHECKING:
    from secure_xcom.claims import Claim
    from secure_xcom.claims.claiming import Wanted
    from secure_xcom.claims.shred import Rows, Shredded
    from secure_xcom.core.pipeline.telemetry import Telemetry

__all__ = ["Pipeline", "Pulled", "Push", "Row"]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Push:
    """One value to push."""

    coordinate: Coordinate
    value: object = field(repr=False)


class Pulled(NamedTuple):
    """One pulled value, and how many bytes it was before it was decoded; 0 for a value without a reference."""

    value: Any
    size: int


class _Revealed(NamedTuple):
    """A decoded value, before anybody has it: its plain structure goes to the masker first."""

    value: Any
    size: int
    structure: object
    key: str
    clean: bool


class Pipeline:
    """Push, pull and purge for one process. Not to be shared across a fork.

    :param codecs: with Airflow's serialisation handed in.
    :param register: registers sensitive values with Airflow's masker.
    :param services: key URI -> key service.
    :param stores: store URI -> store.
    :param ledger: where claims are kept; without one, in the payloads' own stores.
    :param telemetry: measures all this; without it, nobody does.
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
        self._telemetry = telemetry or NotMeasured()
        services = self._telemetry.services(services)
        self.keys = DataKeys(settings.key_cache_seconds, settings.key_cache_size, services)
        self._names = names
        self._codecs = codecs
        self._register = register
        self._open_store = stores
        self._stores: dict[str, Store] = {}
        self._task: TaskTry | None = None
        self._lock = threading.Lock()
        self._ledger = ledger
        self._ledger_kind = LEDGER_STORE if ledger is None else ledger.kind
        self.claimed: dict[str, Wanted] = {}
        """Exclusive XComs that were given out, by the payload's name: shredded when their claimant succeeds."""
        # Threads start when they are first needed, so this costs nothing to a task that pulls nothing.
        self._beside = ThreadPoolExecutor(4, thread_name_prefix="secure_xcom")

    # --- push -----------------------------------------------------------------------------------------------

    @pause_gc()
    def push(
        self, pushes: Sequence[Push], *, producer: TaskTry | None = None, operator: str | None = None
    ) -> list[dict[str, Any]]:
        """Seal values and return the references that Airflow's database is to keep, in order.

        :param producer: the pushing task instance, where known: each of its tries has a data key of its own.
        :param operator: who runs the maintenance job that seals values for no task, for the access log.
        :raises SecureXComError: nothing is returned, and what was put already is deleted again.
        """
        self._enter(producer)
        drafts = [Draft(coordinate=push.coordinate, operator=operator) for push in pushes]
        references = []
        with Puts(self.store) as puts, self._recording("push", drafts, producer) as record:
            for index, (coordinate, value, marked) in enumerate(map(_unmarked, pushes)):
                with record.at(index) as draft:
                    where = str(coordinate)
                    # decide
                    verdict = self.policy.decide_write(coordinate, producer, maintenance=operator is not None)
                    draft.decided(verdict)
                    compartment = verdict.enforce()
                    # encode
                    encoded = self._codecs.encode(value, where=where, names=self._names, key=coordinate.key)
                    draft.codec = encoded.codec
                    # mask: before anything can fail with the value in its hands
                    clean = encoded.parts is not None and masking.is_clean(encoded.parts, self._names)
                    mode = mask_mode([compartment], self.settings.mask_values)
                    self._mask([(encoded.structure, coordinate.key, clean)], mode)
                    # route -> seal -> put -> reference
                    to = self._route(encoded, compartment, coordinate.key, marked=marked, where=where)
                    sealed = self._seal(encoded, to, coordinate, producer)
                    bare = reference_of(sealed, puts.put(sealed), encoded.structure)
                    reference = bare.with_preview(self._preview(bare, encoded.structure, clean=clean))
                    draft.refers(reference, key_uses(reference))
                    references.append(reference)
        return [reference.dump() for reference in references]

    def _route(
        self, encoded: Encoded, compartment: Compartment, key: str, *, marked: bool, where: str
    ) -> Destination:
        limit = self.settings.max_bytes
        return destination(compartment, encoded, key, self._names, marked=marked, max_bytes=limit, where=where)

    def _seal(self, encoded: Encoded, to: Destination, coordinate: Coordinate, producer: TaskTry | None) -> Sealed:
        packed = pack(encoded, to, coordinate, self.settings, ledger=self._ledger_kind)
        context = encryption_context(to.compartment, coordinate)
        if to.exclusive:
            data_key, wraps = self.keys.fresh(to.key_uris, context)
        else:
            data_key, wraps = self.keys.for_try(to.key_uris, context, producer.try_number if producer else 0)
        return seal_packed(packed, data_key, wraps)

    def _preview(self, bare: Reference, structure: object, *, clean: bool) -> object:
        return preview_of(bare, structure, self.settings.preview, self._names, clean=clean)

    # --- pull -----------------------------------------------------------------------------------------------

    def pull(
        self,
        rows: Sequence[Row],
        *,
        consumer: TaskTry | None = None,
        claimant: Claimant | None = None,
        order: int = 0,
    ) -> list[Any]:
        """Open references and return the values, in order: `pull_sized` without the sizes."""
        pulled = self.pull_sized(rows, consumer=consumer, claimant=claimant, order=order)
        return [value for value, _ in pulled]

    @pause_gc()
    def pull_sized(
        self,
        rows: Sequence[Row],
        *,
        consumer: TaskTry | None = None,
        claimant: Claimant | None = None,
        order: int = 0,
    ) -> list[Pulled]:
        """Open references and return the values with their sizes, in order. The first error stops all.

        :param consumer: the task instance that pulls, where Airflow says which it is.
        :param claimant: the same, where it is certain to its map index: who claims what is exclusive.
        :param order: 1 or -1 where Airflow gives the rows of one task by rising or falling map index and does
            not say which row is which: a reference that was moved or copied among them is out of order.
        :raises SecureXComError: nothing is returned.
        """
        self._enter(consumer)
        revealed: list[_Revealed] = []
        with self._recording("pull", [Draft(asked=row.asked) for row in rows], consumer) as record:
            # decide
            admitted = self._decide(rows, consumer, claimant, record)
            _check_order(admitted, order, record)
            claims = self._claims(admitted, consumer, record)
            # fetch
            fetched = self._fetch(admitted, record)
            for index, (row, entry) in enumerate(zip(rows, admitted, strict=True)):
                with record.at(index) as draft:
                    key, sealed = next(fetched)
                    if entry is None or key is None:
                        revealed.append(self._reveal_plain(row))
                        continue
                    # claim
                    if entry.wanted is not None:
                        name = entry.wanted.target.object
                        # Kept, because the same XCom may be in a list twice.
                        claims[name] = self._claim(entry.wanted, claims[name], key, draft, consumer)
                    # open -> reveal
                    revealed.append(self._open_and_reveal(entry, key, sealed))
            compartments = [None if entry is None else entry.compartment for entry in admitted]
            mode = "all" if claims else mask_mode(compartments, self.settings.mask_values)
            self._mask([(one.structure, one.key, one.clean) for one in revealed], mode)
        self.claimed.update((wanted.target.object, wanted) for wanted in _exclusive(admitted))
        return [Pulled(one.value, one.size) for one in revealed]

    def _decide(
        self, rows: Sequence[Row], consumer: TaskTry | None, claimant: Claimant | None, record: Record
    ) -> list[Admitted | None]:
        """Return what may be opened, None for each plain value that the settings let pass."""
        admitted: list[Admitted | None] = []
        for index, row in enumerate(rows):
            with record.at(index) as draft:
                if not is_reference(row.value):
                    draft.plaintext = True
                    self._check_plain(row)
                    admitted.append(None)
                    continue
                reference = parse(row.value)
                draft.refers(reference, key_uses(reference))
                row.check(reference)
                coordinate = reference.head.coordinate
                verdict = self.policy.decide(coordinate, reference.head.compartment, consumer)
                draft.decided(verdict)
                admitted.append(
                    admit(
                        row,
                        reference,
                        verdict.enforce(),
                        claimant=claimant,
                        ledger=self._ledger_kind,
                        max_bytes=self.settings.max_bytes,
                        where=str(coordinate),
                    )
                )
        return admitted

    def _check_plain(self, row: Row) -> None:
        """Refuse, or warn of, a value without a reference, as the settings say.

        :raises PlaintextRefused: it is refused.
        """
        where = str(row.asked or "a row that was not asked for by its coordinate")
        if self.settings.on_plaintext == "refuse":
            raise PlaintextRefused("the row holds a value without a reference", where=where)
        if self.settings.on_plaintext == "warn":
            log.warning("A value without a reference was pulled, it lies in the database in plaintext: %s", where)

    def _claims(
        self, admitted: Sequence[Admitted | None], consumer: TaskTry | None, record: Record
    ) -> dict[str, Claim | None]:
        """Return the claims on the exclusive XComs so far, by the payload's name, once all are the consumer's own.

        They are read before a key is asked for, so that whoever comes second unwraps nothing; and all of a list
        before anything of it is claimed.

        :raises ClaimRefused: another task instance has claimed one.
        """
        targets = {wanted.target.object: wanted.target for wanted in _exclusive(admitted)}
        if not targets:
            return {}
        from secure_xcom.claims.claiming import check_claimant

        claims = dict(zip(targets, self.ledger.find_many(list(targets.values())), strict=True))
        for index, entry in enumerate(admitted):
            with record.at(index) as draft:
                if entry is None or entry.wanted is None:
                    continue
                claim = claims[entry.wanted.target.object]
                if claim is None:
                    continue
                try:
                    check_claimant(entry.wanted, claim)
                except ClaimRefused:
                    # Recorded as the claim that it was as well, which is what an alarm watches.
                    with self._recording("claim", [draft], consumer):
                        raise
        return claims

    def _claim(
        self, wanted: Wanted, claim: Claim | None, key: Unwrapped, draft: Draft, consumer: TaskTry | None
    ) -> Claim:
        """Return the proved claim on an exclusive XCom before it is opened; a new one is an event of its own."""
        from secure_xcom.claims.claiming import check_proof, take

        if claim is not None:
            check_proof(claim, key.data_key.secret)
            return claim
        # The pull's own event says that a key was unwrapped. A second event that says so would be looked for in
        # the key service's log in vain.
        with self._recording("claim", [replace(draft, opened_by=None, cache_hit=None)], consumer):
            return take(self.ledger, wanted, key.data_key.secret)

    def _fetch(
        self, admitted: Sequence[Admitted | None], record: Record
    ) -> Iterator[tuple[Unwrapped | None, Iterable[bytes]]]:
        """Return the data key and the sealed pieces of each, in order."""
        payloads = []
        for index, entry in enumerate(admitted):
            with record.at(index):
                payloads.append(
                    Payload(0) if entry is None else payload_of(entry.reference, entry.place, self.store)
                )
        candidates = [None if entry is None else entry.candidates for entry in admitted]
        fetched = fetch(payloads, candidates, self.keys, beside=self._beside)
        for draft, answer in zip(record.drafts, fetched.keys, strict=True):
            # All of them before the first error, because what was unwrapped is recorded also where another fails.
            if isinstance(answer, Unwrapped):
                draft.opened_by, draft.cache_hit = answer.uri, answer.cached
        keys: list[Unwrapped | None] = []
        for index, answer in enumerate(fetched.keys):
            with record.at(index) as draft:
                keys.append(None if answer is None else data_key_of(answer, str(draft.coordinate)))
        return zip(keys, fetched.payloads, strict=True)

    def _reveal_plain(self, row: Row) -> _Revealed:
        value = self._codecs.restore(row.value, where=str(row.asked or ""))
        return _Revealed(value, 0, row.value, row.asked.key if row.asked else "", clean=False)

    def _open_and_reveal(self, entry: Admitted, key: Unwrapped, sealed: Iterable[bytes]) -> _Revealed:
        """Open and decode one payload.

        The encoded bytes end here, because a large value is not to be in memory twice while it is masked.
        """
        head, limit = entry.reference.head, self.settings.max_bytes
        where = str(head.coordinate)
        data = opened(entry.reference, key.data_key.secret, sealed, max_bytes=limit, where=where)
        value, structure, parts = self._codecs.decode(head.codec, data, max_bytes=limit, where=where)
        clean = parts is not None and masking.is_clean(parts, self._names)
        return _Revealed(value, len(data), structure, head.key, clean)

    # --- purge ----------------------------------------------------------------------------------------------

    def purge(self, row: Row, *, producer: TaskTry | None = None) -> SecureXComError | None:
        """Delete the payload of a row that Airflow is about to delete; return why it stays, where it does.

        Only an object below the coordinate's own path is ever deleted, so a reference that was copied from
        elsewhere cannot be used to delete what it names; only for a task of its compartment; and none that is
        under a legal hold. What is not deleted stops nothing here: with the row goes the only wrapped data key,
        and gc removes the bytes.

        :raises AuditError: the access log cannot be written.
        """
        if not is_reference(row.value):
            return None
        try:
            with self._recording("purge", [Draft(asked=row.asked)], producer) as record, record.at(0) as draft:
                reference = parse(row.value)
                draft.refers(reference, key_uses(reference))
                row.check(reference)
                coordinate = reference.head.coordinate
                verdict = self.policy.decide_write(coordinate, producer)
                draft.decided(verdict)
                place = place_within(reference, self._unheld(coordinate, verdict.enforce()), str(coordinate))
                failure = self.store(place[0]).delete_many([place[1]])[0] if place else None
                if failure is not None:
                    raise failure
        except AuditError:
            raise
        except SecureXComError as error:
            log.warning("The payload of a row that is being deleted stays behind until gc: %s", error)
            return error
        return None

    def _unheld(self, coordinate: Coordinate, compartment: Compartment) -> Compartment:
        hold = self.policy.held(coordinate.dag_id, coordinate.run_id)
        if hold is not None:
            raise AccessRefused(
                f"it is under the legal hold {hold.name!r}",
                where=str(coordinate),
                remedy="lift the hold, and gc deletes it",
            )
        return compartment

    # --- shred ----------------------------------------------------------------------------------------------

    def shred(self, rows: Rows, claimant: Claimant) -> list[Shredded]:
        """Destroy what a task instance was given of exclusive XComs, in this process; for when it has succeeded.

        What is under a legal hold stays, and so does what this identity may not delete: maintenance does the rest.
        Each is in the access log as purged.

        :raises SecureXComError: a row cannot be read or written; :raises AuditError: the access log cannot be.
        """
        from secure_xcom.claims.shred import shred

        done = []
        for name, wanted in list(self.claimed.items()):
            # A process may run several tasks (`dag.test()`), and the others' right to pull is theirs.
            if wanted.claimant != claimant:
                continue
            target = wanted.target
            if self.policy.held(target.coordinate.dag_id, target.coordinate.run_id) is None:
                draft = Draft(coordinate=target.coordinate, compartment=target.compartment, object=target.object)
                with self._recording("purge", [draft], self._task):
                    done.append(shred(target, rows, self.store))
            del self.claimed[name]
        return done

    # --- shared ---------------------------------------------------------------------------------------------

    def _enter(self, task: TaskTry | None) -> None:
        """Drop the data keys of another try: a process that runs several tasks keeps only its own task's."""
        if task is not None:
            if self._task is not None and not self._task.same_task(task):
                self.keys.forget()
            self._task = task

    @cached_property
    def ledger(self) -> Ledger:
        """Where claims are kept."""
        if self._ledger is not None:
            return self._ledger
        from secure_xcom.claims.claim_objects import ClaimObjects

        return ClaimObjects(self.store)

    def store(self, uri: str) -> Store:
        """Return the store of a URI, opened once per process."""
        with self._lock:
            if uri not in self._stores:
                self._stores[uri] = self._open_store(uri)
            return self._stores[uri]

    def _mask(self, values: Sequence[tuple[object, str, bool]], mode: str) -> None:
        """Register the sensitive strings of several values in one call, within one cap.

        :param values: each as a plain structure, with its XCom's key, and whether it is clean by all names in it.
        """
        if mode == "none":
            return
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
    def _recording(self, action: Action, drafts: Sequence[Draft], task: TaskTry | None) -> Iterator[Record]:
        with (
            self._telemetry.operation(action, drafts),
            recording(self.access_log, action, drafts, task=task, policy=self.policy.digest) as record,
        ):
            yield record


def _unmarked(push: Push) -> tuple[Coordinate, object, bool]:
    """Return the coordinate, the value, and whether its DAG marks it as exclusive."""
    if isinstance(push.value, Exclusive):
        return push.coordinate, push.value.value, True
    return push.coordinate, push.value, False


def _check_order(admitted: Sequence[Admitted | None], order: int, record: Record) -> None:
    indexes = [None if entry is None else entry.reference.head.coordinate.map_index for entry in admitted]
    misplaced = first_out_of_order(indexes, order)
    if misplaced is not None:
        position, what = misplaced
        with record.at(position) as draft:
            raise CoordinateMismatch(what, where=str(draft.coordinate))


def _exclusive(admitted: Iterable[Admitted | None]) -> Iterator[Wanted]:
    return (entry.wanted for entry in admitted if entry is not None and entry.wanted is not None)
