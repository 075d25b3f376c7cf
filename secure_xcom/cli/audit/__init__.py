"""``secure-xcom audit``: search, anchor, verify and reconcile the access log."""

from __future__ import annotations

from secure_xcom.cli import declare
from secure_xcom.cli.audit import reconcile
from secure_xcom.cli.audit.export import export
from secure_xcom.cli.audit.index import index
from secure_xcom.cli.audit.key import key
from secure_xcom.cli.audit.prove import prove
from secure_xcom.cli.audit.search import search
from secure_xcom.cli.audit.tail import tail
from secure_xcom.cli.audit.verify import verify
from secure_xcom.cli.job_command import add_job
from secure_xcom.ops.jobs import anchor_jobs, audit_jobs

app = declare.group("Search, anchor, verify and reconcile the access log.")

_SEARCH, _PROVE, _WATCH = "Search", "Anchor and prove", "Compare and raise alarms"

declare.add(
    app,
    "search",
    search,
    "Find who read an XCom, what a task read, and what was refused.",
    kind="reads",
    examples=(
        "secure-xcom audit search --dag orders --task extract --action pull",
        "secure-xcom audit search --consumer billing/charge",
        "secure-xcom audit search --outcome refused --since 2026-11-22T00:00:00",
    ),
    group=_SEARCH,
)
declare.add(
    app,
    "tail",
    tail,
    "Show the newest events, and follow new ones.",
    kind="reads",
    examples=("secure-xcom audit tail --lines 50", "secure-xcom audit tail --follow --action pull"),
    group=_SEARCH,
)
declare.add(
    app,
    "export",
    export,
    "Write events to a CSV, JSON Lines or Parquet file.",
    kind="reads",
    examples=("secure-xcom audit export --out november.parquet --since 2026-11-01 --until 2026-12-01",),
    group=_SEARCH,
)
declare.add(
    app,
    "index",
    index,
    "Create or update an index of the access log's files, for faster searches.",
    kind="sets up",
    found="with --dry-run: there is something to index",
    examples=(
        "secure-xcom audit index",
        "secure-xcom audit index --sink file:///var/log/airflow/access-log.jsonl",
    ),
    group=_SEARCH,
)
declare.add(
    app,
    "key",
    key,
    "Show or create the key that signs the anchored log.",
    kind="sets up",
    found="with --create --dry-run: the key would be created",
    examples=("secure-xcom audit key", "secure-xcom audit key --create --key file:///secure/sealing.pem"),
    group=_PROVE,
)
add_job(app, anchor_jobs.ANCHOR, kind="sets up", group=_PROVE)
declare.add(
    app,
    "verify",
    verify,
    "Find out whether the access log or the anchored log was changed, and where.",
    kind="reads",
    found="something was tampered with",
    examples=(
        "secure-xcom audit verify --trusted /elsewhere/checkpoint",
        "secure-xcom audit verify --chains-only",
    ),
    group=_PROVE,
)
declare.add(
    app,
    "prove",
    prove,
    "Write a proof that can be checked elsewhere.",
    kind="reads",
    examples=(
        "secure-xcom audit prove --event 019ab9a0-0000-7000-8000-000000000001 --out event.tlog-proof",
        "secure-xcom audit prove --extends /elsewhere/checkpoint",
    ),
    group=_PROVE,
)
add_job(app, anchor_jobs.PRUNE, group=_PROVE)
add_job(app, audit_jobs.RECONCILE, reconcile.show, kind="reads", group=_WATCH)
add_job(app, audit_jobs.ALARMS, kind="sets up", group=_WATCH)
