"""Find payloads that no row names and rows whose payload is gone, and delete the former.

A row counts only for payloads of its own task instance: whoever writes rows can write any name.

The order keeps live payloads safe. A push writes its payload before its row. So gc lists the stores first and
reads the rows second, and examines only payloads that are older than the window (by the UUIDv7 in their name and
by the store's clock): any row that such a payload will ever have exists when the rows are read. Right before a
deletion, gc reads the rows of the task instance again.

It deletes only objects whose path has the form of `secure_xcom.core.coordinate.object_path` below one of the
policy's compartments, and files that a killed put left in a file store.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from functools import lru_cache
from itertools import islice
from pathlib import Path

from secure_xcom.connections.sql.positions import position_of
from secure_xcom.core.access_policy.compartment import Compartment
from secure_xcom.core.access_policy.policy import AccessPolicy
from secure_xcom.core.coordinate import object_path, object_uri, path_segment, task_folder
from secure_xcom.core.errors import SecureXComError, StoreError
from secure_xcom.core.operator_errors import UnsafeRefused
from secure_xcom.ops.jobs.eligible_rows import mentioned, recognize
from secure_xcom.ops.jobs.gc_inventory import Batch, Inventory, locked, name_of
from secure_xcom.ops.jobs.gc_report import GcReport
from secure_xcom.ops.jobs.payload_paths import PayloadPath, is_staged, made_in
from secure_xcom.ops.jobs.progress import Progress, silent
from secure_xcom.ops.jobs.rate_limit import Pace
from secure_xcom.ops.jobs.report_text import EXAMPLES, add_example
from secure_xcom.ops.xcom_table import Database, StoredRow
from secure_xcom.stores import Store, StoredObject, store

WINDOW = timedelta(hours=24)
WINDOW_LEAST = timedelta(hours=2)
"""Twice the largest clock difference of workers, stores and this machine, and far more than a push takes."""

_CLOCKS_DIFFER = timedelta(days=1)

BATCH = 1000


@dataclass(frozen=True, eq=False)
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
    """Find payloads without a row and rows without a payload; with ``delete``, delete the former.

    :param state: the state file, from which a killed run resumes.
    :param window: younger payloads are left alone.
    :param rate: the most deletions per second; 0 for no limit.
    :param max_share: in each compartment and store, refuse to delete more than this share of the old enough
        payloads; other compartments and stores are not affected.
    :param examples: how many ids of each kind the report names.
    :raises UnsafeRefused: too large a share has no row everywhere: this may be the wrong database.
    :raises MaintenanceError: the database or the state file cannot be used; :raises StoreError: no store can.
    """
    units = [_Unit(compartment, uri) for compartment in policy.compartments for uri in compartment.all_store_uris]
    units = list({unit.name: unit for unit in units}.values())
    job = {
        "stores": " ".join(sorted(unit.name for unit in units)),
        "database": database.name,
        "window": str(window),
        # The state file's format: it has paths to keep, no longer folders.
        "form": "2",
    }
    with locked(state):
        inventory = Inventory(state, job)
        try:
            run = _Run(policy, units, database, inventory, window, examples, stores, progress)
            report = run.find(GcReport(delete))
            if delete:
                run.delete(run.safe(report, max_share), report, rate)
            inventory.forget()
        finally:
            inventory.close()
    return report


# Neighboring rows are mostly of one task.
_task_folder = lru_cache(maxsize=4096)(task_folder)


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
        self._listed_units: dict[_Unit, None] = {}
        self._by_place = {
            (object_uri(unit.store_uri, ""), path_segment(unit.compartment.name)): unit for unit in units
        }
        self._prefixes = sorted({prefix for prefix, _ in self._by_place}, key=len, reverse=True)

    # --- find -----------------------------------------------------------------------------------------------

    def find(self, report: GcReport) -> GcReport:
        self._list_units(report)
        self._read_rows()
        self.inventory.join()
        for name, value in self.inventory.tally().items():
            setattr(report, name, value)
        report.orphans, report.orphan_bytes = self.inventory.orphan_counts()
        report.stores = [_described(uri) for uri in self._stores]
        for unit in self.units:
            room = self.examples - len(report.orphan_examples)
            orphans = self.inventory.orphans(unit.name, limit=room) if room else ()
            report.orphan_examples += [object_uri(unit.store_uri, path) for _, path, _ in orphans]
        self._check_missing(report)
        return report

    def _list_units(self, report: GcReport) -> None:
        """List each unit. One that cannot be listed is skipped, and the others go on."""
        failed: StoreError | None = None
        for unit in self.units:
            try:
                if not self.inventory.is_listed(unit.name):
                    self.inventory.list_unit(unit.name, self._listed(unit))
                self._listed_units[unit] = None
            except StoreError as error:
                failed = failed or error
                report.unlisted.append(f"{unit.name}: {error.what}")
        if failed is not None and not self._listed_units:
            raise failed

    def _listed(self, unit: _Unit) -> Iterator[Batch]:
        listing = self._stores[unit.store_uri].list(path_segment(unit.compartment.name))
        folder = object_uri(unit.store_uri, "")
        done = 0
        while batch := list(islice(listing, BATCH)):
            payloads, young, counts = [], [], {"payloads": 0, "young": 0, "foreign": 0}
            for entry in batch:
                kind = self._kind(entry, unit.compartment.name)
                counts[kind] += 1
                name = name_of(f"{folder}{entry.path}")
                if kind == "payloads":
                    payloads.append((name, entry.path, entry.size))
                elif kind == "young":
                    young.append(name)
            yield Batch(payloads, young, counts)
            done += len(batch)
            self.progress(f"listing {unit.compartment.name}", done, None)

    def _kind(self, entry: StoredObject, compartment: str) -> str:
        path = PayloadPath.parse(entry.path, compartment)
        if path is None and not is_staged(entry.path, compartment):
            return "foreign"
        # Two clocks, so that neither alone can make a payload old. But a name from the future is of no clock, and
        # would keep its payload for ever.
        named = path.made if path is not None and path.made < self.begun + _CLOCKS_DIFFER else self.cutoff
        young = entry.modified > self.cutoff or named > self.cutoff
        return "young" if young else "payloads"

    def _read_rows(self) -> None:
        reached = self.inventory.meta("position")
        if reached == "end":
            return
        after = position_of(json.loads(reached)) if reached else None
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
        """Note what a row names, limited to payloads of its own task instance."""
        recognized = recognize(row, self.policy, self.database)
        if recognized is None:
            return
        counts["references"] += 1
        if isinstance(recognized, SecureXComError):
            counts["unreadable"] += 1
            kept += [path for _, path in self._meant(row)]
            return
        uri = recognized.reference.head.object
        if uri is None:
            return
        place = self._place(uri, row)
        if place is None:
            # In a store that the policy no longer has, or of another task instance.
            counts["unreadable"] += self._is_in_a_store(uri)
            return
        # The row of a shredded exclusive XCom stays, and its payload is meant to be gone.
        unit, _, made = place
        known = recognized.reference.shredded is None and unit in self._listed_units
        named.append((name_of(uri), row.where, uri if known and self._must_be_listed(made) else None))

    def _place(self, uri: str, row: StoredRow) -> tuple[_Unit, str, datetime] | None:
        """Return the unit, the path and the time of a payload of the row's own task instance; None for any other.

        :param row: a row whose ids are those of its reference.
        """
        for prefix in self._prefixes:
            if uri.startswith(prefix):
                path = uri.removeprefix(prefix)
                compartment = path.partition("/")[0]
                unit = self._by_place.get((prefix, compartment))
                folder = f"{compartment}/{_task_folder(row.dag_id, row.run_id, row.task_id)}/{row.map_index}/"
                if unit is not None and path.startswith(folder):
                    made = made_in(path.removeprefix(folder))
                    return None if made is None else (unit, path, made)
        return None

    def _is_in_a_store(self, uri: str) -> bool:
        return any(uri.startswith(prefix) for prefix in self._prefixes)

    def _must_be_listed(self, made: datetime) -> bool:
        """Return whether a payload was created before the listing, or its name has an invalid time.

        The window is none of its affair: that keeps what has no row yet, and this has one.
        """
        return not self.begun < made < self.begun + _CLOCKS_DIFFER

    def _meant(self, row: StoredRow) -> list[tuple[_Unit, str]]:
        """Return the payloads of its own task instance that an unreadable row may name."""
        try:
            coordinate = row.coordinate
        except SecureXComError:
            return []
        uniques = mentioned(row, self.database)
        return [
            (unit, object_path(unit.compartment.name, coordinate, unique))
            for unit in self.units
            for unique in uniques
        ]

    def _check_missing(self, report: GcReport) -> None:
        """Look again for each payload that was not listed, since a purge or a push may have happened meanwhile."""
        after = 0
        while batch := self.inventory.without_payload(after=after):
            after = batch[-1][0]
            for _, place, uri in batch:
                if not self._is_there(uri):
                    report.missing += 1
                    add_example(report.missing_examples, place, self.examples)
            self.progress("looking for missing payloads", report.missing, None)

    def _is_there(self, uri: str) -> bool:
        for unit in self.units:
            prefix = object_uri(unit.store_uri, "")
            if uri.startswith(prefix):
                path = uri.removeprefix(prefix)
                folder = path.rpartition("/")[0]
                return any(entry.path == path for entry in self._stores[unit.store_uri].list(folder))
        return True

    # --- delete ---------------------------------------------------------------------------------------------

    def safe(self, report: GcReport, max_share: float) -> list[_Unit]:
        """Return the units where no too large share is to be deleted; the report names the others."""
        safe: list[_Unit] = []
        full = 0
        for unit in self._listed_units:
            orphans, payloads = self.inventory.shares(unit.name)
            full += payloads > 0
            if orphans > max_share * payloads and orphans > EXAMPLES:
                report.refused.append(f"{unit.name}: {orphans} of {payloads} payloads have no row")
            else:
                safe.append(unit)
        if report.refused and full == len(report.refused):
            raise UnsafeRefused(
                f"{report.orphans} of {report.payloads} payloads have no row, which is more than a share of "
                f"{max_share:g}",
                where=self.database.name,
                remedy="check that this is the database of the Airflow that uses these stores, and of no other; "
                "then allow it with --max-share 1",
            )
        return safe

    def delete(self, units: Sequence[_Unit], report: GcReport, rate: float) -> None:
        pace = Pace(rate)
        size = pace.batch(BATCH)
        for unit in units:
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
        """Return which of these must stay: held, beside an unreadable row, or named by a new row."""
        kept: set[str] = set()
        parsed = {path: PayloadPath.parse(path, unit.compartment.name) for path in paths}
        for path, payload_path in parsed.items():
            if self.inventory.is_kept(path) or (payload_path is not None and payload_path.held(self.policy)):
                kept.add(path)
        report.held += len(kept)
        tasks = [payload_path.task_instance for payload_path in parsed.values() if payload_path is not None]
        current: set[tuple[_Unit, str]] = set()
        for row in self.database.of_tasks(task for task in tasks if task is not None):
            current.update(self._named_now(row))
        named = {path for path in paths if (unit, path) in current} - kept
        report.alive += len(named)
        return kept | named

    def _named_now(self, row: StoredRow) -> list[tuple[_Unit, str]]:
        recognized = recognize(row, self.policy, self.database)
        if isinstance(recognized, SecureXComError):
            return self._meant(row)
        uri = None if recognized is None else recognized.reference.head.object
        place = None if uri is None else self._place(uri, row)
        return [] if place is None else [place[:2]]

    @staticmethod
    def _failed(error: StoreError, where: str, report: GcReport) -> None:
        report.failed += 1
        add_example(report.failures, f"{where}: {error.what}")


def _described(store_uri: str) -> dict[str, str]:
    """Return a store, and whether deleted objects stay there as old versions."""
    if not store_uri.startswith("s3://"):
        return {"store": store_uri}
    from secure_xcom.stores.s3_versions import bucket_state

    return {"store": store_uri, **bucket_state(store_uri)}
