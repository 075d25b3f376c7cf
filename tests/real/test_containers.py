"""The servers of the tests out of images: the same fixtures, through testcontainers, keep the same contracts.

Where a Docker engine answers, the images are the official ones, or those that the environment names. Elsewhere an
engine is started for this file, and its images are made from the programs of this machine.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy

from secure_xcom.core.store_errors import StoreDenied
from secure_xcom.keys import KeyService
from secure_xcom.keys.vault import VaultTransit
from secure_xcom.stores import Store, store
from tests.support.database_contract import DatabaseContract
from tests.support.key_service_contract import KeyServiceContract
from tests.support.s3_contract import connect as s3_connection
from tests.support.servers import containers, images
from tests.support.servers.docker_engine import docker_engine
from tests.support.servers.postgres_server import PostgresServer, installed_programs, postgres_server
from tests.support.servers.s3_server import S3Server, allow, installed_weed, s3_server
from tests.support.servers.vault_binary import openbao_program, vault_binary
from tests.support.servers.vault_found import found_server
from tests.support.servers.vault_realm import Realm, clean_environment, new_realm
from tests.support.servers.vault_server import VaultServer
from tests.support.store_contract import StoreContract
from tests.support.xcom_table import XComTable

# In CI a machine may be one on which no engine can be started; the summary then says why.
pytestmark = [pytest.mark.on_request, pytest.mark.usefixtures("engine")]


@pytest.fixture(scope="module")
def engine() -> Iterator[Any]:
    """A client of the engine, in an environment where servers are looked for in containers alone."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("VAULT_ADDR", "S3_ENDPOINT", "POSTGRES_URL"):
            patch.delenv(f"SECURE_XCOM_TEST_{name}", raising=False)
        patch.setenv("SECURE_XCOM_TEST_CONTAINERS", "always")
        client = containers.engine()
        if client is not None:
            yield client
            return
        with docker_engine() as host:
            patch.setenv("DOCKER_HOST", host)
            client = containers.engine(containers.PULL_SECONDS)
            assert client
            for name, value in images.settings(_made(client)).items():
                patch.setenv(name, value)
            yield client
            client.close()


def _made(client: Any) -> dict[str, str]:
    """Images of the programs of this machine, by the names of the servers. One without a program is left out."""
    programs = {
        "vault": (vault_binary(), "bin/vault"),
        "openbao": (openbao_program(), "bin/bao"),
        "s3": (installed_weed(), "usr/bin/weed"),
    }
    made = {}
    for server, (program, inside) in programs.items():
        if program is not None:
            made[server] = f"secure-xcom-tests/{server}:local"
            images.of_program(client, made[server], program, inside)
    postgres = installed_programs()
    if postgres is not None:
        made["postgres"] = "secure-xcom-tests/postgres:local"
        images.of_postgres(client, made["postgres"], postgres)
    return made


@pytest.fixture(scope="module", params=["vault", "openbao"])
def vault(request: pytest.FixtureRequest, engine: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The server of both flavours, with no program of it in play."""
    with found_server(request.param, tmp_path_factory.mktemp(request.param)) as server:
        assert server.binary is None
        yield server


@pytest.fixture(scope="module")
def s3(engine: Any) -> Iterator[S3Server]:
    """The S3 server."""
    with s3_server() as server:
        yield server


@pytest.fixture(scope="module")
def bucket(s3: S3Server) -> str:
    """One bucket for this file."""
    return s3.make_bucket()


@pytest.fixture(scope="module")
def postgres(engine: Any) -> Iterator[PostgresServer]:
    """The database server."""
    with postgres_server() as server:
        yield server


class TestTransitInAContainer(KeyServiceContract):
    """A transit key keeps the contract of key services."""

    @pytest.fixture(autouse=True)
    def _realm(self, vault: VaultServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        clean_environment(monkeypatch)
        with new_realm(vault) as self.realm:
            yield

    @pytest.fixture
    def service(self, _realm: None, monkeypatch: pytest.MonkeyPatch) -> KeyService:
        return self.realm.worker(monkeypatch, self.realm.new_key())

    @pytest.fixture
    def other(self, _realm: None, monkeypatch: pytest.MonkeyPatch) -> KeyService:
        return self.realm.worker(monkeypatch, self.realm.new_key())

    realm: Realm

    def rotate(self, service: KeyService) -> None:
        """See the contract."""
        assert isinstance(service, VaultTransit)
        self.realm.rotate(service.name)


class TestBucketInAContainer(StoreContract):
    """A bucket keeps the contract of stores."""

    @pytest.fixture
    def store(self, s3: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch) -> Store:
        return store(f"s3://{s3_connection(monkeypatch, s3.endpoint, s3.root)}@{bucket}/pre/fix")


class TestDatabaseInAContainer(DatabaseContract):
    """PostgreSQL keeps the contract of metadata databases."""

    @pytest.fixture
    def table(self, postgres: PostgresServer) -> Iterator[XComTable]:
        made = XComTable(postgres.new_database())
        yield made
        made.close()


def test_an_identity_is_kept_to_its_prefix(s3: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server's IAM is enforced in a container as well: what an identity may not put is refused."""
    mine = s3.identity(allow(["GetObject", "PutObject"], f"{bucket}/mine/*"))
    conn_id = s3_connection(monkeypatch, s3.endpoint, mine)
    own, other = store(f"s3://{conn_id}@{bucket}/mine"), store(f"s3://{conn_id}@{bucket}/other")
    own.put("a/b", [b"payload"])
    assert b"".join(own.get("a/b")) == b"payload"
    with pytest.raises(StoreDenied):
        other.put("a/b", [b"payload"])


def test_a_database_is_stopped_and_started_with_what_it_had(postgres: PostgresServer) -> None:
    """After an immediate stop nothing answers, and after a start the same address has the committed row."""
    database = sqlalchemy.create_engine(postgres.new_database(), poolclass=sqlalchemy.pool.NullPool)
    with database.begin() as connection:
        connection.execute(sqlalchemy.text("CREATE TABLE kept AS SELECT 42 AS number"))
    postgres.stop()
    with pytest.raises(sqlalchemy.exc.OperationalError):
        database.connect()
    postgres.start()
    with database.connect() as connection:
        assert connection.execute(sqlalchemy.text("SELECT number FROM kept")).scalar() == 42


def test_ports_are_open_on_loopback_alone_and_nothing_is_left(engine: Any) -> None:
    """A container is published on 127.0.0.1 and on no other address, and is gone with its context."""
    with s3_server() as server:
        (running,) = [
            one for one in engine.containers.list() if server.endpoint.rpartition(":")[2] in str(one.ports)
        ]
        published = [one for ports in running.ports.values() for one in ports or ()]
        assert [one["HostIp"] for one in published] == ["127.0.0.1"]
        assert server.endpoint == f"http://127.0.0.1:{published[0]['HostPort']}"
    assert running.id not in [one.id for one in engine.containers.list(all=True)]


def test_containers_can_be_left_out_and_an_engine_elsewhere_does_not_count(
    engine: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """No image is given with `never`, where the socket is nobody's, and for an engine at another address."""
    assert containers.image_of("s3")
    with monkeypatch.context() as patch:
        patch.setenv("SECURE_XCOM_TEST_CONTAINERS", "never")
        assert containers.image_of("s3") is None
    for host in (f"unix://{tmp_path}/nobody.sock", "tcp://127.0.0.1:1"):
        monkeypatch.setenv("DOCKER_HOST", host)
        assert containers.image_of("s3") is None
