"""`secure-xcom reveal --here` and `--opens` as real processes: Chromium, a real provider, OpenBao, KMS and S3.

The provider is oidc-provider-mock with a registered public client. It does not check PKCE; that a wrong verifier
is refused is proved on a double that does (tests/unit/reveal/test_oidc.py).
"""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, quote, urlsplit

import oidc_provider_mock
import pytest
import requests
from oidc_provider_mock._app import AuthorizationCodeGrant

from secure_xcom.connections.vault.client import forget_clients
from secure_xcom.core.access_policy.policy import AccessPolicy
from secure_xcom.core.codecs import Codecs
from secure_xcom.core.config import Settings
from secure_xcom.core.coordinate import Coordinate
from secure_xcom.core.masking.sensitive_names import SensitiveNames
from secure_xcom.core.pipeline.push_and_pull import Pipeline, Push
from secure_xcom.ops.keyring import create_keyring
from secure_xcom.sinks.access_log import AccessLog
from tests.support.doubles import MemorySink
from tests.support.reveal_process import RevealProcess, reveal_process
from tests.support.reveal_world import open_reveal_world
from tests.support.servers import aws_connections
from tests.support.servers.browser import PATIENCE_MS, chromium, end_login
from tests.support.servers.kms_server import kms_endpoint
from tests.support.servers.vault_realm import clean_environment, own_flavours
from tests.support.servers.vault_server import free_port
from tests.support.world import own_task
from tests.support.xcom_table import XComTable

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext

AT = Coordinate("finance_daily", "manual__2026-11-01T00:00:00+00:00", "extract", -1, "return_value")
CANARY = "canary-of-opens-4471"
VALUE = {"customer": "Ada", "password": CANARY, "amounts": [1, 2, 3]}
ANA, MIA = "ana@example.com", "mia@example.com"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for all of these tests."""
    with chromium() as started:
        yield started


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    """A fresh profile; a script error or a violated content policy in any of its pages fails the test."""
    made = browser.new_context()
    made.set_default_timeout(PATIENCE_MS)
    problems: list[str] = []
    made.on("weberror", lambda error: problems.append(str(error.error)))
    made.on("console", lambda said: problems.append(said.text) if "Content Security Policy" in said.text else None)
    yield made
    made.close()
    assert problems == []


def put(policy_file: Path, table: XComTable, value: object = VALUE, at: Coordinate = AT) -> None:
    """Push a value as its task does, and write its row as Airflow does."""
    pipeline = Pipeline(
        Settings(),
        AccessPolicy.load(str(policy_file)),
        AccessLog([MemorySink()], version="test"),
        SensitiveNames({"password"}),
        Codecs(lambda plain: plain, lambda structure: structure),
        register=lambda _: None,
    )
    pushed = pipeline.push([Push(at, value)], producer=own_task(at))[0]
    table.put(at, json.loads(json.dumps(pushed)))


def settings(folder: Path, policy_file: Path, table: XComTable) -> dict[str, str]:
    """The environment of the command."""
    return {
        "AIRFLOW__SECURE_XCOM__ACCESS_POLICY": str(policy_file),
        "AIRFLOW__SECURE_XCOM__AUDIT_SINKS": f"file://{folder}/access-log.jsonl",
        "SECURE_XCOM_DB": table.url,
    }


def events(folder: Path, action: str = "reveal") -> list[dict[str, Any]]:
    """What the access log has."""
    lines = (folder / "access-log.jsonl").read_text().splitlines()
    return [record for line in lines if (record := json.loads(line))["action"] == action]


# --- --here -------------------------------------------------------------------------------------------------


def test_here_shows_a_value_to_one_person(context: BrowserContext, tmp_path: Path) -> None:
    """The printed address works once in a real browser, with a keyring and files; Ctrl-C ends it in order."""
    create_keyring(f"{tmp_path}/keys/keyring.json")
    (tmp_path / "store").mkdir(mode=0o700)
    policy_file = tmp_path / "access_policy.yaml"
    policy_file.write_text(
        "version: 1\ncompartments:\n  - {name: finance, dags: ['finance_*'],\n"
        f"     key_uris: ['local://{tmp_path}/keys/keyring.json'], store_uri: 'file://{tmp_path}/store'}}\n"
    )
    table = XComTable(f"sqlite:///{tmp_path}/airflow.db")
    put(policy_file, table)
    where = f"{AT.dag_id}/{AT.run_id}/{AT.task_id}"
    with reveal_process(tmp_path, settings(tmp_path, policy_file, table), "--here", where) as service:
        assert urlsplit(service.url).hostname == "127.0.0.1"
        page = context.new_page()
        page.goto(service.url)
        page.get_by_label("Why do you look at it?").fill("INC-1")
        assert "code" not in parse_qs(urlsplit(page.url).fragment)
        page.get_by_role("button", name="Reveal", exact=True).click()
        tree = page.get_by_role("tree", name="Value of return_value")
        tree.wait_for()
        assert "Ada" in tree.inner_text()
        assert CANARY not in page.locator("body").inner_text()
        page.get_by_role("button", name="Hide now").click()
        page.get_by_label("Why do you look at it?").fill("INC-1, once more")
        page.get_by_role("button", name="Reveal", exact=True).click()
        tree.wait_for()
        # The address was used: another page gets nothing with it.
        thief = context.new_page()
        thief.goto(service.url)
        thief.get_by_label("Why do you look at it?").fill("curious")
        thief.get_by_role("button", name="Reveal", exact=True).click()
        thief.get_by_role("alert").wait_for()
        assert "IdentityRefused" in thief.get_by_role("alert").inner_text()
        rebound = requests.get(service.url, headers={"Host": "evil.example"}, timeout=20)
        assert rebound.status_code == 403
        service.process.send_signal(signal.SIGINT)
        assert service.process.wait(60) == 0
    told = [(event["outcome"], event["rule"], event["reason"]) for event in events(tmp_path)]
    assert told == [("ok", "here", "INC-1"), ("ok", "here", "INC-1, once more")]
    assert len(events(tmp_path, "chain_end")) == 1
    code = parse_qs(urlsplit(service.url).fragment)["code"][0]
    for file in (tmp_path / "access-log.jsonl", service.log):
        assert code not in file.read_text()
        assert CANARY not in file.read_text()
    table.close()


def test_here_ends_when_nobody_uses_it(tmp_path: Path) -> None:
    """Without a policy file it works as well, and it ends after the time that the command was given."""
    create_keyring(f"{tmp_path}/keys/keyring.json")
    (tmp_path / "store").mkdir(mode=0o700)
    table = XComTable(f"sqlite:///{tmp_path}/airflow.db")
    environment = {
        "AIRFLOW__SECURE_XCOM__KEY_URIS": f"local://{tmp_path}/keys/keyring.json",
        "AIRFLOW__SECURE_XCOM__STORE_URI": f"file://{tmp_path}/store",
        "AIRFLOW__SECURE_XCOM__AUDIT_SINKS": f"file://{tmp_path}/access-log.jsonl",
        "SECURE_XCOM_DB": table.url,
    }
    with reveal_process(tmp_path, environment, "--here", "--idle", "0.02") as service:
        assert service.process.wait(60) == 0
    table.close()


# --- --opens ------------------------------------------------------------------------------------------------


@dataclass
class Provider:
    """A real provider with our public client."""

    address: str
    client_id: str

    def person(self, name: str, *groups: str) -> None:
        """Put a person into these groups."""
        record = {"email": name, "groups": list(groups)}
        assert requests.put(f"{self.address}/users/{quote(name)}", json=record, timeout=20).ok


@pytest.fixture
def origin() -> str:
    """The service's origin."""
    return f"http://127.0.0.1:{free_port()}"


@pytest.fixture
def provider(origin: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Provider]:
    """The provider with ana, who is on call, and mia, who is not."""
    # It registers public clients, and by itself lets none of them exchange a code.
    monkeypatch.setattr(AuthorizationCodeGrant, "TOKEN_ENDPOINT_AUTH_METHODS", ["none"])
    with oidc_provider_mock.run_server_in_thread(require_nonce=True) as server:
        address = f"http://localhost:{server.server_port}"
        client = {
            "redirect_uris": [f"{origin}/callback"],
            "token_endpoint_auth_method": "none",
            "scope": "openid email profile",
        }
        made = requests.post(f"{address}/oauth2/clients", json=client, timeout=20)
        assert made.ok, made.text
        found = Provider(address, made.json()["client_id"])
        found.person(ANA, "finance-oncall")
        found.person(MIA, "marketing-oncall")
        yield found


def reveal_section(origin: str, provider: Provider) -> str:
    """The section of the access policy."""
    return (
        f"reveal:\n  origin: {origin}\n  airflow_origin: http://localhost:1\n"
        f"  oidc: {{issuer: '{provider.address}', client_id: {provider.client_id}}}\n"
    )


def session(service: RevealProcess, origin: str, provider: Provider, person: str) -> dict[str, Any]:
    """Log a person in as the page does, without a browser."""
    nonce, verifier = "n" * 43, "v" * 43
    query = {
        "response_type": "code",
        "client_id": provider.client_id,
        "redirect_uri": f"{origin}/callback",
        "scope": "openid email profile",
        "state": "s" * 43,
        "nonce": nonce,
    }
    form = f"{provider.address}/oauth2/authorize"
    back = requests.post(form, params=query, data={"sub": person}, allow_redirects=False, timeout=20)
    code = parse_qs(urlsplit(back.headers["Location"]).query)["code"][0]
    sent = {"code": code, "code_verifier": verifier, "nonce": nonce}
    answer = requests.post(f"{service.url}/v1/session", json=sent, headers={"Origin": origin}, timeout=20)
    assert answer.ok, answer.text
    record: dict[str, Any] = answer.json()
    return record


def body(at: Coordinate) -> dict[str, Any]:
    """The body of a request."""
    ids = {name: getattr(at, name) for name in ("dag_id", "run_id", "task_id", "map_index", "key")}
    return {"coordinate": ids, "attempt": None, "reason": "INC-2"}


# It starts moto, the service and a browser one after the other.
@pytest.mark.timeout(600)
def test_opens_with_kms_and_s3(
    context: BrowserContext,
    origin: str,
    provider: Provider,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A person logs in at the company's provider, and sees what the service opened with KMS and S3."""
    aws_connections.clean_environment(monkeypatch, tmp_path)
    with kms_endpoint() as endpoint:
        connection = aws_connections.connect(monkeypatch, endpoint)
        boto = pytest.importorskip("boto3").session.Session("test-access-key", "test-secret-key")
        kms, key = boto.client("kms", "eu-west-1", endpoint_url=endpoint), "alias/xcom"
        kms.create_alias(AliasName=key, TargetKeyId=kms.create_key()["KeyMetadata"]["KeyId"])
        where = {"LocationConstraint": "eu-west-1"}
        s3 = boto.client("s3", "eu-west-1", endpoint_url=endpoint)
        s3.create_bucket(Bucket="xcom", CreateBucketConfiguration=where)
        policy_file = tmp_path / "access_policy.yaml"
        policy_file.write_text(
            "version: 1\ncompartments:\n  - {name: finance, dags: ['finance_*'],\n"
            f"     key_uris: ['aws-kms://{connection}/{key}'], store_uri: 's3://{connection}@xcom/sealed',\n"
            "     viewers: [{group: finance-oncall, dags: [finance_daily]}]}\n" + reveal_section(origin, provider)
        )
        table = XComTable(f"sqlite:///{tmp_path}/airflow.db")
        put(policy_file, table, {**VALUE, "note": "x" * 20_000})
        environment = settings(tmp_path, policy_file, table)
        name = f"AIRFLOW_CONN_{connection.upper()}"
        environment[name] = os.environ[name]
        environment |= {"AWS_EC2_METADATA_DISABLED": "true"}
        words = ("--opens", "--port", str(urlsplit(origin).port))
        with reveal_process(tmp_path, environment, *words) as service:
            page = context.new_page()
            ids = {"dag_id": AT.dag_id, "run_id": AT.run_id, "task_id": AT.task_id}
            page.goto(f"{origin}/#{'&'.join(f'{name}={quote(text)}' for name, text in ids.items())}")
            page.get_by_label("Why do you look at it?").fill("INC-2")
            clicked = time.monotonic()
            with page.expect_popup() as opened:
                page.get_by_role("button", name="Log in and reveal").click()
            form = opened.value
            form.locator("input[name=sub]").fill(ANA)
            end_login(form, lambda: form.keyboard.press("Enter"))
            tree = page.get_by_role("tree", name="Value of return_value")
            tree.wait_for()
            print(f"value {time.monotonic() - clicked:.2f} s after the click, with the login")
            assert "Ada" in tree.inner_text()
            assert CANARY not in page.locator("body").inner_text()
            assert ANA in page.locator(".bar").inner_text()
            mia = session(service, origin, provider, MIA)["token"]
            refused = service.ask(mia, body(AT), origin=origin)
            assert (refused.status_code, refused.json()["error"]) == (403, "AccessRefused")
        shown, denied = events(tmp_path)
        assert (shown["outcome"], shown["operator"], shown["rule"]) == ("ok", ANA, "viewers[0]")
        assert shown["opened_by"] == f"aws-kms://{connection}/{key}"
        assert (denied["outcome"], denied["operator"]) == ("refused", MIA)
        for file in (tmp_path / "access-log.jsonl", service.log):
            assert CANARY not in file.read_text()
        table.close()


@pytest.mark.parametrize("flavour", own_flavours())
def test_opens_with_vault_by_the_revealer_s_own_login(
    flavour: str, origin: str, provider: Provider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The revealer's AppRole opens what its compartments' viewers may see, and cannot wrap or rewrap."""
    clean_environment(monkeypatch)
    text = (
        "version: 1\ncompartments:\n"
        "  - {name: finance, dags: ['finance_*'], store_uri: 'file://$store/finance',\n"
        "     key_uris: ['vault://vault_default/transit/keys/finance'],\n"
        "     viewers: [{group: finance-oncall, dags: [finance_daily]}]}\n"
        "  - {name: marketing, dags: ['marketing_*'], store_uri: 'file://$store/marketing',\n"
        "     key_uris: ['vault://vault_default/transit/keys/marketing'],\n"
        "     viewers: [{group: marketing-oncall}]}\n"
        "identities:\n"
        "  - {name: finance-workers, workers_of: [finance], vault: {auth: other}}\n"
        "  - {name: marketing-workers, workers_of: [marketing], vault: {auth: other}}\n"
        "  - {name: revealer, grants: [{compartment: finance, as: revealer}], vault: {auth: approle}}\n"
        + reveal_section(origin, provider)
    )
    for name in ("finance", "marketing"):
        (tmp_path / "sealed" / name).mkdir(parents=True, mode=0o700)
    with open_reveal_world(tmp_path, flavour, origin=origin, text=text, set_up=False) as world:
        world.vault.do("POST", "sys/auth/approle", {"type": "approle"})
        world.apply()
        table = XComTable(f"sqlite:///{tmp_path}/airflow.db")
        elsewhere = Coordinate("marketing_x", "run", "send", -1, "return_value")
        for compartment, at in (("finance", AT), ("marketing", elsewhere)):
            monkeypatch.setenv("AIRFLOW_CONN_VAULT_DEFAULT", world.connection(f"{compartment}-workers"))
            forget_clients()
            put(world.file, table, at=at)
        roles = world.vault.do("LIST", "auth/approle/role")["data"]["keys"]
        (found,) = [each for each in roles if "revealer" in each]
        role = f"auth/approle/role/{found}"
        login = {
            "conn_type": "vault",
            "host": "127.0.0.1",
            "port": urlsplit(world.vault.address).port,
            "login": world.vault.do("GET", f"{role}/role-id")["data"]["role_id"],
            "password": world.vault.do("POST", f"{role}/secret-id", {})["data"]["secret_id"],
            "extra": {"use_tls": False, "auth_type": "approle"},
        }
        environment = settings(tmp_path, world.file, table)
        environment["AIRFLOW_CONN_VAULT_DEFAULT"] = json.dumps(login)
        words = ("--opens", "--port", str(urlsplit(origin).port))
        with reveal_process(tmp_path, environment, *words) as service:
            ana = session(service, origin, provider, ANA)["token"]
            record = service.ask(ana, body(AT), origin=origin).json()
            assert json.loads(base64.b64decode(record["data"])) == VALUE
            assert service.ask(ana, body(elsewhere), origin=origin).json()["error"] == "AccessRefused"
            # mia is a viewer there, and Vault refuses the service's identity all the same.
            mia = session(service, origin, provider, MIA)["token"]
            denied = service.ask(mia, body(elsewhere), origin=origin)
            assert (denied.status_code >= 400, "data" in denied.json()) == (True, False)
            # Withdrawal: out of the access policy, with the session that she has.
            world.file.write_text(world.file.read_text().replace("group: finance-oncall", "group: nobody"))
            gone = service.ask(ana, body(AT), origin=origin)
            assert (gone.status_code, gone.json()["error"]) == (403, "AccessRefused")
        outcomes = [(event["operator"], event["outcome"], event.get("error")) for event in events(tmp_path)]
        assert [one[:2] for one in outcomes] == [(ANA, "ok"), (ANA, "refused"), (MIA, "refused"), (ANA, "refused")]
        assert re.search("Denied", str(outcomes[2][2]))
        token = world.vault.do(
            "POST", "auth/approle/login", {"role_id": login["login"], "secret_id": _secret_id(world, role)}
        )["auth"]["client_token"]
        for operation in ("encrypt", "rewrap", "datakey/plaintext"):
            done = world.vault.api("POST", f"transit/{operation}/finance", {"plaintext": ""}, token=token)
            assert done.status_code == 403
        table.close()


def _secret_id(world: Any, role: str) -> str:
    made: str = world.vault.do("POST", f"{role}/secret-id", {})["data"]["secret_id"]
    return made
