"""Rewrap the data keys of references with the newest version of their key, or with another key.

Inside one key service the data keys are not seen: transit's rewrap and KMS's ReEncrypt do it there, also from one
KMS key to another of its region. To another service a data key must pass through this process: it is unwrapped by
a key that the reference has, wrapped by the new one, and unwrapped again from there before the row is changed. No
payload moves: the wraps are not part of the head.

Rows are changed by compare and swap, so a task that writes the row at the same time wins. Permissions: ``update``
on ``rewrap/NAME`` of transit, ``kms:ReEncrypt*`` of KMS; for another service ``decrypt`` on the old and both
``encrypt`` and ``decrypt`` on the new.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

from secure_xcom.core.access_policy.policy import AccessPolicy
from secure_xcom.core.coordinate import encryption_context
from secure_xcom.core.errors import KeyServiceError, ReferenceRefused, SecureXComError, UnwrapRefused
from secure_xcom.core.event import Event, KeyUse
from secure_xcom.core.operator_errors import UnsafeRefused, ValueNotKept
from secure_xcom.core.reference import parse
from secure_xcom.keys import KeyService, KeyUri, Wrap, key_service, openers, version_of
from secure_xcom.ops.jobs.eligible_rows import EligibleRow, recognize
from secure_xcom.ops.jobs.gc_inventory import locked
from secure_xcom.ops.jobs.job_checkpoint import Checkpoint
from secure_xcom.ops.jobs.progress import Progress, silent
from secure_xcom.ops.jobs.report_text import add_example
from secure_xcom.ops.jobs.rewrap_plan import Plan, RewrapReport
from secure_xcom.ops.xcom_table import Database
from secure_xcom.sinks.access_log import AccessLog

_KEYS_MAX = 8


def rewrap(
    policy: AccessPolicy,
    database: Database,
    access_log: AccessLog,
    state: Path,
    plan: Plan,
    *,
    apply: bool,
    operator: str,
    services: Callable[[str], KeyService] = key_service,
    progress: Progress = silent,
) -> RewrapReport:
    """Rewrap data keys with the newest version of their key, or with other keys. A killed run resumes.

    :param state: the checkpoint file.
    :param apply: False only asks the key service for the newest version, and changes nothing.
    :param operator: who runs it, for the access log.
    :raises KeyServiceError: a key service as a whole does not answer.
    :raises MaintenanceError: the database does not.
    """
    plan.check(policy)
    with locked(state):
        job = {"plan": repr(plan), "database": database.name, "apply": str(apply)}
        checkpoint = Checkpoint(state, job)
        run = _Run(policy, database, access_log, operator, services, plan, apply)
        report = RewrapReport(apply, oldest=dict(checkpoint.notes.get("oldest", {})))
        total = database.count()
        for page in database.pages(checkpoint.position):
            run.page([recognize(row, policy, database) for row in page], report)
            report.rows += len(page)
            if apply:
                checkpoint.notes["oldest"] = report.oldest
                checkpoint.save(page[-1].position)
            progress("reading rows", report.rows, max(total, report.rows))
        checkpoint.forget()
    return report


@dataclass
class _Run:
    policy: AccessPolicy
    database: Database
    access_log: AccessLog
    operator: str
    services: Callable[[str], KeyService]
    plan: Plan
    apply: bool

    def __post_init__(self) -> None:
        self._open = cache(self.services)
        self._newest: dict[str, int | None] = {}

    def page(self, page: Sequence[EligibleRow | SecureXComError | None], report: RewrapReport) -> None:
        mine: list[EligibleRow] = []
        for eligible in page:
            if eligible is None:
                continue
            report.references += 1
            if isinstance(eligible, SecureXComError):
                report.unreadable += 1
            elif eligible.reference.shredded is not None:
                continue
            elif self.plan.compartment in (None, eligible.compartment.name):
                mine.append(eligible)
            else:
                self._note_oldest(eligible, [(key.uri, key.wrapped) for key in eligible.reference.keys], report)
        keys = {id(eligible): [(key.uri, key.wrapped) for key in eligible.reference.keys] for eligible in mine}
        before = {name: tuple(wraps) for name, wraps in keys.items()}
        failed: dict[int, SecureXComError] = {}
        if self.plan.add is None and self.plan.remove is None:
            self._renew(mine, keys, failed)
        if self.plan.add is not None:
            self._add(self.plan.add, mine, keys, failed)
        if self.plan.remove is not None:
            self._remove(KeyUri.parse(self.plan.remove).name, mine, keys, failed)
        for eligible in mine:
            error = failed.get(id(eligible))
            if error is not None:
                report.due += 1
                report.failed += 1
                add_example(report.failures, f"{eligible.row.where}: {error.what}")
                # A wrap that no key has made opens for nobody, whatever its version says.
                if isinstance(error, UnwrapRefused):
                    report.refused += 1
                else:
                    self._note_oldest(eligible, before[id(eligible)], report)
            elif tuple(keys[id(eligible)]) != before[id(eligible)]:
                report.due += 1
                self._replace(eligible, keys[id(eligible)], before[id(eligible)], report)
            else:
                self._note_oldest(eligible, before[id(eligible)], report)

    # --- the newest version of the same key -----------------------------------------------------------------

    def _renew(
        self,
        mine: Sequence[EligibleRow],
        keys: Mapping[int, list[tuple[str, str]]],
        failed: dict[int, SecureXComError],
    ) -> None:
        wanted: dict[str, list[tuple[EligibleRow, int]]] = {}
        for eligible in mine:
            wraps = keys[id(eligible)]
            for uri, wrapped in openers(eligible.compartment.all_key_uris, wraps):
                place = next(number for number, entry in enumerate(wraps) if entry[1] == wrapped)
                if self._is_due(uri, Wrap(wrapped, _context(eligible))):
                    wanted.setdefault(uri, []).append((eligible, place))
        for uri, entries in wanted.items():
            if not self.apply:
                for eligible, place in entries:
                    keys[id(eligible)][place] = ("", "")
                continue
            wraps_of = [Wrap(keys[id(eligible)][place][1], _context(eligible)) for eligible, place in entries]
            for (eligible, place), answer in zip(entries, self._service(uri).rewrap_many(wraps_of), strict=True):
                if isinstance(answer, KeyServiceError):
                    failed.setdefault(id(eligible), answer)
                else:
                    keys[id(eligible)][place] = (keys[id(eligible)][place][0], answer)

    def _is_due(self, uri: str, wrap: Wrap) -> bool:
        version = version_of(wrap.wrapped)
        if version is None:
            # KMS does not tell which key material made a wrap, so every wrap is renewed.
            return self.plan.older_than is None
        if self.plan.older_than is not None:
            return version < self.plan.older_than
        if uri not in self._newest:
            # A new rewrap has the newest version; no other right is needed to learn it.
            answer = self._service(uri).rewrap_many([wrap])[0]
            if isinstance(answer, KeyServiceError):
                return True
            self._newest[uri] = version_of(answer)
        newest = self._newest[uri]
        return newest is None or version < newest

    # --- another key ----------------------------------------------------------------------------------------

    def _add(
        self,
        uri: str,
        mine: Sequence[EligibleRow],
        keys: Mapping[int, list[tuple[str, str]]],
        failed: dict[int, SecureXComError],
    ) -> None:
        name = KeyUri.parse(uri).name
        wanted = [eligible for eligible in mine if name not in [key for key, _ in keys[id(eligible)]]]
        if not self.apply:
            for eligible in wanted:
                keys[id(eligible)].append((name, ""))
            return
        # All XComs of one try of a task share a data key and its wraps, so each is wrapped once.
        same: dict[tuple[Any, ...], list[EligibleRow]] = {}
        for eligible in wanted:
            same.setdefault((*keys[id(eligible)], *_context(eligible).values()), []).append(eligible)
        groups = list(same.values())
        for group, answer in zip(groups, self._wrap_anew(uri, [group[0] for group in groups]), strict=True):
            for eligible in group:
                if isinstance(answer, SecureXComError):
                    failed.setdefault(id(eligible), answer)
                elif len(keys[id(eligible)]) >= _KEYS_MAX:
                    failed[id(eligible)] = UnsafeRefused(
                        f"a reference has at most {_KEYS_MAX} keys", remedy="remove another key first"
                    )
                else:
                    keys[id(eligible)].append((name, answer))

    def _wrap_anew(self, uri: str, wanted: Sequence[EligibleRow]) -> list[str | SecureXComError]:
        """Return the wraps by another key: by KMS itself within KMS, otherwise through this process."""
        answers: dict[int, str | SecureXComError] = {}
        by_source: dict[str, list[tuple[EligibleRow, str]]] = {}
        target = self._service(uri)
        for eligible in wanted:
            candidates = openers(
                _others(eligible, KeyUri.parse(uri).name),
                [(key.uri, key.wrapped) for key in eligible.reference.keys],
            )
            if candidates:
                by_source.setdefault(candidates[0][0], []).append((eligible, candidates[0][1]))
            else:
                answers[id(eligible)] = UnwrapRefused(
                    "no key of the compartment opens it", where=eligible.row.where
                )
        for source, entries in by_source.items():
            wraps = [Wrap(wrapped, _context(eligible)) for eligible, wrapped in entries]
            given: Sequence[str | SecureXComError]
            inside = _inside_kms(source, target)
            given = inside(wraps) if inside is not None else self._through_here(source, target, wraps)
            answers.update({id(eligible): answer for (eligible, _), answer in zip(entries, given, strict=True)})
        return [answers[id(eligible)] for eligible in wanted]

    def _through_here(self, source: str, target: KeyService, wraps: Sequence[Wrap]) -> list[str | SecureXComError]:
        given: list[str | SecureXComError] = []
        made: list[tuple[int, Wrap]] = []
        opened = self._service(source).unwrap_many(wraps)
        for number, (wrap, key) in enumerate(zip(wraps, opened, strict=True)):
            if isinstance(key, KeyServiceError):
                given.append(key)
                continue
            given.append(target.wrap(key, wrap.context))
            made.append((number, Wrap(str(given[-1]), wrap.context)))
        # A wrap that does not open would otherwise be noticed long after its old key is gone.
        for (number, _), again in zip(made, target.unwrap_many([wrap for _, wrap in made]), strict=True):
            if again != opened[number]:
                given[number] = UnwrapRefused("the new key cannot unwrap its own wrap", where=target.uri)
        return given

    def _remove(
        self,
        name: str,
        mine: Sequence[EligibleRow],
        keys: Mapping[int, list[tuple[str, str]]],
        failed: dict[int, SecureXComError],
    ) -> None:
        for eligible in mine:
            left = [entry for entry in keys[id(eligible)] if entry[0] != name]
            if not openers(_others(eligible, name), left):
                failed.setdefault(id(eligible), UnsafeRefused("no other key of the compartment would open it"))
            else:
                keys[id(eligible)][:] = left

    # --- shared ---------------------------------------------------------------------------------------------

    def _replace(
        self,
        eligible: EligibleRow,
        wraps: Sequence[tuple[str, str]],
        before: Sequence[tuple[str, str]],
        report: RewrapReport,
    ) -> None:
        if not self.apply:
            self._note_oldest(eligible, before, report)
            return
        record = dict(eligible.row.value)
        record["keys"] = [{"uri": uri, "wrapped": wrapped} for uri, wrapped in wraps]
        try:
            # A reference that no pull would read is never written.
            parse(record)
            self.access_log.record([self._event(eligible, wraps)])
            replaced = self.database.replace(eligible.row, record)
        except (ReferenceRefused, ValueNotKept) as error:
            report.failed += 1
            add_example(report.failures, f"{eligible.row.where}: {error.what}")
            return
        if replaced:
            report.rewrapped += 1
            self._note_oldest(eligible, wraps, report)
        else:
            report.changed += 1

    def _note_oldest(self, eligible: EligibleRow, wraps: Sequence[tuple[str, str]], report: RewrapReport) -> None:
        # A row can name any key and version: only wraps that a pull would send to a key service count.
        asked = {wrapped for _, wrapped in openers(eligible.compartment.all_key_uris, wraps)}
        for uri, wrapped in wraps:
            version = version_of(wrapped)
            if version is not None and wrapped in asked and uri in _names(eligible):
                report.oldest[uri] = min(version, report.oldest.get(uri, version))

    def _service(self, uri: str) -> KeyService:
        return self._open(KeyUri.parse(uri).service)

    def _event(self, eligible: EligibleRow, wraps: Sequence[tuple[str, str]]) -> Event:
        head = eligible.reference.head
        return Event(
            "rewrap",
            "ok",
            coordinate=head.coordinate,
            compartment=head.compartment,
            keys=tuple(KeyUse(uri, version_of(wrapped)) for uri, wrapped in wraps),
            policy=self.policy.digest,
            operator=self.operator,
        )


def _context(eligible: EligibleRow) -> dict[str, str]:
    return encryption_context(eligible.compartment.name, eligible.reference.head.coordinate)


def _names(eligible: EligibleRow) -> set[str]:
    return {KeyUri.parse(uri).name for uri in eligible.compartment.all_key_uris}


def _others(eligible: EligibleRow, name: str) -> list[str]:
    return [uri for uri in eligible.compartment.all_key_uris if KeyUri.parse(uri).name != name]


def _inside_kms(source: str, target: KeyService) -> Callable[[Sequence[Wrap]], list[str | KeyServiceError]] | None:
    """Use ReEncrypt from one KMS key to another where one request can name both: same connection and region."""
    if not source.startswith("aws-kms://") or not target.uri.startswith("aws-kms://"):
        return None
    from secure_xcom.keys.aws_kms import AwsKms
    from secure_xcom.keys.aws_kms_format import KmsKey

    made_by = KmsKey.parse(KeyUri.parse(source).service)
    if not isinstance(target, AwsKms) or (made_by.conn_id, made_by.region) != (
        target.key.conn_id,
        target.key.region,
    ):
        return None
    return partial(target.rewrap_many, source=KeyUri.parse(source).service)
