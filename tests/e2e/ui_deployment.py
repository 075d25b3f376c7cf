"""An API server with rows to show, and people who may see some of them: for tests of the page in Airflow's UI."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from http.client import HTTPConnection
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pandas as pd
from packaging.version import Version
from typing_extensions import Self

from secure_xcom.core.access_policy.policy import AccessPolicy
from secure_xcom.core.coordinate import Coordinate
from secure_xcom.demo.local_airflow import LocalAirflow
from secure_xcom.keys import key_service
from secure_xcom.ops.keyring import create_keyring
from tests.support.ui_rows import NOW, AirflowRows
from tests.support.world import World

TEAMS = Version(metadata.version("apache-airflow-core")) >= Version("3.3")
"""Whether this Airflow knows teams."""
FAB = "airflow.providers.fab.auth_manager.fab_auth_manager.FabAuthManager"
DAG, OTHER = "finance_daily", "marketing_daily"
RUN = "manual__2026-12-01T08:00:00+00:00"
PASSWORD = "a password of a test"
MARK = "<img src=x onerror=alert(1)>"
MAPPED = 120

_POLICY = """
version: 1
compartments:
  - name: finance
    dags: ["finance_*"]
    key_uris: ["local://{home}/keyring.json"]
    store_uri: "file://{home}/sealed"
    retention: 520w
    exclusive: [handover]
    readers:
      - {{compartment: marketing, tasks: [totals]}}
      - {{dags: [marketing_never], of_tasks: [another]}}
  - name: marketing
    dags: ["marketing_*"]
    key_uris: ["local://{home}/keyring.json?wrap=required"]
    store_uri: "file://{home}/sealed"
legal_holds:
  - {{name: case-12, dags: [finance_daily], runs: ["held*"], reason: asked for by audit}}
"""
# Run in a process of its own: Flask-AppBuilder's roles and users.
_MAKE_USERS = """
import json, sys
from airflow.providers.fab.auth_manager.cli_commands.utils import get_application_builder
users = json.loads(sys.argv[1])
with get_application_builder() as builder:
    manager = builder.sm
    manager.sync_roles()
    for name, (role, permissions) in users.items():
        if permissions is not None:
            manager.bulk_sync_roles([{"role": role, "perms": permissions}])
        manager.add_user(name, name, name, name + "@example.com", manager.find_role(role), password=sys.argv[2])
"""


@dataclass
class Answer:
    """What the API server answers."""

    status: int
    body: bytes
    headers: Mapping[str, str]

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


@dataclass
class UiDeployment:
    """A throwaway Airflow of which only the API server runs.

    :param users: name -> its role, for SimpleAuthManager as its setting has it.
    :param settings: more settings, as ``{"section.option": "text"}``.
    """

    folder: Path
    database: Path
    users: Mapping[str, str]
    settings: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    tokens: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        home = self.folder
        self.policy_file = home / "policy.yaml"
        self.airflow = LocalAirflow(
            home,
            {
                "core.xcom_backend": "secure_xcom.SecureXComBackend",
                "core.simple_auth_manager_users": ",".join(f"{name}:{role}" for name, role in self.users.items()),
                "secure_xcom.access_policy": str(self.policy_file),
                **self.settings,
            },
            environment=self.environment,
        )
        self.rows: AirflowRows = None  # type: ignore[assignment]  # set by `start`

    def __enter__(self) -> Self:
        self.airflow.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        if self.rows is not None:
            self.rows.close()
        self.airflow.stop()

    def prepare(self) -> None:
        """Write the policy, the keyring, the people and the rows."""
        home = self.folder
        shutil.copy(self.database, self.airflow.database)
        (home / "sealed").mkdir(mode=0o700)
        self.policy_file.write_text(_POLICY.format(home=home))
        create_keyring(str(home / "keyring.json"))
        (home / "passwords.json").write_text(json.dumps(dict.fromkeys(self.users, PASSWORD)))
        self.rows = AirflowRows(f"sqlite:///{self.airflow.database}")

    def make_users(self, users: Mapping[str, tuple[str, list[tuple[str, str]] | None]]) -> None:
        """Make Flask-AppBuilder's users: name -> role and, for a new role, its permissions."""
        done = subprocess.run(
            [sys.executable, "-c", _MAKE_USERS, json.dumps(users), PASSWORD],
            env=self.airflow.environment,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-3000:]

    def start(self) -> None:
        """Start the API server."""
        self.airflow.start("api-server")

    # --- requests -------------------------------------------------------------------------------------------

    def get(self, path: str, user: str | None = None, /, **parameters: object) -> Answer:
        """Ask the page's API."""
        query = urlencode({name: value for name, value in parameters.items() if value is not None})
        return self.request("GET", f"/secure-xcom/{path}" + (f"?{query}" if query else ""), user)

    def request(self, method: str, path: str, user: str | None = None, body: object = None) -> Answer:
        """Ask the API server as somebody, or as nobody."""
        headers = {"Accept": "application/json"}
        if user is not None:
            headers["Authorization"] = f"Bearer {self.token(user)}"
        return self._send(method, path, headers, body)

    def token(self, user: str) -> str:
        """Log in, once for each person."""
        if user not in self.tokens:
            login = {"username": user, "password": PASSWORD}
            answer = self._send("POST", "/auth/token", {}, login)
            assert answer.status == 201, answer
            self.tokens[user] = answer.json["access_token"]
        return self.tokens[user]

    def _send(self, method: str, path: str, headers: dict[str, str], body: object) -> Answer:
        connection = HTTPConnection("127.0.0.1", self.airflow.port, timeout=60)
        data = None if body is None else json.dumps(body).encode()
        if data is not None:
            headers = {**headers, "Content-Type": "application/json"}
        try:
            connection.request(method, path, body=data, headers=headers)
            answer = connection.getresponse()
            return Answer(answer.status, answer.read(), {k.lower(): v for k, v in answer.getheaders()})
        finally:
            connection.close()


def at(**changes: Any) -> Coordinate:
    """A coordinate of the DAG that people look at, with some fields changed."""
    usual: dict[str, Any] = {"dag_id": DAG, "run_id": RUN, "task_id": "extract", "map_index": -1}
    return Coordinate(**{**usual, "key": "return_value", **changes})


def of_dag(dag_id: str, name: str) -> str:
    """The path of a route of a DAG."""
    return f"dags/{quote(dag_id, safe='')}/{name}"


def fill(ui: UiDeployment, *, team: str | None = None) -> None:
    """Write what the tests look at: sealed, plaintext, shredded, expired and hostile rows of two DAGs.

    :param team: the team that the other DAG belongs to; the first one then belongs to ``finance``.
    """
    rows, world = ui.rows, World(policy=AccessPolicy.load(str(ui.policy_file)))
    world.pipeline = world.process(key_service)
    rows.dag(DAG, bundle="finance-bundle" if team else "dags-folder", team="finance" if team else None)
    rows.dag(OTHER, bundle="other-bundle" if team else "dags-folder", team=team)

    def push(value: object, **changes: Any) -> dict[str, Any]:
        where = at(**changes)
        reference = world.push(value, where)
        rows.put(where, reference)
        return reference

    push({"customer": {"name": "Erika", "iban": "DE1"}, "password": "hunter2", "lines": [{"amount": 1.5}]})
    push(pd.DataFrame({"amount": [1.5, 2.5], "name": ["a", "b"]}), key="frame")
    push(1, key="handover")
    rows.run(DAG, "held__1", NOW - timedelta(days=1))
    push(2, run_id="held__1")
    push(3, dag_id=OTHER)
    for index in range(MAPPED):
        push(index, task_id="mapped", map_index=index)
    rows.put(at(key="by_hand"), {"secret": "in plaintext"})
    rows.rest_write(at(key="by_hand"), "mallory", {"key": "by_hand", "map_index": -1, "value": "***"})
    rows.put(at(key="_link_Dashboard"), "https://example.com")
    shredded = push(4, key="handover", task_id="shredded")
    again = {**shredded, "keys": [], "shredded": "2026-12-01T07:00:00Z"}
    again.pop("preview", None)
    _replace(ui, at(key="handover", task_id="shredded"), again)
    expired = push(5, key="expired")
    expired["head"]["expires"] = "2026-01-01T00:00:00Z"
    _replace(ui, at(key="expired"), expired)
    moved = push(6, key="moved")
    moved["head"]["key"] = "elsewhere"
    _replace(ui, at(key="moved"), moved)


def hostile(ui: UiDeployment) -> list[str]:
    """Write rows that are made to break whoever reads them; return their keys."""
    sealed = World(policy=AccessPolicy.load(str(ui.policy_file)))
    sealed.pipeline = sealed.process(key_service)
    good = sealed.push(1, at(task_id="hostile", key="x"))
    texts: dict[str, str] = {
        "deep": "[" * 90_000 + "]" * 90_000,
        "deep-tagged": '{"secure_xcom": ' + "[" * 90_000 + "]" * 90_000 + "}",
        "nan": '{"secure_xcom": 1, "head": NaN}',
        "infinity": "[Infinity, -Infinity]",
        "digits": '{"secure_xcom": 1' + "0" * 6000 + "}",
        "surrogate": '{"secure_xcom": 1, "\\ud800": 1}',
        "long": json.dumps({"secure_xcom": 1, "keys": ["x" * 400_000]}),
        "text": '"secure_xcom"',
        "list": '["secure_xcom"]',
        "null": "null",
        "no-json": "{secure_xcom",
        "version": '{"secure_xcom": true}',
        "future": '{"secure_xcom": 2, "anything": []}',
        "head-is-a-list": '{"secure_xcom": 1, "head": [], "keys": [], "seal": {}}',
        "preview-deep": _with_preview(good, "preview-deep", "[" * 300 + "]" * 300),
        "preview-nan": _with_preview(
            good, "preview-nan", '{"a": NaN, "b": "\\ud800", "c": 123456789012345678901}'
        ),
        "preview-long": _with_preview(good, "preview-long", json.dumps(["x" * 100_000])),
        MARK: _with_preview(good, MARK, json.dumps({MARK: f"</script>{MARK}"})),
        "\u202egnp": _with_preview(good, "\u202egnp", "1"),
        "new\nline": _with_preview(good, "new\nline", "1"),
    }
    for key, text in texts.items():
        ui.rows.put(at(task_id="hostile", key=key), 1, text=text)
    return list(texts)


def _with_preview(good: dict[str, Any], key: str, preview: str) -> str:
    record = {**good, "head": {**good["head"], "key": key}}
    record.pop("preview", None)
    return f'{json.dumps(record)[:-1]}, "preview": {preview}}}'


def _replace(ui: UiDeployment, where: Coordinate, value: Any) -> None:
    ui.rows.replace(where, value)
