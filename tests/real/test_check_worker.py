"""`secure-xcom check` as the worker of one compartment on a real Vault, and what `audit reconcile` knows of it."""

from __future__ import annotations

import json
import os
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from secure_xcom.cli import app
from secure_xcom.connections.vault.client import forget_clients
from secure_xcom.core.access_policy.policy import AccessPolicy
from secure_xcom.core.errors import KeyServiceError
from secure_xcom.core.service_errors import KeyServiceDenied
from secure_xcom.keys import DataKey, key_service
from secure_xcom.ops.service_policies.compile.all_services import compile_policy
from tests.support.key_service_contract import CONTEXT
from tests.support.servers.vault_realm import Realm, as_operator, connect

pytestmark = [pytest.mark.usefixtures("fresh"), pytest.mark.file_times]

POLICY = """version: 1
compartments:
  - name: finance
    dags: ["finance_*"]
    key_uris: ["vault://{conn}/{transit}/keys/{finance}?grant=scoped"]
    store_uri: file://{folder}/finance
    readers: [{{compartment: sales, of_dags: [finance_daily]}}]
  - name: sales
    dags: ["sales_*"]
    key_uris: ["vault://{conn}/{transit}/keys/{sales}"]
    store_uri: file://{folder}/sales
identities:
  - {{name: finance-workers, workers_of: [finance], vault: {{auth: approle}}}}
  - {{name: sales-workers, workers_of: [sales], vault: {{auth: approle}}}}
"""


class Site:
    """Two compartments on one server, whose workers log in under one connection id each on its own machine."""

    def __init__(self, realm: Realm, log: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.realm, self.log, self.folder, self.monkeypatch = realm, log, folder, monkeypatch
        for name in ("finance", "sales"):
            (folder / name).mkdir(mode=0o700)
        self.names = {"finance": realm.new_key(), "sales": realm.new_key()}
        self.conn = connect(monkeypatch, realm.server, password="none")
        text = POLICY.format(conn=self.conn, transit=realm.transit, folder=folder, **self.names)
        self.policy = folder / "policy.yaml"
        self.policy.write_text(text)
        files = compile_policy(AccessPolicy.parse(text.encode(), where="policy.yaml")).files
        for name in ("finance-workers", "sales-workers"):
            hcl = files[f"vault/policies/secure-xcom-{name}.hcl"]
            realm.server.do("PUT", f"sys/policies/acl/secure-xcom-{name}", {"policy": hcl})
        self.config = folder / "airflow.cfg"
        self.config.write_text(
            "[core]\nxcom_backend = secure_xcom.SecureXComBackend\n"
            f"[secure_xcom]\naccess_policy = {self.policy}\naudit_sinks = file://{folder}/log.jsonl\n"
        )
        self.start = datetime.now(timezone.utc)

    def log_in(self, token: str) -> None:
        """Give this machine's connection a token."""
        name = f"AIRFLOW_CONN_{self.conn.upper()}"
        self.monkeypatch.setenv(name, json.dumps({**json.loads(os.environ[name]), "password": token}))
        forget_clients()

    def check(self, *words: str) -> tuple[int, dict[str, str], list[dict[str, str]]]:
        """The exit code, the findings that are not notes by subject, and all findings."""
        arguments = ["check", "--json", "--config", str(self.config), *words]
        result = CliRunner().invoke(app, arguments, env={"AIRFLOW_HOME": str(self.folder)})
        findings = json.loads(result.stdout)["findings"]
        return (
            result.exit_code,
            {one["subject"]: one["text"] for one in findings if one["status"] != "ok"},
            findings,
        )

    def reconcile(self, *words: str) -> tuple[int, Any]:
        """The exit code and the record of the command, as an auditor."""
        as_operator(self.monkeypatch, self.realm.server)
        forget_clients()
        until = datetime.now(timezone.utc) + timedelta(seconds=2)
        times = ["--since", f"{self.start:%Y-%m-%dT%H:%M:%S}", "--until", f"{until:%Y-%m-%dT%H:%M:%S}"]
        arguments = ["audit", "reconcile", "--vault-log", str(self.log), "--config", str(self.config), "--json"]
        result = CliRunner().invoke(app, [*arguments, *times, *words])
        return result.exit_code, json.loads(result.stdout or result.stderr)


@pytest.fixture
def site(audited: tuple[Realm, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Site:
    """A deployment of its own for each test."""
    for name in [name for name in os.environ if name.startswith(("AIRFLOW__SECURE_XCOM", "AWS"))]:
        monkeypatch.delenv(name)
    return Site(*audited, tmp_path, monkeypatch)


def test_a_worker_of_one_compartment_is_well(site: Site) -> None:
    """Without --dag a correct worker ends with 0, by its Vault policies; probes of `check` are no gap after."""
    for own, other in (("finance", "sales"), ("sales", "finance")):
        site.log_in(site.realm.server.new_token(f"secure-xcom-{own}-workers"))
        code, wrong, findings = site.check()
        assert (code, wrong) == (0, {})
        said = {one["subject"]: one["text"] for one in findings}
        assert f"this is {own}-workers of the access policy" in said["identity"]
        assert f"compartment {other}" in said
        assert any(one["subject"].startswith("wrap and unwrap") for one in findings)
    # A probe as a DAG of the compartment, which only the option names.
    assert site.check("--dag", "sales_report")[:2] == (0, {})
    code, record = site.reconcile("--dag", "sales_report")
    assert (code, {gap["kind"] for gap in record["gaps"]}) == (0, {"probe"})
    code, record = site.reconcile()
    assert (code, {gap["kind"] for gap in record["gaps"]}) == (1, {"probe", "outside"})


def test_without_a_known_identity_its_rights_tell(site: Site) -> None:
    """A login under a policy of another name serves what its keys allow; without rights all is an error."""
    hcl = site.realm.server.do("GET", "sys/policies/acl/secure-xcom-sales-workers")["data"]["policy"]
    site.log_in(site.realm.may(hcl))
    code, wrong, findings = site.check()
    assert (code, wrong) == (0, {})
    assert "not tried" in {one["subject"]: one["text"] for one in findings}["compartment finance"]
    site.log_in(site.realm.may('path "secret/none" { capabilities = ["read"] }'))
    code, wrong, _ = site.check()
    assert code == 1
    assert sum(subject.startswith("wrap and unwrap") for subject in wrong) == 2


def test_a_right_that_the_policy_does_not_give_is_told(site: Site) -> None:
    """A worker whose login may also use another compartment's key gets a warning."""
    hcl = f'path "{site.realm.transit}/encrypt/{site.names["sales"]}" {{ capabilities = ["update"] }}'
    extra = site.realm.policy(hcl)
    site.log_in(site.realm.server.new_token("secure-xcom-finance-workers", extra))
    code, wrong, _ = site.check()
    assert code == 1
    assert "has no right in this compartment" in wrong["compartment sales"]


def test_a_root_token_is_one_warning(site: Site) -> None:
    """However many keys there are, the operator's token is told once, as a warning."""
    site.log_in(site.realm.server.token)
    code, wrong, findings = site.check()
    assert code == 1
    root = [one for one in findings if "root token" in one["text"]]
    assert [(one["subject"], one["status"]) for one in root] == [(f"vault {site.conn}", "warning")]
    assert [text for text in wrong.values() if "sudo" in text or "root on" in text] == []


def test_a_typo_of_the_mount_or_the_key_is_told(site: Site) -> None:
    """A worker's 403 says that it may be a typo, and `check` names the key that it may use."""
    token = site.realm.server.new_token("secure-xcom-sales-workers")
    site.log_in(token)
    key = site.names["sales"]
    for uri in (
        f"vault://{site.conn}/{site.realm.transit}x/keys/{key}",
        f"vault://{site.conn}/{site.realm.transit}/keys/{key}x",
    ):
        with pytest.raises(KeyServiceDenied) as error:
            key_service(uri).wrap(DataKey.generate(), CONTEXT)
        assert "for a typo" in error.value.remedy
        assert "secure-xcom check" in error.value.remedy
        site.config.write_text(
            "[core]\nxcom_backend = secure_xcom.SecureXComBackend\n"
            f"[secure_xcom]\nkey_uris = {uri}\nstore_uri = file://{site.folder}/sales\n"
            f"audit_sinks = file://{site.folder}/log.jsonl\n"
        )
        _, wrong, findings = site.check()
        assert "may have a typo" in wrong[f"key {uri}"]
        remedies = {one["subject"]: one["remedy"] for one in findings if one["status"] == "error"}
        assert f"did you mean '{site.realm.transit}/keys/{key}'?" in remedies[f"key {uri}"]


def test_tls_spoken_to_plain_http_is_told(site: Site) -> None:
    """An https address of a server without TLS is named as such, not as an untrusted certificate."""
    address = site.realm.server.address.replace("http://", "https://")
    conn = connect(site.monkeypatch, site.realm.server, address=address, password=site.realm.server.token)
    with pytest.raises(KeyServiceError) as error:
        key_service(site.realm.uri(conn, site.names["sales"])).wrap(DataKey.generate(), CONTEXT)
    assert "does not speak TLS" in error.value.what
    assert "http://" in error.value.remedy


def test_a_fresh_log_and_a_wrong_device_are_told(site: Site) -> None:
    """A comparison of nothing says so, and a device that Vault does not have is refused with the way to see it."""
    code, record = site.reconcile()
    notes = " ".join(note["text"] for note in record["notes"])
    assert (code, record["gaps"]) == (0, [])
    assert "none of its" in notes
    assert "there is no pull" in notes
    code, record = site.reconcile("--device", "fiel")
    assert (code, "audit list" in record["remedy"]) == (2, True)
