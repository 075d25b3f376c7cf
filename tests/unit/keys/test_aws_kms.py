"""The KMS key service against a double on loopback: what it sends, and what it makes of every answer."""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from hypothesis import given
from hypothesis import strategies as st

from secure_xcom import errors
from secure_xcom.connections.aws.identity import forget_identities
from secure_xcom.core.coordinate import Coordinate, encryption_context
from secure_xcom.core.errors import (
    KeyServiceError,
    KeyServiceUnavailable,
    SettingInvalid,
    SettingMissing,
    UnwrapRefused,
    UriInvalid,
)
from secure_xcom.core.service_errors import (
    ConnectionUnknown,
    KeyDisabled,
    KeyMismatch,
    KeyNotFound,
    KeyPendingDeletion,
    KeyServiceDenied,
    KeyServiceLoginRefused,
    KeyServiceThrottled,
    KeyServiceTimeout,
    KeyUnbound,
)
from secure_xcom.keys import DataKey, KeyService, KeyUri, Wrap, key_service
from secure_xcom.keys.aws_kms import AwsKms
from secure_xcom.keys.aws_kms_errors import of_foreign
from secure_xcom.keys.aws_kms_format import (
    CONTEXT_VALUE_MAX_CHARACTERS,
    KmsKey,
    KmsWrap,
    kms_context,
    kms_context_value,
    same_key,
)
from secure_xcom.ops.checks.key_services import check_key_service
from tests.support.key_service_contract import CONTEXT, KeyServiceContract, opened
from tests.support.servers.aws_connections import ACCESS_KEY, REGION, clean_environment, connect
from tests.support.servers.kms_double import Fault, Key, KmsDouble, Request, cut, hang, refuse, say

ClientError = pytest.importorskip("botocore.exceptions").ClientError
pytest.importorskip("airflow.providers.amazon")

# One repetition, and no long wait for a double that hangs.
QUICK = {"retries": {"mode": "standard", "total_max_attempts": 2}, "connect_timeout": 1, "read_timeout": 0.3}
ONCE = {"retries": {"mode": "standard", "total_max_attempts": 1}, "connect_timeout": 1, "read_timeout": 0.3}
UUID = "1234abcd-12ab-34cd-56ef-1234567890ab"
ARN = f"arn:aws:kms:eu-west-1:111122223333:key/{UUID}"
MULTI = "arn:aws:kms:{}:111122223333:key/mrk-1234abcd12ab34cd56ef1234567890ab"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[KmsDouble, str, str]]:
    """One KMS for this file and no other AWS, and two connections to it: making a client takes long."""
    with KmsDouble() as double, pytest.MonkeyPatch.context() as patch:
        clean_environment(patch, tmp_path_factory.mktemp("aws"))
        yield double, connect(patch, double.endpoint, config=QUICK), connect(patch, double.endpoint, config=ONCE)


@pytest.fixture
def kms(shared: tuple[KmsDouble, str, str]) -> KmsDouble:
    """A KMS that behaves, unless this test says otherwise."""
    shared[0].calm()
    return shared[0]


@pytest.fixture
def key(kms: KmsDouble) -> Key:
    """A key with the alias ``xcom``."""
    made = kms.create_key()
    kms.alias("xcom", made)
    return made


@pytest.fixture
def conn_id(shared: tuple[KmsDouble, str, str]) -> str:
    """A connection that tries twice."""
    return shared[1]


@pytest.fixture
def once(shared: tuple[KmsDouble, str, str]) -> str:
    """A connection that tries once."""
    return shared[2]


@pytest.fixture
def service(conn_id: str, key: Key) -> AwsKms:
    """The key by its alias."""
    return AwsKms(f"aws-kms://{conn_id}/alias/xcom")


def wraps_of(service: KeyService, count: int) -> tuple[list[DataKey], list[Wrap]]:
    """Data keys of a mapped task's instances, and their wraps."""
    keys = [DataKey.generate() for _ in range(count)]
    contexts = [
        encryption_context("finance", Coordinate("invoices", "run", "extract", index, "k"))
        for index in range(count)
    ]
    return keys, [Wrap(service.wrap(key, context), context) for key, context in zip(keys, contexts, strict=True)]


def knows_modifiers() -> bool:
    """Whether this release of botocore can ask for a dry Decrypt without a ciphertext."""
    model = botocore.session.get_session().get_service_model("kms")
    return "DryRunModifiers" in model.operation_model("Decrypt").input_shape.members


NEEDS_MODIFIERS = pytest.mark.skipif(
    not knows_modifiers(), reason="this botocore cannot ask for a dry Decrypt without a ciphertext"
)


class TestContract(KeyServiceContract):
    """A KMS key named by its alias keeps the contract of key services."""

    NAMED = "alias/{0.id}"

    @pytest.fixture(autouse=True)
    def _kms(self, kms: KmsDouble) -> None:
        self.kms = kms
        self.made: dict[str, Key] = {}

    @pytest.fixture
    def service(self, kms: KmsDouble, conn_id: str) -> KeyService:
        return self.new(conn_id)

    @pytest.fixture
    def other(self, kms: KmsDouble, conn_id: str) -> KeyService:
        return self.new(conn_id)

    def new(self, conn_id: str) -> KeyService:
        """A service with a key of its own."""
        made = self.kms.create_key()
        self.kms.alias(made.id, made)
        service = key_service(f"aws-kms://{conn_id}/{self.NAMED.format(made)}")
        self.made[service.uri] = made
        return service

    def rotate(self, service: KeyService) -> None:
        """See the contract."""
        self.kms.rotate(self.made[service.uri])


class TestContractOfKeyArns(TestContract):
    """A KMS key named by its ARN as well."""

    NAMED = "{0.arn}"


# --- texts ----------------------------------------------------------------------------------------------------


class TestUris:
    @pytest.mark.parametrize(
        ("rest", "request_id", "region", "alias"),
        [
            ("alias/xcom/finance_1", "alias/xcom/finance_1", None, True),
            (f"key/{UUID}", UUID, None, False),
            ("key/mrk-1234abcd12ab34cd56ef1234567890ab", "mrk-1234abcd12ab34cd56ef1234567890ab", None, False),
            (ARN, ARN, "eu-west-1", False),
            (MULTI.format("us-east-2"), MULTI.format("us-east-2"), "us-east-2", False),
            (
                "arn:aws-us-gov:kms:us-gov-west-1:111122223333:alias/xcom",
                "arn:aws-us-gov:kms:us-gov-west-1:111122223333:alias/xcom",
                "us-gov-west-1",
                True,
            ),
        ],
    )
    def test_forms(self, rest: str, request_id: str, region: str | None, alias: bool) -> None:
        """A key is named by alias, alias ARN, key ARN or key id; an ARN brings its region."""
        found = KmsKey.parse(f"aws-kms://aws_default/{rest}")
        assert (found.conn_id, found.request_id, found.region, found.alias) == (
            "aws_default",
            request_id,
            region,
            alias,
        )

    @pytest.mark.parametrize(
        "uri",
        [
            "aws-kms://",
            "aws-kms://conn",
            "aws-kms://conn/",
            "aws-kms:///alias/x",
            "aws-kms://conn/alias/",
            "aws-kms://conn/alias/aws/s3",
            "aws-kms://conn/arn:aws:kms:eu-west-1:111122223333:alias/aws/s3",
            f"aws-kms://conn/{UUID}",
            "aws-kms://conn/alias/x y",
            "aws-kms://conn/alias/x?y=1",
            "aws-kms://conn/alias/x#y",
            "aws-kms://conn/alias/größe",
            "aws-kms://user:password@conn/alias/x",
            "aws-kms://conn/arn:aws:kms:eu-west-1:1111:key/x",
            "aws-kms://conn/arn:aws:s3:eu-west-1:111122223333:key/x",
            f"aws-kms://conn/{ARN}\n",
            "aws-kms://conn/alias/" + "x" * 251,
            "AWS-KMS://conn/alias/x",
        ],
    )
    def test_other_forms_are_refused(self, uri: str) -> None:
        """A key URI with a typing error, and AWS's own keys, are refused before anybody is asked."""
        with pytest.raises(UriInvalid):
            KmsKey.parse(uri)

    def test_replicas_are_one_key(self) -> None:
        """Replicas of a multi-Region key are one key; the same id in another account is not."""
        assert same_key(ARN, ARN)
        assert same_key(MULTI.format("eu-west-1"), MULTI.format("us-east-1"))
        assert not same_key(ARN, ARN.replace("eu-west-1", "us-east-1"))
        assert not same_key(MULTI.format("eu-west-1"), MULTI.format("eu-west-1").replace("1111", "9999"))


class TestWraps:
    def test_what_is_written_is_read(self) -> None:
        """A wrap's text gives back its ARN and ciphertext."""
        text = str(KmsWrap(ARN, b"\x00\xffsealed"))
        assert text == f"aws-kms:{ARN}:AP9zZWFsZWQ="
        assert KmsWrap.parse(text) == KmsWrap(ARN, b"\x00\xffsealed")

    @pytest.mark.parametrize(
        "text",
        [
            "",
            f"aws-kms:{ARN}:",
            f"aws-kms:{ARN}:AP9zZWFsZWR=",
            f"aws-kms:{ARN}:AP9zZWFsZWQ",
            f"aws-kms:{ARN}:AP9zZWFsZWQ=\n",
            f"aws-kms:{ARN}:AP9z ZWFsZWQ=",
            f"aws-kms:{ARN}:AP9zZWFsZWQ==",
            f"aws-kms:{ARN}:====",
            f"aws-kms:{ARN.replace(':key/', ':alias/')}:AP9zZWFsZWQ=",
            "aws-kms:AP9zZWFsZWQ=",
            f"aws-kms:{ARN}:{'A' * 4100}",
        ],
    )
    def test_other_texts_are_not(self, text: str) -> None:
        """Only one spelling of a wrap is read."""
        assert KmsWrap.parse(text) is None


class TestContext:
    def test_usual_ids_are_shown_as_they_are(self) -> None:
        """CloudTrail and policies see the ids that people know."""
        usual = encryption_context(
            "finance", Coordinate("a.b-c_d", "manual__2026-01-01T00:00:00+00:00", "t", 3, "k")
        )
        assert kms_context(usual) == usual

    @pytest.mark.parametrize(
        ("text", "shown"),
        [
            ("größe", "gr%C3%B6%C3%9Fe"),
            ("a b\n", "a%20b%0A"),
            ("*?${x}~%", "%2A%3F%24%7Bx%7D%7E%25"),
            ("a/b", "a/b"),
        ],
    )
    def test_other_characters_are_encoded(self, text: str, shown: str) -> None:
        """What a policy cannot hold, or reads as a wildcard or a variable, is percent-encoded."""
        assert kms_context_value(text) == shown

    @given(st.text(max_size=250))
    def test_a_value_can_stand_in_every_policy(self, text: str) -> None:
        """A value is short enough for a grant, is plain ASCII and has no wildcard or variable."""
        try:
            shown = kms_context_value(text)
        except KeyServiceError:
            assert any("\ud800" <= character <= "\udfff" for character in text)
            return
        assert len(shown) <= CONTEXT_VALUE_MAX_CHARACTERS
        assert shown.isascii()
        assert not set(shown) & set('*?${}"\\ ')

    @given(st.sampled_from(["\U0001f600", "~", "%", "ä", "a"]), st.integers(100, 250), st.integers(100, 250))
    def test_long_values_are_kept_apart(self, character: str, one: int, other: int) -> None:
        """Ids that differ only behind the place where they are cut differ still, and none is like a whole one."""
        assert (kms_context_value(character * one) == kms_context_value(character * other)) == (one == other)
        cut_value = kms_context_value("\U0001f600" * 250)
        assert kms_context_value(cut_value) != cut_value

    @pytest.mark.parametrize("context", [{}, {**CONTEXT, "more": "x"}, {"compartment": "finance"}])
    def test_exactly_five_names(self, service: AwsKms, context: dict[str, str]) -> None:
        """A wrap is bound to the five ids and to nothing else."""
        with pytest.raises(KeyServiceError, match="compartment, dag_id, task_id, run_id, map_index"):
            service.wrap(DataKey.generate(), context)


# --- requests -------------------------------------------------------------------------------------------------


class TestRequests:
    def test_what_is_sent(self, kms: KmsDouble, service: AwsKms, key: Key) -> None:
        """Encrypt, Decrypt and ReEncrypt name the key, the algorithm and the five ids; no request goes without."""
        wrap = Wrap(service.wrap(DataKey.generate(), CONTEXT), CONTEXT)
        service.unwrap_many([wrap])
        service.rewrap_many([wrap])
        encrypt, decrypt, re_encrypt = (request.body for request in kms.requests)
        assert encrypt["KeyId"] == decrypt["KeyId"] == "alias/xcom"
        assert re_encrypt["SourceKeyId"] == re_encrypt["DestinationKeyId"] == "alias/xcom"
        assert encrypt["EncryptionContext"] == decrypt["EncryptionContext"] == CONTEXT
        assert re_encrypt["SourceEncryptionContext"] == re_encrypt["DestinationEncryptionContext"] == CONTEXT
        assert encrypt["EncryptionAlgorithm"] == decrypt["EncryptionAlgorithm"] == "SYMMETRIC_DEFAULT"

    def test_one_request_per_distinct_wrap(self, kms: KmsDouble, service: AwsKms) -> None:
        """A wrap that is asked for many times is decrypted once."""
        keys, wraps = wraps_of(service, 3)
        answers = service.unwrap_many(wraps * 40)
        assert [opened(answer) for answer in answers] == [key.secret for key in keys] * 40
        assert kms.count["Decrypt"] == 3

    @pytest.mark.parametrize(("pool", "expected"), [(None, 10), (3, 3), (500, 32)])
    def test_a_bounded_number_at_a_time(
        self, kms: KmsDouble, key: Key, monkeypatch: pytest.MonkeyPatch, pool: int | None, expected: int
    ) -> None:
        """Requests go side by side, as many as the client keeps connections, and never more than 32."""
        config = {**QUICK, "read_timeout": 60, **({"max_pool_connections": pool} if pool else {})}
        service = AwsKms(f"aws-kms://{connect(monkeypatch, kms.endpoint, config=config)}/{key.arn}")
        wrapped = service.wrap(DataKey.generate(), CONTEXT)
        # Once all of them are under way, one too many would be as well.
        kms.most_at_once, kms.together, kms.delay = 0, expected, 0.5
        answers = service.unwrap_many(
            [Wrap(wrapped, {**CONTEXT, "map_index": str(at)}) for at in range(expected + 2)]
        )
        assert {type(answer) for answer in answers} == {UnwrapRefused}
        assert kms.most_at_once == expected

    def test_the_region_of_an_arn_wins(self, kms: KmsDouble, conn_id: str) -> None:
        """A key that is named by its ARN is asked for in its own region, else the connection's region counts."""
        far = kms.create_key("ap-south-1")
        AwsKms(f"aws-kms://{conn_id}/{far.arn}").wrap(DataKey.generate(), CONTEXT)
        near = kms.create_key(REGION)
        AwsKms(f"aws-kms://{conn_id}/key/{near.id}").wrap(DataKey.generate(), CONTEXT)
        assert [request.region for request in kms.requests] == ["ap-south-1", REGION]

    def test_the_region_of_an_arn_wins_over_the_config(
        self, kms: KmsDouble, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As over the connection's region_name, so over one among its config_kwargs."""
        conn_id = connect(monkeypatch, kms.endpoint, region_name=None, config={"region_name": REGION})
        far, near = kms.create_key("ap-south-1"), kms.create_key(REGION)
        for name in (far.arn, f"key/{near.id}"):
            AwsKms(f"aws-kms://{conn_id}/{name}").wrap(DataKey.generate(), CONTEXT)
        assert [request.region for request in kms.requests] == ["ap-south-1", REGION]

    def test_one_client_serves_all_keys_of_a_connection(self, conn_id: str) -> None:
        """Keys of one connection and region share a client, and so a login and its connections."""
        one, other = (AwsKms(f"aws-kms://{conn_id}/alias/{name}") for name in "ab")
        assert one.client() is other.client()


class TestKeysMove:
    def test_an_alias_that_was_moved(self, kms: KmsDouble, conn_id: str, service: AwsKms, key: Key) -> None:
        """What the alias's former key wrapped is not opened through the alias, and the error names that key."""
        data_key = DataKey.generate()
        wrap = Wrap(service.wrap(data_key, CONTEXT), CONTEXT)
        kms.alias("xcom", kms.create_key())
        refusal = service.unwrap_many([wrap])[0]
        assert isinstance(refusal, KeyMismatch)
        assert key.arn in refusal.what
        assert f"{key.arn}?wrap=never" in refusal.remedy
        former = AwsKms(f"aws-kms://{conn_id}/{key.arn}")
        assert opened(former.unwrap_many([wrap])[0]) == data_key.secret

    def test_rewrap_from_a_former_key(self, kms: KmsDouble, conn_id: str, service: AwsKms, key: Key) -> None:
        """A rewrap moves wraps from a key that the settings name to this one, inside KMS."""
        data_key = DataKey.generate()
        wrap = Wrap(service.wrap(data_key, CONTEXT), CONTEXT)
        now = kms.create_key()
        kms.alias("xcom", now)
        assert isinstance(service.rewrap_many([wrap])[0], KeyMismatch)
        moved = service.rewrap_many([wrap], source=f"aws-kms://{conn_id}/{key.arn}")[0]
        assert isinstance(moved, str)
        assert moved.startswith(f"aws-kms:{now.arn}:")
        assert opened(service.unwrap_many([Wrap(moved, CONTEXT)])[0]) == data_key.secret
        assert kms.count["Decrypt"] == 1

    def test_the_source_of_a_rewrap_is_pinned(self, kms: KmsDouble, conn_id: str, service: AwsKms) -> None:
        """A rewrap does not take over what a third key wrapped, whatever its text says."""
        foreign = AwsKms(f"aws-kms://{conn_id}/{kms.create_key().arn}").wrap(DataKey.generate(), CONTEXT)
        own = service.wrap(DataKey.generate(), CONTEXT)
        relabelled = own.rsplit(":", 1)[0] + ":" + foreign.rsplit(":", 1)[1]
        for text in (foreign, relabelled):
            assert isinstance(service.rewrap_many([Wrap(text, CONTEXT)])[0], UnwrapRefused)
            assert isinstance(service.unwrap_many([Wrap(text, CONTEXT)])[0], UnwrapRefused)

    def test_a_wrap_must_name_the_key_that_opens_it(self, kms: KmsDouble, service: AwsKms, key: Key) -> None:
        """A wrap whose key's ARN was edited does not open, though its ciphertext is whole."""
        wrapped = service.wrap(DataKey.generate(), CONTEXT)
        edited = wrapped.replace(key.arn, kms.create_key().arn)
        for answer in (
            *service.unwrap_many([Wrap(edited, CONTEXT)]),
            *service.rewrap_many([Wrap(edited, CONTEXT)]),
        ):
            assert isinstance(answer, UnwrapRefused)

    def test_a_replica_opens(self, kms: KmsDouble, conn_id: str) -> None:
        """A multi-Region key's replica opens what its sibling wrapped, with the KeyId pinned to the replica."""
        primary = kms.create_key("us-east-1", multi_region=True)
        replica = kms.replicate(primary, "eu-central-1")
        data_key = DataKey.generate()
        wrap = Wrap(AwsKms(f"aws-kms://{conn_id}/{primary.arn}").wrap(data_key, CONTEXT), CONTEXT)
        here = AwsKms(f"aws-kms://{conn_id}/{replica.arn}")
        assert opened(here.unwrap_many([wrap])[0]) == data_key.secret
        assert (kms.requests[-1].region, kms.requests[-1].body["KeyId"]) == ("eu-central-1", replica.arn)
        rewrapped = here.rewrap_many([wrap])[0]
        assert isinstance(rewrapped, str)
        assert rewrapped.startswith(f"aws-kms:{replica.arn}:")

    def test_another_key_is_known_without_a_request(self, kms: KmsDouble, conn_id: str) -> None:
        """A key that is named by its ARN refuses another key's wrap without asking KMS."""
        one, other = (AwsKms(f"aws-kms://{conn_id}/{kms.create_key().arn}") for _ in range(2))
        wrap = Wrap(one.wrap(DataKey.generate(), CONTEXT), CONTEXT)
        assert isinstance(other.unwrap_many([wrap])[0], KeyMismatch)
        assert kms.count["Decrypt"] == 0


# --- answers --------------------------------------------------------------------------------------------------


class TestErrors:
    @pytest.mark.parametrize(
        ("fault", "error", "text"),
        [
            (refuse("NotFoundException"), KeyNotFound, "no such key or alias"),
            (refuse("DisabledException"), KeyDisabled, "disabled"),
            (
                refuse("KMSInvalidStateException", "arn is pending deletion."),
                KeyPendingDeletion,
                "pending deletion",
            ),
            (refuse("KMSInvalidStateException", "arn is pending import."), KeyDisabled, "key material"),
            (refuse("KMSInvalidStateException", "something else"), KeyDisabled, "state"),
            (refuse("InvalidKeyUsageException"), KeyUnbound, "symmetric"),
            (refuse("AccessDeniedException"), KeyServiceDenied, "kms:Encrypt"),
            (refuse("ExpiredTokenException"), KeyServiceLoginRefused, "expired"),
            (refuse("UnrecognizedClientException"), KeyServiceLoginRefused, "access key"),
            (refuse("InvalidSignatureException", "wrong"), KeyServiceLoginRefused, "secret key"),
            (refuse("InvalidSignatureException", "Signature expired: x"), KeyServiceLoginRefused, "clock"),
            (refuse("IncorrectKeyException"), KeyMismatch, "another key"),
            (refuse("ThrottlingException"), KeyServiceThrottled, "quota"),
            (say(429, {}), KeyServiceThrottled, "quota"),
            (refuse("KMSInternalException", status=500), KeyServiceUnavailable, "internal error"),
            (refuse("DependencyTimeoutException", status=503), KeyServiceUnavailable, "internal error"),
            (refuse("KeyUnavailableException", status=500), KeyServiceUnavailable, "not available"),
            (say(502, {}), KeyServiceUnavailable, "internal error"),
            (refuse("ValidationException"), KeyServiceError, "ValidationException"),
            (refuse("SomethingNew"), KeyServiceError, "SomethingNew"),
            (cut, KeyServiceUnavailable, "cannot be reached"),
            (hang(1.0), KeyServiceTimeout, "in time"),
            (say(200, {}), KeyServiceError, "no wrap"),
            (say(200, {"KeyId": "x", "CiphertextBlob": "AAAA"}), KeyServiceError, "no wrap"),
            (say(200, {"KeyId": ARN, "CiphertextBlob": ""}), KeyServiceError, "no wrap"),
        ],
    )
    def test_each_has_its_name(
        self,
        kms: KmsDouble,
        key: Key,
        once: str,
        fault: Fault,
        error: type[KeyServiceError],
        text: str,
    ) -> None:
        """Each way to fail is an error of its own that names the key URI and what to do about it."""
        service = AwsKms(f"aws-kms://{once}/{key.arn}")
        kms.faults = [fault]
        with pytest.raises(KeyServiceError, match=text) as caught:
            service.wrap(DataKey.generate(), CONTEXT)
        assert type(caught.value) is error
        assert service.uri in caught.value.where
        assert caught.value.remedy
        assert caught.value.__cause__ is None

    def test_an_alias_says_where_it_was_looked_for(self, kms: KmsDouble, conn_id: str) -> None:
        """Where the URI has no region, an error names the one that was asked."""
        with pytest.raises(KeyNotFound, match=f"alias/none in {REGION}"):
            AwsKms(f"aws-kms://{conn_id}/alias/none").wrap(DataKey.generate(), CONTEXT)

    def test_nobody_listens(self, monkeypatch: pytest.MonkeyPatch, kms: KmsDouble) -> None:
        """An endpoint that is not there is unavailable."""
        conn_id = connect(monkeypatch, "http://127.0.0.1:9", config=ONCE)
        with pytest.raises(KeyServiceUnavailable, match="cannot be reached"):
            AwsKms(f"aws-kms://{conn_id}/alias/x").wrap(DataKey.generate(), CONTEXT)

    @pytest.mark.parametrize(
        "answer",
        [{}, {"Plaintext": "AAAA"}, {"KeyId": "?", "Plaintext": "AAAA"}, {"KeyId": "OWN", "Plaintext": "AAAA"}],
    )
    def test_an_answer_that_is_none(
        self, kms: KmsDouble, service: AwsKms, key: Key, answer: dict[str, str]
    ) -> None:
        """A Decrypt whose answer is not this key's, or no data key, opens nothing."""
        wrap = Wrap(service.wrap(DataKey.generate(), CONTEXT), CONTEXT)
        kms.faults = [say(200, {name: value.replace("OWN", key.arn) for name, value in answer.items()})]
        assert isinstance(service.unwrap_many([wrap])[0], UnwrapRefused)

    def test_key_states(self, kms: KmsDouble, service: AwsKms, key: Key) -> None:
        """A key that was disabled or is to be deleted neither wraps nor unwraps, and says which it is."""
        wrap = Wrap(service.wrap(DataKey.generate(), CONTEXT), CONTEXT)
        for state, error in (("Disabled", KeyDisabled), ("PendingDeletion", KeyPendingDeletion)):
            key.state = state
            with pytest.raises(error):
                service.unwrap_many([wrap])
            with pytest.raises(error):
                service.wrap(DataKey.generate(), CONTEXT)

    def test_a_key_that_binds_nothing(self, kms: KmsDouble, conn_id: str) -> None:
        """An RSA key is refused, because it would bind a wrap to no encryption context."""
        rsa = kms.create_key(spec="RSA_2048")
        with pytest.raises(KeyUnbound):
            AwsKms(f"aws-kms://{conn_id}/{rsa.arn}").wrap(DataKey.generate(), CONTEXT)

    def test_no_text_of_kms_is_passed_on(
        self, kms: KmsDouble, service: AwsKms, caplog: pytest.LogCaptureFixture
    ) -> None:
        """What KMS says is not repeated, for it may repeat parts of the request."""
        caplog.set_level(logging.INFO)
        kms.faults = [refuse("AccessDeniedException", "canary-of-kms"), refuse("Strange", "canary-of-kms")]
        for _ in range(2):
            with pytest.raises(KeyServiceError) as caught:
                service.wrap(DataKey.generate(), CONTEXT)
            assert "canary" not in f"{caught.value} {caught.value!r} {caplog.text}"


class TestRetries:
    @pytest.mark.parametrize(
        "fault",
        [refuse("ThrottlingException"), refuse("KMSInternalException", status=500), say(503, {}), cut, hang(1.0)],
    )
    def test_what_passes_is_tried_again(self, kms: KmsDouble, service: AwsKms, fault: Fault) -> None:
        """Throttling, 5xx, a cut connection and a timeout are met with another try."""
        kms.faults = [fault]
        service.wrap(DataKey.generate(), CONTEXT)
        assert kms.count["Encrypt"] == 2

    @pytest.mark.parametrize("code", ["AccessDeniedException", "DisabledException", "InvalidCiphertextException"])
    def test_what_lasts_is_not(self, kms: KmsDouble, service: AwsKms, code: str) -> None:
        """A refusal is asked for once."""
        kms.faults = [refuse(code)]
        with pytest.raises(KeyServiceError):
            service.wrap(DataKey.generate(), CONTEXT)
        assert kms.count["Encrypt"] == 1

    def test_tries_are_bounded(self, kms: KmsDouble, key: Key, monkeypatch: pytest.MonkeyPatch) -> None:
        """Without any setting there are four tries; AWS_MAX_ATTEMPTS sets another number."""
        service = AwsKms(f"aws-kms://{connect(monkeypatch, kms.endpoint)}/{key.arn}")
        assert service.client().meta.config.retries == {"mode": "standard", "total_max_attempts": 4}
        monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
        service = AwsKms(f"aws-kms://{connect(monkeypatch, kms.endpoint)}/{key.arn}")
        kms.faults = [say(503, {})]
        with pytest.raises(KeyServiceUnavailable):
            service.wrap(DataKey.generate(), CONTEXT)

    def test_a_failure_of_all_stops_the_rest(
        self, kms: KmsDouble, key: Key, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """When a whole list cannot be answered, it is not asked for to its end."""
        config = {**ONCE, "max_pool_connections": 2}
        service = AwsKms(f"aws-kms://{connect(monkeypatch, kms.endpoint, config=config)}/{key.arn}")
        _, wraps = wraps_of(service, 30)
        key.state = "Disabled"
        with pytest.raises(KeyDisabled):
            service.unwrap_many(wraps)
        assert kms.count["Decrypt"] <= 4

    def test_what_was_opened_before_stays(self, kms: KmsDouble, key: Key, monkeypatch: pytest.MonkeyPatch) -> None:
        """When KMS goes away in the middle of a list, what it answered is kept and the rest has the error."""
        config = {**ONCE, "max_pool_connections": 1}
        service = AwsKms(f"aws-kms://{connect(monkeypatch, kms.endpoint, config=config)}/{key.arn}")
        keys, wraps = wraps_of(service, 4)
        kms.faults = [no_fault, no_fault, say(503, {})]
        answers = service.unwrap_many(wraps)
        assert [opened(answer) for answer in answers[:2]] == [key.secret for key in keys[:2]]
        assert [type(answer) for answer in answers[2:]] == [KeyServiceUnavailable] * 2

    def test_a_refusal_by_policy_concerns_one_entry(self, kms: KmsDouble, service: AwsKms) -> None:
        """An identity whose policy names some DAGs only is refused the others, entry by entry."""
        keys, wraps = wraps_of(service, 6)
        kms.allows = lambda request: request.body["EncryptionContext"]["map_index"] not in ("2", "4")
        answers = service.unwrap_many(wraps)
        assert [index for index, answer in enumerate(answers) if isinstance(answer, KeyServiceDenied)] == [2, 4]
        assert opened(answers[5]) == keys[5].secret


def no_fault(_handler: object) -> bool:
    """A fault that does nothing."""
    return False


# --- logins ---------------------------------------------------------------------------------------------------


class TestLogins:
    def test_no_connection_is_no_default(self, kms: KmsDouble, monkeypatch: pytest.MonkeyPatch) -> None:
        """A connection that Airflow does not have is an error, never the default credential chain."""
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
        with pytest.raises(ConnectionUnknown, match="aws_nobody"):
            AwsKms("aws-kms://aws_nobody/alias/x")

    @pytest.mark.parametrize("default", [True, False], ids=["default", "connection"])
    def test_the_region_of_the_environment(
        self, kms: KmsDouble, key: Key, monkeypatch: pytest.MonkeyPatch, default: bool
    ) -> None:
        """AWS_REGION, which pods are given and boto3 does not read, is the region where nothing names another."""
        monkeypatch.setenv("AWS_REGION", REGION)
        monkeypatch.setenv("AWS_ENDPOINT_URL_KMS", kms.endpoint)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
        forget_identities()
        conn_id = "default" if default else connect(monkeypatch, kms.endpoint, region_name=None)
        AwsKms(f"aws-kms://{conn_id}/alias/xcom").wrap(DataKey.generate(), CONTEXT)
        assert kms.requests[-1].region == REGION

    def test_the_default_chain(self, kms: KmsDouble, key: Key, monkeypatch: pytest.MonkeyPatch) -> None:
        """`default` takes what boto3 finds: here the environment's keys, region and endpoint."""
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "of-the-environment")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
        monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
        monkeypatch.setenv("AWS_ENDPOINT_URL_KMS", kms.endpoint)
        forget_identities()
        service = AwsKms("aws-kms://default/alias/xcom")
        service.wrap(DataKey.generate(), CONTEXT)
        assert kms.requests[-1].access_key == "of-the-environment"

    def test_a_profile(self, kms: KmsDouble, key: Key, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        """A connection may name a profile of this machine; one that is missing is told."""
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
        (tmp_path / "credentials").write_text(
            "[team]\naws_access_key_id = of-the-profile\naws_secret_access_key = x\n"
        )
        conn_id = connect(monkeypatch, kms.endpoint, login=None, password=None, profile_name="team")
        AwsKms(f"aws-kms://{conn_id}/alias/xcom").wrap(DataKey.generate(), CONTEXT)
        assert kms.requests[-1].access_key == "of-the-profile"
        absent = connect(monkeypatch, kms.endpoint, login=None, password=None, profile_name="absent")
        with pytest.raises(KeyServiceLoginRefused, match="profile"):
            AwsKms(f"aws-kms://{absent}/alias/xcom").wrap(DataKey.generate(), CONTEXT)

    def test_nothing_to_log_in_with(self, kms: KmsDouble, monkeypatch: pytest.MonkeyPatch) -> None:
        """An identity without credentials is told what could give it some."""
        conn_id = connect(monkeypatch, kms.endpoint, login=None, password=None)
        with pytest.raises(KeyServiceLoginRefused, match="no AWS credentials"):
            AwsKms(f"aws-kms://{conn_id}/alias/x").wrap(DataKey.generate(), CONTEXT)

    def test_no_region(self, kms: KmsDouble, monkeypatch: pytest.MonkeyPatch) -> None:
        """An alias without a region anywhere is a setting that is missing."""
        conn_id = connect(monkeypatch, kms.endpoint, region_name=None)
        service = AwsKms(f"aws-kms://{conn_id}/alias/x")
        with pytest.raises(SettingMissing, match="region"):
            service.wrap(DataKey.generate(), CONTEXT)
        assert [finding.status for finding in check_key_service(service)] == ["error"]

    def test_a_connection_that_cannot_be_used(self, kms: KmsDouble, monkeypatch: pytest.MonkeyPatch) -> None:
        """A connection that the hook does not take is refused without repeating what is in it."""
        conn_id = connect(monkeypatch, kms.endpoint, role_arn="arn:aws:iam::1:role/x", assume_role_method="canary")
        with pytest.raises(SettingInvalid) as caught:
            AwsKms(f"aws-kms://{conn_id}/alias/x")
        assert "canary" not in str(caught.value)

    def test_options_of_no_effect_are_told(
        self, kms: KmsDouble, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A typing error in the extra is not dropped silently; its value is not shown."""
        conn_id = connect(monkeypatch, kms.endpoint, rolearn="canary-value")
        AwsKms(f"aws-kms://{conn_id}/alias/x")
        assert f"The extra of connection {conn_id} has options without effect: rolearn" in caplog.text
        assert "canary" not in caplog.text

    def test_a_token_file_that_is_missing(self, kms: KmsDouble, monkeypatch: pytest.MonkeyPatch) -> None:
        """A web identity whose token file is not there is a login that failed, and names the file."""
        conn_id = connect(
            monkeypatch,
            kms.endpoint,
            login=None,
            password=None,
            role_arn="arn:aws:iam::111122223333:role/worker",
            assume_role_method="assume_role_with_web_identity",
            assume_role_with_web_identity_federation="file",
            assume_role_with_web_identity_token_file="/nowhere/token",
        )
        with pytest.raises(KeyServiceLoginRefused, match="/nowhere/token"):
            AwsKms(f"aws-kms://{conn_id}/alias/x").wrap(DataKey.generate(), CONTEXT)

    def test_a_role_that_may_not_be_assumed(self, kms: KmsDouble, monkeypatch: pytest.MonkeyPatch) -> None:
        """A refusal by STS is a login that failed, and repeats nothing of what STS says."""
        sts = {"sts": {"endpoint_url": kms.endpoint}}
        role = "arn:aws:iam::111122223333:role/worker"
        conn_id = connect(monkeypatch, kms.endpoint, role_arn=role, config=ONCE, service_config=sts)
        with pytest.raises(KeyServiceLoginRefused, match="STS refuses AssumeRole") as caught:
            AwsKms(f"aws-kms://{conn_id}/alias/x").unwrap_many([Wrap("x", CONTEXT)])
        assert "canary" not in str(caught.value)

    def test_keys_of_the_connection_are_used(self, kms: KmsDouble, service: AwsKms) -> None:
        """Requests are signed with the connection's access key."""
        service.wrap(DataKey.generate(), CONTEXT)
        assert kms.requests[-1].access_key == ACCESS_KEY

    def test_a_child_process_logs_in_itself(self, conn_id: str) -> None:
        """A forked child shares no client with its parent."""
        from secure_xcom.connections.aws.identity import aws_identity

        before = aws_identity(conn_id)
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.write(writer, b"same" if aws_identity(conn_id) is before else b"new")
            os._exit(0)
        os.waitpid(child, 0)
        assert os.read(reader, 10) == b"new"
        assert aws_identity(conn_id) is before


# --- check ----------------------------------------------------------------------------------------------------


def said(service: AwsKms, context: dict[str, str] | None = None) -> dict[str, list[str]]:
    """The findings' texts by status."""
    found: dict[str, list[str]] = {"ok": [], "warning": [], "error": []}
    for finding in check_key_service(service, context):
        found[finding.status].append(f"{finding.text} {finding.remedy}")
    return found


def holds(texts: list[str], part: str) -> bool:
    """Whether one of the texts has this part."""
    return any(part in text for text in texts)


class TestCheck:
    def test_a_healthy_key(self, kms: KmsDouble, service: AwsKms, key: Key) -> None:
        """Check says which key the alias names, whether it rotates, and what this identity may do."""
        found = said(service)
        assert found["warning"] == found["error"] == []
        assert holds(found["ok"], "the identity is arn:aws:iam::111122223333:user/tester")
        assert holds(found["ok"], f"the alias names {key.arn}, enabled, in this region only")
        assert holds(found["ok"], "rotates every 365 days")
        assert holds(found["ok"], "this identity may wrap, unwrap, rewrap")

    def test_rights_are_tried_dry(self, kms: KmsDouble, service: AwsKms) -> None:
        """What an identity may do is asked with DryRun, in an encryption context that no compartment can have."""
        check_key_service(service)
        tried = [request for request in kms.requests if request.body.get("DryRun")]
        assert [request.operation for request in tried] == ["Encrypt", "Decrypt", "ReEncrypt"]
        assert tried[0].body["EncryptionContext"]["compartment"] == "secure_xcom/check"

    @NEEDS_MODIFIERS
    def test_an_identity_that_only_pulls(self, kms: KmsDouble, service: AwsKms) -> None:
        """A reader's right to unwrap is found without a wrap of its own."""
        kms.allows = lambda request: request.operation in ("Decrypt", "DescribeKey")
        found = said(service)
        assert holds(found["ok"], "this identity may unwrap; it may not wrap, rewrap")
        assert holds(found["ok"], "this identity may not see whether it rotates")
        assert found["error"] == []

    def test_an_identity_that_only_pushes(self, kms: KmsDouble, service: AwsKms) -> None:
        """A writer's right to wrap is found, and that it may not unwrap."""
        kms.allows = lambda request: request.operation == "Encrypt"
        found = said(service)
        assert holds(found["ok"], "this identity may wrap; it may not unwrap, rewrap")
        assert holds(found["warning"], "may not see the key's state")

    def test_a_policy_that_is_limited_to_a_compartment(self, kms: KmsDouble, service: AwsKms) -> None:
        """Rights are found in the encryption context that is given, and the check says when none was."""

        def allows(request: Request) -> bool:
            contexts = [value for name, value in request.body.items() if name.endswith("EncryptionContext")]
            return all(context["compartment"] == "finance" for context in contexts)

        kms.allows = allows
        assert holds(said(service)["warning"], "limited to some")
        assert holds(said(service, CONTEXT)["ok"], "this identity may wrap, unwrap, rewrap")
        refused = said(service, {**CONTEXT, "compartment": "hr"})["error"]
        assert holds(refused, "may not wrap, unwrap, rewrap" if knows_modifiers() else "may not wrap")

    @pytest.mark.parametrize(
        ("change", "part"),
        [
            ({"state": "Disabled"}, "is Disabled enable it"),
            ({"state": "PendingDeletion", "more": {"DeletionDate": 1800000000}}, "PendingDeletion on 2027-01-15"),
            ({"state": "PendingImport"}, "import its key material"),
            ({"spec": "RSA_2048"}, "binds no wrap"),
            ({"usage": "GENERATE_VERIFY_MAC", "spec": "HMAC_256"}, "binds no wrap"),
            ({"more": {"KeyManager": "AWS"}}, "managed by AWS"),
        ],
    )
    def test_a_key_that_cannot_be_used(
        self, kms: KmsDouble, service: AwsKms, key: Key, change: dict[str, Any], part: str
    ) -> None:
        """A key that cannot wrap is an error that says why, and nothing is tried with it."""
        for name, value in change.items():
            setattr(key, name, value)
        found = said(service)
        assert holds(found["error"], part)
        assert "Encrypt" not in kms.count

    @pytest.mark.parametrize(
        ("change", "status", "part"),
        [
            ({"rotates": False}, "warning", "enable-key-rotation"),
            ({"more": {"Origin": "EXTERNAL", "ValidTo": 1800000000}}, "warning", "expires on 2027-01-15"),
            ({"more": {"Origin": "EXTERNAL"}}, "ok", "rotation is up to you"),
            (
                {
                    "more": {
                        "MultiRegion": True,
                        "MultiRegionConfiguration": {
                            "PrimaryKey": {"Region": "eu-west-1"},
                            "ReplicaKeys": [{"Region": "us-east-1"}, {"Region": "ap-south-1"}],
                        },
                    }
                },
                "ok",
                "primary in eu-west-1, replicas in ap-south-1, us-east-1",
            ),
        ],
    )
    def test_what_is_worth_knowing(
        self, kms: KmsDouble, service: AwsKms, key: Key, change: dict[str, Any], status: str, part: str
    ) -> None:
        """Rotation, imported key material and the regions of a key are told."""
        for name, value in change.items():
            setattr(key, name, value)
        found = said(service)
        assert holds(found[status], part)
        assert found["error"] == []

    def test_no_key_at_all(self, kms: KmsDouble, conn_id: str) -> None:
        """A key that is not there is one error, and nothing follows."""
        found = said(AwsKms(f"aws-kms://{conn_id}/alias/none"))
        assert len(found["error"]) == 1
        assert holds(found["error"], "no such key or alias")

    def test_ended_credentials(self, kms: KmsDouble, service: AwsKms) -> None:
        """Credentials that have ended are told as such, not as a right that is missing."""
        kms.faults = [say(400, {"__type": "ExpiredTokenException"})] * 9
        found = said(service)
        assert holds(found["error"], "the credentials have expired")
        assert found["warning"] == []

    def test_a_way_that_others_can_read(self, kms: KmsDouble, key: Key, monkeypatch: pytest.MonkeyPatch) -> None:
        """An endpoint without TLS, or with a certificate that nobody checks, is an error."""
        conn_id = connect(monkeypatch, "http://kms.invalid", config=ONCE, verify=False)
        found = said(AwsKms(f"aws-kms://{conn_id}/{key.arn}"))
        assert holds(found["error"], "does not use TLS")
        assert holds(found["error"], "not verified")

    def test_it_raises_nothing(self, kms: KmsDouble, service: AwsKms) -> None:
        """Whatever KMS answers, check has findings."""
        for fault in (cut, say(200, {}), refuse("Strange"), say(200, [])):
            kms.faults = [fault] * 20
            assert check_key_service(service)


# --- the page -------------------------------------------------------------------------------------------------

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "reference" / "aws-kms.md").read_text(encoding="utf-8")


def test_the_page_names_errors_that_there_are() -> None:
    """Every error in the page's table is one of ours, and each of KMS's codes in it leads to that error."""
    table = PAGE.split("## When it fails")[1].split("##")[0]
    rows = re.findall(r"^\| (`[A-Z].*?`) \| (.*?) \|$", table, re.MULTILINE)
    assert len(rows) > 10
    for names, causes in rows:
        families = [getattr(errors, name) for name in re.findall(r"`(\w+)`", names)]
        assert all(issubclass(family, errors.SecureXComError) for family in families)
        for code in re.findall(r"\b\w+Exception\b", causes):
            words = "pending deletion" if families == [KeyPendingDeletion] else ""
            answer = {"Error": {"Code": code, "Message": words}}
            assert [type(of_foreign(ClientError(answer, "Encrypt"), "Encrypt", ""))] == families


def test_the_pages_key_uris_are_right() -> None:
    """Every key URI of the page's examples can be used."""
    listed = re.findall(r"^  - (\S+)$", PAGE, re.MULTILINE)
    assert len(listed) > 5
    for uri in listed:
        name = KeyUri.parse(uri).name
        assert not name.startswith("aws-kms://") or KmsKey.parse(name).uri == name


def test_the_pages_connections_are_understood(
    kms: KmsDouble, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Every connection of the page is taken, and none of its options is of no effect."""
    found = [json.loads(text) for text in re.findall(r"```json\n(.*?)\n```", PAGE, re.DOTALL)]
    assert len(found) > 2
    for number, connection in enumerate(found):
        monkeypatch.setenv(f"AIRFLOW_CONN_AWS_PAGE_{number}", json.dumps(connection))
        AwsKms(f"aws-kms://aws_page_{number}/alias/xcom")
    assert "without effect" not in caplog.text
