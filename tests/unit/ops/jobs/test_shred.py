"""Shredding with the rights that the compiled policies give, and with less."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from secure_xcom.claims.claimant import claims_folder
from secure_xcom.core.access_policy.policy import AccessPolicy
from secure_xcom.core.store_errors import StoreDenied
from secure_xcom.ops.jobs.shred import ShredReport, shred_all
from secure_xcom.sinks.access_log import AccessLog
from secure_xcom.stores import Store, StoredObject
from tests.support.doubles import MemorySink, MemoryStore
from tests.support.xcom_table import XComTable

_COMPARTMENT = """
  - name: {name}
    dags: ["{name}_*"]
    key_uris: ["vault://default/transit/keys/{name}"]
    store_uri: s3://bucket/sealed
"""


class Denying(MemoryStore):
    """A store that lets an identity list the claims of some compartments only."""

    def __init__(self, *denied: str) -> None:
        super().__init__()
        self._denied = set(map(claims_folder, denied))

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """See `Store.list`."""
        if prefix in self._denied:
            raise StoreDenied("not to this identity", where=prefix)
        return super().list(prefix)


def shred(tmp_path: Path, opened: Store) -> ShredReport:
    """Shred in a deployment where finance has exclusive XComs and marketing has none."""
    file = tmp_path / "policy.yaml"
    exclusive = _COMPARTMENT.format(name="finance") + '    exclusive: ["*_once"]\n'
    file.write_text(f"version: 1\ncompartments:{exclusive}{_COMPARTMENT.format(name='marketing')}")
    database = XComTable(f"sqlite:///{tmp_path}/airflow.db").database()
    log = AccessLog([MemorySink()], version="test")
    policy = AccessPolicy.load(str(file))
    return shred_all(policy, database, log, delete=True, operator="me", stores=lambda _: opened)


def test_claims_are_not_needed_where_nothing_is_exclusive(tmp_path: Path) -> None:
    """The compiled policies give maintenance no right to list claims of such a compartment."""
    assert not shred(tmp_path, Denying("marketing")).found


def test_claims_are_needed_where_something_is_exclusive(tmp_path: Path) -> None:
    """Without that right nobody would know what is to be shredded."""
    with pytest.raises(StoreDenied, match="not to this identity"):
        shred(tmp_path, Denying("finance"))
