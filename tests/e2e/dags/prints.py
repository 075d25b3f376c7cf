"""Tasks that print and render what they pulled: what the masks are for.

Two DAGs, made alike: one with every string leaf registered with the masker, one with those under sensitive
names only. The setting is an environment variable that these tasks set for themselves.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import traceback
import warnings
from typing import Any

from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.operators.python import PythonOperator
from airflow.sdk import DAG, get_parsing_context, task

from tests.e2e.dags.kit import secret, spiky, task_instance

log = logging.getLogger(__name__)

if (get_parsing_context().dag_id or "").endswith("named"):
    os.environ["AIRFLOW__SECURE_XCOM__MASK_VALUES"] = "named"


def show(where: str, value: Any) -> None:
    """Print a value in all the ways that a task does."""
    print(f"{where}: {value}")
    print(where, value, file=sys.stderr)
    print(repr(value))
    print(json.dumps(value), json.dumps(value, ensure_ascii=False))
    print(json.dumps(json.dumps(value)))
    log.info("%s %s", where, value)
    log.warning("%r", {"nested": [value]})
    logging.getLogger("some.library").error("%s", value)
    warnings.warn(f"{where} {value}", stacklevel=2)
    try:
        raise ValueError(value)  # noqa: TRY301  # a traceback with the value in it is wanted
    except ValueError:
        log.exception("with a traceback")
        traceback.print_exc()
    os.write(1, f"past Python: {value}\n".encode())
    # A process of its own that writes to the same descriptor.
    subprocess.run(["echo", f"{where} {value}"], check=True)


def build(name: str) -> None:
    """The DAG of one way of masking; ``named`` has canaries under sensitive names only."""
    every = name == "all"

    def text(path: str) -> str:
        return spiky(f"{name}: {path}") if every else "no secret"

    with DAG(f"prints_{name}", schedule=None):

        @task
        def give() -> dict[str, Any]:
            return {
                "user": text("printed"),
                "password": spiky(f"{name}: printed password"),
                "apiKey": secret(f"{name}: printed camelCase"),
                "lines": {"private_key": f"{secret(f'{name}: first line')}\n{secret(f'{name}: second line')}"},
                "deep": [{"list": [text("printed nested")]}],
                "url": f"https://user:{secret(f'{name}: password in URL')}@host/path",
                "json": json.dumps({"token": secret(f"{name}: token in JSON")}),
            }

        @task
        def give_key() -> None:
            task_instance().xcom_push(key="secret_token", value=[secret(f"{name}: own key")])

        @task(multiple_outputs=True)
        def give_outputs() -> dict[str, str]:
            return {"password": spiky(f"{name}: multiple_outputs"), "other": text("multiple_outputs other")}

        @task
        def take(value: dict[str, Any], password: str) -> None:
            show("argument", value)
            show("password", value["password"])
            show("camelCase", value["apiKey"])
            show("lines", value["lines"]["private_key"])
            show("output", password)
            show("pulled by key", task_instance().xcom_pull("give_key", key="secret_token"))

        @task
        def fail(value: dict[str, Any]) -> None:
            raise RuntimeError(f"the password {value['password']!r} is wrong, {value}")

        @task
        def give_back(value: dict[str, Any]) -> dict[str, Any]:
            return {"again": value, "password": value["password"]}

        def classic(value: Any, *, password: str, templates_dict: dict[str, str]) -> str:
            show("template", password)
            print(["in a list", value], json.dumps(templates_dict))
            log.info("%s", [value, templates_dict])
            return password

        # Airflow's types know neither that a task's result may stand for its value nor that it has parts.
        given: Any = give()
        outputs: Any = give_outputs()
        keyed = give_key()
        keyed >> take(given, outputs["password"])
        fail(given)
        give_back(given)
        BashOperator(
            task_id="bash",
            env={"PASSWORD": "{{ ti.xcom_pull('give')['password'] }}"},
            append_env=True,
            bash_command='echo "$PASSWORD"; echo "$PASSWORD" >&2; cat <<\'END\'\n'
            "{{ ti.xcom_pull('give') }}\n{{ ti.xcom_pull('give') | tojson }}\nEND\nfalse",
        ).set_upstream(given)
        PythonOperator(
            task_id="classic",
            python_callable=classic,
            op_args=["{{ ti.xcom_pull('give') }}"],
            op_kwargs={"password": outputs["password"]},
            templates_dict={"list": "{{ ti.xcom_pull('give')['lines']['private_key'].splitlines() }}"},
        ).set_upstream(given)


for way in ("all", "named"):
    build(way)
