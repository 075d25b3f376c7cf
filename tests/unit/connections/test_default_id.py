"""The one rule for ``default``: the environment before a slash, and a connection of that id before a bucket."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from secure_xcom.cli import app
from secure_xcom.connections.connection_ids import leave_default_out, names_default
from secure_xcom.core.access_policy.watched_policy import watched
from secure_xcom.core.service_errors import ConnectionUnknown
from secure_xcom.core.setup_commands import vault_preview, vault_setup
from secure_xcom.keys.transit_errors import no_key
from secure_xcom.sinks.interface import sink
from secure_xcom.stores import store
from tests.support.deployed import HELM

CONNECTION = json.dumps(
    {"conn_type": "aws", "login": "id", "password": "key", "extra": {"region_name": "eu-west-1"}}
)


@pytest.fixture(autouse=True)
def no_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody has a connection of this id but a test."""
    monkeypatch.delenv("AIRFLOW_CONN_DEFAULT", raising=False)
    monkeypatch.delenv("AIRFLOW__SECURE_XCOM__AUDIT_SINKS", raising=False)


@pytest.mark.parametrize(
    ("uri", "named"),
    [
        ("s3://default@bucket/x", True),
        ("gs://default@bucket", True),
        ("abfs://default@box/x?account=a", True),
        ("s3://bucket/default@x", False),
        ("s3://aws_default@bucket/x", False),
        ("vault-kv://default/secret/xcom", False),
        ("aws-kms://default/alias/x", False),
        ("vault://default/transit/keys/x", False),
        ("db://default", False),
    ],
)
def test_only_a_bucket_can_name_it_by_mistake(uri: str, named: bool) -> None:
    """Keys, Vault's KV and databases have their ids before a slash, where it means what it always meant."""
    assert names_default(uri) is named


@pytest.mark.parametrize("scheme", ["s3", "gs", "abfs"])
def test_opening_a_store_says_to_leave_it_out(scheme: str) -> None:
    """Without such a connection the error names the mistake, and the URI that was meant."""
    with pytest.raises(ConnectionUnknown) as raised:
        store(
            f"{scheme}://default@bucket/sealed?region=eu-west-1"
            if scheme == "s3"
            else f"{scheme}://default@bucket/sealed"
        )
    assert f"leave default@ out and write {scheme}://bucket/sealed for the default credentials" in str(
        raised.value
    )
    assert "AIRFLOW_CONN" not in str(raised.value)


def test_opening_a_sink_says_to_leave_it_out() -> None:
    """The access log's bucket is opened like a store."""
    with pytest.raises(ConnectionUnknown, match="leave default@ out and write s3://audit/log"):
        sink("s3://default@audit/log")


def test_a_connection_of_that_id_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever has one keeps it: nothing about the URI is refused."""
    monkeypatch.setenv("AIRFLOW_CONN_DEFAULT", CONNECTION)
    assert store("s3://default@bucket/sealed").uri == "s3://default@bucket/sealed"


def lint(file: Path) -> list[dict[str, object]]:
    """What `secure-xcom policy lint` finds by the rule."""
    result = CliRunner().invoke(app, ["policy", "lint", str(file), "--json"])
    remarks = json.loads(result.stdout)["remarks"]
    return [remark for remark in remarks if remark["rule"] == "default-connection"]


def test_lint_refuses_it_in_stores_and_sinks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each place with its line and what to write; none where the environment has the connection."""
    file = tmp_path / "access_policy.yaml"
    text = (HELM / "access_policy_irsa.yaml").read_text()
    assert "aws-kms://default/alias" in text
    file.write_text(text.replace("s3://example", "s3://default@example", 1))
    (found,) = lint(file)
    line = file.read_text().splitlines()[int(str(found["line"])) - 1]
    assert (found["status"], line.strip()) == ("error", "store_uri: s3://default@example-xcom/sealed")
    assert "write s3://example-xcom/sealed for the default credentials" in str(found["remedy"])
    monkeypatch.setenv("AIRFLOW__SECURE_XCOM__AUDIT_SINKS", "log://audit, s3://default@audit/log?optional=true")
    assert [one["remedy"] for one in lint(file)] == [leave_default_out("s3://default@audit/log"), found["remedy"]]
    monkeypatch.setenv("AIRFLOW_CONN_DEFAULT", CONNECTION)
    assert lint(file) == []


def test_remedies_name_the_command_that_applies_an_access_policy() -> None:
    """`init --vault` is for one compartment without a file; a process that reads a file names `policy apply`."""
    watched.cache_clear()
    assert "secure-xcom init --vault" in no_key("vault://v/transit/keys/x").remedy
    assert vault_preview() == "`secure-xcom init --vault --dry-run`"
    try:
        watched(str(HELM / "access_policy_vault.yaml")).current()
        assert vault_setup() in no_key("vault://v/transit/keys/x").remedy
        assert (vault_setup(), vault_preview()) == ("`secure-xcom policy apply`", "`secure-xcom policy compile`")
    finally:
        watched.cache_clear()
