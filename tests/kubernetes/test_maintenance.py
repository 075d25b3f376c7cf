"""Maintenance with an account of its own: the DAG in pods, and commands in a pod as a CronJob would run them."""

from __future__ import annotations

import json
from typing import Any

import pytest
import sqlalchemy

from tests.support.kubernetes.node_files import ADDRESS
from tests.support.kubernetes.site import DATABASE_PORT, NAMESPACE, Site, template

ACCOUNT = "xcom-maintenance"
_READS = 'path "kv/data/connections/airflow_metadata" { capabilities = ["read"] }'


@pytest.fixture(scope="module")
def database(site: Site) -> str:
    """The database's address for pods; in Vault it is open to the maintenance account alone."""
    url = sqlalchemy.make_url(site.database_url).set(host=ADDRESS, port=DATABASE_PORT)
    text = url.set(drivername="postgresql").render_as_string(hide_password=False)
    server = site.services.vault.server
    server.do("POST", "sys/mounts/kv", {"type": "kv", "options": {"version": "2"}})
    server.do("POST", "kv/data/connections/airflow_metadata", {"data": {"conn_uri": text}})
    server.do("PUT", "sys/policies/acl/maintenance-database", {"policy": _READS})
    role = {
        "bound_service_account_names": [ACCOUNT],
        "bound_service_account_namespaces": [NAMESPACE],
        "audience": "vault",
        "token_policies": ["maintenance-database"],
    }
    server.do("POST", "auth/kubernetes/role/maintenance-database", role)
    return text


def test_the_dag_runs_with_its_own_account(site: Site, database: str) -> None:
    """Shred, expire, rewrap and gc end right, each in a pod of the account that opens nothing."""
    dag_id = "secure_xcom_maintenance"
    state = site.run(dag_id, "maintain", timeout=400)
    assert state == "success", site.logs(dag_id, "maintain")[-8000:]
    pods = site.pods(dag_id, "maintain")
    assert {pod.spec.service_account_name for pod in pods} == {ACCOUNT}
    states = site.states(dag_id, "maintain")
    assert {states[step][0] for step in ("shred", "expire", "rewrap", "gc")} == {"success"}


def test_nobody_else_gets_the_databases_address(site: Site, database: str) -> None:
    """Vault refuses that role to every other account of the namespace."""
    for account in ("xcom-finance", "xcom-marketing", "airflow-no-compartment"):
        token = site.cluster.account_token(NAMESPACE, account, "vault")
        body = {"role": "maintenance-database", "jwt": token}
        assert site.services.vault.server.api("POST", "auth/kubernetes/login", body, token="").status_code == 403


def _run_in_pod(site: Site, name: str, database: str, *words: str) -> tuple[str, str]:
    """Run a command in a pod of the maintenance account; return the pod's phase and what it printed."""
    document: dict[str, Any] = template(site.services, site.seed)
    document["metadata"] = {"name": name, "namespace": NAMESPACE}
    document["spec"]["serviceAccountName"] = ACCOUNT
    container = document["spec"]["containers"][0]
    container["args"] = ["secure-xcom", *words]
    container["env"].append({"name": "SECURE_XCOM_DB", "value": database})
    site.cluster.apply(document)
    core = site.cluster.core

    def phase() -> str:
        return str(core.read_namespaced_pod(name, NAMESPACE).status.phase)

    site.until(lambda: phase() in ("Succeeded", "Failed"), f"the pod {name} ends", timeout=180)
    return phase(), core.read_namespaced_pod_log(name, NAMESPACE, _preload_content=False).data.decode()


@pytest.mark.parametrize("words", [("gc", "--json"), ("rewrap", "--apply", "--json"), ("doctor", "--json")])
def test_commands_run_in_a_pod(site: Site, database: str, words: tuple[str, ...]) -> None:
    """What the documentation has a CronJob do: commands read Airflow's rows and both teams' part of the bucket."""
    phase, said = _run_in_pod(site, f"command-{words[0]}", database, *words)
    print(words, phase, said[-3000:])
    report = json.loads(said[said.index("{") :])
    assert report
    if words[0] != "doctor":
        assert phase == "Succeeded", said[-3000:]


def test_an_exclusive_xcom_is_read_once(site: Site, database: str) -> None:
    """The claimant's pod gets it; the pod after it finds the keys destroyed, and maintenance deletes the payload.

    Workers have no right to delete; the claim stays for a day (docs/adr/0130).
    """
    assert site.run("finance_exclusive", "once") == "success", site.logs("finance_exclusive", "once")[-6000:]
    assert dict(site.notes("finance_exclusive", "once", "reads_once")) == {"token_once": "equal"}
    assert dict(site.notes("finance_exclusive", "once", "reads_again")) == {"second reader": "ReferenceShredded"}
    of_it = "/finance/finance_exclusive/once/make/"
    assert len([name for name in site.services.objects() if name.startswith(f"sealed{of_it}")]) == 1
    phase, said = _run_in_pod(site, "command-shred", database, "claims", "shred", "--apply", "--json")
    assert phase == "Succeeded", said[-3000:]
    left = [name for name in site.services.objects() if of_it in name]
    assert [name for name in left if name.startswith(f"sealed{of_it}")] == [], left
