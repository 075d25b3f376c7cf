"""The page's API on a real API server with Airflow's SimpleAuthManager and teams."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.e2e.ui_deployment import DAG, MAPPED, MARK, OTHER, RUN, TEAMS, UiDeployment, at, fill, hostile, of_dag
from tests.support.ui_routes import every_route, url_of

TEAM = "marketing"
USERS = {
    name: f"{name}:finance" if TEAMS and name != "admin" else name for name in ("admin", "op", "user", "viewer")
}
with_teams = pytest.mark.skipif(
    not TEAMS, reason="this Airflow has no teams, so SimpleAuthManager knows no others"
)
# What must never be read in the API server: a command that is asked for the value leaves a file behind.
SECRETS = ("audit_sinks", "claims_uri")


@pytest.fixture(scope="module")
def ui(tmp_path_factory: pytest.TempPathFactory, migrated: Path) -> Iterator[UiDeployment]:
    """An API server; ``viewer`` and ``user`` are of a team that the other DAG is not of."""
    folder = tmp_path_factory.mktemp("ui-simple")
    settings = {f"secure_xcom.{name}_cmd": f"touch {folder}/read-{name}" for name in SECRETS}
    settings |= {"secure_xcom.ui_audit_url": f"file://{folder}/access-log.jsonl"}
    if TEAMS:
        settings["core.multi_team"] = "True"
    with UiDeployment(folder, migrated, USERS, settings) as deployment:
        deployment.prepare()
        fill(deployment, team=TEAM if TEAMS else None)
        _log(folder / "access-log.jsonl")
        deployment.start()
        yield deployment


def _log(path: Path) -> None:
    """Events of one XCom: a pull by its own DAG, one by the other DAG, and a break-glass open."""
    events = []
    for number, (action, dag_id, more) in enumerate(
        (
            ("push", DAG, {}),
            ("pull", DAG, {"rule": "own"}),
            ("pull", OTHER, {"rule": "readers[0]"}),
            ("open", None, {"operator": "root", "reason": "case 12"}),
        )
    ):
        place = {"dag_id": DAG, "run_id": RUN, "task_id": "extract", "map_index": -1, "key": "return_value"}
        reader = {"dag_id": dag_id, "run_id": RUN, "task_id": "load", "map_index": -1, "try_number": 1}
        who = {} if dag_id is None else {"task" if action == "push" else "consumer": reader}
        event = {
            "action": action, "chain": f"{number:08x}-0000-7000-8000-000000000000", "host": "h", "id": "x",
            "outcome": "ok", "pid": 1, "previous": "0" * 64, "producer": place, "release": "0.1.0",
            "sequence": 0, "time": f"2099-01-01T00:00:0{number}.000000Z", "version": 1, **who, **more,
        }  # fmt: skip
        events.append(json.dumps(event, separators=(",", ":"), ensure_ascii=False))
    path.write_text("\n".join(events) + "\n")


# --- permissions --------------------------------------------------------------------------------------------


def test_every_route_asks_for_a_login(ui: UiDeployment) -> None:
    """Without a login, or with a made-up one, every route of the app answers 401, whatever is asked of it."""
    for route in every_route():
        for more in ({}, {"user": "admin"}, {"dag_id": DAG}):
            answer = ui.get(url_of(route, DAG, "path"), **url_of(route, DAG, "query"), **more)
            assert answer.status == 401, (route, more, answer.body)
        made_up = ui._send(
            "GET", f"/secure-xcom/{url_of(route, DAG, 'path')}", {"Authorization": "Bearer x"}, None
        )
        assert made_up.status in (401, 403), route


@with_teams
def test_every_route_of_a_dag_refuses_people_of_other_teams(ui: UiDeployment) -> None:
    """A route with a DAG in its path answers 403 for the DAG of another team, and 200 for one's own."""
    of_dags = [route for route in every_route() if "{dag_id}" in route.path]
    assert len(of_dags) >= 3
    for route in of_dags:
        query = url_of(route, DAG, "query")
        assert ui.get(url_of(route, OTHER, "path"), "viewer", **query).status == 403, route
        assert ui.get(url_of(route, OTHER, "path"), "viewer", **{**query, "dag_id": DAG}).status == 403, route
        assert ui.get(url_of(route, DAG, "path"), "viewer", **query).status == 200, route
        assert ui.get(url_of(route, OTHER, "path"), "admin", **query).status in (200, 404), route


def test_every_dag_at_once_is_no_dag(ui: UiDeployment) -> None:
    """Airflow's name for every DAG opens no route of one DAG."""
    for route in every_route():
        if "{dag_id}" in route.path:
            assert ui.get(url_of(route, "~", "path"), "admin", **url_of(route, DAG, "query")).status == 422


@with_teams
def test_browse_shows_only_dags_that_one_may_read(ui: UiDeployment) -> None:
    """The page under Browse has no row of another team's DAG, by whatever filter it is asked."""
    for asked in ({}, {"dag_id": DAG}, {"run_id": RUN}, {"key": "return_value"}, {"compartment": "marketing"}):
        shown = {row["dag_id"] for row in _all(ui, "viewer", **asked)}
        assert shown <= {DAG}, asked
    assert ui.get("xcoms", "viewer", dag_id=OTHER).status == 403
    assert {row["dag_id"] for row in _all(ui, "admin")} == {DAG, OTHER}


def test_compartments_are_for_people_who_run_airflow(ui: UiDeployment) -> None:
    """Viewers and users get 403 for the access policy, and no names of compartments; Op and Admin see it."""
    for user in ("viewer", "user"):
        assert ui.get("compartments", user).status == 403
        about = ui.get("about", user).json
        assert (about["may"], about["compartments"], about["policy"]["text"]) == ({"compartments": False}, [], "")
    for user in ("op", "admin"):
        answer = ui.get("compartments", user).json
        assert [one["name"] for one in answer["compartments"]] == ["finance", "marketing"]
        assert {finding["kind"] for finding in answer["findings"]} >= {"local-key", "shared-key"}
        assert answer["counted"] is None
        assert "secure-xcom ui migrate" in answer["counted_text"]


def test_nothing_but_static_files_answers_without_a_login(ui: UiDeployment) -> None:
    """The module is served to anybody, with its type; no description of the API and no other file is."""
    module = ui.get("static/secure_xcom.js")
    assert module.status == 200
    assert module.headers["content-type"].startswith("text/javascript")
    assert module.headers["x-content-type-options"] == "nosniff"
    for path in ("docs", "openapi.json", "redoc", "", "static/", "static/../app.py", "static/..%2fapp.py"):
        assert ui.get(path).status in (404, 405, 401), path


# --- who had it ---------------------------------------------------------------------------------------------


@with_teams
def test_a_reader_of_another_dag_is_not_named(ui: UiDeployment) -> None:
    """Somebody who may not read a DAG learns that a task of another DAG pulled, and not which."""
    path, asked = of_dag(DAG, "xcom/access"), {"run_id": RUN, "task_id": "extract", "key": "return_value"}
    events = ui.get(path, "viewer", **asked).json["events"]
    assert [event["action"] for event in events] == ["open", "pull", "pull", "push"]
    assert events[1]["hidden"] is True
    assert events[1]["by"] is None
    assert events[2]["by"]["task_id"] == "load"
    assert OTHER not in json.dumps(events)
    everything = ui.get(path, "admin", **asked).json
    assert everything["events"][1]["by"]["dag_id"] == OTHER
    assert everything["looked"]["all"] is True
    assert everything["source"]["state"] == "file"


def test_events_come_page_by_page(ui: UiDeployment) -> None:
    """One event at a time gives all of them once, newest first."""
    path, asked = of_dag(DAG, "xcom/access"), {"run_id": RUN, "task_id": "extract", "key": "return_value"}
    found, after = [], None
    for _ in range(10):
        page = ui.get(path, "admin", **asked, limit=1, after=after).json
        found += [event["action"] for event in page["events"]]
        after = page["next"]
        if after is None:
            break
    assert found == ["open", "pull", "pull", "push"]


# --- what is shown ------------------------------------------------------------------------------------------


def _all(ui: UiDeployment, user: str, **asked: object) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    after = None
    for _ in range(100):
        page = ui.get("xcoms", user, **{"limit": 50, **asked}, after=after).json
        found += page["xcoms"]
        after = page["next"]
        if after is None:
            return found
    raise AssertionError("the pages do not end")


def _tab(
    ui: UiDeployment, task_id: str = "extract", user: str = "admin", **asked: object
) -> dict[str, dict[str, Any]]:
    answer = ui.get(of_dag(DAG, "task-instance"), user, run_id=RUN, task_id=task_id, **asked)
    assert answer.status == 200, answer.body
    return {xcom["key"]: xcom for xcom in answer.json["xcoms"]}


def test_the_tab_tells_the_states_apart(ui: UiDeployment) -> None:
    """Each row of a task instance has its state, and what is wrong with it."""
    tab = _tab(ui)
    assert {key: xcom["state"] for key, xcom in tab.items()} == {
        "return_value": "sealed", "frame": "sealed", "handover": "sealed", "by_hand": "plaintext",
        "_link_Dashboard": "plaintext", "expired": "expired", "moved": "unreadable",
    }  # fmt: skip
    assert _tab(ui, "shredded")["handover"]["state"] == "shredded"
    assert tab["moved"]["findings"][0]["kind"] == "CoordinateMismatch"
    assert tab["by_hand"]["findings"][0]["severity"] == "error"
    assert tab["_link_Dashboard"]["worst"] == "note"
    assert tab["return_value"]["findings"] == []


def test_a_sealed_xcom_is_described(ui: UiDeployment) -> None:
    """What a reference says of itself, who may pull it, its shape, and the commands are there."""
    xcom = _tab(ui)["return_value"]
    assert (xcom["compartment"], xcom["codec"], xcom["payload"]["kind"]) == ("finance", "json", "file")
    assert xcom["keys"][0]["version"] == 1
    assert xcom["kept_until"].startswith("20")
    assert [line["text"] for line in xcom["may_pull"]] == [
        "every DAG of finance",
        "compartment marketing, tasks totals",
    ]
    assert xcom["preview"] == {
        "kind": "shape",
        "value": {
            "customer": {"name": "str(5)", "iban": "str(3)"},
            "password": "***",
            "lines": [{"amount": "float"}],
        },
    }
    assert xcom["open_command"] == f"secure-xcom open --reason 'WHY' {DAG}/{RUN}/extract:return_value"
    assert "--xcom-key=return_value" in xcom["search_command"]
    assert "wrapped" not in json.dumps(xcom)


def test_a_frame_has_its_columns(ui: UiDeployment) -> None:
    """A DataFrame shows its columns and their types."""
    assert _tab(ui)["frame"]["frame"] == {
        "type": "DataFrame",
        "rows": None,
        "columns": [{"name": "amount", "type": "float"}, {"name": "name", "type": "str"}],
        "more": 0,
    }


def test_plaintext_says_who_wrote_it(ui: UiDeployment) -> None:
    """A REST write is named with its user; an operator's link is told from it."""
    tab = _tab(ui)
    assert tab["by_hand"]["written_by"]["kind"] == "rest"
    assert tab["by_hand"]["written_by"]["user"] == "mallory"
    assert tab["_link_Dashboard"]["written_by"]["kind"] == "link"
    assert tab["by_hand"]["preview"] == {"kind": "none", "value": None}
    assert "in plaintext" not in json.dumps(tab["by_hand"]["preview"])


def test_an_exclusive_xcom_names_its_one_reader(ui: UiDeployment) -> None:
    """Only the first task instance may pull it, and no command opens it."""
    xcom = _tab(ui)["handover"]
    assert xcom["exclusive"] is True
    assert xcom["may_pull"][0]["kind"] == "claim"
    assert xcom["claim"]["state"] == "unknown"
    assert xcom["open_command"] is None


def test_a_legal_hold_is_shown(ui: UiDeployment) -> None:
    """A run under a hold says which."""
    answer = ui.get(of_dag(DAG, "xcom"), "admin", run_id="held__1", task_id="extract", key="return_value")
    assert answer.json["legal_hold"] == {"name": "case-12", "reason": "asked for by audit"}


def test_instances_of_a_mapped_task_come_page_by_page(ui: UiDeployment) -> None:
    """All instances are there once, in order, and one of them can be asked for."""
    seen: list[int] = []
    after = None
    while True:
        page = ui.get(of_dag(DAG, "task-instance"), "admin", run_id=RUN, task_id="mapped", limit=50, after=after)
        seen += [xcom["map_index"] for xcom in page.json["xcoms"]]
        assert page.json["count"] == MAPPED
        after = page.json["next"]
        if after is None:
            break
    assert seen == list(range(MAPPED))
    one = ui.get(of_dag(DAG, "task-instance"), "admin", run_id=RUN, task_id="mapped", map_index=7).json
    assert [xcom["map_index"] for xcom in one["xcoms"]] == [7]


def test_browse_filters(ui: UiDeployment) -> None:
    """Every filter leaves what it asks for and nothing else, over pages of one row too."""
    assert {row["state"] for row in _all(ui, "admin", state="plaintext")} == {"plaintext"}
    assert {row["key"] for row in _all(ui, "admin", state="expired")} == {"expired"}
    assert {row["compartment"] for row in _all(ui, "admin", compartment="marketing")} == {"marketing"}
    assert {row["key"] for row in _all(ui, "admin", key="hand*")} == {"handover"}
    assert {row["run_id"] for row in _all(ui, "admin", run_id="held*")} == {"held__1"}
    assert _all(ui, "admin", since="2099-01-01T00:00:00Z") == []
    assert {row["run_id"] for row in _all(ui, "admin", until="2026-12-01T00:00:00Z")} == {"held__1"}
    assert len(_all(ui, "admin", task_id="mapped", limit=7)) == MAPPED
    assert len(_all(ui, "admin", task_id="extract", limit=1)) == len(_all(ui, "admin", task_id="extract"))


# --- hostile input ------------------------------------------------------------------------------------------


def test_hostile_rows_break_nothing(ui: UiDeployment) -> None:
    """Rows of any JSON are shown as plaintext or unreadable, and their texts are nothing but JSON."""
    keys = hostile(ui)
    answer = ui.get(of_dag(DAG, "task-instance"), "admin", run_id=RUN, task_id="hostile", limit=200)
    assert answer.status == 200, answer.body[:500]
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"
    states = {xcom["key"]: xcom["state"] for xcom in answer.json["xcoms"]}
    assert set(states) == set(keys)
    assert {key for key, state in states.items() if state == "plaintext"} == {
        "deep",
        "infinity",
        "text",
        "list",
        "null",
        "no-json",
    }
    sealed = {key for key, state in states.items() if state == "sealed"}
    assert sealed == {"preview-deep", "preview-nan", "preview-long", MARK, "\u202egnp", "new\nline"}
    found = {xcom["key"]: xcom for xcom in answer.json["xcoms"]}
    assert found["preview-nan"]["preview"]["value"]["a"] == "nan"
    assert found["preview-nan"]["preview"]["value"]["c"] == "123456789012345678901"
    assert found["preview-deep"]["findings"][-1]["kind"] == "preview-too-large"
    assert found["preview-long"]["preview"] == {"kind": "none", "value": None}
    # What is pasted into a terminal must not have a control character in it.
    assert found["new\nline"]["open_command"] is None
    assert found["\u202egnp"]["search_command"] is None
    assert ui.get("xcoms", "admin", task_id="hostile").status == 200
    for key in keys:
        assert ui.get(of_dag(DAG, "xcom"), "admin", run_id=RUN, task_id="hostile", key=key).status == 200, key


@pytest.mark.parametrize(
    "asked",
    [
        {"after": "x"}, {"after": "WzFd"}, {"after": "W10"}, {"after": "%"}, {"after": "A" * 9000},
        {"limit": 0}, {"limit": 201}, {"limit": "many"}, {"state": "gone"}, {"since": "yesterday"},
        {"key": "a\x00b"}, {"until": "99999-01-01"},
    ],
)  # fmt: skip
def test_a_parameter_that_is_none_is_told(ui: UiDeployment, asked: dict[str, Any]) -> None:
    """A parameter that cannot be used gets 422 and a sentence, never a trace or what was sent."""
    answer = ui.get("xcoms", "admin", **asked)
    assert answer.status == 422, answer.body
    assert isinstance(answer.json["detail"], str)


def test_what_is_not_there_is_404(ui: UiDeployment) -> None:
    """An unknown run, task or key is 404; a task instance without XComs is an empty list."""
    tab = of_dag(DAG, "task-instance")
    assert ui.get(tab, "admin", run_id="none", task_id="extract").status == 404
    assert ui.get(tab, "admin", run_id=RUN, task_id="none").status == 404
    assert ui.get(of_dag(DAG, "xcom"), "admin", run_id=RUN, task_id="extract", key="none").status == 404
    ui.rows.task(at(task_id="pushes_nothing"))
    assert ui.get(tab, "admin", run_id=RUN, task_id="pushes_nothing").json["xcoms"] == []


# --- the pencil ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["POST", "PATCH"])
def test_rest_writes_are_refused(ui: UiDeployment, method: str) -> None:
    """What Airflow's own pencil sends is refused with our reason, and writes nothing."""
    entries = f"/api/v2/dags/{DAG}/dagRuns/{quote(RUN, safe='')}/taskInstances/extract/xcomEntries"
    path = entries if method == "POST" else f"{entries}/return_value"
    before = _tab(ui)["return_value"]
    for way in (path, path.replace("xcomEntries", "xcom%45ntries"), path.replace("/dags/", "/d%61gs/")):
        answer = ui.request(method, way, "admin", {"key": "new", "value": "x", "map_index": -1})
        assert answer.status == 403, way
        assert "secure_xcom" in answer.json["detail"]
    assert _tab(ui)["return_value"] == before
    assert "new" not in _tab(ui)
    assert ui.request("GET", f"{entries}/return_value", "admin").status == 200
    assert ui.get("about", "admin").json["rest_writes"] == "refused"


# --- what the API server has --------------------------------------------------------------------------------


def test_no_secret_setting_is_read(ui: UiDeployment) -> None:
    """No route runs the command of a setting that may hold a password (Airflow does at its start, to mask it)."""
    for name in SECRETS:
        (ui.folder / f"read-{name}").unlink(missing_ok=True)
    for route in every_route():
        ui.get(url_of(route, DAG, "path"), "admin", **url_of(route, DAG, "query"))
    assert [name for name in SECRETS if (ui.folder / f"read-{name}").exists()] == []
