"""Honest DAGs on the cluster: each task a pod, with its compartment's account, and values that come back equal."""

from __future__ import annotations

import pytest

from tests.support.kubernetes.site import Site

TEAMS = ("finance", "marketing")
PATHS = {"token", "credentials", "large_secret", "secret_bytes", "produced", "deferred", "own pod", "doubled"}


@pytest.fixture(scope="module")
def states(site: Site) -> dict[str, str]:
    """The state of a run of each DAG."""
    return {f"{team}_ways": site.run(f"{team}_ways", "ways") for team in TEAMS}


@pytest.mark.parametrize("team", TEAMS)
def test_values_come_back_equal(site: Site, states: dict[str, str], team: str) -> None:
    """Texts, structures, bytes, large, mapped and deferred values, and those of a pod that a task shaped."""
    assert states[f"{team}_ways"] == "success", site.logs(f"{team}_ways", "ways")[-6000:]
    notes = site.notes(f"{team}_ways", "ways", "gather")
    assert {name for name, value in notes if value == "equal"} == PATHS


@pytest.mark.parametrize("team", TEAMS)
def test_every_pod_has_its_compartments_account(site: Site, states: dict[str, str], team: str) -> None:
    """Mapped and deferred ones and those with a pod_override too; no DAG had asked for it."""
    pods = site.pods(f"{team}_ways", "ways")
    assert {pod.spec.service_account_name for pod in pods} == {f"xcom-{team}"}
    assert len(pods) == 7
    noted = dict(site.notes(f"{team}_ways", "ways"))
    for name in ("produce", "double", "gather", "before it defers", "after it deferred"):
        assert noted[name] == f"xcom-{team}"
    assert dict(site.notes(f"{team}_ways", "ways", "own_pod")) == {"own pod": [f"xcom-{team}", "yes"]}


def test_no_pod_holds_a_stored_key(site: Site, states: dict[str, str]) -> None:
    """Pods have two projected tokens, for Vault and for the STS: no Secret, no key, no token of the API server."""
    for team in TEAMS:
        for pod in site.pods(f"{team}_ways", "ways"):
            assert [volume.name for volume in pod.spec.volumes if volume.secret] == []
            names = {variable.name for container in pod.spec.containers for variable in container.env}
            assert names.isdisjoint({"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "VAULT_TOKEN"})
            sources = [volume.projected.sources for volume in pod.spec.volumes if volume.projected]
            audiences = {source.service_account_token.audience for some in sources for source in some}
            assert audiences == {"vault", "sts.amazonaws.com"}


def test_the_database_has_references_and_the_bucket_has_payloads(site: Site, states: dict[str, str]) -> None:
    """Every XCom of these runs is a sealed reference to an object below its compartment's prefix."""
    rows = site.rows("SELECT dag_id, value FROM xcom WHERE run_id = 'ways'")
    objects = set(site.services.objects())
    for dag_id, value in rows:
        name = value["head"]["object"].removeprefix("s3://xcom/")
        assert name.startswith(f"sealed/{dag_id.partition('_')[0]}/")
        assert name in objects
    assert len(rows) >= 2 * 8


def test_a_shared_reader_pulls_what_it_may(site: Site) -> None:
    """Marketing's pod gets the totals that finance publishes; the draft is refused by our code in its process."""
    assert site.once("finance_daily", "daily") == "success"
    assert site.run("marketing_reads", "reads") == "success", site.logs("marketing_reads", "reads")[-6000:]
    assert dict(site.notes("marketing_reads", "reads")) == {"total": 42, "not shared": "AccessRefused"}


def test_a_dag_of_no_compartment_is_an_import_error(site: Site) -> None:
    """It would run with the account of the pod template, which is that of an identity."""
    rows = site.rows("SELECT stacktrace FROM import_error WHERE filename LIKE '%orphan.py'")
    assert len(rows) == 1
    assert "'airflow-no-compartment' is that of identity 'airflow'" in rows[0][0]
    assert site.rows("SELECT 1 FROM dag WHERE dag_id = 'unnamed_orphan'") == []
