"""`secure-xcom reveal --here`: one person, a one-time address, and credentials of their own."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from starlette.testclient import TestClient
from typer.testing import CliRunner

from secure_xcom.cli import app as cli
from secure_xcom.core.coordinate import Coordinate
from secure_xcom.core.masking.sensitive_names import SensitiveNames
from secure_xcom.ops.xcom_table import Database
from secure_xcom.reveal.app import make_app
from secure_xcom.reveal.giving import OpenedValue
from secure_xcom.reveal.here import OnePerson, own_rights
from secure_xcom.reveal.revealing import Revealer
from secure_xcom.reveal.service import Service
from secure_xcom.sinks.access_log import AccessLog
from tests.support.reveal_service import body
from tests.support.upkeep_world import Upkeep
from tests.support.world import coordinate

PORT = 45678
ORIGIN = f"http://127.0.0.1:{PORT}"
VALUE = {"user": "ada", "password": "canary", "n": [1, 2.5, None]}


@dataclass
class Here:
    """The command's parts, without its socket."""

    upkeep: Upkeep
    database: Database
    people: OnePerson
    client: TestClient

    def begin(self, code: str | None = None, **headers: str) -> Any:
        """Exchange a code as the page does; by default that of the address."""
        fragment = parse_qs(urlsplit(self.people.address(None)).fragment)
        sent = {"Origin": ORIGIN, **headers}
        return self.client.post("/v1/session", json={"code": code or fragment["code"][0]}, headers=sent)

    def ask(self, token: str, at: Coordinate, **headers: str) -> Any:
        """Ask for an XCom as the page does."""
        sent = {"Origin": ORIGIN, "Authorization": f"Bearer {token}", **headers}
        return self.client.post("/v1/reveal", json=body(at), headers=sent)

    def events(self) -> list[dict[str, Any]]:
        """What the access log has of reveals."""
        return [record for record in self.upkeep.sink.records if record["action"] == "reveal"]


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Here]:
    """A deployment with a keyring and files, and a person who may use both."""
    upkeep = Upkeep(tmp_path / "one")
    database = upkeep.table.database()
    log = AccessLog([upkeep.sink], version="test")
    names = SensitiveNames({"password"})
    revealer = Revealer(upkeep.settings, database, log, names, giver=OpenedValue(), decide=own_rights)
    people = OnePerson("ada", PORT)
    service = Service(upkeep.settings, lambda: upkeep.policy, revealer, names, people)
    with TestClient(make_app(service), base_url=ORIGIN, raise_server_exceptions=False) as client:
        yield Here(upkeep, database, people, client)
    database.close()
    upkeep.close()


def test_a_value_is_shown_to_who_has_the_address(here: Here) -> None:
    """The code of the address gives a token, the token the value, and the event says who opened it and why."""
    at = here.upkeep.push(VALUE)
    session = here.begin().json()
    assert (session["person"], session["expires_in"]) == ("ada", None)
    answer = here.ask(session["token"], at)
    record = answer.json()
    assert json.loads(base64.b64decode(record["data"])) == VALUE
    assert (record["payload"], record["wraps"], record["person"], record["rule"]) == (None, [], "ada", "here")
    (event,) = here.events()
    told = (event["outcome"], event["operator"], event["reason"], event["opened_by"], event["cache_hit"])
    assert told == ("ok", "ada", "incident 4711", here.upkeep.key_uri, False)
    assert event["sensitive"] is True
    assert here.ask(session["token"], at).status_code == 200


def test_the_address_works_once(here: Here) -> None:
    """A second page, a guess and an empty code get nothing."""
    assert here.begin("guess").json()["error"] == "IdentityRefused"
    code = parse_qs(urlsplit(here.people.address(None)).fragment)["code"][0]
    assert here.begin(code).status_code == 200
    again = here.begin(code)
    assert (again.status_code, again.json()["error"]) == (401, "IdentityRefused")
    for sent in ({"code": ["x"]}, {"code": code, "more": 1}, {}, [code]):
        answer = here.client.post("/v1/session", json=sent, headers={"Origin": ORIGIN})
        assert (answer.status_code, answer.json()["error"]) == (400, "RevealRequestInvalid")


def test_the_address_is_about_the_xcom(here: Here) -> None:
    """The fragment names the XCom and the code, and nothing of it is sent to a server."""
    parts = urlsplit(here.people.address(coordinate(run_id="manual__1 #&x", map_index=3)))
    assert (parts.scheme, parts.netloc, parts.path, parts.query) == ("http", f"127.0.0.1:{PORT}", "/", "")
    fields = parse_qs(parts.fragment)
    assert fields["run_id"] == ["manual__1 #&x"]
    assert fields["map_index"] == ["3"]
    assert len(fields["code"][0]) >= 43


@pytest.mark.parametrize("token", ["", "guess", "é"])
def test_without_the_token_nothing_is_opened(here: Here, token: str) -> None:
    """No token, and one that was guessed."""
    at = here.upkeep.push(VALUE)
    answer = here.client.post(
        "/v1/reveal",
        json=body(at),
        headers={b"Origin": ORIGIN.encode(), b"Authorization": b"Bearer " + token.encode()},
    )
    assert (answer.status_code, answer.json()["error"]) == (401, "IdentityRefused")
    assert here.events() == []


@pytest.mark.parametrize("host", ["evil.example", f"localhost:{PORT}", "127.0.0.1", f"127.0.0.1:{PORT + 1}", ""])
@pytest.mark.parametrize("path", ["/", "/config.json", "/static/reveal.js", "/healthz", "/metrics"])
def test_a_name_that_was_made_to_mean_loopback_is_refused(here: Here, host: str, path: str) -> None:
    """DNS rebinding: a page elsewhere names itself as the host, and gets nothing but an error."""
    answer = here.client.get(path, headers={"Host": host})
    assert (answer.status_code, answer.json()["error"]) == (403, "RevealOriginRefused")


def test_pages_elsewhere_get_nothing(here: Here) -> None:
    """A request of a foreign page, of no page, of a form; and no page may frame it."""
    at = here.upkeep.push(VALUE)
    for origin in ("https://evil.example", "null", f"http://localhost:{PORT}", f"http://127.0.0.1:{PORT + 1}"):
        assert here.begin(Origin=origin).status_code == 403
    token = here.begin().json()["token"]
    assert here.ask(token, at, Origin="https://evil.example").status_code == 403
    form = here.client.post(
        "/v1/session", content='{"code": "x"}', headers={"Origin": ORIGIN, "Content-Type": "text/plain"}
    )
    assert form.status_code == 400
    policy = here.client.get("/").headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in policy
    assert "connect-src 'self';" in policy
    assert here.events() == []


def test_the_policies_of_key_and_store_decide(here: Here) -> None:
    """Without the keyring nothing is opened, and the event says so; viewers are not asked."""
    at = here.upkeep.push(VALUE)
    keyring = Path(here.upkeep.keyring)
    keyring.rename(keyring.with_suffix(".gone"))
    answer = here.ask(here.begin().json()["token"], at)
    assert answer.status_code >= 400
    assert "data" not in answer.json()
    (event,) = here.events()
    assert (event["outcome"] != "ok", event["operator"], "opened_by" in event) == (True, "ada", False)


def test_an_edited_payload_is_refused(here: Here) -> None:
    """What does not open is an error by its class, and the event tells of the unwrap."""
    at = here.upkeep.push({"a": "x" * 20_000})
    (path,) = here.upkeep.objects()
    file = Path(here.upkeep.store_uri.removeprefix("file://")) / path
    raw = bytearray(file.read_bytes())
    raw[-1] ^= 1
    file.chmod(0o600)
    file.write_bytes(raw)
    answer = here.ask(here.begin().json()["token"], at)
    assert answer.status_code == 409
    (event,) = here.events()
    assert (event["outcome"], event["error"], event["opened_by"]) == (
        "refused", answer.json()["error"], here.upkeep.key_uri
    )  # fmt: skip


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--here", "--opens"], "exclude each other"),
        (["--here", "--port", "80"], "--port is for the service"),
        (["--here", "no coordinate"], "not a coordinate"),
        (["orders/1/extract"], "needs --here"),
        (["--idle", "5"], "needs --here"),
    ],
)
def test_options_that_do_not_go_together_are_refused(words: list[str], message: str) -> None:
    """The command says which option belongs to which mode."""
    result = CliRunner().invoke(cli, ["reveal", *words], env={"COLUMNS": "200"})
    assert result.exit_code == 2
    assert message in result.output
