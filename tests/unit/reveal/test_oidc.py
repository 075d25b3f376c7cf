"""`secure-xcom reveal --opens`: logins at a company's provider, and everything that is no login."""

from __future__ import annotations

import base64
import json
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jwt
import pytest
from starlette.testclient import TestClient

from secure_xcom.core.masking.sensitive_names import SensitiveNames
from secure_xcom.core.operator_errors import IdentityRefused
from secure_xcom.reveal.app import make_app
from secure_xcom.reveal.giving import OpenedValue
from secure_xcom.reveal.identity_tokens import Person
from secure_xcom.reveal.oidc_people import OidcPeople
from secure_xcom.reveal.revealing import Revealer
from secure_xcom.reveal.service import Service
from secure_xcom.reveal.sessions import SESSIONS_MAX, Sessions
from secure_xcom.sinks.access_log import AccessLog
from tests.support.oidc_double import CLIENT, Provider, provider_double
from tests.support.reveal_service import AIRFLOW, ORIGIN, Issuer, RevealWorld, body, policy_text, rsa_key

VALUE = {"user": "ada", "password": "canary"}


@dataclass
class Opens:
    """The service, its provider, and a page that logs in."""

    world: RevealWorld
    provider: Provider
    client: TestClient

    def log_in(self, **changes: str) -> Any:
        """Log ana in as the page does, with some fields of the request to the service changed."""
        verifier, nonce = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
        code = self.provider.log_in(nonce=nonce, verifier=verifier, redirect_uri=f"{ORIGIN}/callback")
        sent = {"code": code, "code_verifier": verifier, "nonce": nonce, **changes}
        return self.client.post("/v1/session", json=sent, headers={"Origin": ORIGIN})

    def ask(self, token: str) -> Any:
        """Ask for the XCom of the world."""
        sent = {"Origin": ORIGIN, "Authorization": f"Bearer {token}"}
        return self.client.post("/v1/reveal", json=body(), headers=sent)

    def refused(self, answer: Any) -> str:
        """The class of a refusal to begin a session, which gives nothing and is no event."""
        assert answer.status_code in (400, 401, 502), answer.text
        assert set(answer.json()) == {"error", "what", "where", "remedy"}
        assert self.events() == []
        return str(answer.json()["error"])

    def events(self) -> list[dict[str, Any]]:
        """What the access log has of reveals."""
        return [record for record in self.world.sink.records if record["action"] == "reveal"]


@pytest.fixture
def opens(tmp_path: Path) -> Iterator[Opens]:
    """A service that unwraps with a double of a key service."""
    world = RevealWorld(tmp_path)
    with provider_double() as provider:
        before = policy_text(world.store_uri)
        start, end = before.index("  vault:\n"), before.index("compartments:")
        oidc = f"  oidc: {{issuer: '{provider.address}', client_id: {CLIENT}}}\n"
        world.write_policy(before[:start] + oidc + before[end:])
        log = AccessLog([world.sink], version="test")
        giver = OpenedValue(lambda _: world.keys)
        names = SensitiveNames({"password"})
        revealer = Revealer(world.settings, world.database, log, names, giver=giver)
        service = Service(world.settings, world.service.policy, revealer, names, OidcPeople())
        with TestClient(make_app(service), base_url=ORIGIN, raise_server_exceptions=False) as client:
            world.put(VALUE)
            yield Opens(world, provider, client)
    world.close()


def test_a_viewer_gets_the_value(opens: Opens) -> None:
    """A login gives a session, the session the value that the service opened, and the event says so."""
    session = opens.log_in().json()
    assert (session["person"], session["expires_in"]) == ("ana@example.com", 600)
    record = opens.ask(session["token"]).json()
    assert json.loads(base64.b64decode(record["data"])) == VALUE
    assert (record["payload"], record["wraps"], record["rule"]) == (None, [], "viewers[0]")
    (event,) = opens.events()
    assert (event["outcome"], event["operator"], event["cache_hit"]) == ("ok", "ana@example.com", False)
    assert event["opened_by"].startswith("vault://")
    (form,) = opens.provider.forms
    assert form["redirect_uri"] == f"{ORIGIN}/callback"
    assert set(form) == {"grant_type", "code", "redirect_uri", "client_id", "code_verifier"}


def test_the_page_learns_where_people_log_in(opens: Opens) -> None:
    """The provider's address and our client, scopes that it knows, and no Vault; the page connects to us alone."""
    answer = opens.client.get("/config.json")
    record = answer.json()
    assert (record["mode"], record["vault"], record["airflow_origin"]) == ("service", None, AIRFLOW)
    assert record["oidc"] == {
        "authorization_endpoint": f"{opens.provider.address}/authorize",
        "client_id": CLIENT,
        "scopes": "openid email groups",
    }
    policy = opens.client.get("/").headers["Content-Security-Policy"]
    assert "connect-src 'self';" in policy
    assert f"frame-ancestors {AIRFLOW};" in policy


def test_a_person_of_another_group_is_refused(opens: Opens) -> None:
    """Who is no viewer learns nothing, and the refusal is an event."""
    opens.provider.claims = {
        "email": "mia@example.com",
        "groups": ["marketing", "orders-oncall2", "ORDERS-ONCALL"],
    }
    answer = opens.ask(opens.log_in().json()["token"])
    assert (answer.status_code, answer.json()["error"]) == (403, "AccessRefused")
    (event,) = opens.events()
    assert (event["outcome"], event["operator"], "opened_by" in event) == ("refused", "mia@example.com", False)


NOW = int(time.time())


@pytest.mark.parametrize(
    "claims",
    [
        {"nonce": "n" * 43},
        {"nonce": None},
        {"nonce": ["n"]},
        {"aud": "another-client"},
        {"aud": ["another-client"]},
        {"aud": [CLIENT, "another-client"]},
        {"aud": [CLIENT, "another-client"], "azp": "another-client"},
        {"aud": CLIENT, "azp": "another-client"},
        {"aud": f"{CLIENT} "},
        {"aud": None},
        {"iss": "https://login.evil.example"},
        {"exp": NOW - 1},
        {"exp": None},
        # Hours after this was collected, on a busy machine, these still lie ahead.
        {"iat": NOW + 86_400, "exp": NOW + 2 * 86_400},
        {"nbf": NOW + 86_400},
        {"email": None},
        {"email": ["ana@example.com"]},
        {"email": " "},
        {"email_verified": False},
        {"email_verified": "true"},
        {"groups": None},
        {"groups": "orders-oncall"},
        {"groups": {"orders-oncall": True}},
        {"groups": ["orders-oncall", 1]},
        # Entra ID says so of a person with too many groups (OpenID Connect Core, section 5.6.2).
        {"groups": None, "_claim_names": {"groups": "src1"}},
    ],
)
def test_an_id_token_that_is_not_for_this_login_is_refused(opens: Opens, claims: dict[str, Any]) -> None:
    """Another nonce, audience, party, issuer or time; no person, or no list of groups."""
    opens.provider.claims = claims
    assert opens.refused(opens.log_in()) == "IdentityRefused"


def test_several_audiences_need_us_as_the_party(opens: Opens) -> None:
    """A token for several is ours if it was made for our login (OpenID Connect Core, section 3.1.3.7)."""
    opens.provider.claims = {"aud": [CLIENT, "userinfo"], "azp": CLIENT}
    assert opens.log_in().status_code == 200


def test_a_forged_id_token_is_refused(opens: Opens) -> None:
    """No signature, one with a public value as the secret, one by a foreign key, and what is no token."""
    claims = jwt.decode(opens.provider.issuer.token(aud=CLIENT), options={"verify_signature": False})
    claims |= {"nonce": "x" * 43, "email": "ana@example.com", "groups": ["orders-oncall"]}
    header = {"kid": "key-1"}
    stranger = Issuer(opens.provider.address, {"key-9": ("RS256", rsa_key())})
    forged = [
        jwt.encode(claims, "", algorithm="none", headers=header),
        jwt.encode(claims, "k" * 64, algorithm="HS256", headers=header),
        stranger.token(key_id="key-9", **claims),
        opens.provider.issuer.token(headers={"crit": ["x"], "x": 1}, **claims),
        "a.b.c",
        "",
    ]
    for token in forged:
        opens.provider.answer = {"id_token": token}
        assert opens.refused(opens.log_in()) == "IdentityRefused"
    opens.provider.answer = {"id_token": None}
    assert opens.refused(opens.log_in()) == "IdentityProviderFailed"


def test_what_is_not_signed_says_nothing(opens: Opens) -> None:
    """Groups and a name beside the ID token, or in the page's request, are not read."""
    opens.provider.claims = {"groups": ["marketing"]}
    opens.provider.answer = {
        "groups": ["orders-oncall"],
        "email": "boss@example.com",
        "userinfo": {"groups": ["x"]},
    }
    session = opens.log_in().json()
    assert session["person"] == "ana@example.com"
    assert opens.ask(session["token"]).status_code == 403
    spoofed = opens.log_in(groups="orders-oncall")
    assert (spoofed.status_code, spoofed.json()["error"]) == (400, "RevealRequestInvalid")


def test_a_code_of_another_login_is_refused(opens: Opens) -> None:
    """A stolen or replayed code lacks its verifier, and an attacker's code the page's nonce."""
    assert opens.refused(opens.log_in(code_verifier=secrets.token_urlsafe(32))) == "IdentityRefused"
    assert opens.refused(opens.log_in(nonce=secrets.token_urlsafe(32))) == "IdentityRefused"
    verifier, nonce = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
    elsewhere = opens.provider.log_in(nonce=nonce, verifier=verifier, redirect_uri="https://evil.example/callback")
    assert opens.refused(opens.log_in(code=elsewhere, code_verifier=verifier, nonce=nonce)) == "IdentityRefused"
    code = opens.provider.log_in(nonce=nonce, verifier=verifier, redirect_uri=f"{ORIGIN}/callback")
    assert opens.log_in(code=code, code_verifier=verifier, nonce=nonce).status_code == 200
    again = opens.log_in(code=code, code_verifier=verifier, nonce=nonce)
    assert (again.status_code, again.json()["error"]) == (401, "IdentityRefused")


def test_no_other_token_is_a_session(opens: Opens) -> None:
    """Not the ID token itself, not Airflow's, not one of Vault's, and nothing that was guessed."""
    airflow = jwt.encode({"sub": "admin", "aud": "apache-airflow", "exp": NOW + 60}, "k" * 64, algorithm="HS512")
    issuer = opens.provider.issuer
    vault = issuer.token()
    identity = issuer.token(aud=CLIENT, email="ana@example.com", groups=["orders-oncall"])
    for token in (airflow, vault, identity, "", "x" * 43):
        answer = opens.ask(token)
        assert (answer.status_code, answer.json()["error"]) == (401, "IdentityRefused")
    assert opens.events() == []


def test_pages_elsewhere_begin_no_session(opens: Opens) -> None:
    """The service takes a login from its own page alone."""
    for origin in (AIRFLOW, "https://evil.example", "null"):
        answer = opens.client.post("/v1/session", json={}, headers={"Origin": origin})
        assert (answer.status_code, answer.json()["error"]) == (403, "RevealOriginRefused")


@pytest.mark.parametrize("field", ["code", "code_verifier", "nonce"])
@pytest.mark.parametrize("odd", [None, "", 1, ["x"], "a\nb", "x" * 5000])
def test_a_malformed_login_is_refused(opens: Opens, field: str, odd: Any) -> None:
    """Each field is read strictly, and the provider is not asked."""
    assert opens.refused(opens.log_in(**{field: odd})) == "RevealRequestInvalid"
    assert opens.provider.forms == []


@pytest.mark.parametrize(
    "document",
    [
        {"issuer": "https://login.evil.example"},
        {"token_endpoint": None},
        {"token_endpoint": "ftp://127.0.0.1/token"},
        {"jwks_uri": "file:///etc/passwd"},
        {"jwks_uri": "https://["},
        {"code_challenge_methods_supported": ["plain"]},
    ],
)
def test_a_provider_that_says_something_else_is_refused(opens: Opens, document: dict[str, Any]) -> None:
    """The discovery document is that of the issuer in the access policy, and names safe endpoints and PKCE."""
    opens.provider.document = document
    assert opens.refused(opens.log_in()) == "IdentityProviderFailed"


@pytest.mark.parametrize("path", ["/.well-known/openid-configuration", "/token", "/jwks"])
def test_a_provider_that_is_down_is_said(opens: Opens, path: str) -> None:
    """Nothing is given without the provider, and the error names it."""
    opens.provider.down = {path}
    answer = opens.log_in()
    assert opens.refused(answer) == "IdentityProviderFailed"
    assert opens.provider.address in answer.json()["where"]


def test_withdrawal(opens: Opens) -> None:
    """A viewer who is taken out of the policy is refused at once; another client or issuer ends all sessions."""
    token = opens.log_in().json()["token"]
    assert opens.ask(token).status_code == 200
    text = opens.world.policy_file.read_text()
    opens.world.write_policy(text.replace("group: orders-oncall", "group: somebody-else"))
    assert opens.ask(token).json()["error"] == "AccessRefused"
    opens.world.write_policy(text.replace(f"client_id: {CLIENT}", "client_id: another"))
    assert opens.ask(token).json()["error"] == "IdentityRefused"


def test_sessions_end() -> None:
    """A session lasts its time, and of too many the oldest ends. A token is in no text of it."""
    now = 0.0
    sessions = Sessions(600, now=lambda: now)
    ana = Person("ana", frozenset({"g"}))
    session = sessions.begin(ana)
    assert session.token not in repr(session)
    now = 599.0
    assert sessions.person(f"Bearer {session.token}") == ana
    now = 600.0
    with pytest.raises(IdentityRefused):
        sessions.person(f"Bearer {session.token}")
    first = sessions.begin(ana)
    for _ in range(SESSIONS_MAX - 1):
        sessions.begin(ana)
    last = sessions.begin(ana)
    assert sessions.person(f"Bearer {last.token}") == ana
    with pytest.raises(IdentityRefused):
        sessions.person(f"Bearer {first.token}")
