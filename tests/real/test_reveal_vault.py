"""What viewers may do directly at Vault or OpenBao, past our service: set up by `policy apply`, then attacked."""

from __future__ import annotations

import json
import re
import time
from base64 import urlsafe_b64decode
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from typer.testing import CliRunner

from secure_xcom.cli import app
from secure_xcom.core.coordinate import Coordinate
from secure_xcom.keys.vault_context import transit_scope
from tests.support.reveal_world import ANA, MIA, POLICY, RevealWorld, context_of, encoded, open_reveal_world
from tests.support.servers.vault_realm import as_operator, own_flavours

XCOM = Coordinate("finance_daily", "run", "extract", -1, "return_value")
OTHER_DAG = Coordinate("finance_weekly", "run", "extract", -1, "return_value")
MARKETING = Coordinate("marketing_daily", "run", "extract", -1, "return_value")
VIEWERS = "secure-xcom-viewers-finance-oncall"


@pytest.fixture(scope="module", params=own_flavours())
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RevealWorld]:
    """A server of its own, since the names at Vault are fixed."""
    with open_reveal_world(tmp_path_factory.mktemp("reveal"), request.param) as made:
        yield made


def test_a_viewer_unwraps_what_is_the_groups(world: RevealWorld) -> None:
    """The person's own token unwraps, and the identity token names the person and the groups."""
    token = world.login(ANA)
    answer = world.vault.api("POST", "transit/decrypt/finance", world.wrap("finance", XCOM), token=token)
    assert answer.json()["data"]["plaintext"] == encoded(bytes(32))
    given = world.identity_token(token)
    assert given.ok, given.text
    claims = json.loads(urlsafe_b64decode(given.json()["data"]["token"].split(".")[1] + "=="))
    assert claims["person"] == ANA
    assert claims["groups"] == ["secure-xcom-viewers-finance-oncall"]
    assert claims["aud"] == "secure-xcom-reveal"
    assert claims["exp"] - claims["iat"] == 120


def test_what_a_viewer_may_not_unwrap(world: RevealWorld) -> None:
    """Another group, another DAG, another compartment, a batch, no context and another parameter are refused."""
    ana, mia = world.login(ANA), world.login(MIA)
    own = world.wrap("finance", XCOM)
    assert world.vault.api("POST", "transit/decrypt/finance", own, token=ana).ok
    attacks: dict[str, tuple[str, dict[str, Any], str]] = {
        "another group's person": ("transit/decrypt/finance", own, mia),
        "another compartment's key": ("transit/decrypt/marketing", world.wrap("marketing", MARKETING), ana),
        "another DAG's wrap and context": ("transit/decrypt/finance", world.wrap("finance", OTHER_DAG), ana),
        "another compartment's context": (
            "transit/decrypt/finance",
            {**own, "context": context_of("marketing", MARKETING)},
            ana,
        ),
        "the compartment's bare prefix": (
            "transit/decrypt/finance",
            {**own, "context": transit_scope("finance")},
            ana,
        ),
        "no context": ("transit/decrypt/finance", {"ciphertext": own["ciphertext"]}, ana),
        "a batch of one's own": ("transit/decrypt/finance", {"batch_input": [own]}, ana),
        "a batch beside": ("transit/decrypt/finance", {**own, "batch_input": [own]}, ana),
        "another parameter": ("transit/decrypt/finance", {**own, "associated_data": "eA=="}, ana),
    }
    refusals = {
        name: world.vault.api("POST", path, body, token=token).status_code
        for name, (path, body, token) in attacks.items()
    }
    assert set(refusals.values()) == {403}, refusals
    # Within the limit, the key itself refuses a wrap of another context.
    moved = {"ciphertext": world.wrap("finance", OTHER_DAG)["ciphertext"], "context": own["context"]}
    assert world.vault.api("POST", "transit/decrypt/finance", moved, token=ana).status_code == 400


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "transit/encrypt/finance", {"plaintext": "eA==", "context": context_of("finance", XCOM)}),
        (
            "POST",
            "transit/rewrap/finance",
            {"ciphertext": "vault:v1:AAAA", "context": context_of("finance", XCOM)},
        ),
        ("POST", "transit/datakey/plaintext/finance", {"context": context_of("finance", XCOM)}),
        ("GET", "transit/keys/finance", None),
        ("LIST", "transit/keys", None),
        ("POST", "transit/keys/finance/config", {"exportable": True}),
        ("POST", "transit/keys/finance/rotate", {}),
        ("DELETE", "transit/keys/finance", None),
        ("GET", "transit/export/encryption-key/finance", None),
        ("GET", "transit/backup/finance", None),
        ("POST", "auth/token/create", {}),
        ("POST", "auth/token/renew-self", {"increment": "768h"}),
        ("GET", "auth/token/lookup-self", None),
        ("POST", "auth/oidc/role/mine", {}),
        ("POST", "auth/oidc/config", {"oidc_discovery_url": "http://127.0.0.1:1"}),
        ("GET", f"sys/policies/acl/{VIEWERS}", None),
        ("PUT", f"sys/policies/acl/{VIEWERS}", {"policy": ""}),
        ("POST", f"identity/group/name/{VIEWERS}", {"policies": ["root"]}),
        ("GET", f"identity/group/name/{VIEWERS}", None),
        ("POST", "identity/oidc/role/secure-xcom-reveal", {"ttl": 999}),
        ("POST", "identity/oidc/key/secure-xcom-reveal", {"allowed_client_ids": ["*"]}),
        ("POST", "identity/oidc/key/secure-xcom-reveal/rotate", {}),
        ("GET", "identity/oidc/token/another", None),
        ("POST", "sys/config/cors", {"allowed_origins": ["*"]}),
        ("POST", "sys/wrapping/wrap", {"a": "b"}),
        ("GET", "cubbyhole/mine", None),
    ],
)
def test_what_a_viewer_may_never_do(world: RevealWorld, method: str, path: str, body: dict[str, object]) -> None:
    """Wrap, rewrap, see or change a key, get a longer or another token, or change who is a viewer."""
    assert world.vault.api(method, path, body, token=world.login(ANA)).status_code == 403


def test_an_identity_token_is_no_token_of_vault(world: RevealWorld) -> None:
    """What is shown to the service opens nothing at Vault, whoever gets hold of it."""
    shown = world.identity_token(world.login(ANA)).json()["data"]["token"]
    answer = world.vault.api("POST", "transit/decrypt/finance", world.wrap("finance", XCOM), token=shown)
    # HashiCorp Vault answers 500 to a token of this form, and OpenBao 403.
    assert answer.status_code in (403, 500)
    assert "plaintext" not in answer.text
    assert world.identity_token(shown).status_code in (403, 500)
    # Nor does it log in, at the method that took the provider's tokens.
    login = {"role": "secure-xcom-reveal", "jwt": shown}
    assert not world.vault.api("POST", "auth/oidc/login", login, token="").ok


def test_somebody_without_a_group_gets_a_token_that_opens_nothing(world: RevealWorld) -> None:
    """Logging in is not a right: neither the role nor the policy `default` brings one."""
    world.person("eve@example.com", "Finance-Oncall ", "secure-xcom-viewers-finance-oncall", "*")
    answer = world.try_login("eve@example.com")
    token = answer.json()["auth"]["client_token"] if answer.ok else "none"
    assert (
        world.vault.api("POST", "transit/decrypt/finance", world.wrap("finance", XCOM), token=token).status_code
        == 403
    )
    assert world.identity_token(token).status_code == 403


def test_a_login_ends_at_our_origin_only(world: RevealWorld) -> None:
    """No other page can be where a code is sent. Of a loopback origin, Vault compares no port (RFC 8252)."""
    others = ("https://other.example.com/callback", "http://localhost.example.com/callback")
    for uri in (
        *others,
        f"{world.origin}/other",
        f"{world.origin}/callback/",
        f"{world.origin}.example.com/callback",
    ):
        start = {"role": "secure-xcom-reveal", "redirect_uri": uri, "client_nonce": "x" * 16}
        answer = world.vault.api("POST", "auth/oidc/oidc/auth_url", start, token="")
        assert not answer.ok or answer.json()["data"]["auth_url"] == ""


def test_only_the_reveal_origin_may_call_from_a_browser(world: RevealWorld) -> None:
    """Vault answers a preflight of the service's origin, with the headers that its page sends, and no other's."""
    asked = {
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type,x-vault-token",
    }
    url = f"{world.vault.address}/v1/transit/decrypt/finance"
    ours = requests.options(url, headers={"Origin": world.origin, **asked}, timeout=20)
    assert ours.headers["Access-Control-Allow-Origin"] == world.origin
    allowed = {each.strip() for each in ours.headers["Access-Control-Allow-Headers"].lower().split(",")}
    assert {"content-type", "x-vault-token"} <= allowed
    for origin in (world.airflow_origin, "http://127.0.0.1:1", "null"):
        theirs = requests.options(url, headers={"Origin": origin, **asked}, timeout=20)
        assert "Access-Control-Allow-Origin" not in theirs.headers


def test_verify_tries_a_viewers_own_token(world: RevealWorld) -> None:
    """`policy verify` finds what the policy says with the tokens of people, and a right that somebody added."""
    policy = f"sys/policies/acl/{VIEWERS}"

    def run() -> tuple[int, dict[str, Any]]:
        with pytest.MonkeyPatch.context() as patch:
            as_operator(patch, world.vault)
            patch.setenv("SECURE_XCOM_VERIFY_VIEWERS_FINANCE_ONCALL", world.login(ANA))
            patch.setenv("SECURE_XCOM_VERIFY_VIEWERS_MARKETING_ONCALL", world.login(MIA))
            result = CliRunner().invoke(app, ["policy", "verify", str(world.file), "--on", "vault", "--json"])
        return result.exit_code, json.loads(result.stdout)

    _, record = run()
    assert record["left_out"] == ["finance-workers", "marketing-workers"]
    rows = {(row["identity"], row["action"], row["compartment"], row["place"]): row for row in record["matrix"]}
    assert [row for row in rows.values() if row["surprise"]] == []
    ana = "viewers-finance-oncall"
    assert rows[ana, "decrypt", "finance", "DAG finance_daily"]["allowed"]
    assert rows["viewers-marketing-oncall", "decrypt", "marketing", "inside"]["allowed"]
    for action, compartment, place in (
        ("decrypt", "finance", "another DAG"),
        ("decrypt in a batch", "finance", "DAG finance_daily"),
        ("decrypt", "marketing", "inside"),
        ("encrypt", "finance", "inside"),
        ("rewrap", "finance", "inside"),
        ("look", "finance", "the key"),
        ("export", "finance", "the key"),
    ):
        assert not rows[ana, action, compartment, place]["allowed"], action
    # Somebody mends Vault by hand, and verify says so.
    text = world.vault.do("GET", policy)["data"]["policy"]
    more = '\npath "transit/rewrap/finance" {\n  capabilities = ["update"]\n}\n'
    world.vault.do("PUT", policy, {"policy": text + more})
    try:
        code, record = run()
    finally:
        world.vault.do("PUT", policy, {"policy": text})
    surprises = {(row["identity"], row["action"]) for row in record["matrix"] if row["surprise"]}
    assert code == 1
    assert (ana, "rewrap") in surprises
    assert {who for who, _ in surprises} == {ana}


def test_another_apply_changes_nothing(world: RevealWorld) -> None:
    """What is there is recognized, the group's alias and Vault's defaults included."""
    assert {step["state"] for step in world.apply()["steps"]} == {"there"}


@pytest.mark.parametrize("kind", ["policy", "group"])
def test_what_is_somebody_elses_is_refused(world: RevealWorld, kind: str) -> None:
    """A policy or a group of our name that we did not make stops apply before it does anything."""
    name = "secure-xcom-viewers-taken"
    path = f"sys/policies/acl/{name}" if kind == "policy" else f"identity/group/name/{name}"
    body = {"policy": 'path "x" { capabilities = ["read"] }'} if kind == "policy" else {"type": "internal"}
    world.vault.do("PUT" if kind == "policy" else "POST", path, body)
    before = world.vault.do("GET", path)["data"]
    world.write(POLICY.replace("viewers: [{group: m", "viewers: [{group: taken}, {group: m"))
    try:
        code, record = world.try_apply()
        assert (code, record["error"]) == (2, "VaultRefused")
        assert name in record["what"]
        assert world.vault.do("GET", path)["data"] == before
        assert world.vault.api("GET", "identity/group/name/secure-xcom-viewers-finance-oncall").ok
    finally:
        world.write(POLICY)
        world.vault.api("DELETE", path)


def test_vault_must_know_the_provider_first(world: RevealWorld) -> None:
    """Without an OIDC method at the mount, apply says who configures it, and makes nothing."""
    world.write(POLICY.replace("mount: oidc", "mount: nowhere"))
    try:
        code, record = world.try_apply()
    finally:
        world.write(POLICY)
    assert (code, record["error"]) == (2, "VaultRefused")
    assert "nowhere" in record["what"]
    assert "oidc" in str(world.vault.do("GET", "sys/auth")["data"].keys())


def test_viewers_that_go_lose_their_rights(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Apply takes a removed group's rights at once, also from tokens that are out, and shrinks what is limited."""
    with open_reveal_world(tmp_path_factory.mktemp("withdrawn"), own_flavours()[-1]) as world:
        ana, mia = world.login(ANA), world.login(MIA)
        finance, marketing = world.wrap("finance", XCOM), world.wrap("marketing", MARKETING)

        def may(compartment: str, body: dict[str, str], token: str) -> bool:
            return world.vault.api("POST", f"transit/decrypt/{compartment}", body, token=token).ok

        assert may("finance", finance, ana)
        assert may("marketing", marketing, mia)
        # What somebody else made with such a name stays.
        foreign = "secure-xcom-viewers-theirs"
        world.vault.do("PUT", f"sys/policies/acl/{foreign}", {"policy": 'path "x" { capabilities = ["read"] }'})
        world.vault.do("POST", f"identity/group/name/{foreign}", {"type": "external", "policies": [foreign]})
        # Narrower: another DAG alone.
        world.write(POLICY.replace("dags: [finance_daily]", "dags: [finance_weekly]"))
        assert "change" in {step["state"] for step in world.apply()["steps"]}
        assert not may("finance", finance, ana)
        assert may("finance", world.wrap("finance", OTHER_DAG), ana)
        # Without the group.
        world.write(POLICY.replace("    viewers: [{group: finance-oncall, dags: [finance_daily]}]\n", ""))
        dry = world.apply("--dry-run")
        removed = [step["step"] for step in dry["steps"] if step["state"] == "remove"]
        assert removed == [f"viewers {VIEWERS}: no longer in the policy"]
        assert may("finance", world.wrap("finance", OTHER_DAG), ana)
        world.apply()
        assert not may("finance", world.wrap("finance", OTHER_DAG), ana)
        assert world.identity_token(ana).status_code == 403
        assert world.vault.api("GET", f"sys/policies/acl/{VIEWERS}").status_code == 404
        assert may("marketing", marketing, mia)
        # Without any reveal: this file's keys still tell whose viewers those were.
        world.write(re.sub(r"    viewers: .*\n|reveal:\n(  .*\n)+", "", POLICY))
        world.apply()
        assert not may("marketing", marketing, mia)
        assert world.vault.api("GET", f"sys/policies/acl/{foreign}").ok
        assert world.vault.api("GET", f"identity/group/name/{foreign}").ok
        assert {step["state"] for step in world.apply()["steps"]} == {"there"}


def test_how_long_rights_outlive_their_end(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A person who leaves the group keeps the token that is out until it ends, and gets no other one.

    With short lives, which are the same rules as for ten minutes: let-people-see-values.md has the table.
    """
    with open_reveal_world(tmp_path_factory.mktemp("leaving"), own_flavours()[-1]) as world:
        short = {**world.vault.do("GET", "auth/oidc/role/secure-xcom-reveal")["data"], "token_ttl": 8}
        world.vault.do("POST", "auth/oidc/role/secure-xcom-reveal", {**short, "token_max_ttl": 8})
        body = world.wrap("finance", XCOM)

        def may(token: str) -> bool:
            return world.vault.api("POST", "transit/decrypt/finance", body, token=token).ok

        logged_in = time.monotonic()
        leaver = world.login(ANA)
        world.person(ANA)
        # The provider's word is asked for at a login alone.
        assert may(leaver)
        # Nobody can ask for longer.
        assert not world.vault.api("POST", "auth/token/renew-self", {}, token=leaver).ok
        while may(leaver):
            assert time.monotonic() - logged_in < 20, "the token outlived its time"
            time.sleep(0.2)
        again = world.try_login(ANA)
        assert not (again.ok and may(again.json()["auth"]["client_token"]))
        # Revoked: at once, and by the person's own page as well.
        world.person(ANA, "finance-oncall")
        token = world.login(ANA)
        assert may(token)
        world.vault.do("POST", "auth/token/revoke-self", {}, token=token)
        assert not may(token)
        token = world.login(ANA)
        world.vault.do("PUT", "sys/leases/revoke-prefix/auth/oidc")
        assert not may(token)
        # A new login ends what an older token may do, once the provider says so.
        older = world.login(ANA)
        world.person(ANA)
        world.try_login(ANA)
        assert not may(older)
        # Vault gives a group's rights to the person: a token of another role has them for as long as it lasts.
        everyday = {**short, "token_ttl": 3600, "token_max_ttl": 3600}
        world.vault.do("POST", "auth/oidc/role/everyday", everyday)
        lasting = world.login(ANA, "everyday")
        assert not may(lasting)
        world.person(ANA, "finance-oncall")
        world.vault.do("POST", "auth/token/revoke-self", {}, token=world.login(ANA))
        world.person(ANA)
        assert may(lasting)
        world.vault.do("PUT", "sys/leases/revoke-prefix/auth/oidc")
        assert not may(lasting)


def test_vault_tells_groups_apart_without_regard_to_case(world: RevealWorld) -> None:
    """A group that the provider takes for another one is the viewers' group to Vault."""
    world.person(MIA, "FINANCE-ONCALL")
    body = world.wrap("finance", XCOM)
    assert world.vault.api("POST", "transit/decrypt/finance", body, token=world.login(MIA)).ok
    world.person(MIA, "marketing-oncall")
    assert not world.vault.api("POST", "transit/decrypt/finance", body, token=world.login(MIA)).ok
