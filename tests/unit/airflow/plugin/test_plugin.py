"""What the package puts into Airflow's processes: the cluster policy, and the masks of a supervisor's output.

Each test runs a fresh Python, because the hooks are set up by Airflow's own start.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[4]
OURS = "secure_xcom.SecureXComBackend"
STOCK = "airflow.sdk.bases.xcom.BaseXCom"


def run(code: str, home: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run code in an Airflow of its own. pytest's variables are left out: Airflow changes its logging for them."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "PYTEST"))}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={
            **kept,
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__XCOM_BACKEND": OURS,
            "NO_COLOR": "1",
            "PYTHONPATH": str(ROOT),
            **settings,
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done


def printed(code: str, home: Path, **settings: str) -> str:
    """All that the code prints: Airflow 3.1 writes the standard library's log lines to stderr."""
    done = run(code, home, **settings)
    return done.stdout + done.stderr


# --- the cluster policy -------------------------------------------------------------------------------------

DAGS = """
from datetime import datetime
from airflow.sdk import dag, task
from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.operators.python import PythonOperator, PythonVirtualenvOperator
from airflow.providers.standard.sensors.date_time import DateTimeSensorAsync

def give(*_): return {"password": "x"}

@dag(schedule=None, start_date=datetime(2024, 1, 1))
def all_kinds():
    decorated = task(give, task_id="decorated")
    decorated()
    task(give, task_id="asked_for_it", show_return_value_in_logs=True)()
    @task
    def decorated_mapped(x): return x
    decorated_mapped.expand(x=[1, 2])
    PythonOperator(task_id="classic", python_callable=give)
    PythonVirtualenvOperator(task_id="virtualenv", python_callable=give)
    PythonOperator.partial(task_id="classic_mapped", python_callable=give).expand(op_args=[[1], [2]])
    PythonOperator.partial(task_id="mapped_over_it", python_callable=give).expand(
        show_return_value_in_logs=[True, False])
    BashOperator(task_id="bash", bash_command="true")
    BashOperator.partial(task_id="bash_mapped").expand(bash_command=["true"])
    DateTimeSensorAsync(task_id="sensor", target_time="2024-01-01T00:00:00+00:00", end_from_trigger=True)
all_kinds()
"""
PARSE = """
import json, sys
from pathlib import Path
try:
    from airflow.dag_processing.dagbag import DagBag
except ImportError:
    from airflow.models.dagbag import DagBag
bag = DagBag(sys.argv[1] if len(sys.argv) > 1 else Path(__import__("os").environ["AIRFLOW_HOME"]) / "dags")
switch = {}
for dag in bag.dags.values():
    for task in dag.tasks:
        mapped = getattr(task, "partial_kwargs", None)
        switch[task.task_id] = (
            mapped.get("show_return_value_in_logs", "unset") if mapped is not None
            else getattr(task, "show_return_value_in_logs", "none"))
print(json.dumps({"errors": {k: v[-300:] for k, v in bag.import_errors.items()}, "switch": switch}))
"""
SWITCHED = ("decorated", "asked_for_it", "decorated_mapped", "classic", "virtualenv", "classic_mapped")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """An Airflow home with a DAG file in it."""
    (tmp_path / "dags").mkdir()
    (tmp_path / "dags" / "all_kinds.py").write_text(DAGS)
    return tmp_path


def parsed(home: Path, **settings: str) -> dict[str, Any]:
    """Each task's switch after Airflow's own parse of the DAG file."""
    found: dict[str, Any] = json.loads(run(PARSE, home, **settings).stdout.splitlines()[-1])
    assert found["errors"] == {}
    switch: dict[str, Any] = found["switch"]
    return switch


def test_returned_values_are_not_logged(home: Path) -> None:
    """Every Python operator, decorated, classic or mapped, logs no return value; other operators are untouched."""
    switch = parsed(home)
    assert {name: switch[name] for name in SWITCHED} == dict.fromkeys(SWITCHED, False)
    assert (switch["bash"], switch["bash_mapped"], switch["sensor"]) == ("none", "unset", "none")
    assert switch["mapped_over_it"] == "unset"


@pytest.mark.parametrize(
    "settings",
    [{"AIRFLOW__SECURE_XCOM__HIDE_RETURN_VALUES": "False"}, {"AIRFLOW__CORE__XCOM_BACKEND": STOCK}],
    ids=["switched off", "another backend"],
)
def test_the_policy_keeps_to_itself(home: Path, settings: dict[str, str]) -> None:
    """Switched off, or beside another XCom backend, the policy changes no task."""
    switch = parsed(home, **settings)
    assert {name: switch[name] for name in ("decorated", "classic")} == {"decorated": True, "classic": True}
    assert {name: switch[name] for name in ("decorated_mapped", "classic_mapped")} == {
        "decorated_mapped": "unset",
        "classic_mapped": "unset",
    }


def test_the_plugin_brings_no_listener(home: Path) -> None:
    """With any listener Airflow refuses DAGs that end from their trigger; the plugin is known and has none."""
    code = (
        "import json\n"
        "from airflow.plugins_manager import AirflowPlugin\n"
        "from airflow.listeners.listener import get_listener_manager\n"
        "from secure_xcom.airflow.plugin import SecureXComPlugin as plugin\n"
        "listeners = get_listener_manager().has_listeners\n"
        "print(json.dumps([plugin.name, issubclass(plugin, AirflowPlugin), listeners]))\n"
    )
    assert json.loads(run(code, home).stdout.splitlines()[-1]) == ["secure_xcom", True, False]


# --- in a process that supervises tasks ---------------------------------------------------------------------

SUPERVISE = """
import logging, os, sys
import structlog
import airflow
from airflow.sdk.execution_time import supervisor
from airflow.sdk._shared.secrets_masker import mask_secret, reset_secrets_masker, _secrets_masker

log = structlog.get_logger(logger_name="supervisor")
log.info("used before the fork, so structlog keeps it")

def fork():
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
"""
LINES = """
mask_secret(["can" + "ary-41a7"])
secret = "can" + "ary-41a7"
log.info("struct " + secret, field={"inner": secret})
logging.getLogger("some.library").warning("stdlib %s", secret)
try:
    raise ValueError(secret)
except ValueError:
    log.exception("exc one")
    logging.getLogger("some.library").exception("exc two")
"""


@pytest.mark.parametrize("json_logs", ["False", "True"])
def test_a_supervisors_output_is_masked(tmp_path: Path, json_logs: str) -> None:
    """After the first fork every line is masked: cached loggers, the standard library's, exceptions, fields."""
    output = printed(SUPERVISE + "fork(); fork()\n" + LINES, tmp_path, AIRFLOW__LOGGING__JSON_LOGS=json_logs)
    assert "canary-41a7" not in output
    for line in ("struct ***", "stdlib ***", "exc one", "exc two", "ValueError"):
        assert line in output
    assert "is not masked" not in output


@pytest.mark.parametrize(
    ("code", "settings"),
    [
        (SUPERVISE + LINES, {}),
        (SUPERVISE + "fork()\n" + LINES, {"AIRFLOW__SECURE_XCOM__MASK_COMPONENT_LOGS": "False"}),
        (SUPERVISE + "fork()\n" + LINES, {"AIRFLOW__CORE__XCOM_BACKEND": STOCK}),
    ],
    ids=["before a fork", "switched off", "another backend"],
)
def test_airflow_itself_masks_no_output(tmp_path: Path, code: str, settings: dict[str, str]) -> None:
    """Without the hook the same lines are readable, which shows that the test above can see them."""
    output = printed(code, tmp_path, **settings)
    assert output.count("canary-41a7") >= 5


def test_a_supervisor_takes_a_list_in_one_go(tmp_path: Path) -> None:
    """A task's list of secrets is compiled once and longest first, after Airflow emptied its masker as well."""
    code = (
        SUPERVISE
        + "import time\n"
        + "reset_secrets_masker(); fork()\n"
        + "began = time.perf_counter()\n"
        + "mask_secret([f'{n:024x}' for n in range(600)] + ['hunter2', 'hunter2-and-more'])\n"
        + "print('TOOK', time.perf_counter() - began)\n"
        + "print('SHOWS', _secrets_masker().redact('hunter2-and-more ' + f'{599:024x}'))\n"
        + "mask_secret({'password': 'in a dict'}); print('SHOWS', _secrets_masker().redact('in a dict'))\n"
    )
    lines = run(code, tmp_path).stdout.splitlines()
    shown = [line for line in lines if line.startswith("SHOWS")]
    assert shown == ["SHOWS *** ***", "SHOWS ***"]
    # Airflow's own call takes over five seconds for as many.
    assert float(next(line for line in lines if line.startswith("TOOK")).split()[1]) < 3


def test_rendered_fields_are_masked_before_they_are_stored(tmp_path: Path) -> None:
    """A task's own rendered fields hide what it has pulled, and those that Airflow shortens are masked first."""
    code = (
        SUPERVISE
        + """
from airflow.sdk import BaseOperator
from airflow.sdk.execution_time import task_runner

class Takes(BaseOperator):
    template_fields = ("op_args", "text")
    op_args, text = [{"note": "can" + "ary-41a7"}], "x" * 4008 + "can" + "ary-41a7" + "x" * 200

fork(); fork()
mask_secret(["can" + "ary-41a7"])
fields = task_runner._serialize_rendered_fields(Takes(task_id="takes"))
print("FIELDS", fields["op_args"], "cana" in fields["text"], "x" * 5000 in fields["text"])
"""
    )
    lines = run(code, tmp_path).stdout.splitlines()
    fields = next(line for line in lines if line.startswith("FIELDS"))
    assert fields == "FIELDS [{'note': '***'}] False False"


CHILDS_MODULES = """
import json, threading
child = os.fork()
if child == 0:
    print("CHILD", json.dumps(sorted(sys.modules)), flush=True)
    os._exit(0)
os.waitpid(child, 0)
print("THREADS", threading.active_count())
"""
S3_AND_VAULT = {
    "AIRFLOW__SECURE_XCOM__KEY_URIS": "vault://default_team/transit/keys/xcom",
    "AIRFLOW__SECURE_XCOM__STORE_URI": "s3://bucket/xcom",
}
CLIENTS = {
    "hvac",
    "boto3",
    "obstore.store",
    "secure_xcom.sinks.file",
    "secure_xcom.core.pipeline.push_and_pull",
    "secure_xcom.keys.vault",
    "secure_xcom.stores.s3",
}
# Airflow's own for the DAG file; the first is in 3.1.
PARSERS = {"airflow.models.dagbag", "airflow.dag_processing.dagbag"}
ALARMS = "secure_xcom.sinks.alarms.notifiers"


def modules_of(lines: list[str]) -> set[str]:
    """What a child had when it began."""
    return set(json.loads(next(line for line in lines if line.startswith("CHILD")).partition(" ")[2]))


def test_a_task_begins_with_what_it_will_import(tmp_path: Path) -> None:
    """What a task needs is imported once, before the fork, and no thread or connection is begun by it."""
    lines = run(SUPERVISE + CHILDS_MODULES, tmp_path, **S3_AND_VAULT).stdout.splitlines()
    modules = modules_of(lines)
    assert modules >= CLIENTS
    assert modules & PARSERS
    assert ALARMS not in modules
    assert "THREADS 1" in lines


def test_alarms_are_imported_where_there_are_some(tmp_path: Path) -> None:
    """An access policy with alarms has their code ready in each task; one without spares it."""
    policy = tmp_path / "access_policy.yaml"
    policy.write_text(
        "version: 1\n"
        "compartments:\n"
        '  - {name: all, dags: ["*"], key_uris: ["local:///k.json"], store_uri: "file:///s"}\n'
        "alarms:\n"
        "  - {name: twice, when: second_claim, at_once: true, notify: [{log: error}]}\n"
    )
    settings = {"AIRFLOW__SECURE_XCOM__ACCESS_POLICY": str(policy)}
    assert ALARMS in modules_of(run(SUPERVISE + CHILDS_MODULES, tmp_path, **settings).stdout.splitlines())


CHILDS_MODELS = """
child = os.fork()
if child == 0:
    from airflow.models.connection import Connection
    print("CONFIGURED", Connection.__mapper__.configured, flush=True)
    os._exit(0)
os.waitpid(child, 0)
"""


@pytest.mark.parametrize(("backend", "configured"), [("local_filesystem", True), ("base_secrets", False)])
def test_models_are_configured_for_a_backend_that_makes_some(
    tmp_path: Path, backend: str, configured: bool
) -> None:
    """A task that is given connections as Airflow's models finds these ready, and nobody else pays for them.

    The backend is loaded between two forks, as a supervisor does that has had a task already.
    """
    code = SUPERVISE + "fork()\n" + f"import airflow.secrets.{backend}\n" + CHILDS_MODELS
    assert f"CONFIGURED {configured}" in run(code, tmp_path, **S3_AND_VAULT).stdout.splitlines()


@pytest.mark.parametrize(
    ("before", "settings"),
    [
        ("import airflow.dag_processing.manager\n", S3_AND_VAULT),
        ("", S3_AND_VAULT | {"AIRFLOW__CORE__XCOM_BACKEND": STOCK}),
        ("", {"AIRFLOW__SECURE_XCOM__KEY_URIS": "", "AIRFLOW__SECURE_XCOM__STORE_URI": ""}),
        (
            "",
            {"AIRFLOW__SECURE_XCOM__KEY_URIS": "local:///k.json", "AIRFLOW__SECURE_XCOM__STORE_URI": "file:///s"},
        ),
    ],
    ids=["DAG processor", "another backend", "nothing set", "no client needed"],
)
def test_nothing_is_imported_for_nobody(tmp_path: Path, before: str, settings: dict[str, str]) -> None:
    """A process whose children run no task of ours, or need no client, imports none, and forks as it would."""
    lines = run(SUPERVISE + before + CHILDS_MODULES, tmp_path, **settings).stdout.splitlines()
    assert not {"secure_xcom.keys.vault", "secure_xcom.stores.s3"} & modules_of(lines)


def test_logging_of_another_shape_is_one_warning(tmp_path: Path) -> None:
    """Where structlog is set up in an unknown way, the process runs on and says once what is not masked."""
    code = (
        SUPERVISE
        + "structlog.configure(processors=tuple(structlog.get_config()['processors']))\n"
        + "fork(); fork()\nstructlog.get_logger('after').info('still logging')\nprint('DONE')\n"
    )
    output = printed(code, tmp_path)
    assert output.count("is not masked") == 1
    assert "mask_component_logs" in output
    assert "still logging" in output
    assert "DONE" in output


def test_a_failing_hook_never_stops_a_fork(tmp_path: Path) -> None:
    """Whatever goes wrong while the masks are put in place, the fork happens and one warning names the place."""
    code = (
        SUPERVISE
        + "class Odd(list):\n    def __getitem__(self, index): raise RuntimeError('odd')\n"
        + "structlog.configure(processors=Odd(structlog.get_config()['processors']))\n"
        + "fork(); fork(); print('DONE')\n"
    )
    output = printed(code, tmp_path)
    assert output.count("RuntimeError at ") == 1
    assert "DONE" in output


def test_a_tasks_own_process_is_left_alone(tmp_path: Path) -> None:
    """A task that forks keeps its logging: its lines go to the supervisor, which masks them."""
    code = (
        SUPERVISE
        + "from airflow.sdk.execution_time import task_runner\ntask_runner.SUPERVISOR_COMMS = object()\n"
        + "before = list(structlog.get_config()['processors'])\nfork()\n"
        + "print('SAME', before == structlog.get_config()['processors'], 'add_mask' in vars(_secrets_masker()))\n"
    )
    assert "SAME True False" in run(code, tmp_path).stdout
