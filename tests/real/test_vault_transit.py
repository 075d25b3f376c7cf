"""Vault transit and OpenBao transit as the key service, on real servers."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any

import hvac
import pytest

from secure_xcom.core.coordinate import Coordinate, encryption_context
from secure_xcom.core.errors import KeyServiceError, KeyVersionUnknown, UnwrapRefused, UriInvalid
from secure_xcom.core.service_errors import KeyNotFound, KeyServiceDenied, KeyUnbound
from secure_xcom.keys import DataKey, KeyService, Wrap, key_service
from secure_xcom.keys.vault import VaultTransit
from secure_xcom.keys.vault_context import transit_context, transit_scope
from secure_xcom.ops.service_policies.vault_grants import transit_grant
from tests.support.key_service_contract import CONTEXT, OTHER_CONTEXT, KeyServiceContract, opened
from tests.support.servers.faulty_proxy import Fault, faulty_proxy
from tests.support.servers.vault_realm import Realm, connect
from tests.support.servers.vault_server import VaultServer

pytestmark = pytest.mark.usefixtures("fresh")


class TestContract(KeyServiceContract):
    """A transit key keeps the contract of key services."""

    @pytest.fixture
    def service(self, realm: Realm, monkeypatch: pytest.MonkeyPatch) -> KeyService:
        return realm.worker(monkeypatch, realm.new_key())

    @pytest.fixture
    def other(self, realm: Realm, monkeypatch: pytest.MonkeyPatch) -> KeyService:
        return realm.worker(monkeypatch, realm.new_key())

    @pytest.fixture(autouse=True)
    def _realm(self, realm: Realm) -> None:
        self.realm = realm

    def rotate(self, service: KeyService) -> None:
        """See the contract."""
        assert isinstance(service, VaultTransit)
        self.realm.rotate(service.name)


class TestContractOfScopedGrants(TestContract):
    """With single requests the contract is the same."""

    MANY = 50

    @pytest.fixture
    def service(self, realm: Realm, monkeypatch: pytest.MonkeyPatch) -> KeyService:
        return realm.worker(monkeypatch, realm.new_key(), scoped=True)


@pytest.fixture
def key(realm: Realm) -> str:
    """A derived key of its own for each test."""
    return realm.new_key()


@pytest.fixture
def worker(realm: Realm, key: str, monkeypatch: pytest.MonkeyPatch) -> VaultTransit:
    """An identity that may wrap, unwrap and rewrap with it."""
    return realm.worker(monkeypatch, key)


def wraps_of(service: KeyService, count: int) -> tuple[list[DataKey], list[Wrap]]:
    """Data keys of a mapped task's instances, and their wraps."""
    keys = [DataKey.generate() for _ in range(count)]
    contexts = [
        encryption_context("finance", Coordinate("invoices", "run", "extract", index, "k"))
        for index in range(count)
    ]
    return keys, [Wrap(service.wrap(key, context), context) for key, context in zip(keys, contexts, strict=True)]


def raw(server: VaultServer, token: str) -> hvac.Client:
    """A client that knows nothing of this package."""
    namespace = server.namespace or None
    return hvac.Client(url=server.address, token=token, namespace=namespace, verify=server.ca or True)


def decrypt(server: VaultServer, realm: Realm, key: str, token: str, body: Any, query: str = "") -> int:
    """The status of a raw request to decrypt."""
    return server.api("POST", f"{realm.transit}/decrypt/{key}{query}", body, token=token).status_code


class TestBatches:
    def test_wraps_go_two_hundred_to_a_request(
        self, realm: Realm, key: str, worker: VaultTransit, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Unwraps go 200 to a request; each that is asked twice goes once."""
        keys, wraps = wraps_of(worker, 250)
        with faulty_proxy(realm.server.address) as proxy:
            conn_id = connect(monkeypatch, realm.server, address=proxy.endpoint, password=realm.server.token)
            service = VaultTransit(realm.uri(conn_id, key))
            proxy.seen.clear()
            answers = service.unwrap_many(wraps * 4)
            assert [opened(answer) for answer in answers] == [one.secret for one in keys] * 4
            assert sum("/decrypt/" in line for line in proxy.seen) == 2

    def test_every_bad_entry_of_a_long_batch_is_named(self, worker: VaultTransit) -> None:
        """In a batch of which a half is wrong, each wrong entry has its own error and the others open."""
        keys, wraps = wraps_of(worker, 30)
        wraps[1::2] = [Wrap(wrap.wrapped, OTHER_CONTEXT) for wrap in wraps[1::2]]
        answers = worker.unwrap_many(wraps)
        assert [opened(answer) for answer in answers[::2]] == [one.secret for one in keys[::2]]
        assert {type(answer) for answer in answers[1::2]} == {UnwrapRefused}

    def test_a_batch_in_which_all_are_wrong(self, worker: VaultTransit) -> None:
        """Vault answers 400 then, and every entry still has its own error."""
        _, wraps = wraps_of(worker, 3)
        answers = worker.unwrap_many([Wrap(wrap.wrapped, OTHER_CONTEXT) for wrap in wraps])
        assert [type(answer) for answer in answers] == [UnwrapRefused] * 3

    def test_a_server_that_takes_less_gets_less(
        self, realm: Realm, key: str, worker: VaultTransit, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A batch that a listener refuses as too complex is sent again in halves."""
        keys, wraps = wraps_of(worker, 8)
        refusal = b'{"errors":["refused JSON input due to high complexity: exceeded maximum number of strings"]}'
        with faulty_proxy(realm.server.address) as proxy:
            conn_id = connect(monkeypatch, realm.server, address=proxy.endpoint, password=realm.server.token)
            service = VaultTransit(realm.uri(conn_id, key))
            proxy.faults = [Fault("answer", path="/decrypt/", status=400, body=refusal)] * 2
            assert [opened(answer) for answer in service.unwrap_many(wraps)] == [one.secret for one in keys]
            # Eight, then four, then two and two, then the other four.
            assert sum("/decrypt/" in line for line in proxy.seen) == 5


class TestBinding:
    def test_a_key_that_is_not_derived_is_refused(self, realm: Realm, monkeypatch: pytest.MonkeyPatch) -> None:
        """A key that would open a wrap in any context wraps nothing."""
        service = realm.worker(monkeypatch, realm.new_key(derived=False))
        with pytest.raises(KeyUnbound, match="not derived"):
            service.wrap(DataKey.generate(), CONTEXT)

    def test_a_scoped_reader_refuses_it_too(self, realm: Realm, monkeypatch: pytest.MonkeyPatch) -> None:
        """Single requests prove the key once, with a context that no policy keeps out."""
        service = realm.worker(monkeypatch, realm.new_key(derived=False), scoped=True)
        wrap = Wrap(service.wrap(DataKey.generate(), CONTEXT), CONTEXT)
        with pytest.raises(KeyUnbound, match="not derived"):
            service.unwrap_many([wrap])

    @pytest.mark.parametrize("derived", [True, False])
    def test_proved_in_two_requests_where_one_is_refused(
        self, realm: Realm, derived: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A server that does not take the proof within the batch is asked by itself, with the same outcome."""
        key = realm.new_key(derived=derived)
        refusal = b'{"errors":["context should be set either in all the request blocks or in none"]}'
        with faulty_proxy(realm.server.address) as proxy:
            conn_id = connect(monkeypatch, realm.server, address=proxy.endpoint, password=realm.server.token)
            service = VaultTransit(realm.uri(conn_id, key))
            proxy.faults = [Fault("answer", path="/encrypt/", status=400, body=refusal)]
            if derived:
                assert service.wrap(DataKey.generate(), CONTEXT).startswith("vault:v1:")
            else:
                with pytest.raises(KeyUnbound):
                    service.wrap(DataKey.generate(), CONTEXT)

    def test_the_first_wrap_of_a_process_is_one_request(
        self, realm: Realm, key: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The proof that the key is derived rides along with the wrap; later wraps go alone."""
        with faulty_proxy(realm.server.address) as proxy:
            conn_id = connect(monkeypatch, realm.server, address=proxy.endpoint, password=realm.server.token)
            service = VaultTransit(realm.uri(conn_id, key))
            for count in (1, 2):
                service.wrap(DataKey.generate(), CONTEXT)
                assert sum("/encrypt/" in line for line in proxy.seen) == count

    def test_vault_refuses_a_wrong_and_a_missing_context(
        self, realm: Realm, key: str, worker: VaultTransit
    ) -> None:
        """What binds a wrap is Vault's own key derivation, seen with a raw client."""
        wrapped = worker.wrap(DataKey.generate(), CONTEXT)
        client = raw(realm.server, realm.server.token).secrets.transit
        right, wrong = (_base64(transit_context(context)) for context in (CONTEXT, OTHER_CONTEXT))
        assert client.decrypt_data(key, wrapped, context=right, mount_point=realm.transit)["data"]["plaintext"]
        for context in (wrong, None):
            with pytest.raises(hvac.exceptions.InvalidRequest):
                client.decrypt_data(key, wrapped, context=context, mount_point=realm.transit)

    def test_what_was_wrapped_elsewhere_is_no_data_key(self, realm: Realm, key: str, worker: VaultTransit) -> None:
        """A wrap of anything but 32 bytes, made beside this package, is refused."""
        wrapped = realm.server.do(
            "POST",
            f"{realm.transit}/encrypt/{key}",
            {"plaintext": _base64(b"short"), "context": _base64(transit_context(CONTEXT))},
        )["data"]["ciphertext"]
        answer = worker.unwrap_many([Wrap(wrapped, CONTEXT)])[0]
        assert isinstance(answer, UnwrapRefused)
        assert "not a data key" in answer.what


class TestVersions:
    def test_a_wrap_under_min_decryption_version(self, realm: Realm, key: str, worker: VaultTransit) -> None:
        """A wrap that is older than the key still opens says so, and what to do; newer ones open."""
        old = Wrap(worker.wrap(DataKey.generate(), CONTEXT), CONTEXT)
        realm.rotate(key, min_decryption_version=2)
        new = Wrap(worker.wrap(DataKey.generate(), CONTEXT), CONTEXT)
        answers = worker.unwrap_many([old, new])
        assert isinstance(answers[0], KeyVersionUnknown)
        assert "min_decryption_version" in answers[0].remedy
        assert isinstance(answers[1], DataKey)
        assert isinstance(worker.rewrap_many([old])[0], KeyVersionUnknown)

    def test_rewrapped_before_it_was_raised(self, realm: Realm, key: str, worker: VaultTransit) -> None:
        """What was rewrapped to the newest version opens after the older ones were shut off."""
        data_key = DataKey.generate()
        old = Wrap(worker.wrap(data_key, CONTEXT), CONTEXT)
        realm.rotate(key)
        new = worker.rewrap_many([old])[0]
        assert isinstance(new, str)
        assert new.startswith("vault:v2:")
        realm.rotate(key, min_decryption_version=2)
        assert opened(worker.unwrap_many([Wrap(new, CONTEXT)])[0]) == data_key.secret

    def test_a_key_that_was_made_anew(self, realm: Realm, key: str, worker: VaultTransit) -> None:
        """A wrap of a version that the key does not have is told apart from one that was edited."""
        realm.rotate(key)
        wrap = Wrap(worker.wrap(DataKey.generate(), CONTEXT), CONTEXT)
        path = f"{realm.transit}/keys/{key}"
        realm.server.do("POST", f"{path}/config", {"deletion_allowed": True})
        realm.server.do("DELETE", path)
        realm.server.do("POST", path, {"derived": True})
        assert isinstance(worker.unwrap_many([wrap])[0], KeyVersionUnknown)

    def test_other_spellings_of_a_version_are_refused(self, worker: VaultTransit) -> None:
        """Transit takes v0 for v1; here a wrap has one text only."""
        wrapped = worker.wrap(DataKey.generate(), CONTEXT)
        answers = worker.unwrap_many(
            [Wrap(wrapped.replace("v1", other), CONTEXT) for other in ("v0", "v01", "v+1")]
        )
        assert [type(answer) for answer in answers] == [UnwrapRefused] * 3


class TestIdentities:
    def test_vault_keeps_two_compartments_apart(self, realm: Realm, monkeypatch: pytest.MonkeyPatch) -> None:
        """Identity A may use key A only: Vault itself denies B's key to A's raw client, for every operation."""
        own, foreign = realm.new_key(), realm.new_key()
        token = realm.may(
            *(transit_grant(role, realm.transit, own) for role in ("writer", "reader", "maintenance"))
        )
        other = realm.worker(monkeypatch, foreign)
        wrapped = other.wrap(DataKey.generate(), CONTEXT)
        client = raw(realm.server, token).secrets.transit
        context = _base64(transit_context(CONTEXT))
        assert client.encrypt_data(own, _base64(bytes(32)), context=context, mount_point=realm.transit)
        attempts: tuple[Callable[[], Any], ...] = (
            lambda: client.encrypt_data(foreign, _base64(bytes(32)), context=context, mount_point=realm.transit),
            lambda: client.decrypt_data(foreign, wrapped, context=context, mount_point=realm.transit),
            lambda: client.rewrap_data(foreign, wrapped, context=context, mount_point=realm.transit),
            lambda: client.read_key(foreign, mount_point=realm.transit),
            lambda: client.export_key(own, "encryption-key", mount_point=realm.transit),
            lambda: client.backup_key(own, mount_point=realm.transit),
            lambda: client.delete_key(own, mount_point=realm.transit),
            lambda: client.rotate_key(own, mount_point=realm.transit),
            lambda: client.create_key(f"xcom-{secrets.token_hex(4)}", mount_point=realm.transit),
            lambda: client.encrypt_data("another", _base64(bytes(32)), context=context, mount_point=realm.transit),
        )
        for attempt in attempts:
            with pytest.raises(hvac.exceptions.Forbidden):
                attempt()

    def test_the_package_says_who_is_denied_what(self, realm: Realm, monkeypatch: pytest.MonkeyPatch) -> None:
        """The error names connection, key and the missing right, and no token."""
        own, foreign = realm.new_key(), realm.new_key()
        token = realm.may(transit_grant("reader", realm.transit, own))
        conn_id = connect(monkeypatch, realm.server, password=token)
        service = key_service(realm.uri(conn_id, foreign))
        wrapped = realm.worker(monkeypatch, foreign).wrap(DataKey.generate(), CONTEXT)
        for attempt in (
            lambda: service.wrap(DataKey.generate(), CONTEXT),
            lambda: service.unwrap_many([Wrap(wrapped, CONTEXT)]),
            lambda: service.rewrap_many([Wrap(wrapped, CONTEXT)]),
        ):
            with pytest.raises(KeyServiceDenied) as caught:
                attempt()
            text = str(caught.value)
            assert "no `update` on" in text
            assert conn_id in text
            assert foreign in text
            assert token not in text
            assert caught.value.__cause__ is None

    def test_a_scoped_grant_holds_against_a_raw_client(self, realm: Realm, key: str, worker: VaultTransit) -> None:
        """With a policy that is limited to one DAG's contexts Vault itself refuses every way around it."""
        scope = transit_scope(CONTEXT["compartment"], CONTEXT["dag_id"])
        token = realm.may(transit_grant("reader", realm.transit, key, [scope]))
        elsewhere = {**CONTEXT, "dag_id": "payroll"}
        inside, outside = (worker.wrap(DataKey.generate(), context) for context in (CONTEXT, elsewhere))
        right, wrong = (_base64(transit_context(context)) for context in (CONTEXT, elsewhere))

        def status(body: Any, query: str = "") -> int:
            return decrypt(realm.server, realm, key, token, body, query)

        assert status({"ciphertext": inside, "context": right}) == 200
        assert status({"ciphertext": outside, "context": wrong}) == 403
        assert status({"batch_input": [{"ciphertext": outside, "context": wrong}]}) == 403
        assert status({"batch_input": [{"ciphertext": inside, "context": right}]}) == 403
        both = {"ciphertext": inside, "context": right}
        assert status({**both, "batch_input": [{"ciphertext": outside, "context": wrong}]}) == 403
        assert status({**both, "Batch_Input": [{"ciphertext": outside, "context": wrong}]}) == 403
        assert status({"ciphertext": outside, "Context": wrong}) == 403
        assert status({"ciphertext": outside, "context": right, "Context": wrong}) == 403
        assert status({"ciphertext": outside, "CONTEXT": wrong, "context": right}) == 403
        assert status({"ciphertext": outside, "context": [right, wrong]}) in (400, 403)
        assert status({"ciphertext": outside, "context": [wrong]}) in (400, 403)
        assert status({"ciphertext": outside}) == 403
        assert status({"context": right}) == 403
        assert status({"ciphertext": outside, "context": right}) == 400
        # What stands in the query string is not read by transit, and opens nothing.
        assert status({"ciphertext": outside, "context": right}, f"?context={wrong.replace('+', '%2B')}") in (
            400,
            403,
        )

    def test_a_duplicate_name_does_not_pass_a_scope(self, realm: Realm, key: str, worker: VaultTransit) -> None:
        """A body that names the context twice, the allowed one first or last, opens nothing outside the scope."""
        scope = transit_scope(CONTEXT["compartment"], CONTEXT["dag_id"])
        token = realm.may(transit_grant("reader", realm.transit, key, [scope]))
        elsewhere = {**CONTEXT, "dag_id": "payroll"}
        outside = worker.wrap(DataKey.generate(), elsewhere)
        right, wrong = (_base64(transit_context(context)) for context in (CONTEXT, elsewhere))
        for first, second in ((right, wrong), (wrong, right)):
            body = f'{{"ciphertext":"{outside}","context":"{first}","context":"{second}"}}'
            answer = realm.server.api_text("POST", f"{realm.transit}/decrypt/{key}", body, token)
            # Vault's own JSON reader says 500 to a name that stands twice.
            assert answer.status_code in (400, 403, 500)
            assert "plaintext" not in answer.text

    def test_a_scoped_reader_pulls_within_its_scope(
        self, realm: Realm, key: str, worker: VaultTransit, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Through the package, what is in scope opens, and what is not is denied in its place."""
        scope = transit_scope(CONTEXT["compartment"], CONTEXT["dag_id"], CONTEXT["task_id"])
        conn_id = connect(
            monkeypatch, realm.server, password=realm.may(transit_grant("reader", realm.transit, key, [scope]))
        )
        keys = [DataKey.generate() for _ in range(3)]
        contexts = [CONTEXT, {**CONTEXT, "task_id": "other"}, {**CONTEXT, "run_id": "another"}]
        wraps = [Wrap(worker.wrap(one, context), context) for one, context in zip(keys, contexts, strict=True)]
        answers = key_service(realm.uri(conn_id, key, "?grant=scoped")).unwrap_many(wraps)
        assert opened(answers[0]) == keys[0].secret
        assert isinstance(answers[1], KeyServiceDenied)
        assert opened(answers[2]) == keys[2].secret

    def test_a_scoped_identity_without_the_word_in_its_uri(
        self, realm: Realm, key: str, worker: VaultTransit, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A batch is denied then, and the error says which word is missing."""
        grant = transit_grant("reader", realm.transit, key, [transit_scope(CONTEXT["compartment"])])
        conn_id = connect(monkeypatch, realm.server, password=realm.may(grant))
        wrap = Wrap(worker.wrap(DataKey.generate(), CONTEXT), CONTEXT)
        with pytest.raises(KeyServiceDenied, match=r"\?grant=scoped"):
            key_service(realm.uri(conn_id, key)).unwrap_many([wrap])

    def test_a_scoped_writer(
        self, realm: Realm, key: str, worker: VaultTransit, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A writer that is limited to one DAG wraps for it, and Vault denies it another DAG's contexts."""
        grant = transit_grant(
            "writer", realm.transit, key, [transit_scope(CONTEXT["compartment"], CONTEXT["dag_id"])]
        )
        conn_id = connect(monkeypatch, realm.server, password=realm.may(grant))
        service = key_service(realm.uri(conn_id, key, "?grant=scoped"))
        data_key = DataKey.generate()
        wrap = Wrap(service.wrap(data_key, CONTEXT), CONTEXT)
        assert opened(worker.unwrap_many([wrap])[0]) == data_key.secret
        with pytest.raises(KeyServiceDenied, match="scope"):
            service.wrap(data_key, {**CONTEXT, "dag_id": "payroll"})


class TestWhatIsMissing:
    def test_a_missing_key_is_named_to_a_writer(self, realm: Realm, monkeypatch: pytest.MonkeyPatch) -> None:
        """With `update` alone Vault says 403 for a key that is not there; the error says why, and none is made."""
        service = realm.worker(monkeypatch, "nothing-here")
        with pytest.raises(KeyNotFound, match="no key of this name"):
            service.wrap(DataKey.generate(), CONTEXT)
        assert realm.server.api("GET", f"{realm.transit}/keys/nothing-here").status_code == 404

    def test_a_missing_key_is_named_to_a_reader(
        self, realm: Realm, worker: VaultTransit, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A reader of a key that was deleted is told so, and so is a maintenance run."""
        wrap = Wrap(worker.wrap(DataKey.generate(), CONTEXT), CONTEXT)
        service = realm.worker(monkeypatch, "nothing-here")
        with pytest.raises(KeyNotFound, match="no key of this name"):
            service.unwrap_many([wrap])
        with pytest.raises(KeyNotFound, match="no key of this name"):
            service.rewrap_many([wrap])

    def test_a_missing_mount_is_named(self, realm: Realm, monkeypatch: pytest.MonkeyPatch) -> None:
        """A mount that is not there is told apart from a key that is not there."""
        conn_id = connect(monkeypatch, realm.server, password=realm.server.token)
        with pytest.raises(KeyNotFound, match="nothing at the mount 'no/such'"):
            key_service(f"vault://{conn_id}/no/such/keys/key").wrap(DataKey.generate(), CONTEXT)

    def test_a_key_that_cannot_encrypt(self, realm: Realm, monkeypatch: pytest.MonkeyPatch) -> None:
        """A signing key is refused with an error of our tree."""
        key = f"xcom-{secrets.token_hex(4)}"
        realm.server.do("POST", f"{realm.transit}/keys/{key}", {"type": "ed25519"})
        with pytest.raises(KeyServiceError):
            realm.worker(monkeypatch, key).wrap(DataKey.generate(), CONTEXT)


@pytest.mark.parametrize(
    "uri",
    [
        "vault://",
        "vault://conn",
        "vault://conn/transit",
        "vault://conn/transit/keys",
        "vault://conn/transit/keys/",
        "vault://conn/keys/name",
        "vault:///transit/keys/name",
        "vault://conn/transit/keys/na/me",
        "vault://conn/transit/keys/../name",
        "vault://conn/../sys/keys/name",
        "vault://conn/tran sit/keys/name",
        "vault://conn/transit/keys/name?grant=all",
        "vault://conn/transit/keys/name?other=1",
        "vault://conn/transit/keys/name#x",
        "vault://conn/transit//keys/name",
        "vault://user:pass@conn/transit/keys/name",
        "vault://conn/transit/keys/" + "n" * 600,
    ],
)
def test_uris_that_are_refused(uri: str) -> None:
    """A key URI with a typing error is refused before Airflow or Vault is asked."""
    with pytest.raises(UriInvalid):
        key_service(uri)


def _base64(data: bytes) -> str:
    import base64

    return base64.b64encode(data).decode()
