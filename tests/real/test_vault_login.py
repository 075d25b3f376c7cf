"""Logins through Airflow's Vault hook and from the environment, on real servers, and the life of their tokens."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from secure_xcom.connections.vault.client import forget_clients, vault_client
from secure_xcom.core.errors import KeyServiceError, SettingInvalid, SettingMissing
from secure_xcom.core.service_errors import ConnectionUnknown, KeyServiceDenied, KeyServiceLoginRefused
from secure_xcom.keys import DataKey, KeyService, Wrap, key_service
from secure_xcom.ops.checks.key_services import check_key_service
from secure_xcom.ops.service_policies.vault_grants import transit_grant
from tests.support.key_service_contract import CONTEXT, opened
from tests.support.servers.faulty_proxy import FaultyProxy, faulty_proxy
from tests.support.servers.vault_auth import Auth
from tests.support.servers.vault_found import binary_of
from tests.support.servers.vault_realm import Realm, connect
from tests.support.servers.vault_server import VaultServer, end, free_port

pytestmark = pytest.mark.usefixtures("fresh")


@pytest.fixture(scope="module")
def auth(realm: Realm) -> Auth:
    """Auth methods in this file's corner of the Vault."""
    return Auth(realm)


@pytest.fixture(scope="module")
def key(realm: Realm) -> str:
    """One derived key for the whole file."""
    return realm.new_key()


@pytest.fixture(scope="module")
def policy(realm: Realm, key: str) -> str:
    """What a worker may: wrap and unwrap with the key."""
    return realm.policy(transit_grant("writer", realm.transit, key) + transit_grant("reader", realm.transit, key))


def works(service: KeyService) -> None:
    """Wrap and unwrap."""
    data_key = DataKey.generate()
    wrap = Wrap(service.wrap(data_key, CONTEXT), CONTEXT)
    assert opened(service.unwrap_many([wrap])[0]) == data_key.secret


class TestMethods:
    """Each auth method of the hook that this Vault has, or has an equal of, by an Airflow connection."""

    def test_token(self, realm: Realm, key: str, policy: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """A token in the connection's password."""
        conn_id = connect(monkeypatch, realm.server, password=realm.server.new_token(policy))
        works(key_service(realm.uri(conn_id, key)))

    def test_approle(
        self, realm: Realm, key: str, policy: str, auth: Auth, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """An AppRole at a mount with a slash: role id as login, secret id as password."""
        role = auth.approle(policy)
        conn_id = connect(
            monkeypatch,
            realm.server,
            login=role.role_id,
            password=role.secret_id,
            auth_type="approle",
            auth_mount_point=role.mount,
        )
        works(key_service(realm.uri(conn_id, key)))

    @pytest.mark.parametrize("options", [{}, {"token_no_default_policy": True}])
    def test_approle_with_one_use_or_no_default_policy(
        self,
        realm: Realm,
        key: str,
        policy: str,
        auth: Auth,
        options: dict[str, Any],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """One login is made: a secret id of one use is enough, also where the token may not look itself up."""
        role = auth.approle(policy, **{"secret_id_num_uses": 1, **options})
        conn_id = connect(
            monkeypatch,
            realm.server,
            login=role.role_id,
            password=role.secret_id,
            auth_type="approle",
            auth_mount_point=role.mount,
        )
        works(key_service(realm.uri(conn_id, key)))

    def test_userpass(
        self, realm: Realm, key: str, policy: str, auth: Auth, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A user and a password."""
        mount, user, password = auth.userpass(policy)
        conn_id = connect(
            monkeypatch, realm.server, login=user, password=password, auth_type="userpass", auth_mount_point=mount
        )
        works(key_service(realm.uri(conn_id, key)))

    def test_ldap(self, realm: Realm, key: str, policy: str, auth: Auth, monkeypatch: pytest.MonkeyPatch) -> None:
        """The hook's LDAP login, against a userpass mount: the request is the same, the directory is not there."""
        mount, user, password = auth.userpass(policy)
        conn_id = connect(
            monkeypatch, realm.server, login=user, password=password, auth_type="ldap", auth_mount_point=mount
        )
        works(key_service(realm.uri(conn_id, key)))

    def test_jwt(self, realm: Realm, key: str, policy: str, auth: Auth, monkeypatch: pytest.MonkeyPatch) -> None:
        """A signed JWT in the connection."""
        conn_id = connect(
            monkeypatch,
            realm.server,
            auth_type="jwt",
            auth_mount_point=auth.jwt_role(policy),
            jwt_role="worker",
            jwt_token=auth.jwt(),
        )
        works(key_service(realm.uri(conn_id, key)))

    @pytest.mark.parametrize("method", ["jwt", "kubernetes"])
    def test_jwt_in_a_file(
        self,
        realm: Realm,
        key: str,
        policy: str,
        auth: Auth,
        method: str,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """A JWT in a file, as a pod's service account token is; Kubernetes logs in by the same request."""
        file = tmp_path / "token"
        file.write_text(auth.jwt() + "\n")
        extra: dict[str, Any] = {
            f"{method}_role": "worker",
            "jwt_token_path" if method == "jwt" else "kubernetes_jwt_path": str(file),
        }
        conn_id = connect(
            monkeypatch, realm.server, auth_type=method, auth_mount_point=auth.jwt_role(policy), **extra
        )
        works(key_service(realm.uri(conn_id, key)))


class TestEnvironment:
    @pytest.fixture
    def token(self, realm: Realm, policy: str) -> str:
        return realm.server.new_token(policy)

    @pytest.fixture(autouse=True)
    def _address(self, fresh: None, realm: Realm, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("VAULT_ADDR", realm.server.address)
        if realm.server.namespace:
            monkeypatch.setenv("VAULT_NAMESPACE", realm.server.namespace)
        if realm.server.ca:
            monkeypatch.setenv("VAULT_CACERT", realm.server.ca)

    def test_vault_token(self, realm: Realm, key: str, token: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """VAULT_ADDR and VAULT_TOKEN."""
        monkeypatch.setenv("VAULT_TOKEN", token)
        works(key_service(realm.uri("default", key)))

    def test_openbao_names(self, realm: Realm, key: str, token: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """BAO_ADDR and BAO_TOKEN, where the names of Vault are not set."""
        monkeypatch.delenv("VAULT_ADDR")
        monkeypatch.setenv("BAO_ADDR", realm.server.address + "/")
        monkeypatch.setenv("BAO_TOKEN", token)
        works(key_service(realm.uri("default", key)))

    @pytest.mark.parametrize("named", [True, False])
    def test_token_file(
        self, realm: Realm, key: str, token: str, named: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The agent's token file, by its name or at the usual place."""
        file = tmp_path / ("sink" if named else ".vault-token")
        file.write_text(token + "\n")
        if named:
            monkeypatch.setenv("VAULT_TOKEN_FILE", str(file))
        works(key_service(realm.uri("default", key)))

    @pytest.mark.parametrize("named", [True, False])
    def test_a_new_token_in_the_file_is_taken(
        self,
        realm: Realm,
        key: str,
        token: str,
        policy: str,
        named: bool,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """When the agent has written a new token and the old one has ended, the new one is read."""
        file = tmp_path / ("sink" if named else ".vault-token")
        file.write_text(token)
        if named:
            monkeypatch.setenv("VAULT_TOKEN_FILE", str(file))
        service = key_service(realm.uri("default", key))
        works(service)
        realm.server.do("POST", "auth/token/revoke", {"token": token})
        file.write_text(realm.server.new_token(policy))
        works(service)

    def test_vault_agent(
        self, realm: Realm, key: str, policy: str, auth: Auth, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A real agent that logs in by itself: its token is in a file, and it adds one to what has none."""
        role = auth.approle(policy)
        (tmp_path / "role").write_text(role.role_id)
        (tmp_path / "secret").write_text(role.secret_id)
        port = free_port()
        namespace = f'namespace = "{realm.server.namespace}"' if realm.server.namespace else ""
        (tmp_path / "agent.hcl").write_text(
            f'vault {{ address = "{realm.server.address}" }}\n'
            "api_proxy { use_auto_auth_token = true }\n"
            f'listener "tcp" {{ address = "127.0.0.1:{port}"\n tls_disable = true }}\n'
            f'auto_auth {{ method "approle" {{ mount_path = "auth/{role.mount}"\n {namespace}\n'
            f'config = {{ role_id_file_path = "{tmp_path}/role", secret_id_file_path = "{tmp_path}/secret" }} }}\n'
            f'sink "file" {{ config = {{ path = "{tmp_path}/sink" }} }} }}\n'
        )
        binary = realm.server.binary or binary_of("vault")
        with (tmp_path / "agent.log").open("wb") as log:
            agent = subprocess.Popen([binary, "agent", f"-config={tmp_path}/agent.hcl"], stdout=log, stderr=log)
        try:
            deadline = time.monotonic() + 30
            while not (tmp_path / "sink").exists():
                assert time.monotonic() < deadline, (tmp_path / "agent.log").read_text()
                time.sleep(0.05)
            monkeypatch.setenv("VAULT_TOKEN_FILE", str(tmp_path / "sink"))
            works(key_service(realm.uri("default", key)))
            forget_clients()
            monkeypatch.delenv("VAULT_TOKEN_FILE")
            monkeypatch.delenv("VAULT_ADDR")
            monkeypatch.setenv("VAULT_AGENT_ADDR", f"http://127.0.0.1:{port}")
            works(key_service(realm.uri("default", key)))
        finally:
            end(agent)

    def test_no_token_at_all(self, realm: Realm, key: str) -> None:
        """Without a token the error names what can be set."""
        with pytest.raises(KeyServiceLoginRefused, match="VAULT_TOKEN_FILE"):
            key_service(realm.uri("default", key)).wrap(DataKey.generate(), CONTEXT)

    def test_an_empty_token_file(self, realm: Realm, key: str, tmp_path: Path) -> None:
        """A file that the agent has not filled yet is told apart."""
        (tmp_path / ".vault-token").write_text("\n")
        with pytest.raises(KeyServiceLoginRefused, match="empty"):
            key_service(realm.uri("default", key)).wrap(DataKey.generate(), CONTEXT)

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("VAULT_ADDR", ""),
            ("VAULT_ADDR", "unix:///run/vault.sock"),
            ("VAULT_ADDR", "http://user:pass@127.0.0.1"),
            ("VAULT_ADDR", "127.0.0.1:8200"),
            ("VAULT_CLIENT_TIMEOUT", "soon"),
            ("VAULT_CLIENT_TIMEOUT", "0s"),
            ("VAULT_MAX_RETRIES", "-1"),
        ],
    )
    def test_settings_that_cannot_be_used(
        self, realm: Realm, key: str, name: str, value: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A variable that is missing or wrong is named when the key service is made."""
        monkeypatch.setenv(name, value)
        with pytest.raises((SettingMissing, SettingInvalid), match="VAULT_"):
            key_service(realm.uri("default", key))

    def test_hvac_is_not_loaded(self, realm: Realm, key: str, token: str) -> None:
        """With the environment's token neither hvac nor Airflow is loaded, by the first wrap neither."""
        code = (
            "import sys\n"
            "from secure_xcom.keys import DataKey, key_service\n"
            f"key_service({realm.uri('default', key)!r}).wrap(DataKey.generate(), {CONTEXT!r})\n"
            "print(sorted({'hvac', 'airflow'} & set(sys.modules)))\n"
        )
        environment = {**os.environ, "VAULT_TOKEN": token, "PYTHONPATH": os.getcwd()}
        done = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
        )
        assert done.stdout.strip() == "[]", done.stderr


class TestConnections:
    def test_an_unknown_connection(self, realm: Realm, key: str) -> None:
        """A connection that Airflow does not have is named."""
        with pytest.raises(ConnectionUnknown, match="no_such_connection"):
            key_service(realm.uri("no_such_connection", key))

    @pytest.mark.parametrize(
        ("extra", "text"),
        [
            ({"auth_type": "approle"}, "The 'approle' authentication type requires 'role_id'"),
            ({"auth_type": "jwt"}, "The 'jwt' authentication type requires 'jwt_role'"),
            ({"auth_type": "kubernetes"}, "requires 'kubernetes_role'"),
            ({"auth_type": "token"}, "requires 'token' or 'token_path'"),
            ({"auth_type": "carrier-pigeon"}, "the hook rejects the connection"),
            ({"client_kwargs": "verify=False"}, "`client_kwargs`"),
            ({"auth_type": "approle", "role_id": "x"}, "requires 'role_id'"),
        ],
    )
    def test_a_connection_that_is_not_complete(
        self, realm: Realm, key: str, extra: dict[str, Any], text: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What the connection lacks is said, when the key service is made."""
        conn_id = connect(monkeypatch, realm.server)
        name = f"AIRFLOW_CONN_{conn_id.upper()}"
        connection = json.loads(os.environ[name])
        connection["extra"].update(extra)
        monkeypatch.setenv(name, json.dumps(connection))
        with pytest.raises(SettingInvalid) as caught:
            key_service(realm.uri(conn_id, key))
        assert text in str(caught.value)
        assert conn_id in str(caught.value)

    def test_a_timeout_that_is_none(self, realm: Realm, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """A time-out among the client_kwargs that is no number of seconds is named."""
        for timeout in ("soon", 0, -1, True):
            conn_id = connect(monkeypatch, realm.server, password="x", client_kwargs={"timeout": timeout})
            with pytest.raises(SettingInvalid, match="`timeout`"):
                key_service(realm.uri(conn_id, key))

    def test_looked_up_once_and_used_by_other_threads(
        self, realm: Realm, key: str, policy: str, auth: Auth, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Once the key service is made, Airflow is not asked again: not by threads, not for a new login."""
        role = auth.approle(policy)
        conn_id = connect(
            monkeypatch,
            realm.server,
            login=role.role_id,
            password=role.secret_id,
            auth_type="approle",
            auth_mount_point=role.mount,
        )
        service = key_service(realm.uri(conn_id, key))
        monkeypatch.delenv(f"AIRFLOW_CONN_{conn_id.upper()}")
        failures: list[BaseException] = []

        def use() -> None:
            try:
                works(service)
            except BaseException as error:  # noqa: BLE001  # shown by the test's own thread
                failures.append(error)

        threads = [threading.Thread(target=use) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
        realm.server.do("POST", "auth/token/revoke", {"token": vault_client(conn_id).login.token()})
        works(service)

    def test_threads_share_one_login(
        self, realm: Realm, key: str, policy: str, auth: Auth, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Eight threads that begin at once log in once."""
        with faulty_proxy(realm.server.address) as proxy:
            service = key_service(realm.uri(_approle(realm, auth, policy, monkeypatch, proxy), key))
            threads = [threading.Thread(target=works, args=(service,)) for _ in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert sum(line.endswith("/login") for line in proxy.seen) == 1

    def test_a_login_is_one_request(
        self, realm: Realm, key: str, policy: str, auth: Auth, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """How long a token lives is taken from the answer that gave it, and not asked for again."""
        with faulty_proxy(realm.server.address) as proxy:
            service = key_service(realm.uri(_approle(realm, auth, policy, monkeypatch, proxy), key))
            service.wrap(DataKey.generate(), CONTEXT)
            assert [line.split("/")[-1] for line in proxy.seen] == ["login", key]

    def test_the_token_is_hidden_by_airflows_masker(
        self, realm: Realm, key: str, policy: str, auth: Auth, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A token that a login gave is known to Airflow's masker before it is used."""
        from airflow.sdk.log import redact  # type: ignore[attr-defined]  # as Airflow's own logging does

        conn_id = _approle(realm, auth, policy, monkeypatch)
        works(key_service(realm.uri(conn_id, key)))
        token = vault_client(conn_id).login.token()
        assert token not in str(redact(f"a DAG prints {token}"))

    def test_a_forked_child_logs_in_by_itself(self, realm: Realm, key: str, policy: str) -> None:
        """A child of a fork uses no connection of its parent's, and both go on."""
        code = (
            "import os\n"
            "from secure_xcom.keys import DataKey, key_service\n"
            "from secure_xcom.connections.vault.client import vault_client\n"
            f"uri, context = {realm.uri('default', key)!r}, {CONTEXT!r}\n"
            "parent = key_service(uri); parent.wrap(DataKey.generate(), context)\n"
            "child = os.fork()\n"
            "if child == 0:\n"
            "    service = key_service(uri)\n"
            "    service.wrap(DataKey.generate(), context)\n"
            "    os._exit(0 if service.client is not parent.client else 3)\n"
            "status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])\n"
            "parent.wrap(DataKey.generate(), context)\n"
            "print(status)\n"
        )
        environment = {
            **os.environ,
            "VAULT_ADDR": realm.server.address,
            "VAULT_TOKEN": realm.server.new_token(policy),
            "VAULT_NAMESPACE": realm.server.namespace,
            "VAULT_CACERT": realm.server.ca or "",
            "PYTHONPATH": os.getcwd(),
        }
        done = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
        )
        assert done.stdout.strip() == "0", done.stderr


def _approle(
    realm: Realm,
    auth: Auth,
    policy: str,
    monkeypatch: pytest.MonkeyPatch,
    proxy: FaultyProxy | None = None,
    **options: Any,
) -> str:
    """The connection of a new AppRole."""
    role = auth.approle(policy, **options)
    return connect(
        monkeypatch,
        realm.server,
        address=proxy.endpoint if proxy else None,
        login=role.role_id,
        password=role.secret_id,
        auth_type="approle",
        auth_mount_point=role.mount,
    )


class TestRefusedLogins:
    """A login that fails says why, names the connection, and shows nothing of what it logged in with."""

    def refused(self, service: KeyService, *secrets: str) -> str:
        with pytest.raises(KeyServiceLoginRefused) as caught:
            service.wrap(DataKey.generate(), CONTEXT)
        text = str(caught.value)
        assert [one for one in secrets if one in text] == []
        assert caught.value.__cause__ is None
        return text

    def test_wrong_secret_id(
        self, realm: Realm, key: str, policy: str, auth: Auth, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A secret id that Vault does not know, or no longer."""
        conn_id = _approle(realm, auth, policy, monkeypatch)
        name = f"AIRFLOW_CONN_{conn_id.upper()}"
        monkeypatch.setenv(name, os.environ[name].replace('"password": "', '"password": "wrong-'))
        text = self.refused(key_service(realm.uri(conn_id, key)), "wrong-")
        assert conn_id in text
        assert "secret id" in text

    def test_wrong_password(
        self, realm: Realm, key: str, policy: str, auth: Auth, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A wrong password of a user."""
        mount, user, _ = auth.userpass(policy)
        wrong = "not-the-password"
        conn_id = connect(
            monkeypatch, realm.server, login=user, password=wrong, auth_type="userpass", auth_mount_point=mount
        )
        assert "userpass" in self.refused(key_service(realm.uri(conn_id, key)), wrong)

    @pytest.mark.parametrize("seconds", [-3600, 3600])
    def test_jwt_out_of_its_time(
        self,
        realm: Realm,
        key: str,
        policy: str,
        auth: Auth,
        seconds: float,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """A JWT of an issuer whose clock is an hour off is told to be a matter of clocks."""
        jwt = auth.jwt(seconds)
        conn_id = connect(
            monkeypatch,
            realm.server,
            auth_type="jwt",
            auth_mount_point=auth.jwt_role(policy),
            jwt_role="worker",
            jwt_token=jwt,
        )
        text = self.refused(key_service(realm.uri(conn_id, key)), jwt)
        assert "by Vault's clock" in text
        assert "clocks" in text

    def test_jwt_of_another_audience(
        self, realm: Realm, key: str, policy: str, auth: Auth, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A JWT that Vault refuses for another reason is not called a matter of clocks."""
        jwt = auth.jwt(aud="somebody-else")
        conn_id = connect(
            monkeypatch,
            realm.server,
            auth_type="jwt",
            auth_mount_point=auth.jwt_role(policy),
            jwt_role="worker",
            jwt_token=jwt,
        )
        text = self.refused(key_service(realm.uri(conn_id, key)), jwt, "somebody-else")
        assert "clock" not in text

    def test_missing_jwt_file(self, realm: Realm, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """A file of the login that is not there is named."""
        conn_id = connect(
            monkeypatch,
            realm.server,
            auth_type="kubernetes",
            kubernetes_role="worker",
            kubernetes_jwt_path="/nowhere/token",
        )
        assert "/nowhere/token" in self.refused(key_service(realm.uri(conn_id, key)))

    def test_missing_auth_method(self, realm: Realm, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """An auth method that is not enabled at the mount is named."""
        conn_id = connect(
            monkeypatch,
            realm.server,
            login="role",
            password="secret",
            auth_type="approle",
            auth_mount_point="no/such",
        )
        assert "no such auth method" in self.refused(key_service(realm.uri(conn_id, key)))

    def test_unknown_token(self, realm: Realm, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """A token that Vault does not know is told apart from one that is denied something."""
        conn_id = connect(monkeypatch, realm.server, password="hvs.unknown-token")
        text = self.refused(key_service(realm.uri(conn_id, key)), "hvs.unknown-token")
        assert "expired, was revoked" in text


class TestLife:
    @pytest.fixture
    def proxy(self, realm: Realm) -> Iterator[FaultyProxy]:
        with faulty_proxy(realm.server.address) as found:
            yield found

    def test_prolonged_beyond_its_end(
        self,
        realm: Realm,
        key: str,
        policy: str,
        auth: Auth,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """A task that outlasts its token is never denied: the token is renewed, or a new login is made."""
        with faulty_proxy(realm.server.address) as renewable, faulty_proxy(realm.server.address) as fixed:
            proxies = {"service": renewable, "batch": fixed}
            services = [
                key_service(
                    realm.uri(
                        _approle(
                            realm, auth, policy, monkeypatch, proxy,
                            token_ttl="2s", token_max_ttl="3s", token_type=kind,
                        ),
                        key,
                    )
                )
                for kind, proxy in proxies.items()
            ]  # fmt: skip

            def logins(proxy: FaultyProxy) -> int:
                return sum(line.endswith("/login") for line in proxy.seen)

            begun = time.monotonic()
            # A stalled machine may leave the loop with one round, so the second login is waited for.
            while (lasted := time.monotonic() - begun) < 3.6 or min(map(logins, proxies.values())) < 2:
                for service in services:
                    works(service)
                time.sleep(0.05)
            for kind, proxy in proxies.items():
                assert 2 <= logins(proxy) <= 2 * lasted
                assert any("renew-self" in line for line in proxy.seen) == (kind == "service")
                # Requests are not denied and repeated: each wrap and each unwrap is there once, but for one that a
                # stalled machine held up until the token had ended.
                wraps, unwraps = (
                    sum(f"/{word}/" in line for line in proxy.seen) for word in ("encrypt", "decrypt")
                )
                assert abs(wraps - unwraps) <= 1

    def test_revoked_in_mid_run(
        self,
        realm: Realm,
        key: str,
        policy: str,
        auth: Auth,
        proxy: FaultyProxy,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """When the token is revoked, one new login is made and the request is repeated once."""
        conn_id = _approle(realm, auth, policy, monkeypatch, proxy)
        service = key_service(realm.uri(conn_id, key))
        works(service)
        realm.server.do("POST", "auth/token/revoke", {"token": vault_client(conn_id).login.token()})
        proxy.seen.clear()
        service.wrap(DataKey.generate(), CONTEXT)
        assert sum(line.endswith("/login") for line in proxy.seen) == 1
        assert sum("/encrypt/" in line for line in proxy.seen) == 2

    def test_revoked_with_its_secret_id(
        self, realm: Realm, key: str, policy: str, auth: Auth, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """When an operator has taken the secret id away as well, the task fails by name."""
        role = auth.approle(policy)
        conn_id = connect(
            monkeypatch,
            realm.server,
            login=role.role_id,
            password=role.secret_id,
            auth_type="approle",
            auth_mount_point=role.mount,
        )
        service = key_service(realm.uri(conn_id, key))
        works(service)
        realm.server.do("POST", f"{role.path}/secret-id/destroy", {"secret_id": role.secret_id})
        realm.server.do("POST", "auth/token/revoke", {"token": vault_client(conn_id).login.token()})
        with pytest.raises(KeyServiceLoginRefused, match="secret id may have no uses left"):
            service.wrap(DataKey.generate(), CONTEXT)

    def test_a_static_token_that_was_revoked(
        self,
        realm: Realm,
        key: str,
        policy: str,
        proxy: FaultyProxy,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """A connection with a token only cannot log in anew; the error says so, after one request."""
        token = realm.server.new_token(policy)
        conn_id = connect(monkeypatch, realm.server, address=proxy.endpoint, password=token)
        service = key_service(realm.uri(conn_id, key))
        works(service)
        realm.server.do("POST", "auth/token/revoke", {"token": token})
        proxy.seen.clear()
        with pytest.raises(KeyServiceLoginRefused, match="expired, was revoked"):
            service.wrap(DataKey.generate(), CONTEXT)
        assert sum("/encrypt/" in line for line in proxy.seen) == 1

    def test_a_static_token_that_ends(
        self, realm: Realm, key: str, policy: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A token that cannot be renewed works to its end, and then the error says that it ended."""
        token = realm.server.new_token(policy, ttl="5s", renewable=False)
        service = key_service(realm.uri(connect(monkeypatch, realm.server, password=token), key))
        works(service)
        time.sleep(3.5)
        works(service)
        time.sleep(1.8)
        with pytest.raises(KeyServiceLoginRefused, match="expired"):
            service.wrap(DataKey.generate(), CONTEXT)

    def test_used_up(
        self, realm: Realm, key: str, policy: str, auth: Auth, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A token with a number of uses is followed by another login when they are used up."""
        service = key_service(realm.uri(_approle(realm, auth, policy, monkeypatch, token_num_uses=4), key))
        for _ in range(6):
            works(service)

    def test_permission_denied_is_asked_once(
        self,
        realm: Realm,
        policy: str,
        auth: Auth,
        proxy: FaultyProxy,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """A request that the policy denies is neither repeated nor followed by another login."""
        other = realm.new_key()
        service = key_service(realm.uri(_approle(realm, auth, policy, monkeypatch, proxy), other))
        with pytest.raises(KeyServiceDenied):
            service.wrap(DataKey.generate(), CONTEXT)
        assert sum("/encrypt/" in line for line in proxy.seen) == 1
        assert sum(line.endswith("/login") for line in proxy.seen) == 1

    def test_denied_without_the_default_policy(
        self, realm: Realm, policy: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A token that may not look itself up is not taken for one that has ended when its policy denies."""
        token = realm.server.new_token(policy, no_default_policy=True)
        service = key_service(realm.uri(connect(monkeypatch, realm.server, password=token), realm.new_key()))
        with pytest.raises(KeyServiceDenied) as caught:
            service.wrap(DataKey.generate(), CONTEXT)
        assert type(caught.value) is KeyServiceDenied
        assert "`default`" in caught.value.remedy

    def test_nothing_is_logged_that_opens_anything(
        self,
        realm: Realm,
        key: str,
        policy: str,
        auth: Auth,
        caplog: pytest.LogCaptureFixture,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """At the most talkative level no log line holds a token, a secret id or a wrap."""
        caplog.set_level(logging.DEBUG)
        role = auth.approle(policy)
        conn_id = connect(
            monkeypatch,
            realm.server,
            login=role.role_id,
            password=role.secret_id,
            auth_type="approle",
            auth_mount_point=role.mount,
        )
        service = key_service(realm.uri(conn_id, key))
        wrapped = service.wrap(DataKey.generate(), CONTEXT)
        service.unwrap_many([Wrap(wrapped, CONTEXT)])
        token = vault_client(conn_id).login.token()
        realm.server.do("POST", "auth/token/revoke", {"token": token})
        works(service)
        assert caplog.text
        secrets = [token, vault_client(conn_id).login.token(), role.secret_id, wrapped, wrapped.split(":")[2]]
        assert [one for one in secrets if one in caplog.text] == []


def test_a_namespace_is_sent_with_every_request(realm: Realm, monkeypatch: pytest.MonkeyPatch) -> None:
    """The namespace of a connection goes with its login and all that follows, but not with the server's health.

    OpenBao has namespaces and keeps them apart; Vault without Enterprise takes the header and ignores it.
    """
    server = realm.server
    name = f"sxt-{os.urandom(3).hex()}"
    # OpenBao and Vault Enterprise have this path, Vault does not.
    has_namespaces = server.api("POST", f"sys/namespaces/{name}", {}).ok
    within = f"{server.namespace}/{name}".lstrip("/") if has_namespaces else name
    inside = VaultServer(server.address, server.token, server.flavour, server.ca, namespace=within)
    admin = inside if has_namespaces else server
    if has_namespaces:
        realm.made.append(f"sys/namespaces/{name}")
    else:
        realm.made += [f"sys/mounts/{name}-transit", f"sys/auth/{name}-userpass"]
    admin.do("POST", f"sys/mounts/{name}-transit", {"type": "transit"})
    admin.do("POST", f"{name}-transit/keys/key", {"derived": True})
    admin.do("POST", f"sys/auth/{name}-userpass", {"type": "userpass"})
    policy = admin.new_policy(f'path "{name}-transit/*" {{ capabilities = ["update"] }}')
    admin.do("POST", f"auth/{name}-userpass/users/u", {"password": "of-a-namespace", "token_policies": [policy]})
    with faulty_proxy(server.address) as proxy:
        conn_id = connect(
            monkeypatch,
            admin,
            address=proxy.endpoint,
            login="u",
            password="of-a-namespace",
            auth_type="userpass",
            auth_mount_point=f"{name}-userpass",
            client_kwargs={"namespace": within},
        )
        service = key_service(f"vault://{conn_id}/{name}-transit/keys/key")
        works(service)
        check_key_service(service)
        sent = [
            (line, headers.get("X-Vault-Namespace"))
            for line, headers in zip(proxy.seen, proxy.headers, strict=True)
        ]
        assert {namespace for line, namespace in sent if "sys/health" not in line} == {within}
        assert [namespace for line, namespace in sent if "sys/health" in line] == [None]
    if has_namespaces:
        forget_clients()
        wrong = connect(monkeypatch, admin, password=server.token, client_kwargs={"namespace": "no-such"})
        with pytest.raises(KeyServiceError, match="no-such"):
            key_service(f"vault://{wrong}/{name}-transit/keys/key").wrap(DataKey.generate(), CONTEXT)
