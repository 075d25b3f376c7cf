"""``secure-xcom gc``: payloads that no row names, and rows whose payload is gone.

The order is what keeps a live payload safe. A push puts its payload first and its row is written after; so the
stores are listed first and the rows are read after, and only payloads are looked at that are older than the
window (by the UUIDv7 in their name and by the store's own clock). Whatever row such a payload will ever have is
there when the rows are read. Right before a deletion the rows of its task instance are read once more.

Deleted is only what has the form of `secure_xcom.coordinate.object_path` below one of the policy's compartments,
and what a killed put left in a file store.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from itertools import islice
from pathlib import Path
from typing import Any

from secure_xcom.access import AccessPolicy, Compartment
from secure_xcom.coordinate import object_path, object_uri, path_segment
from secure_xcom.errors import SecureXComError, StoreError, UnsafeRefused
from secure_xcom.maintenance.database import Database, Position, StoredRow
from secure_xcom.maintenance.examples import EXAMPLES, name_one
from secure_xcom.maintenance.gc_report import GcReport
from secure_xcom.maintenance.inventory import Batch, Inventory, locked, name_of
from secure_xcom.maintenance.pace import Pace
from secure_xcom.maintenance.paths import PayloadPath, is_staged
from secure_xcom.maintenance.progress import Progress, silent
from secure_xcom.reference import TAG, is_reference
from secure_xcom.stores import Store, StoredObject, store

WINDOW = timedelta(hours=24)
WINDOW_LEAST = timedelta(hours=2)
"""Twice what clocks of workers, stores and this machine may differ by, and far over what a push takes."""

BATCH = 1000


@dataclass(frozen=True)
class _Unit:
    """One compartment in one store."""

    compartment: Compartment
    store_uri: str

    @property
    def name(self) -> str:
        return f"{object_uri(self.store_uri, '')}{path_segment(self.compartment.name)}"


def collect(
    policy: AccessPolicy,
    database: Database,
    state: Path,
    *,
    delete: bool,
    window: timedelta = WINDOW,
    rate: float = 0,
    max_share: float = 0.5,
    examples: int = EXAMPLES,
    stores: Callable[[str], Store] = store,
    progress: Progress = silent,
) -> GcReport:
    """Find orphans both ways, and delete payloads that no row names if told to.

    :param state: the state file, from which a run that was killed goes on.
    :param window: payloads that are younger are left alone.
    :param rate: deletions a second at the most; 0 for as fast as the store takes them.
    :param max_share: refuse to delete more than this share of the payloads that are old enough.
    :param examples: how many ids of each kind the report names.
    :raises UnsafeRefused: too large a share has no row: this may be the wrong database.
    :raises MaintenanceError: the database or the state file cannot be used; :raises StoreError: a store cannot.
    """
    units = [_Unit(compartment, uri) for compartment in policy.compartments for uri in compartment.all_store_uris]
    units = list({unit.name: unit for unit in units}.values())
    job = {
        "stores": " ".join(sorted(unit.name for unit in units)),
        "database": database.name,
        "window": str(window),
    }
    with locked(state):
        inventory = Inventory(state, job)
        try:
            run = _Run(policy, units, database, inventory, window, examples, stores, progress)
            report = run.find(GcReport(delete))
            if delete:
                run.refuse_unsafe(report, max_share)
                run.delete(report, rate)
            inventory.forget()
        finally:
            inventory.close()
    return report


class _Run:
    def __init__(
        self,
        policy: AccessPolicy,
        units: Sequence[_Unit],
        database: Database,
        inventory: Inventory,
        window: timedelta,
        examples: int,
        stores: Callable[[str], Store],
        progress: Progress,
    ) -> None:
        self.examples = examples
        self.policy = policy
        self.units = units
        self.database = database
        self.inventory = inventory
        self.begun = datetime.fromtimestamp(inventory.started, timezone.utc)
        self.cutoff = self.begun - window
        self.progress = progress
        self._stores = {unit.store_uri: stores(unit.store_uri) for unit in units}
        self._prefixes = sorted({object_uri(unit.store_uri, "") for unit in units}, key=len, reverse=True)

    # --- find -----------------------------------------------------------------------------------------------

    def find(self, report: GcReport) -> GcReport:
        for unit in self.units:
            if not self.inventory.is_listed(unit.name):
                self.inventory.list_unit(unit.name, self._listed(unit))
        self._read_rows()
        self.inventory.join()
        for name, value in self.inventory.tally().items():
            setattr(report, name, value)
        report.orphans, report.orphan_bytes = self.inventory.orphan_counts()
        report.stores = [_described(uri) for uri in self._stores]
        for unit in self.units:
            room = self.examples - len(report.orphan_examples)
            found = self.inventory.orphans(unit.name, limit=room) if room else ()
            report.orphan_examples += [object_uri(unit.store_uri, path) for _, path, _ in found]
        self._check_missing(report)
        return report

    def _listed(self, unit: _Unit) -> Iterator[Batch]:
        listing = self._stores[unit.store_uri].list(path_segment(unit.compartment.name))
        done = 0
        while batch := list(islice(listing, BATCH)):
            payloads, young, counts = [], [], {"payloads": 0, "young": 0, "foreign": 0}
            for found in batch:
                kind = self._kind(found, unit.compartment.name)
                counts[kind] += 1
                name = name_of(object_uri(unit.store_uri, found.path))
                if kind == "payloads":
                    payloads.append((name, found.path, found.size))
                elif kind == "young":
                    young.append(name)
            yield Batch(payloads, young, counts)
            done += len(batch)
            self.progress(f"listing {unit.compartment.name}", done, None)

    def _kind(self, found: StoredObject, compartment: str) -> str:
        path = PayloadPath.parse(found.path, compartment)
        if path is None and not is_staged(found.path, compartment):
            return "foreign"
        # Two clocks, so that neither of them alone can make a payload old.
        young = found.modified > self.cutoff or (path is not None and path.made > self.cutoff)
        return "young" if young else "payloads"

    def _read_rows(self) -> None:
        at = self.inventory.meta("position")
        if at == "end":
            return
        after = Position(*json.loads(at)) if at else None
        total, done = self.database.count(), 0
        for page in self.database.pages(after):
            named: list[tuple[bytes, str, str | None]] = []
            kept: list[str] = []
            counts = {"rows": len(page), "references": 0, "unreadable": 0}
            for row in page:
                self._note(row, named, kept, counts)
            self.inventory.note_rows(named, kept, counts, json.dumps(page[-1].position))
            done += len(page)
            self.progress("reading rows", done, max(total, done))
        self.inventory.set_meta("position", "end")

    def _note(
        self, row: StoredRow, named: list[tuple[bytes, str, str | None]], kept: list[str], counts: dict[str, int]
    ) -> None:
        """What a row names. It is read leniently: whatever may be a payload's name keeps that payload."""
        value = row.value
        uri = self._named_by(row)
        if is_reference(value):
            if uri is None and "payload" not in value:
                counts["unreadable"] += 1
                kept += self._folders(row)
        elif value is None and row.text is not None and f'"{TAG}"' in row.text:
            counts["unreadable"] += 1
            kept += self._folders(row)
        if is_reference(value) or uri is not None:
            counts["references"] += 1
        if isinstance(uri, str):
            # Of an exclusive XCom that was shredded the row stays, and its payload is meant to be gone.
            shredded = is_reference(value) and "shredded" in value
            named.append((name_of(uri), row.where, None if shredded else self._listed_uri(uri)))

    def _listed_uri(self, uri: str) -> str | None:
        """The URI of a payload that must have been listed: it is in one of our stores, and was made before that.

        The window is none of its affair: that keeps what has no row yet, and this has one.
        """
        for prefix in self._prefixes:
            if uri.startswith(prefix):
                path = uri.removeprefix(prefix)
                for unit in self.units:
                    parsed = PayloadPath.parse(path, unit.compartment.name)
                    if parsed is not None:
                        return uri if parsed.made <= self.begun else None
        return None

    def _folders(self, row: StoredRow) -> list[str]:
        try:
            at = row.coordinate
        except SecureXComError:
            return []
        names = dict.fromkeys(unit.compartment.name for unit in self.units)
        return [object_path(name, at, "x").rpartition("/")[0] for name in names]

    def _check_missing(self, report: GcReport) -> None:
        """Look once more for each payload that was not listed, because a purge or a push may have come between."""
        after = 0
        while batch := self.inventory.without_payload(after=after):
            after = batch[-1][0]
            for _, place, uri in batch:
                if not self._is_there(uri):
                    report.missing += 1
                    name_one(report.missing_examples, place, self.examples)
            self.progress("looking for missing payloads", report.missing, None)

    def _is_there(self, uri: str) -> bool:
        for unit in self.units:
            prefix = object_uri(unit.store_uri, "")
            if uri.startswith(prefix):
                path = uri.removeprefix(prefix)
                folder = path.rpartition("/")[0]
                return any(found.path == path for found in self._stores[unit.store_uri].list(folder))
        return True

    # --- delete ---------------------------------------------------------------------------------------------

    def refuse_unsafe(self, report: GcReport, max_share: float) -> None:
        if report.orphans > max_share * report.payloads and report.orphans > EXAMPLES:
            raise UnsafeRefused(
                f"{report.orphans} of {report.payloads} payloads have no row, which is more than a share of "
                f"{max_share:g}",
                where=self.database.name,
                remedy="see that this is the database of the Airflow that uses these stores, and of no other one; "
                "then allow it with --max-share 1",
            )

    def delete(self, report: GcReport, rate: float) -> None:
        pace = Pace(rate)
        size = pace.batch(BATCH)
        for unit in self.units:
            after = 0
            while batch := self.inventory.orphans(unit.name, after=after, limit=size):
                after = batch[-1][0]
                self._delete_batch(unit, batch, report)
                self.progress("deleting", report.deleted, report.orphans)
                pace.did(len(batch))

    def _delete_batch(self, unit: _Unit, batch: Sequence[tuple[int, str, int]], report: GcReport) -> None:
        kept = self._kept(unit, [path for _, path, _ in batch], report)
        wanted = [entry for entry in batch if entry[1] not in kept]
        if not wanted:
            return
        target = self._stores[unit.store_uri]
        answers = target.delete_many([path for _, path, _ in wanted])
        gone = []
        for (number, path, size), answer in zip(wanted, answers, strict=True):
            if answer is None:
                gone.append(number)
                report.deleted += 1
                report.deleted_bytes += size
            else:
                self._failed(answer, f"{target.uri}/{path}", report)
        self.inventory.gone(gone)

    def _kept(self, unit: _Unit, paths: Sequence[str], report: GcReport) -> set[str]:
        """Which of these must stay: held, beside a row that cannot be read, or named by a row that is new."""
        kept: set[str] = set()
        parsed = {path: PayloadPath.parse(path, unit.compartment.name) for path in paths}
        for path, found in parsed.items():
            if self.inventory.is_kept(path) or (found is not None and found.held(self.policy)):
                kept.add(path)
        report.held += len(kept)
        tasks = [found.task_instance for found in parsed.values() if found is not None]
        current = {
            self._named_by(row) for row in self.database.of_tasks(task for task in tasks if task is not None)
        }
        named = {path for path in paths if object_uri(unit.store_uri, path) in current} - kept
        report.alive += len(named)
        return kept | named

    def _named_by(self, row: StoredRow) -> Any:
        if row.text is None and row.size:
            return self.database.object_of(row.position)
        head = row.value.get("head") if is_reference(row.value) else None
        return head.get("object") if isinstance(head, dict) else None

    @staticmethod
    def _failed(error: StoreError, where: str, report: GcReport) -> None:
        report.failed += 1
        name_one(report.failures, f"{where}: {error.what}")


def _described(store_uri: str) -> dict[str, str]:
    """A store, and what becomes of what is deleted in it."""
    if not store_uri.startswith("s3://"):
        return {"store": store_uri}
    from secure_xcom.stores.s3_versions import bucket_state

    return {"store": store_uri, **bucket_state(store_uri)}
