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
from secure_xcom.ops.jobs.eligible_rows import Found, recognise
from secure_xcom.ops.jobs.gc_inventory import locked
from secure_xcom.ops.jobs.job_checkpoint import Checkpoint
from secure_xcom.ops.jobs.progress import Progress, silent
from secure_xcom.ops.jobs.report_text import add_example
from secure_xcom.ops.jobs.rewrap_plan import Plan, RewrapReport
from secure_xcom.ops.xcom_table import Database
from secure_xcom.sinks import AccessLog

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
            run.page([recognise(row, policy, database) for row in page], report)
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

    def page(self, page: Sequence[Found | SecureXComError | None], report: RewrapReport) -> None:
        mine: list[Found] = []
        for found in page:
            if found is None:
                continue
            report.references += 1
            if isinstance(found, SecureXComError):
                report.unreadable += 1
            elif found.reference.shredded is not None:
                continue
            elif self.plan.compartment in (None, found.compartment.name):
                mine.append(found)
            else:
                self._note_oldest(found, [(key.uri, key.wrapped) for key in found.reference.keys], report)
        keys = {id(found): [(key.uri, key.wrapped) for key in found.reference.keys] for found in mine}
        before = {name: tuple(wraps) for name, wraps in keys.items()}
        failed: dict[int, SecureXComError] = {}
        if self.plan.add is None and self.plan.remove is None:
            self._renew(mine, keys, failed)
        if self.plan.add is not None:
            self._add(self.plan.add, mine, keys, failed)
        if self.plan.remove is not None:
            self._remove(KeyUri.parse(self.plan.remove).name, mine, keys, failed)
        for found in mine:
            error = failed.get(id(found))
            if error is not None:
                report.due += 1
                report.failed += 1
                add_example(report.failures, f"{found.row.where}: {error.what}")
                # A wrap that no key has made opens for nobody, whatever its version says.
                if isinstance(error, UnwrapRefused):
                    report.refused += 1
                else:
                    self._note_oldest(found, before[id(found)], report)
            elif tuple(keys[id(found)]) != before[id(found)]:
                report.due += 1
                self._replace(found, keys[id(found)], before[id(found)], report)
            else:
                self._note_oldest(found, before[id(found)], report)

    # --- the newest version of the same key -----------------------------------------------------------------

    def _renew(
        self, mine: Sequence[Found], keys: Mapping[int, list[tuple[str, str]]], failed: dict[int, SecureXComError]
    ) -> None:
        wanted: dict[str, list[tuple[Found, int]]] = {}
        for found in mine:
            wraps = keys[id(found)]
            for uri, wrapped in openers(found.compartment.all_key_uris, wraps):
                place = next(number for number, entry in enumerate(wraps) if entry[1] == wrapped)
                if self._is_due(uri, Wrap(wrapped, _context(found))):
                    wanted.setdefault(uri, []).append((found, place))
        for uri, entries in wanted.items():
            if not self.apply:
                for found, place in entries:
                    keys[id(found)][place] = ("", "")
                continue
            wraps_of = [Wrap(keys[id(found)][place][1], _context(found)) for found, place in entries]
            for (found, place), answer in zip(entries, self._service(uri).rewrap_many(wraps_of), strict=True):
                if isinstance(answer, KeyServiceError):
                    failed.setdefault(id(found), answer)
                else:
                    keys[id(found)][place] = (keys[id(found)][place][0], answer)

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
        mine: Sequence[Found],
        keys: Mapping[int, list[tuple[str, str]]],
        failed: dict[int, SecureXComError],
    ) -> None:
        name = KeyUri.parse(uri).name
        wanted = [found for found in mine if name not in [key for key, _ in keys[id(found)]]]
        if not self.apply:
            for found in wanted:
                keys[id(found)].append((name, ""))
            return
        # All XComs of one try of a task share a data key and its wraps, so each is wrapped once.
        same: dict[tuple[Any, ...], list[Found]] = {}
        for found in wanted:
            same.setdefault((*keys[id(found)], *_context(found).values()), []).append(found)
        groups = list(same.values())
        for group, answer in zip(groups, self._wrap_anew(uri, [group[0] for group in groups]), strict=True):
            for found in group:
                if isinstance(answer, SecureXComError):
                    failed.setdefault(id(found), answer)
                elif len(keys[id(found)]) >= _KEYS_MAX:
                    failed[id(found)] = UnsafeRefused(
                        f"a reference has at most {_KEYS_MAX} keys", remedy="remove another key first"
                    )
                else:
                    keys[id(found)].append((name, answer))

    def _wrap_anew(self, uri: str, wanted: Sequence[Found]) -> list[str | SecureXComError]:
        """Return the wraps by another key: by KMS itself within KMS, otherwise through this process."""
        answers: dict[int, str | SecureXComError] = {}
        by_source: dict[str, list[tuple[Found, str]]] = {}
        target = self._service(uri)
        for found in wanted:
            candidates = openers(
                _others(found, KeyUri.parse(uri).name), [(key.uri, key.wrapped) for key in found.reference.keys]
            )
            if candidates:
                by_source.setdefault(candidates[0][0], []).append((found, candidates[0][1]))
            else:
                answers[id(found)] = UnwrapRefused("no key of the compartment opens it", where=found.row.where)
        for source, entries in by_source.items():
            wraps = [Wrap(wrapped, _context(found)) for found, wrapped in entries]
            given: Sequence[str | SecureXComError]
            inside = _inside_kms(source, target)
            given = inside(wraps) if inside is not None else self._through_here(source, target, wraps)
            answers.update({id(found): answer for (found, _), answer in zip(entries, given, strict=True)})
        return [answers[id(found)] for found in wanted]

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
        mine: Sequence[Found],
        keys: Mapping[int, list[tuple[str, str]]],
        failed: dict[int, SecureXComError],
    ) -> None:
        for found in mine:
            left = [entry for entry in keys[id(found)] if entry[0] != name]
            if not openers(_others(found, name), left):
                failed.setdefault(id(found), UnsafeRefused("no other key of the compartment would open it"))
            else:
                keys[id(found)][:] = left

    # --- shared ---------------------------------------------------------------------------------------------

    def _replace(
        self,
        found: Found,
        wraps: Sequence[tuple[str, str]],
        before: Sequence[tuple[str, str]],
        report: RewrapReport,
    ) -> None:
        if not self.apply:
            self._note_oldest(found, before, report)
            return
        record = dict(found.row.value)
        record["keys"] = [{"uri": uri, "wrapped": wrapped} for uri, wrapped in wraps]
        try:
            # A reference that no pull would read is never written.
            parse(record)
            self.access_log.record([self._event(found, wraps)])
            replaced = self.database.replace(found.row, record)
        except (ReferenceRefused, ValueNotKept) as error:
            report.failed += 1
            add_example(report.failures, f"{found.row.where}: {error.what}")
            return
        if replaced:
            report.rewrapped += 1
            self._note_oldest(found, wraps, report)
        else:
            report.changed += 1

    def _note_oldest(self, found: Found, wraps: Sequence[tuple[str, str]], report: RewrapReport) -> None:
        # A row can name any key and version: only wraps that a pull would send to a key service count.
        asked = {wrapped for _, wrapped in openers(found.compartment.all_key_uris, wraps)}
        for uri, wrapped in wraps:
            version = version_of(wrapped)
            if version is not None and wrapped in asked and uri in _names(found):
                report.oldest[uri] = min(version, report.oldest.get(uri, version))

    def _service(self, uri: str) -> KeyService:
        return self._open(KeyUri.parse(uri).service)

    def _event(self, found: Found, wraps: Sequence[tuple[str, str]]) -> Event:
        head = found.reference.head
        return Event(
            "rewrap",
            "ok",
            coordinate=head.coordinate,
            compartment=head.compartment,
            keys=tuple(KeyUse(uri, version_of(wrapped)) for uri, wrapped in wraps),
            policy=self.policy.digest,
            operator=self.operator,
        )


def _context(found: Found) -> dict[str, str]:
    return encryption_context(found.compartment.name, found.reference.head.coordinate)


def _names(found: Found) -> set[str]:
    return {KeyUri.parse(uri).name for uri in found.compartment.all_key_uris}


def _others(found: Found, name: str) -> list[str]:
    return [uri for uri in found.compartment.all_key_uris if KeyUri.parse(uri).name != name]


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
