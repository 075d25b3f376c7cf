"""The data path, written once: push and pull side by side, each a list of stages that return values.

push:  decide -> encode -> mask -> route -> seal -> put -> reference (with preview) -> audit -> returned
pull:  decide -> fetch (payloads and data keys at the same time) -> claim (if it is exclusive) -> open
       -> decode -> mask -> audit -> returned

The stages of a pull are `decide`, `fetch`, `claim`, `open_payload` and `decode_and_mask` beside this file; those
of a push are `push_routing` and `seal_payload`. `delete` has the purge and the shredding of exclusive XComs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from secure_xcom.claims.exclusive import Exclusive
from secure_xcom.core.codecs import Codecs, Encoded
from secure_xcom.core.config import Settings
from secure_xcom.core.coordinate import Coordinate, TaskTry, encryption_context
from secure_xcom.core.errors import SecureXComError
from secure_xcom.core.event import Action
from secure_xcom.core.masking.sensitive_names import SensitiveNames
from secure_xcom.core.per_process import MadeOnce, unlocked_property
from secure_xcom.core.pipeline.decide import Admitted, Row, decide, exclusive_of
from secure_xcom.core.pipeline.decode_and_mask import Masker, Revealed, open_and_reveal, reveal_plain
from secure_xcom.core.pipeline.fetch import fetch_admitted
from secure_xcom.core.pipeline.gc_pause import pause_gc
from secure_xcom.core.pipeline.open_payload import key_uses
from secure_xcom.core.pipeline.push_routing import Destination, destination, mask_mode
from secure_xcom.core.pipeline.seal_payload import Puts, Sealed, pack, preview_of, reference_of, seal_packed
from secure_xcom.core.reference import LEDGER_STORE
from secure_xcom.keys import KeyService, key_service
from secure_xcom.keys.data_keys import DataKeys, KeysOfTasks, Unwrapped
from secure_xcom.sinks.access_log import AccessLog
from secure_xcom.sinks.recording import Draft, Record, recording
from secure_xcom.stores import Store, store

if TYPE_CHECKING:
    from secure_xcom.claims.claim import Claim
    from secure_xcom.claims.claimant import Claimant
    from secure_xcom.claims.claiming import Wanted
    from secure_xcom.claims.ledger import Ledger
    from secure_xcom.claims.shred import Rows, Shredded
    from secure_xcom.core.access_policy.interface import Decisions
    from secure_xcom.core.masking.secrets_of_value import Secrets
    from secure_xcom.core.pipeline.telemetry.measuring import Telemetry

__all__ = ["Pipeline", "Pulled", "Push", "Row"]


@dataclass(frozen=True, slots=True)
class Push:
    """One value to push."""

    coordinate: Coordinate
    value: object = field(repr=False)


class Pulled(NamedTuple):
    """One pulled value, and how many bytes it was before it was decoded; 0 for a value without a reference."""

    value: Any
    size: int


class Pipeline:
    """Push, pull and purge for one process. Not to be shared across a fork.

    :param codecs: with Airflow's serialization handed in.
    :param register: registers sensitive values with a masker; without it, with Airflow's.
    :param services: key URI -> key service.
    :param stores: store URI -> store.
    :param ledger: where claims are kept; without one, in the payloads' own stores.
    :param telemetry: measures operations; None measures nothing.
    """

    def __init__(
        self,
        settings: Settings,
        policy: Decisions,
        access_log: AccessLog,
        names: SensitiveNames,
        codecs: Codecs,
        *,
        register: Callable[[Secrets], None] | None = None,
        services: Callable[[str], KeyService] = key_service,
        stores: Callable[[str], Store] = store,
        ledger: Ledger | None = None,
        telemetry: Telemetry | None = None,
    ) -> None:
        self.settings = settings
        self.policy = policy
        self.access_log = access_log
        self._telemetry = telemetry
        services = services if telemetry is None else telemetry.services(services)
        self._keys = KeysOfTasks(DataKeys(settings.key_cache_seconds, settings.key_cache_size, services))
        self._codecs = codecs.with_names(names)
        self._masker = Masker(names, settings.mask_max_values, register)
        self._stores: MadeOnce[str, Store] = MadeOnce(stores)
        self._ledger = ledger
        self._ledger_kind = LEDGER_STORE if ledger is None else ledger.kind
        self.claimed: dict[str, Wanted] = {}
        """Exclusive XComs that were given out, by the payload's name: shredded when their claimant succeeds."""
        # Threads start when they are first needed, so this costs nothing to a task that pulls nothing.
        self._beside = ThreadPoolExecutor(4, thread_name_prefix="secure_xcom")

    @pause_gc()
    def push(
        self, pushes: Sequence[Push], *, producer: TaskTry | None = None, operator: str | None = None
    ) -> list[dict[str, Any]]:
        """Seal values and return the references that Airflow's database is to keep, in order.

        :param producer: the pushing task instance, where known: each of its tries has a data key of its own.
        :param operator: who runs the maintenance job that seals values for no task, for the access log.
        :raises SecureXComError: nothing is returned, and what was put already is deleted again.
        """
        drafts = [Draft(coordinate=push.coordinate, operator=operator) for push in pushes]
        references = []
        with (
            self._keys.of(producer) as keys,
            Puts(self.store) as puts,
            self.recording("push", drafts, producer) as record,
        ):
            for index, (coordinate, value, marked) in enumerate(map(_unmarked, pushes)):
                with record.at(index) as draft:
                    # decide
                    verdict = self.policy.decide_write(coordinate, producer, maintenance=operator is not None)
                    draft.decided(verdict)
                    compartment = verdict.enforce()
                    # encode
                    encoded = self._codecs.encode(value, where=str(coordinate))
                    draft.codec = encoded.codec
                    # mask: before anything can fail with the value in its hands
                    maskable = self._masker.maskable(encoded.structure, coordinate.key, encoded.parts)
                    self._masker.mask([maskable], mask_mode([compartment], self.settings.mask_values))
                    # route -> seal -> put -> reference
                    names, limit = self._masker.names, self.settings.max_bytes
                    to = destination(compartment, encoded, coordinate, names, marked=marked, max_bytes=limit)
                    sealed = self._seal(self._masker.marked(encoded, maskable, limit), to, coordinate, keys)
                    bare = reference_of(sealed, puts.put(sealed), encoded.structure)
                    shown = preview_of(bare, maskable, self.settings.preview, names)
                    reference = bare.with_preview(shown)
                    draft.refers(reference, key_uses(reference))
                    references.append(reference)
            # audit: on exit `record` writes the log first; if that fails, `puts` deletes the payloads
        return [reference.dump() for reference in references]

    def _seal(self, encoded: Encoded, to: Destination, coordinate: Coordinate, keys: DataKeys) -> Sealed:
        packed = pack(encoded, to, coordinate, self.settings, ledger=self._ledger_kind)
        context = encryption_context(to.compartment, coordinate)
        if to.exclusive:
            data_key, wraps = keys.fresh(to.key_uris, context)
        else:
            data_key, wraps = keys.for_try(to.key_uris, context, coordinate.attempt)
        return seal_packed(packed, data_key, wraps)

    def pull(
        self,
        rows: Sequence[Row],
        *,
        consumer: TaskTry | None = None,
        claimant: Claimant | None = None,
        order: int = 0,
    ) -> list[Any]:
        """Open references and return the values, in order: `pull_sized` without the sizes."""
        return [value for value, _ in self.pull_sized(rows, consumer=consumer, claimant=claimant, order=order)]

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
        revealed: list[Revealed] = []
        drafts = [Draft(asked=row.asked) for row in rows]
        with self._keys.of(consumer) as keys, self.recording("pull", drafts, consumer) as record:
            # decide
            admitted = decide(rows, self.policy, self.settings, consumer, claimant, self._ledger_kind, record)
            if order:
                from secure_xcom.core.pipeline.row_order import check_order

                check_order(admitted, order, record)
            claims = self._claims(admitted, consumer, record)
            # fetch
            fetched = fetch_admitted(admitted, keys, self.store, self._beside, record)
            for index, (row, entry) in enumerate(zip(rows, admitted, strict=True)):
                with record.at(index) as draft:
                    key, pieces = next(fetched)
                    if entry is None or key is None:
                        revealed.append(reveal_plain(row, self._codecs))
                        continue
                    # claim
                    if entry.wanted is not None:
                        name = entry.wanted.target.object
                        # Kept, because the same XCom may be in a list twice.
                        claims[name] = self._claim(entry.wanted, claims[name], key, draft, consumer)
                    # open -> decode
                    revealed.append(self._open_and_reveal(entry, key, pieces))
            compartments = [None if entry is None else entry.compartment for entry in admitted]
            mode = "all" if claims else mask_mode(compartments, self.settings.mask_values)
            self._masker.mask([value.maskable for value in revealed], mode)
        self.claimed.update((wanted.target.object, wanted) for wanted in exclusive_of(admitted))
        return [Pulled(value.value, value.size) for value in revealed]

    def _claims(
        self, admitted: Sequence[Admitted | None], consumer: TaskTry | None, record: Record
    ) -> dict[str, Claim | None]:
        if not exclusive_of(admitted):
            return {}
        from secure_xcom.core.pipeline import claim

        return claim.read(admitted, self.ledger, record, partial(self.recording, task=consumer))

    def _claim(
        self, wanted: Wanted, known: Claim | None, key: Unwrapped, draft: Draft, consumer: TaskTry | None
    ) -> Claim:
        from secure_xcom.core.pipeline import claim

        recorder = partial(self.recording, task=consumer)
        return claim.take(wanted, known, key.data_key.secret, self.ledger, draft, recorder)

    def _open_and_reveal(self, entry: Admitted, key: Unwrapped, pieces: Iterable[bytes]) -> Revealed:
        secret, limit = key.data_key.secret, self.settings.max_bytes
        return open_and_reveal(entry, secret, pieces, codecs=self._codecs, masker=self._masker, max_bytes=limit)

    def purge(self, row: Row, *, producer: TaskTry | None = None) -> SecureXComError | None:
        """Delete the payload of a row that Airflow is about to delete: see `secure_xcom.core.pipeline.delete`."""
        from secure_xcom.core.pipeline.delete import purge

        return purge(row, self.policy, self.store, partial(self.recording, task=producer), producer)

    def shred(self, rows: Rows, claimant: Claimant) -> list[Shredded]:
        """Destroy the exclusive XComs that a task instance claimed in this process, once it has succeeded.

        What is under a legal hold stays, and so does what this identity may not delete, and what another iteration
        of the loop pushed, whose row a task cannot name to Airflow: maintenance does the rest.
        Each is in the access log as purged.

        :raises SecureXComError: a row cannot be read or written; :raises AuditError: the access log cannot be.
        """
        from secure_xcom.core.pipeline.delete import shred_claimed

        recorder = partial(self.recording, task=self._keys.task)
        shredded = []
        for name, result in shred_claimed(dict(self.claimed), claimant, rows, self.policy, self.store, recorder):
            del self.claimed[name]
            if result is not None:
                shredded.append(result)
        return shredded

    @property
    def keys(self) -> DataKeys:
        """The data keys of the task that pushed or pulled last."""
        return self._keys.current

    @unlocked_property
    def ledger(self) -> Ledger:
        """Return where claims are kept."""
        if self._ledger is not None:
            return self._ledger
        from secure_xcom.claims.claim_objects import ClaimObjects

        return ClaimObjects(self.store)

    def store(self, uri: str) -> Store:
        """Return the store of a URI, opened once per process."""
        return self._stores.get(uri)

    @contextmanager
    def recording(self, action: Action, drafts: Sequence[Draft], task: TaskTry | None) -> Iterator[Record]:
        """Measure an operation, and record it in the access log."""
        measured = nullcontext() if self._telemetry is None else self._telemetry.operation(action, drafts)
        with (
            measured,
            recording(self.access_log, action, drafts, task=task, policy=self.policy.digest) as record,
        ):
            yield record


def _unmarked(push: Push) -> tuple[Coordinate, object, bool]:
    """Return the coordinate, the value, and whether its DAG marks it as exclusive."""
    if isinstance(push.value, Exclusive):
        return push.coordinate, push.value.value, True
    return push.coordinate, push.value, False
