"""The jobs of the maintenance DAG, one function each, with Airflow's settings of the process that they run in.

Each gives its report as JSON. None of them opens anything: the identity that they run as needs no right to unwrap
a data key or to read a payload (role ``maintenance`` of the access policy).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from secure_xcom.airflow import settings as airflow_settings
from secure_xcom.connections import sql
from secure_xcom.core.access_policy import AccessPolicy
from secure_xcom.core.access_policy.field_types import seconds
from secure_xcom.core.config import RELEASE, Settings
from secure_xcom.core.errors import UnsafeRefused
from secure_xcom.core.hashed_ids import IdHasher
from secure_xcom.ops.checks.doctor_findings import Ailments
from secure_xcom.ops.jobs.gc_inventory import default_folder
from secure_xcom.ops.xcom_table import Database, database_url
from secure_xcom.sinks import AccessLog, check_apart

log = logging.getLogger(__name__)

Report = dict[str, Any]
Options = Mapping[str, Any]


@dataclass(frozen=True)
class JobContext:
    """The deployment as this process knows it."""

    settings: Settings
    policy: AccessPolicy
    sinks: tuple[str, ...]

    @classmethod
    def of_airflow(cls) -> JobContext:
        """From Airflow's configuration.

        :raises ConfigurationError: it cannot be used.
        """
        settings = airflow_settings.load()
        settings.require_place()
        if settings.access_policy:
            policy = AccessPolicy.load(settings.access_policy)
        else:
            policy = AccessPolicy.single(settings.key_uris, settings.store_uri or "")
        return cls(settings, policy, settings.audit_sinks or (airflow_settings.default_sink(),))

    def access_log(self) -> AccessLog:
        """The access log of this process."""
        key, ids = self.settings.audit_hash_key, self.settings.audit_hash_ids
        hasher = IdHasher.load(key, ids) if key else None
        check_apart(self.policy, self.sinks)
        return AccessLog.open(self.sinks, version=RELEASE, policy=self.policy.digest, hasher=hasher)


@contextmanager
def database(options: Options) -> Iterator[Database]:
    """The metadata database: of the Airflow connection that the options name, else of the environment."""
    conn_id = options.get("database_conn_id")
    opened = Database(url_of_connection(str(conn_id)) if conn_id else database_url())
    try:
        yield opened
    finally:
        opened.close()


def url_of_connection(conn_id: str) -> str:
    """The SQLAlchemy URL of an Airflow connection of type postgres, mysql or sqlite, with its password.

    :raises ConfigurationError: there is no such connection, or it is of another type.
    """
    url = sql.with_driver(sql.database_url(f"db://{conn_id}", where="database_conn_id"))
    return url.render_as_string(hide_password=False)


def shred(options: Options) -> Report:
    """Exclusive XComs whose reader has succeeded."""
    from secure_xcom.claims.claim_table import ClaimTable
    from secure_xcom.ops.jobs.shred import shred_all

    here = JobContext.of_airflow()
    uri = here.settings.claims_uri
    access_log = here.access_log()
    with database(options) as opened:
        report = shred_all(
            here.policy,
            opened,
            access_log,
            delete=bool(options["delete"]),
            operator=str(options["operator"]),
            ledger=None if uri is None else ClaimTable(uri),
        )
    access_log.close()
    return {**asdict(report), "found": bool(report.open)}


def expire(options: Options) -> Report:
    """Payloads and rows whose time is over."""
    from secure_xcom.ops.jobs.expire import expire as run

    here = JobContext.of_airflow()
    access_log = here.access_log()
    with database(options) as opened:
        report = run(
            here.policy,
            opened,
            access_log,
            _state("expire"),
            delete=bool(options["delete"]),
            operator=str(options["operator"]),
            rate=float(options["rate"]),
        )
    access_log.close()
    return {**asdict(report), "found": report.found}


def gc(options: Options) -> Report:
    """Payloads that no row names."""
    from secure_xcom.ops.jobs.gc import WINDOW_LEAST, collect

    window = timedelta(seconds=seconds(str(options["older_than"])))
    if window < WINDOW_LEAST:
        raise UnsafeRefused("the window is under two hours", where="older_than", remedy="write 2h or more")
    here = JobContext.of_airflow()
    with database(options) as opened:
        report = collect(
            here.policy,
            opened,
            _state("gc"),
            delete=bool(options["delete"]),
            window=window,
            rate=float(options["rate"]),
            max_share=float(options["max_share"]),
        )
    return {**asdict(report), "found": report.found}


def rewrap(options: Options) -> Report:
    """Wraps to the newest version of their key."""
    from secure_xcom.ops.jobs.rewrap import rewrap as run
    from secure_xcom.ops.jobs.rewrap_plan import Plan

    here = JobContext.of_airflow()
    access_log = here.access_log()
    plan = Plan(options.get("compartment") or None, options.get("older_than_version") or None)
    with database(options) as opened:
        report = run(
            here.policy,
            opened,
            access_log,
            _state("rewrap"),
            plan,
            apply=bool(options["rewrap"]),
            operator=str(options["operator"]),
        )
    access_log.close()
    return {**asdict(report), "found": report.found}


def audit_seal(_options: Options) -> Report:
    """Finished chains of the access log into the sealed log; nothing where no sealed log is set."""
    from secure_xcom.ops.audit_trail.anchor import anchor
    from secure_xcom.ops.audit_trail.read import readable, source
    from secure_xcom.ops.audit_trail.tlog.anchored_log import AnchoredLog
    from secure_xcom.ops.audit_trail.tlog.note import Verifier, checked_name
    from secure_xcom.ops.audit_trail.tlog.signers import signer
    from secure_xcom.stores import store

    here = JobContext.of_airflow()
    settings = here.settings
    if not settings.sealed_log or not settings.sealing_key:
        return {"sealed_log": "none is set", "found": False}
    key = signer(settings.sealing_key)
    name = checked_name(settings.sealed_log_name, "[secure_xcom] sealed_log_name")
    verifiers = [Verifier.parse(text) for text in settings.sealed_log_verifiers]
    log = AnchoredLog(store(settings.sealed_log), verifiers or [Verifier(name, key.public_key())])
    done = anchor(log, [source(uri) for uri in here.sinks if readable(uri)], key)
    return {**asdict(done), "found": bool(done.unsealable)}


def audit_alarms(_options: Options) -> Report:
    """The access policy's alarms against what is new in the access log; nothing where it has none.

    :raises AlarmNotTold: of the first alarm that could not be told. The task's log has all of them.
    """
    from secure_xcom.ops.audit_trail.evaluate_alarms import default_state, evaluate
    from secure_xcom.ops.audit_trail.read import readable, source

    here = JobContext.of_airflow()
    if not here.policy.alarms:
        return {"alarms": "none is set", "found": False}
    done = evaluate(here.policy.alarms, [source(uri) for uri in here.sinks if readable(uri)], default_state())
    for error in done.not_told:
        log.error("An alarm was not told: %s", error)
    if done.not_told:
        raise done.not_told[0]
    return {
        "raised": len(done.raised),
        "alarms": [one.as_json() for one in done.raised],
        "found": bool(done.raised),
    }


def audit_reconcile(options: Options) -> Report:
    """The access log against the key services' own logs; nothing where no log of theirs is named.

    Where they differ, the access policy's alarms for ``reconcile_gap`` are told.
    """
    from secure_xcom.ops.audit_trail.evaluate_alarms import sound
    from secure_xcom.ops.audit_trail.read import readable, source
    from secure_xcom.ops.audit_trail.reconcile.compare import ServiceLogs, compare

    vault_log, cloudtrail = options.get("vault_log"), options.get("cloudtrail")
    if not vault_log and not cloudtrail:
        return {"logs": "none is named", "found": False}
    here = JobContext.of_airflow()
    logs = ServiceLogs(
        [Path(str(vault_log))] if vault_log else (),
        conn_id=str(options["vault_conn_id"]),
        cloudtrail=[Path(str(cloudtrail))] if cloudtrail else (),
    )
    done = compare([source(uri) for uri in here.sinks if readable(uri)], here.policy, logs)
    gaps = len(done.findings)
    not_told = sound(here.policy.alarms, "reconcile_gap", [gap.text for gap in done.findings])
    for error in not_told:
        log.error("An alarm was not told: %s", error)
    return {
        "uses": done.matched.uses,
        "events": done.matched.events,
        "gaps": gaps,
        "not_told": len(not_told),
        "found": bool(gaps),
    }


def doctor(options: Options) -> Report:
    """What is ill."""
    from secure_xcom.ops.checks.doctor_host import examine_files, examine_logins, examine_rights, examine_settings
    from secure_xcom.ops.checks.doctor_teams import examine_teams
    from secure_xcom.ops.jobs.doctor import examine_payloads, examine_rows

    here = JobContext.of_airflow()
    ailments = Ailments()
    with database(options) as opened:
        rows = examine_rows(here.policy, opened, ailments)
        ailments.add(*examine_logins(here.policy, here.settings, here.sinks, opened))
        if options["payloads"]:
            examine_payloads(here.policy, opened, _state("doctor"), ailments)
    ailments.add(*examine_files(here.policy, here.sinks))
    ailments.add(*examine_settings(here.settings, backend=airflow_settings.backend_is_ours()))
    ailments.add(*examine_teams(here.policy, multi_team=airflow_settings.multi_team()))
    ailments.add(*examine_rights(here.policy, "maintenance"))
    every = ailments.all()
    kinds = [
        {"kind": one.kind, "status": one.status, "text": one.text, "remedy": one.remedy, "count": one.count}
        for one in every
    ]
    return {"rows": rows, "kinds": len(every), "ailments": kinds, "found": bool(every)}


def count(options: Options) -> Report:
    """Numbers of each compartment for the page in Airflow's UI; nothing where their table was not made."""
    from functools import partial

    from secure_xcom.ops.audit_trail.read import readable, source
    from secure_xcom.ops.jobs.count import count as count_rows

    here = JobContext.of_airflow()
    sources = [partial(source, uri) for uri in here.sinks if readable(uri)]
    with database(options) as opened:
        report = count_rows(here.policy, opened, sources)
    return {**asdict(report), "found": report.found}


def _state(job: str) -> Path:
    return default_folder() / f"dag-{job}.sqlite"


STEPS: dict[str, Callable[[Options], Report]] = {
    "shred": shred,
    "expire": expire,
    "rewrap": rewrap,
    "gc": gc,
    "audit_seal": audit_seal,
    "audit_alarms": audit_alarms,
    "audit_reconcile": audit_reconcile,
    "doctor": doctor,
    "count": count,
}
"""In the order in which the DAG runs them."""


def counts(report: Report) -> dict[str, int | bool]:
    """The numbers of a report: what may stand in an asset event, which Airflow keeps in plaintext."""
    return {name: value for name, value in report.items() if isinstance(value, int)}
