"""A Vault with TLS of a private CA: what proves it, and that it can be sealed, stopped and started again."""

from __future__ import annotations

import json
import os
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from secure_xcom.core.errors import KeyServiceError, KeyServiceUnavailable
from secure_xcom.core.service_errors import KeyServiceSealed, KeyServiceUntrusted
from secure_xcom.keys import DataKey, KeyService, Wrap, key_service
from secure_xcom.ops.checks.key_services import check_key_service
from secure_xcom.stores import store
from tests.support.key_service_contract import CONTEXT, opened
from tests.support.servers.certificates import Pair, PrivateCa
from tests.support.servers.vault_found import binary_of
from tests.support.servers.vault_own import own_server
from tests.support.servers.vault_realm import Realm, connect, new_realm, own_flavours
from tests.support.servers.vault_server import OwnServer

pytestmark = pytest.mark.usefixtures("fresh")


@dataclass
class House:
    """The server and all that belongs to it."""

    server: OwnServer
    mutual: OwnServer
    ca: PrivateCa
    client: Pair
    realm: Realm
    key: str


@pytest.fixture(scope="module", params=own_flavours())
def house(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """Always a server of our own: no other may be sealed and stopped."""
    folder = tmp_path_factory.mktemp("own")
    own = own_server(binary_of(request.param), folder, request.param)
    with own as (server, mutual, ca, client), new_realm(server) as realm:
        yield House(server, mutual, ca, client, realm, realm.new_key())


def works(service: KeyService) -> None:
    """Wrap and unwrap."""
    data_key = DataKey.generate()
    wrap = Wrap(service.wrap(data_key, CONTEXT), CONTEXT)
    assert opened(service.unwrap_many([wrap])[0]) == data_key.secret


class TestTrust:
    def test_ca_of_the_connection(self, house: House, monkeypatch: pytest.MonkeyPatch) -> None:
        """A private CA among the connection's client_kwargs proves the server."""
        conn_id = connect(monkeypatch, house.server, password=house.server.token)
        works(key_service(house.realm.uri(conn_id, house.key)))

    def test_ca_of_the_environment(self, house: House, monkeypatch: pytest.MonkeyPatch) -> None:
        """VAULT_CACERT proves it for the environment's Vault, and for a connection that names no CA."""
        monkeypatch.setenv("VAULT_CACERT", str(house.ca.cert))
        monkeypatch.setenv("VAULT_ADDR", house.server.address)
        monkeypatch.setenv("VAULT_TOKEN", house.server.token)
        works(key_service(house.realm.uri("default", house.key)))
        conn_id = connect(monkeypatch, house.server, password=house.server.token)
        name = f"AIRFLOW_CONN_{conn_id.upper()}"
        connection = json.loads(os.environ[name])
        del connection["extra"]["client_kwargs"]
        monkeypatch.setenv(name, json.dumps(connection))
        works(key_service(house.realm.uri(conn_id, house.key)))

    def test_the_connections_ca_is_not_replaced(
        self, house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """REQUESTS_CA_BUNDLE of the machine does not stand in for the CA that the connection names."""
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(house.ca.cert))
        other = PrivateCa(tmp_path, "other")
        conn_id = connect(
            monkeypatch, house.server, password=house.server.token, client_kwargs={"verify": str(other.cert)}
        )
        with pytest.raises(KeyServiceUntrusted):
            key_service(house.realm.uri(conn_id, house.key)).wrap(DataKey.generate(), CONTEXT)

    @pytest.mark.parametrize("auth_type", ["token", "approle"])
    def test_another_ca(
        self, house: House, auth_type: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A server that the named CA did not sign is refused at once, before a token or a secret id goes out."""
        other = PrivateCa(tmp_path, "other")
        conn_id = connect(
            monkeypatch,
            house.server,
            login="role",
            password="of-nobody",
            auth_type=auth_type,
            client_kwargs={"verify": str(other.cert)},
        )
        monkeypatch.setenv("VAULT_MAX_RETRIES", "9")
        began = time.monotonic()
        with pytest.raises(KeyServiceUntrusted, match="VAULT_CACERT") as caught:
            key_service(house.realm.uri(conn_id, house.key)).wrap(DataKey.generate(), CONTEXT)
        assert time.monotonic() - began < 5
        assert conn_id in str(caught.value)

    @pytest.mark.parametrize("verify", ["/nowhere/ca.pem", True])
    def test_no_ca(self, house: House, verify: object, monkeypatch: pytest.MonkeyPatch) -> None:
        """A CA file that is not there, or none for a private CA, is refused by name."""
        conn_id = connect(monkeypatch, house.server, password="x", client_kwargs={"verify": verify})
        with pytest.raises(KeyServiceUntrusted):
            key_service(house.realm.uri(conn_id, house.key)).wrap(DataKey.generate(), CONTEXT)

    @pytest.mark.filterwarnings("ignore::urllib3.exceptions.InsecureRequestWarning")
    def test_without_proof(self, house: House, monkeypatch: pytest.MonkeyPatch) -> None:
        """A connection that proves nothing works, as its operator said, and `check` calls it an error."""
        conn_id = connect(monkeypatch, house.server, password=house.server.token, client_kwargs={"verify": False})
        service = key_service(house.realm.uri(conn_id, house.key))
        works(service)
        assert any(
            found.status == "error" and "not verified" in found.text for found in check_key_service(service)
        )

    @pytest.mark.parametrize("place", ["connection", "environment"])
    def test_mutual_tls(self, house: House, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """A client certificate, of the connection or of the environment, opens a listener that asks for one."""
        if place == "connection":
            conn_id = connect(
                monkeypatch,
                house.mutual,
                password=house.server.token,
                client_kwargs={"cert": list(house.client.files)},
            )
        else:
            conn_id = "default"
            monkeypatch.setenv("VAULT_ADDR", house.mutual.address)
            monkeypatch.setenv("VAULT_TOKEN", house.server.token)
            monkeypatch.setenv("VAULT_CACERT", str(house.ca.cert))
            monkeypatch.setenv("VAULT_CLIENT_CERT", house.client.files[0])
            monkeypatch.setenv("VAULT_CLIENT_KEY", house.client.files[1])
        works(key_service(house.realm.uri(conn_id, house.key)))

    def test_mutual_tls_without_a_certificate(self, house: House, monkeypatch: pytest.MonkeyPatch) -> None:
        """Without one the handshake fails, and the error says what can be missing."""
        conn_id = connect(monkeypatch, house.mutual, password=house.server.token)
        with pytest.raises(KeyServiceUntrusted, match="VAULT_CLIENT_CERT"):
            key_service(house.realm.uri(conn_id, house.key)).wrap(DataKey.generate(), CONTEXT)

    def test_http_where_tls_is_spoken(self, house: House, monkeypatch: pytest.MonkeyPatch) -> None:
        """An address with http for a listener with TLS is named as such, and the request is not repeated."""
        address = house.server.address.replace("https", "http")
        conn_id = connect(monkeypatch, house.server, address=address, password="x")
        with pytest.raises(KeyServiceError) as error:
            key_service(house.realm.uri(conn_id, house.key)).wrap(DataKey.generate(), CONTEXT)
        assert not isinstance(error.value, KeyServiceUnavailable)
        assert "speaks TLS" in error.value.what
        assert "https://" in error.value.remedy

    def test_a_redirect_out_of_tls_is_not_followed(
        self, house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A server that sends a request on to an address without TLS gets no token there."""
        seen: list[str] = []
        plain = _serve(lambda handler: seen.append(handler.path), None)
        target = f"http://127.0.0.1:{plain.server_address[1]}"
        pair = house.ca.issue("redirecting", server=True)

        def redirect(handler: BaseHTTPRequestHandler) -> None:
            handler.send_response(307)
            handler.send_header("Location", target + handler.path)

        front = _serve(redirect, pair)
        try:
            address = f"https://127.0.0.1:{front.server_address[1]}"
            conn_id = connect(monkeypatch, house.server, address=address, password="of-nobody")
            with pytest.raises(KeyServiceError, match="address without TLS"):
                key_service(house.realm.uri(conn_id, house.key)).wrap(DataKey.generate(), CONTEXT)
            assert seen == []
        finally:
            for server in (plain, front):
                server.shutdown()
                server.server_close()


class TestSealedAndStopped:
    def test_sealed(self, house: House, monkeypatch: pytest.MonkeyPatch) -> None:
        """A sealed Vault fails by name, for keys and for the store; unsealed again, the same service goes on."""
        conn_id = connect(monkeypatch, house.server, password=house.server.token)
        service = key_service(house.realm.uri(conn_id, house.key))
        kept = store(house.realm.store_uri(conn_id))
        wrap = Wrap(service.wrap(DataKey.generate(), CONTEXT), CONTEXT)
        house.server.do("PUT", "sys/seal", {})
        try:
            with pytest.raises(KeyServiceSealed, match="unseal it") as caught:
                service.unwrap_many([wrap])
            assert house.key in str(caught.value)
            assert conn_id in str(caught.value)
            with pytest.raises(Exception, match="Vault is sealed"):
                kept.put("a/b", [b"x"])
            findings = check_key_service(service)
            assert findings[-1].status == "error"
            assert "sealed" in findings[-1].text
        finally:
            house.server.unseal()
        assert isinstance(service.unwrap_many([wrap])[0], DataKey)
        assert list(kept.list()) == []

    def test_stopped_and_started(self, house: House, monkeypatch: pytest.MonkeyPatch) -> None:
        """While Vault is away the error says so; after a restart old wraps open, with the same service."""
        conn_id = connect(monkeypatch, house.server, password=house.server.token)
        service = key_service(house.realm.uri(conn_id, house.key))
        data_key = DataKey.generate()
        wrap = Wrap(service.wrap(data_key, CONTEXT), CONTEXT)
        house.server.stop()
        try:
            with pytest.raises(KeyServiceUnavailable, match="the connection to Vault failed"):
                service.unwrap_many([wrap])
            assert check_key_service(service)[-1].status == "error"
        finally:
            house.server.start()
        with pytest.raises(KeyServiceSealed):
            service.unwrap_many([wrap])
        house.server.unseal()
        assert opened(service.unwrap_many([wrap])[0]) == data_key.secret

    def test_waited_for(self, house: House, monkeypatch: pytest.MonkeyPatch) -> None:
        """A request that begins while Vault restarts is answered once it is back, within its bounds."""
        monkeypatch.setenv("VAULT_MAX_RETRIES", "30")
        conn_id = connect(monkeypatch, house.server, password=house.server.token)
        service = key_service(house.realm.uri(conn_id, house.key))
        house.server.stop()

        def come_back() -> None:
            house.server.start()
            house.server.unseal()

        operator = threading.Timer(0.3, come_back)
        operator.start()
        try:
            works(service)
        finally:
            operator.join()


def _serve(answer: Callable[[BaseHTTPRequestHandler], None], pair: Pair | None) -> HTTPServer:
    """A server of one answer, with TLS where there is a pair."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            """Nothing is to be said of it."""

        def _handle(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            answer(self)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_GET = do_POST = do_PUT = _handle  # noqa: N815  # http.server's names

    server = HTTPServer(("127.0.0.1", 0), Handler)
    if pair:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*pair.files)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    return server
