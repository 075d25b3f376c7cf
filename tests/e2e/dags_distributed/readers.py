"""What marketing's worker may have of finance, and what it tries to have: with our code, and past it."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, task
from airflow.sdk.bases.xcom import BaseXCom

from tests.e2e.dags.kit import got, said, task_instance

SIGNALS = Path(os.environ.get("SECURE_XCOM_E2E_SIGNALS", "/nonexistent"))
# Two tasks of one run of `finance_daily`: marketing is a reader of the first alone.
MAY, MAY_NOT = "publish_totals", "collect"
RUN = "ways"


def tried(call: Callable[[], Any]) -> str:
    """What came of it: the status of a server's answer, or the class of an error."""
    from botocore.exceptions import ClientError

    try:
        answer = call()
    except ClientError as error:
        return f"{error.response['ResponseMetadata']['HTTPStatusCode']} {error.response['Error']['Code']}"
    except Exception as error:  # noqa: BLE001  # an attacker takes what comes
        return type(error).__name__
    return str(answer.status_code) if hasattr(answer, "status_code") else "opened"


with DAG(
    "marketing_reads", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=timezone.utc), catchup=False
) as reads:

    @task
    def shared() -> None:
        """Pulls what it is a reader of, and what it is not."""
        ti = task_instance()
        got("shared", ti.xcom_pull(dag_id="finance_daily", task_ids=MAY, run_id=RUN))
        got("report", ti.xcom_pull(dag_id="marketing_report", task_ids="report", run_id=RUN))
        said("not shared", tried(lambda: ti.xcom_pull(dag_id="finance_daily", task_ids=MAY_NOT, run_id=RUN)))

    shared()

with DAG(
    "marketing_hostile", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=timezone.utc), catchup=False
) as hostile:

    @task
    def steals() -> None:
        """With its worker's token, S3 keys, connections, Airflow's API. What came of it is left in a file."""
        theirs = BaseXCom.get_one(
            dag_id="finance_daily", task_id=MAY_NOT, run_id=RUN, key="return_value", map_index=-1
        )
        own = BaseXCom.get_one(
            dag_id="marketing_ways", task_id="produce", run_id=RUN, key="return_value", map_index=-1
        )
        found = {"environment": sorted(os.environ), **_past_our_code(theirs, own)}
        from tests.proof.worker import with_our_code

        found["broker"] = _at_the_broker()
        found["patched"] = {row["route"]: row["status"] for row in with_our_code([theirs])}
        (SIGNALS / "stolen.json").write_text(json.dumps(found))

    steals()


def _at_the_broker() -> dict[str, str]:
    from tests.proof.broker_routes import Attack

    # As Airflow itself reads the address of the broker, in this process' environment.
    url = subprocess.run(
        os.environ["AIRFLOW__CELERY__BROKER_URL_CMD"].split(), capture_output=True, text=True, check=True
    ).stdout
    return Attack(url, own="marketing", other="finance", task="hostile_task").run()


def _past_our_code(theirs: Any, own: Any) -> dict[str, Any]:
    import base64

    import boto3
    import requests
    from botocore.config import Config

    from secure_xcom.keys.vault_context import transit_context

    backend = json.loads(os.environ["AIRFLOW__WORKERS__SECRETS_BACKEND_KWARGS"])
    connections = json.loads(Path(backend["connections_file_path"]).read_text())
    vault = connections["vault_xcom"]
    address = f"http://{vault['host']}:{vault['port']}/v1"
    login = {"role_id": vault["login"], "secret_id": vault["password"]}
    answer = requests.post(f"{address}/auth/approle/login", json=login, timeout=10).json()
    token = {"X-Vault-Token": answer["auth"]["client_token"]}

    def unwrap(reference: Any, key: str) -> requests.Response:
        names = ("compartment", "dag_id", "task_id", "run_id", "map_index")
        context = transit_context({name: reference["head"][name] for name in names})
        body = {"ciphertext": reference["keys"][0]["wrapped"], "context": base64.b64encode(context).decode()}
        return requests.post(f"{address}/transit/decrypt/{key}", json=body, headers=token, timeout=10)

    def s3_as(keys: Any) -> Any:
        return boto3.client(
            "s3", endpoint_url=keys["extra"]["endpoint_url"], region_name="us-east-1",
            aws_access_key_id=keys["login"], aws_secret_access_key=keys["password"],
            config=Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}),
        )  # fmt: skip

    s3, log_writer = s3_as(connections["s3_xcom"]), s3_as(connections["s3_task_logs"])
    bucket, logs = "xcom", "task-logs"
    log = "queue=finance/dag_id=finance_ways/run_id=ways/task_id=produce/attempt=1.log"

    def object_of(reference: Any) -> str:
        return str(reference["head"]["object"]).removeprefix(f"s3://{bucket}/")

    # A DAG of finance that has no reader at all: of `finance_daily` the bucket, which knows no tasks, gives any.
    other = BaseXCom.get_one(
        dag_id="finance_ways", task_id="produce", run_id=RUN, key="return_value", map_index=-1
    )
    ways: dict[str, Callable[[], Any]] = {
        "Vault: unwrap a key of finance": partial(unwrap, theirs, "xcom-finance"),
        "Vault: unwrap a key of another DAG of finance": partial(unwrap, other, "xcom-finance"),
        "Vault: unwrap with its own key": partial(unwrap, theirs, "xcom-marketing"),
        "S3: get an object of finance": lambda: s3.get_object(Bucket=bucket, Key=object_of(other)),
        "S3: list finance's objects": lambda: s3.list_objects_v2(Bucket=bucket, Prefix="sealed/finance/"),
        "S3: overwrite an object of finance": lambda: s3.put_object(
            Bucket=bucket, Key=object_of(other), Body=b"x"
        ),
        "S3: delete an object of finance": lambda: s3.delete_object(Bucket=bucket, Key=object_of(other)),
        "S3: read a task log of finance": lambda: log_writer.get_object(Bucket=logs, Key=log),
        "S3: overwrite a task log of finance": lambda: log_writer.put_object(Bucket=logs, Key=log, Body=b"x"),
        "S3: delete a task log of finance": lambda: log_writer.delete_object(Bucket=logs, Key=log),
        "S3: list finance's task logs": lambda: log_writer.list_objects_v2(Bucket=logs, Prefix="queue=finance/"),
        "S3: list all task logs": lambda: log_writer.list_objects_v2(Bucket=logs),
    }
    mine: dict[str, Callable[[], Any]] = {
        "Vault: unwrap its own": partial(unwrap, own, "xcom-marketing"),
        "S3: get its own object": lambda: s3.get_object(Bucket=bucket, Key=object_of(own)),
        "S3: list its own task logs": lambda: log_writer.list_objects_v2(Bucket=logs, Prefix="queue=marketing/"),
    }
    # What a server makes of it is its own affair, as long as it does not get into finance's folder.
    around = f"queue=marketing/../{log}.new"
    tried(lambda: log_writer.put_object(Bucket=logs, Key=around, Body=b"x"))
    return {
        "stolen": {name: tried(call) for name, call in ways.items()},
        "own": {name: tried(call) for name, call in mine.items()},
    }
