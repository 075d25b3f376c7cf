"""Two real nodes: what a worker sees that speaks to the standby."""

from __future__ import annotations

from pathlib import Path

import pytest

from secure_xcom.core.errors import KeyServiceUnavailable
from secure_xcom.keys import DataKey, Wrap, key_service
from tests.support.key_service_contract import CONTEXT, opened
from tests.support.servers.vault_found import binary_of
from tests.support.servers.vault_own import cluster
from tests.support.servers.vault_realm import connect, new_realm, own_flavours

pytestmark = pytest.mark.usefixtures("fresh")

FLAVOUR = own_flavours()[0]


def test_a_standby_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A standby passes requests on; while no node is active the error says so; later the same service goes on."""
    with cluster(binary_of(FLAVOUR), tmp_path, FLAVOUR) as (active, standby), new_realm(active) as realm:
        key = realm.new_key()
        conn_id = connect(monkeypatch, standby, password=active.token, client_kwargs={"timeout": 3})
        service = key_service(realm.uri(conn_id, key))
        data_key = DataKey.generate()
        wrap = Wrap(service.wrap(data_key, CONTEXT), CONTEXT)
        assert opened(service.unwrap_many([wrap])[0]) == data_key.secret
        active.kill()
        if FLAVOUR == "vault":
            with pytest.raises(KeyServiceUnavailable) as caught:
                service.unwrap_many([wrap])
            assert conn_id in str(caught.value)
        else:
            # A standby of OpenBao answers what changes nothing by itself.
            assert opened(service.unwrap_many([wrap])[0]) == data_key.secret
        active.start()
        active.do("PUT", "sys/unseal", {"key": active.unseal_key}, token="")
        monkeypatch.setenv("VAULT_MAX_RETRIES", "30")
        patient = key_service(realm.uri(connect(monkeypatch, standby, password=active.token), key))
        assert opened(patient.unwrap_many([wrap])[0]) == data_key.secret
        assert opened(service.unwrap_many([wrap])[0]) == data_key.secret
