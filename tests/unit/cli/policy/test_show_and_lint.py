"""`secure-xcom policy show` and `policy lint`: what they print and end with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from secure_xcom.cli import app

HERE = Path(__file__).parents[2] / "ops" / "service_policies"
EXAMPLE = HERE / "compiled_policy.yaml"
NOTES = ("connection-not-seen", "rows-of-all", "rewrap-changes-context", "shared-maintenance")
WITHOUT_NOTES = [word for rule in NOTES for word in ("--allow", rule)]


def run(*words: str | Path) -> Result:
    """The command's answer, on a terminal of 200 columns."""
    return CliRunner().invoke(app, ["policy", *map(str, words)], env={"COLUMNS": "200"})


def test_show_resolves_the_policy() -> None:
    """Each compartment is shown with what it takes, who may pull, and what each identity has there."""
    done = run("show", EXAMPLE, "--json")
    assert done.exit_code == 0
    record = json.loads(done.stdout)
    finance, sales = record["compartments"]
    assert (finance["name"], finance["dags"], finance["retention"]) == ("finance", ["fin_*"], "30d")
    assert finance["readers"] == ["compartment sales, of_dags fin_daily, of_tasks publish"]
    assert finance["identities"]["sales-worker"] == ["reader of fin_daily tasks publish"]
    assert sales["identities"] == {"sales-worker": ["both"], "caretaker": ["maintenance"]}
    assert [one["name"] for one in record["identities"]] == ["finance-worker", "sales-worker", "caretaker"]
    table = run("show", EXAMPLE)
    assert table.exit_code == 0
    for word in ("finance", "fin_*", "reader of", "vault-kv://v/secret/xcom"):
        assert word in table.stdout


@pytest.mark.parametrize(
    ("dag", "compartment", "because", "code"),
    [
        ("fin_daily", "finance", "'fin_*' of 'finance' is the first glob that matches it (line 4)", 0),
        ("x", None, "no glob matches it, and there is no default", 1),
    ],
)
def test_show_says_where_a_dag_belongs_and_why(dag: str, compartment: str | None, because: str, code: int) -> None:
    """One DAG's compartment is named with the glob and its line; a DAG of none is found something."""
    done = run("show", EXAMPLE, "--dag", dag, "--json")
    record = json.loads(done.stdout)
    assert (record["compartment"], record["why"], done.exit_code) == (compartment, because, code)
    plain = run("show", EXAMPLE, "--dag", dag)
    assert plain.exit_code == code
    assert because in plain.stdout


def test_show_says_what_comes_later_and_what_is_the_default(tmp_path: Path) -> None:
    """Compartments whose globs would take the DAG as well are named, and so is the default as a reason."""
    policy = tmp_path / "policy.yaml"
    text = EXAMPLE.read_text().replace("version: 1", "version: 1\ndefaults: {compartment: sales}")
    policy.write_text(text.replace('["sales_*"]', '["sales_*", "*daily"]'))
    assert json.loads(run("show", policy, "--dag", "fin_daily", "--json").stdout)["later"] == ["*daily of sales"]
    why = json.loads(run("show", policy, "--dag", "other", "--json").stdout)["why"]
    assert why == "no glob matches it, and 'sales' is the default (line 2)"
    assert "tasks run on" not in run("show", policy, "--dag", "other").stdout


def test_show_says_where_the_dag_of_an_identity_runs() -> None:
    """The maintenance DAG's compartment has no places: it runs at those of its identity. JSON has all places."""
    example = HERE.parents[3] / "policies/examples/celery-queues.yaml"
    shown = run("show", example, "--dag", "secure_xcom_maintenance")
    assert "its tasks run on: queue maintenance, by runs_on of identity maintenance" in shown.stdout
    record = json.loads(run("show", example, "--json").stdout)
    assert record["open_places"] == {"queue": [], "executor": [], "service_account": [], "run_as_user": []}
    places = {one["name"]: one.get("runs_on", {}).get("queue") for one in record["identities"]}
    assert places == {"finance-workers": None, "marketing-workers": None, "maintenance": ["maintenance"]}


def test_a_table_is_not_narrow_where_no_terminal_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a job of CI, names of compartments and globs stand on one line each."""
    monkeypatch.delenv("COLUMNS", raising=False)
    shown = (
        CliRunner()
        .invoke(app, ["policy", "show", str(HERE.parents[3] / "policies/examples/celery-queues.yaml")])
        .stdout
    )
    assert "finance-workers: both" in shown


def test_lint_ends_with_1_until_what_it_says_is_allowed() -> None:
    """Warnings are printed as FILE:LINE:COLUMN with a remedy; allowing their rule leaves nothing."""
    done = run("lint", EXAMPLE)
    assert done.exit_code == 1
    assert f"{EXAMPLE}:3:5: warning no-place: 'finance'" in done.stdout
    assert "what to do: give it tasks_run_on" in done.stdout
    allowed = run("lint", EXAMPLE, "--allow", "no-place", *WITHOUT_NOTES)
    assert (allowed.exit_code, allowed.stdout) == (0, "0 errors, 0 warnings, 0 notes, 6 allowed\n")
    record = json.loads(run("lint", EXAMPLE, "--json", *WITHOUT_NOTES).stdout)
    assert {(one["rule"], one["status"], one["line"]) for one in record["remarks"]} == {
        ("no-place", "warning", 3),
        ("no-place", "warning", 16),
    }


def test_lint_of_a_folder_and_of_a_file_at_once(tmp_path: Path) -> None:
    """Compiled files and the policy are looked at in one call, each remark under its own file."""
    (tmp_path / "x.hcl").write_text('path "transit/encrypt/x" {\n  capabilities = ["create"]\n}\n')
    done = run("lint", HERE / "compiled", tmp_path, EXAMPLE, "--allow", "no-place", "--json", *WITHOUT_NOTES)
    assert done.exit_code == 1
    assert [(one["rule"], Path(one["file"]).name) for one in json.loads(done.stdout)["remarks"]] == [
        ("vault-create-on-encrypt", "x.hcl")
    ]


@pytest.mark.parametrize("words", [("missing.yaml",), (str(EXAMPLE), "--allow", "no-such-rule"), ("/dev/null",)])
def test_lint_that_cannot_run_ends_with_2(words: tuple[str, ...]) -> None:
    """A file that is not there or no YAML, and a rule that is none, are errors and not a clean bill."""
    assert run("lint", *words).exit_code == 2


def test_lint_takes_the_ids_that_the_compiler_takes(tmp_path: Path) -> None:
    """With --dag a glob is known, and what it becomes is said without an exit code."""
    policy = tmp_path / "policy.yaml"
    policy.write_text(EXAMPLE.read_text().replace("of_dags: [fin_daily]", 'of_dags: ["fin_d*"]'))
    call: tuple[str | Path, ...] = ("lint", policy, "--allow", "no-place", "--json", *WITHOUT_NOTES)
    assert [one["rule"] for one in json.loads(run(*call).stdout)["remarks"]] == ["glob-whole"]
    known = run(*call, "--dag", "fin_daily")
    assert known.exit_code == 0
    assert [one["rule"] for one in json.loads(known.stdout)["remarks"]] == ["glob-known"]
