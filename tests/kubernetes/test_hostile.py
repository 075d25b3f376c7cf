"""A hostile task in marketing's pod, and hostile DAG files of marketing's: who refuses what."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from tests.support.kubernetes.site import Site

HELD = "held by secure_xcom: see the log of the scheduler and the API server"
# What the scheduler writes over: the pod has its own account and label, whatever the file asks for.
SENT_BACK = ("takes_account", "takes_scheduler", "takes_maintenance", "other_label")
# What it does not start.
STOPPED = ("brings_template", "mounts_token", "mounts_secret", "serves", "host_network")


@pytest.fixture(scope="module")
def noted(site: Site) -> dict[str, Any]:
    """What the hostile task noted. Finance's run that it attacks is made here if no test made it before."""
    assert site.once("finance_daily", "daily") == "success"
    assert site.run("marketing_hostile", "hostile") == "success", site.logs("marketing_hostile", "hostile")[-6000:]
    return dict(site.notes("marketing_hostile", "hostile"))


def _of(noted: dict[str, Any], component: str) -> dict[str, str]:
    return {way: said for way, said in noted["refusals"].items() if way.startswith(f"{component}: ")}


def test_vault_refuses_it(noted: dict[str, Any]) -> None:
    """Another role, another's key and changes of roles: 403 from Vault each."""
    ways = _of(noted, "Vault")
    assert len(ways) == 6
    assert set(ways.values()) == {"403"}, ways


def test_the_bucket_refuses_it(noted: dict[str, Any]) -> None:
    """Finance's role at the STS and everything below finance's prefix: AccessDenied each."""
    ways = _of(noted, "S3")
    assert len(ways) == 6
    assert set(ways.values()) == {"403 AccessDenied"}, ways


def test_the_clusters_api_refuses_it(noted: dict[str, Any]) -> None:
    """Its tokens are for Vault and the STS alone, so the API server and kubelet know nobody by them."""
    ways = {**_of(noted, "cluster"), **_of(noted, "kubelet")}
    assert len(ways) == 11
    assert set(ways.values()) == {"401"}, ways
    assert noted["a token of the cluster's API is mounted"] is False


def test_its_environment_has_no_secret(site: Site, noted: dict[str, Any]) -> None:
    """Neither Airflow's database nor a key nor a token stands in the pod's environment."""
    given = {variable.name for pod in site.pods("marketing_hostile", "hostile") for variable in _variables(pod)}
    secrets = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "VAULT_TOKEN", "AIRFLOW__CORE__FERNET_KEY"}
    # Airflow itself sets the variable of the database in a task's process, to an address that is none.
    assert given.isdisjoint({*secrets, "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"})
    assert set(json.loads(noted["environment"])).isdisjoint(secrets)


def _variables(pod: Any) -> list[Any]:
    return [variable for container in pod.spec.containers for variable in container.env]


def test_a_file_that_asks_for_anothers_account_is_an_import_error(site: Site) -> None:
    """The DAG processor keeps the error, which names the account and the compartment; the DAG is not there."""
    rows = site.rows("SELECT stacktrace FROM import_error WHERE filename LIKE '%asks.py'")
    assert len(rows) == 1
    assert "it asks for service account 'xcom-finance', and tasks_run_on of compartment 'marketing'" in rows[0][0]
    assert site.rows("SELECT 1 FROM dag WHERE dag_id = 'marketing_asks'") == []


@pytest.fixture(scope="module")
def reached(site: Site) -> None:
    """A run of each DAG that reaches for what is not marketing's, and time for the scheduler to look at it."""
    for name in (*SENT_BACK, *STOPPED):
        site.airflow.trigger(f"marketing_{name}", run_id="reach")
    for name in SENT_BACK:
        site.airflow.wait(f"marketing_{name}", "reach", timeout=400)
    held = "SELECT count(*) FROM task_instance WHERE run_id = 'reach' AND state = 'scheduled'"
    site.until(lambda: site.rows(held) == [(len(STOPPED),)], "each other task is scheduled", timeout=180)
    time.sleep(5)


@pytest.mark.parametrize("name", SENT_BACK)
def test_the_scheduler_gives_a_pod_its_own_account_and_label(site: Site, reached: None, name: str) -> None:
    """A file that undid our policy asked for others; the pod ran as marketing, and with the label of tasks."""
    pods = site.pods(f"marketing_{name}", "reach")
    assert {pod.spec.service_account_name for pod in pods} == {"xcom-marketing"}
    assert {pod.metadata.labels["secure-xcom"] for pod in pods} == {"task"}


@pytest.mark.parametrize("name", STOPPED)
def test_the_scheduler_holds_a_pod_that_brings_more(site: Site, reached: None, name: str) -> None:
    """A file that undid our policy gets no pod: its task waits in a pool that is not there, and a log says why."""
    dag_id = f"marketing_{name}"
    rows = site.rows("SELECT state, pool FROM task_instance WHERE dag_id = :dag", dag=dag_id)
    assert rows == [("scheduled", HELD)]
    assert site.pods(dag_id, "reach") == []
    said = site.airflow.component_output("scheduler") + site.airflow.component_output("api-server")
    assert f"secure_xcom: {dag_id}: " in said
