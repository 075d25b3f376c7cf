"""docs/quickstart/two-teams.md, word by word, on a real Vault or OpenBao and a real S3 server.

What the page writes in place of addresses and logins (step 1) is the test servers'.
"""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from secure_xcom.cli import app
from tests.support.documented import ROOT
from tests.support.servers.s3_server import Identity, S3Server, s3_server
from tests.support.servers.vault_server import VaultServer

PAGE = ROOT / "docs" / "quickstart" / "two-teams.md"
TEAMS = ("finance", "marketing")


def blocks(language: str, heading: str) -> list[str]:
    """Return the page's fenced blocks of a language below a heading."""
    section = re.split(r"^## ", PAGE.read_text(), flags=re.MULTILINE)
    [text] = [part for part in section if part.startswith(heading)]
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


@dataclass
class Operator:
    """Somebody who follows the page in an empty folder."""

    folder: Path
    environment: dict[str, str] = field(repr=False)
    said: list[str] = field(default_factory=list, repr=False)

    def types(self, text: str, **more: str) -> None:
        """Type a block of the page, and stop at the first failure."""
        done = subprocess.run(
            ["bash", "-euc", text],
            cwd=self.folder,
            env={**self.environment, **more},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        self.said.append(done.stdout + done.stderr)
        assert done.returncode == 0, f"{text}\n{done.stdout}{done.stderr}"

    def credentials(self, *options: str, code: int = 0, out: str = "handout") -> dict[str, dict[str, Any]]:
        """Run `policy credentials` once more, and return what it says of each identity."""
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(self.folder)
            for name, value in self.environment.items():
                patch.setenv(name, value)
            words = ["policy", "credentials", "access_policy.yaml", "--out", out, "--json", *options]
            result = CliRunner().invoke(app, words)
        self.said.append(result.stdout + result.stderr)
        assert result.exit_code == code, result.stdout + result.stderr
        entries = json.loads(result.stdout)["identities"] if code != 2 else ()
        return {entry["identity"]: entry for entry in entries}

    def handed_out(self, team: str) -> dict[str, Any]:
        """Return the connections of a team's file."""
        found: dict[str, Any] = json.loads((self.folder / f"handout/{team}-workers/connections.json").read_text())
        return found

    def secrets(self) -> set[str]:
        """Return every secret of both files as they are now."""
        return {connection["password"] for team in TEAMS for connection in self.handed_out(team).values()}


@pytest.fixture(scope="module")
def s3() -> Iterator[S3Server]:
    """An S3 server with IAM."""
    with s3_server() as server:
        yield server


@pytest.fixture(scope="module")
def operator(vault: VaultServer, s3: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    """Somebody who has done steps 1 to 3; on another server the S3 server is emptied first."""
    folder = tmp_path_factory.mktemp("quickstart")
    _forget(s3)
    values = {
        "VAULT_ADDR": vault.address,
        "VAULT_TOKEN": vault.token,
        "AWS_ENDPOINT_URL": s3.endpoint,
        "AWS_ACCESS_KEY_ID": s3.root.access_key,
        "AWS_SECRET_ACCESS_KEY": s3.root.secret_key,
    }
    [exports] = blocks("", "1. ")
    named = re.findall(r"(\w+)=\S+", exports)
    assert set(values) < set(named)
    environment = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(folder),
        "AIRFLOW_HOME": str(folder / "airflow"),
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        **values,
        **({"VAULT_CACERT": vault.ca} if vault.ca else {}),
        **({"VAULT_NAMESPACE": vault.namespace} if vault.namespace else {}),
    }
    found = Operator(folder, environment)
    [policy] = blocks("yaml", "2. ")
    (folder / "access_policy.yaml").write_text(policy)
    for block in (*blocks("", "2. "), *blocks("", "3. ")):
        found.types(block)
    yield found
    for team in TEAMS:
        vault.api("DELETE", f"auth/approle/role/{team}-workers")


def _forget(s3: S3Server) -> None:
    iam = s3.client(service="iam")
    for user in iam.list_users()["Users"]:
        if user["UserName"] in {f"{team}-workers" for team in TEAMS}:
            for key in iam.list_access_keys(UserName=user["UserName"])["AccessKeyMetadata"]:
                iam.delete_access_key(UserName=user["UserName"], AccessKeyId=key["AccessKeyId"])
            iam.delete_user(UserName=user["UserName"])
    client = s3.client()
    if "xcom" in {bucket["Name"] for bucket in client.list_buckets()["Buckets"]}:
        for entry in client.list_objects_v2(Bucket="xcom").get("Contents", ()):
            client.delete_object(Bucket="xcom", Key=entry["Key"])
        client.delete_bucket(Bucket="xcom")


def test_the_files_are_their_owners_alone_and_say_whose_they_are(operator: Operator) -> None:
    """Each identity has a file of mode 0600 in folders of mode 0700, and the command says which worker gets it."""
    for team in TEAMS:
        folder = operator.folder / f"handout/{team}-workers"
        assert stat.S_IMODE(folder.stat().st_mode) == stat.S_IMODE(folder.parent.stat().st_mode) == 0o700
        assert stat.S_IMODE((folder / "connections.json").stat().st_mode) == 0o600
        assert set(operator.handed_out(team)) == {"vault_xcom", "s3_xcom"}
        assert f"handout/{team}-workers/connections.json -> workers of queue {team}" in "".join(operator.said)
    assert len(operator.secrets()) == 4


@pytest.mark.parametrize(("team", "dag"), [("finance", "finance_daily"), ("marketing", "marketing_report")])
def test_each_worker_checks_out_with_its_own_file(operator: Operator, team: str, dag: str) -> None:
    """Steps 4 and 5: with its settings and file, and nothing of the operator's, a worker's check passes."""
    everywhere, finance, marketing = blocks("", "4. ")
    [check] = blocks("", "5. ")
    of_worker = "\n".join(
        line for line in (finance if team == "finance" else marketing).splitlines() if "celery" not in line
    )
    command = check if team == "finance" else check.replace("finance_daily", dag)
    worker = Operator(
        operator.folder, {name: operator.environment[name] for name in ("PATH", "HOME", "AIRFLOW_HOME")}
    )
    worker.types("\n".join((everywhere, of_worker, command)), VAULT_ADDR="", AWS_EC2_METADATA_DISABLED="true")


def test_a_second_run_changes_nothing(operator: Operator) -> None:
    """Run again, dry or not, it finds all logins working and leaves every file as it is."""
    before = operator.secrets()
    assert {entry["state"] for entry in operator.credentials("--dry-run").values()} == {"there"}
    assert {entry["state"] for entry in operator.credentials().values()} == {"there"}
    assert operator.secrets() == before


def test_logins_are_rotated_in_two_steps(operator: Operator, vault: VaultServer, s3: S3Server) -> None:
    """--rotate makes new logins beside the old, --end-old ends those of no file; a dry run does neither."""
    old = operator.handed_out("finance")
    assert operator.credentials("--rotate", "--dry-run", "--identity", "finance-workers", code=1)
    assert operator.handed_out("finance") == old
    others = operator.handed_out("marketing")
    operator.credentials("--rotate", "--identity", "finance-workers")
    new = operator.handed_out("finance")
    assert operator.handed_out("marketing") == others
    assert {new[name]["password"] for name in new}.isdisjoint(old[name]["password"] for name in old)
    assert _works(old, vault, s3) == _works(new, vault, s3) == (True, True)
    assert operator.credentials("--end-old", "--dry-run", code=1)["finance-workers"]["ended"]
    assert _works(old, vault, s3) == (True, True)
    assert len(operator.credentials("--end-old")["finance-workers"]["ended"]) == 2
    assert _works(old, vault, s3) == (False, False)
    assert _works(new, vault, s3) == (True, True)
    assert operator.credentials("--end-old")["finance-workers"]["ended"] == []


def test_a_login_that_was_ended_elsewhere_is_made_anew(
    operator: Operator, vault: VaultServer, s3: S3Server
) -> None:
    """What does not work any more is replaced; the other login of the file, and what was added to it, stay."""
    file = operator.folder / "handout/marketing-workers/connections.json"
    before = operator.handed_out("marketing")
    file.write_text(json.dumps({**before, "mine": {"conn_type": "http", "password": ""}}))
    ended = before["vault_xcom"]["password"]
    vault.do("POST", "auth/approle/role/marketing-workers/secret-id/destroy", {"secret_id": ended})
    assert operator.credentials("--dry-run", code=1)["marketing-workers"]["state"] == "change"
    assert operator.credentials()["marketing-workers"]["state"] == "change"
    after = operator.handed_out("marketing")
    assert after["mine"] == {"conn_type": "http", "password": ""}
    assert after["s3_xcom"] == before["s3_xcom"]
    assert after["vault_xcom"]["password"] != ended
    assert _works(after, vault, s3) == (True, True)


def test_what_others_may_read_is_refused(operator: Operator) -> None:
    """A folder that others may enter, a file that others may read and a link are refused; nothing is made."""
    handout = operator.folder / "handout"
    file = handout / "finance-workers/connections.json"
    before = operator.secrets()
    for path, mode, usual in ((handout, 0o750, 0o700), (file.parent, 0o701, 0o700), (file, 0o640, 0o600)):
        path.chmod(mode)
        operator.credentials("--rotate", code=2)
        path.chmod(usual)
    (operator.folder / "link").symlink_to(handout)
    operator.credentials(code=2, out="link")
    assert operator.secrets() == before
    assert {entry["state"] for entry in operator.credentials("--dry-run").values()} == {"there"}


def test_no_secret_is_printed(operator: Operator) -> None:
    """Nothing that was printed in this file holds a secret of any login, nor the operator's."""
    printed = "".join(operator.said)
    own = {operator.environment[name] for name in ("VAULT_TOKEN", "AWS_SECRET_ACCESS_KEY")}
    hidden = (operator.secrets() | own) - {""}
    assert len(hidden) >= 5
    assert [secret for secret in hidden if secret in printed] == []


def _works(connections: dict[str, Any], vault: VaultServer, s3: S3Server) -> tuple[bool, bool]:
    """Return whether Vault and the S3 server accept the logins of a file."""
    login = connections["vault_xcom"]
    body = {"role_id": login["login"], "secret_id": login["password"]}
    keys = connections["s3_xcom"]
    client = s3.client(Identity(keys["login"], keys["password"]))
    try:
        client.get_object(Bucket="xcom", Key="nothing")
    except client.exceptions.ClientError as error:
        # Denied or not there: either way these keys are known.
        known = error.response["Error"]["Code"] not in ("InvalidAccessKeyId", "SignatureDoesNotMatch")
    else:
        known = True
    return vault.api("POST", "auth/approle/login", body).ok, known
