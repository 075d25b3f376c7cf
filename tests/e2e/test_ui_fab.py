"""The page's API on a real API server with Airflow's FAB auth manager: rights on single DAGs, and on XComs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.e2e.ui_deployment import DAG, FAB, OTHER, RUN, UiDeployment, fill, of_dag
from tests.support.ui_routes import every_route, url_of

pytest.importorskip("airflow.providers.fab")

_SITE = [("can_read", "Website"), ("can_read", "Plugins")]
# Name -> role, and for a role of its own its permissions.
USERS: dict[str, tuple[str, list[tuple[str, str]] | None]] = {
    "admin": ("Admin", None),
    "op": ("Op", None),
    "viewer": ("Viewer", None),
    "public": ("Public", None),
    "finance": ("Finance", [("can_read", f"DAG:{DAG}"), ("can_read", "XComs"), *_SITE]),
    "no_xcoms": ("NoXComs", [("can_read", "DAGs"), *_SITE]),
    "no_dags": ("NoDags", [("can_read", "XComs"), *_SITE]),
}


@pytest.fixture(scope="module")
def ui(tmp_path_factory: pytest.TempPathFactory, migrated: Path) -> Iterator[UiDeployment]:
    """An API server with people of several roles."""
    folder = tmp_path_factory.mktemp("ui-fab")
    settings = {"core.auth_manager": FAB, "secure_xcom.refuse_rest_writes": "False"}
    with UiDeployment(folder, migrated, {}, settings) as deployment:
        deployment.prepare()
        fill(deployment)
        deployment.make_users(USERS)
        deployment.start()
        yield deployment


def test_every_route_asks_for_a_login(ui: UiDeployment) -> None:
    """Without a login every route of the app answers 401."""
    for route in every_route():
        assert ui.get(url_of(route, DAG, "path"), **url_of(route, DAG, "query")).status == 401, route


@pytest.mark.parametrize("user", ["public", "no_xcoms", "no_dags"])
def test_every_route_refuses_people_without_the_right(ui: UiDeployment, user: str) -> None:
    """Who may not read XComs, or no DAG, gets 403 of every route."""
    for route in every_route():
        answer = ui.get(url_of(route, DAG, "path"), user, **url_of(route, DAG, "query"))
        assert answer.status == 403, (route, answer.body[:200])


def test_every_route_of_a_dag_refuses_the_dags_of_others(ui: UiDeployment) -> None:
    """Who may read one DAG gets that DAG's XComs, and 403 for another's, also with the own DAG in the query."""
    for route in [route for route in every_route() if "{dag_id}" in route.path]:
        query = url_of(route, DAG, "query")
        assert ui.get(url_of(route, DAG, "path"), "finance", **query).status == 200, route
        assert ui.get(url_of(route, OTHER, "path"), "finance", **query).status == 403, route
        assert ui.get(url_of(route, OTHER, "path"), "finance", **{**query, "dag_id": DAG}).status == 403, route


def test_browse_shows_only_dags_that_one_may_read(ui: UiDeployment) -> None:
    """The page under Browse has the rows of one's own DAGs alone."""
    shown = {row["dag_id"] for row in ui.get("xcoms", "finance", limit=200).json["xcoms"]}
    assert shown == {DAG}
    assert ui.get("xcoms", "finance", dag_id=OTHER).status == 403
    assert ui.get("xcoms", "finance", key="return_value", compartment="marketing").json["xcoms"] == []
    assert {row["dag_id"] for row in ui.get("xcoms", "viewer", limit=200).json["xcoms"]} == {DAG, OTHER}


def test_compartments_are_for_people_who_run_airflow(ui: UiDeployment) -> None:
    """Op and Admin see the access policy, others get 403."""
    for user, status in (("viewer", 403), ("finance", 403), ("op", 200), ("admin", 200)):
        assert ui.get("compartments", user).status == status, user


def test_who_writes_by_hand_is_named_to_readers_of_the_audit_log(ui: UiDeployment) -> None:
    """The user of a REST write is in Airflow's audit log, which in FAB only Admins read."""
    path, asked = of_dag(DAG, "xcom"), {"run_id": RUN, "task_id": "extract", "key": "by_hand"}
    hidden = ui.get(path, "viewer", **asked).json["written_by"]
    assert (hidden["kind"], hidden["user"]) == ("rest", None)
    assert "mallory" not in hidden["text"]
    assert ui.get(path, "admin", **asked).json["written_by"]["user"] == "mallory"


def test_a_real_rest_write_is_named_where_it_is_let_pass(ui: UiDeployment) -> None:
    """With the setting off Airflow's pencil writes, and the page says that it did and who it was."""
    entries = f"/api/v2/dags/{DAG}/dagRuns/{quote(RUN, safe='')}/taskInstances/mapped/xcomEntries"
    changed = ui.request("PATCH", f"{entries}/return_value", "admin", {"value": "in plaintext", "map_index": 5})
    assert changed.status == 200, changed.body
    path, asked = of_dag(DAG, "xcom"), {"run_id": RUN, "task_id": "mapped", "key": "return_value"}
    xcom = ui.get(path, "admin", **asked, map_index=5).json
    assert (xcom["state"], xcom["written_by"]["kind"], xcom["written_by"]["user"]) == (
        "plaintext",
        "rest",
        "admin",
    )
    assert ui.get(path, "admin", **asked, map_index=6).json["state"] == "sealed"
    assert ui.get("about", "admin").json["rest_writes"] == "possible"
