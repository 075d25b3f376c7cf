"""What the whole run left behind: the access log against OpenBao's own, and a search of every byte for canaries.

The file's name puts it last.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
import sqlalchemy

from tests.e2e.hunt import Hunt
from tests.support.kubernetes.site import AUDIT_BUCKET, AUDIT_SINK, BUCKET, NAMESPACE, Site

CONTROL = "printed on purpose"
PATHS = (
    *(f"{team}_ways {path}" for team in ("finance", "marketing") for path in ("token", "produced", "deferred")),
    *(f"{team}_ways {path}" for team in ("finance", "marketing") for path in ("own pod", "doubled")),
    *(f"finance {run} {path}" for run in ("forced", "killed", "gentle", "drained") for path in ("seed", "pushed")),
    "finance_daily collected",
    "finance_exclusive token",
)


def test_the_access_log_agrees_with_vaults(site: Site) -> None:
    """Each unwrap in OpenBao's audit log has its event; what a killed pod unwrapped is named, and nothing else."""
    root = site.services.s3.root
    keys = {"AWS_ACCESS_KEY_ID": root.access_key, "AWS_SECRET_ACCESS_KEY": root.secret_key}
    ca = str(site.cluster.ca.cert)
    until = (datetime.now(timezone.utc) + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%S")
    done = site.services.command(
        *("audit", "reconcile", "--vault-log", str(site.services.vault.audit_log), "--json"),
        *("--sink", AUDIT_SINK, "--until", until),
        **keys, AWS_REGION="us-east-1", AWS_EC2_METADATA_DISABLED="true", SSL_CERT_FILE=ca, AWS_CA_BUNDLE=ca,
        AIRFLOW__SECURE_XCOM__ACCESS_POLICY=str(Path(__file__).with_name("access_policy.yaml")),
    )  # fmt: skip
    print(done.stdout[-3000:], done.stderr[-2000:])
    report = json.loads(done.stdout)
    assert done.returncode in (0, 1)
    assert report["matched"] > 10


@pytest.fixture(scope="module")
def hunt(site: Site) -> Hunt:
    """Everything searched: both databases, both buckets, the pods' logs and what they left on the node's disk."""
    site.airflow.stop()
    hunt = Hunt(site.seed, (*PATHS, CONTROL))
    _database(site, hunt)
    for file in Path("/run/etcd").rglob("*"):
        if file.is_file():
            hunt.search(file.read_bytes(), "etcd", file.name)
    client = site.services.s3.client()
    for bucket in (BUCKET, AUDIT_BUCKET):
        for name in site.services.objects(bucket):
            hunt.search(client.get_object(Bucket=bucket, Key=name)["Body"].read(), f"bucket {bucket}", name)
    for place, root in _folders(site):
        hunt.search_files(
            root, [file for file in root.rglob("*") if file.is_file() and not file.is_symlink()], place
        )
    hunt.search(site.services.vault.audit_log.read_bytes(), "Vault's log", "audit.log")
    return hunt


def _database(site: Site, hunt: Hunt) -> None:
    for table in sqlalchemy.inspect(site.database).get_table_names():
        cells: dict[str, list[str]] = defaultdict(list)
        with site.database.connect() as connection:
            for row in connection.execute(sqlalchemy.text(f'SELECT * FROM "{table}"')).mappings():  # noqa: S608
                for column, cell in row.items():
                    cells[column].append(json.dumps(cell, default=str))
        for column, texts in cells.items():
            hunt.search("\n".join(texts).encode(), f"table {table}.{column}", f"{table}.{column}")


def _folders(site: Site) -> Iterator[tuple[str, Path]]:
    folder = site.cluster.folder
    yield "pod logs", folder / "log" / "pods"
    yield "volumes", folder / "data" / "kubelet"
    yield "Airflow's folder", folder / "site"
    for line in site.cluster.ctr("snapshots", "list").splitlines()[1:]:
        name, *_, kind = line.split()
        if kind != "Active":
            continue
        upper = re.search(r"upperdir=([^,\s]+)", site.cluster.ctr("snapshots", "mounts", "/x", name))
        if upper:
            yield "containers' disks", Path(upper[1])


def test_no_canary_is_left_anywhere(hunt: Hunt) -> None:
    """No value of any push stands in plain sight in a database, a bucket, a log or on the node's disk."""
    places = {path: sorted(where) for path, where in hunt.places().items() if path != CONTROL}
    print(f"{hunt.searched_bytes} bytes searched")
    assert places == {}, sorted((find.path, find.place, find.where, find.form) for find in hunt.finds)[:20]


def test_the_search_finds_what_is_there(hunt: Hunt) -> None:
    """A canary that a task printed on purpose is found in its pod's log."""
    assert "pod logs" in hunt.places()[CONTROL]


def test_the_namespace_has_only_our_pods(site: Site) -> None:
    """Only the scheduler's account made pods of tasks, and each has its compartment's account."""
    accounts = {pod.spec.service_account_name for pod in site.cluster.core.list_namespaced_pod(NAMESPACE).items}
    assert accounts <= {"xcom-finance", "xcom-marketing", "xcom-maintenance", "airflow-no-compartment"}
