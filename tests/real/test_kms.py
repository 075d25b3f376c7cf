"""AWS KMS as the key service, against a server that somebody else wrote: moto, or one that the environment names.

`tests/support/servers/kms_server.py` says what moto checks; `tests/unit/keys/test_aws_kms.py` shows the rest on a
double.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from secure_xcom.core.access_policy.compartment import Compartment
from secure_xcom.core.access_policy.policy import AccessPolicy
from secure_xcom.core.coordinate import TaskTry
from secure_xcom.core.errors import KeyServiceError, UnwrapRefused
from secure_xcom.core.pipeline.push_and_pull import Pipeline, Push, Row
from secure_xcom.core.service_errors import KeyMismatch, KeyNotFound, KeyServiceDenied
from secure_xcom.keys import DataKey, KeyService, Wrap, key_service
from secure_xcom.keys.aws_kms import AwsKms
from secure_xcom.keys.aws_kms_format import KmsWrap
from secure_xcom.ops.checks.key_services import check_key_service
from tests.support.key_service_contract import CONTEXT, OTHER_CONTEXT, KeyServiceContract, opened
from tests.support.servers.aws_connections import ACCESS_KEY, REGION, SECRET_KEY, clean_environment, connect
from tests.support.servers.kms_server import kms_endpoint
from tests.support.world import World, coordinate

boto3 = pytest.importorskip("boto3")


@dataclass
class Account:
    """The server, raw clients that know nothing of this package, and one connection to it."""

    endpoint: str
    conn_id: str

    def client(self, service: str = "kms", region: str = REGION) -> Any:
        """A boto3 client of the account's administrator."""
        return boto3.client(
            service,
            endpoint_url=self.endpoint,
            region_name=region,
            aws_access_key_id=ACCESS_KEY,
            aws_secret_access_key=SECRET_KEY,
        )

    def new_key(self, alias: str = "", region: str = REGION) -> str:
        """A new key's ARN."""
        kms = self.client(region=region)
        metadata = kms.create_key(Description="of a test")["KeyMetadata"]
        if alias:
            kms.create_alias(AliasName=f"alias/{alias}", TargetKeyId=metadata["KeyId"])
        return str(metadata["Arn"])


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    """One server for this file."""
    with kms_endpoint() as endpoint, pytest.MonkeyPatch.context() as patch:
        clean_environment(patch, tmp_path_factory.mktemp("aws"))
        yield Account(endpoint, connect(patch, endpoint))


@pytest.fixture
def alias(account: Account) -> str:
    """The alias of a fresh key, without ``alias/``."""
    name = f"xcom-{uuid.uuid4().hex[:12]}"
    account.new_key(name)
    return name


@pytest.fixture
def service(account: Account, alias: str) -> AwsKms:
    """A fresh key by its alias."""
    return AwsKms(f"aws-kms://{account.conn_id}/alias/{alias}")


class TestContract(KeyServiceContract):
    """A KMS key that is named by its alias keeps the contract of key services."""

    @pytest.fixture(autouse=True)
    def _account(self, account: Account) -> None:
        self.account = account

    @pytest.fixture
    def other(self, account: Account) -> KeyService:
        name = f"xcom-{uuid.uuid4().hex[:12]}"
        account.new_key(name)
        return key_service(f"aws-kms://{account.conn_id}/alias/{name}")

    def rotate(self, service: KeyService) -> None:
        """See the contract. moto notes the rotation, but goes on with the same key material."""
        assert isinstance(service, AwsKms)
        kms = self.account.client()
        arn = kms.describe_key(KeyId=service.key.request_id)["KeyMetadata"]["Arn"]
        kms.rotate_key_on_demand(KeyId=arn.rsplit("/", 1)[1])


class TestContractOfKeyArns(TestContract):
    """A KMS key that is named by its ARN keeps it as well."""

    @pytest.fixture
    def service(self, account: Account) -> KeyService:
        return key_service(f"aws-kms://{account.conn_id}/{account.new_key()}")


@pytest.mark.parametrize(
    "edit",
    [
        lambda blob: blob[:-1] + bytes([blob[-1] ^ 1]),
        lambda blob: blob[:40] + bytes([blob[40] ^ 1]) + blob[41:],
        lambda blob: b"x" + blob[1:],
        lambda blob: blob[:-1],
        lambda blob: blob + b"\0",
        lambda blob: blob[:20],
        lambda blob: b"\0",
        lambda blob: blob * 2,
    ],
    ids=["last-bit", "middle-bit", "first-byte", "shorter", "longer", "cut", "nothing", "twice"],
)
def test_edited_ciphertexts_do_not_open(service: AwsKms, edit: Callable[[bytes], bytes]) -> None:
    """A well-formed wrap whose ciphertext was edited is not unwrapped, not rewrapped, and spares the others."""
    key = DataKey.generate()
    good = service.wrap(key, CONTEXT)
    whole = KmsWrap.parse(good)
    assert whole is not None
    wraps = [Wrap(str(KmsWrap(whole.arn, edit(whole.blob))), CONTEXT), Wrap(good, CONTEXT)]
    edited, fine = service.unwrap_many(wraps)
    assert isinstance(edited, KeyServiceError)
    assert opened(fine) == key.secret
    assert isinstance(service.rewrap_many(wraps)[0], KeyServiceError)


def test_kms_itself_holds_the_context(account: Account, service: AwsKms) -> None:
    """Raw boto3 opens the ciphertext only with exactly the five ids, so KMS binds them and not this process."""
    key = DataKey.generate()
    wrapped = KmsWrap.parse(service.wrap(key, CONTEXT))
    assert wrapped is not None
    kms = account.client()
    assert kms.decrypt(CiphertextBlob=wrapped.blob, EncryptionContext=CONTEXT)["Plaintext"] == key.secret
    without = [{name: text for name, text in CONTEXT.items() if name != left} for left in CONTEXT]
    for context in ({}, OTHER_CONTEXT, {**CONTEXT, "more": "x"}, *without):
        with pytest.raises(kms.exceptions.InvalidCiphertextException):
            kms.decrypt(CiphertextBlob=wrapped.blob, EncryptionContext=context)


def test_rotation(account: Account, service: AwsKms) -> None:
    """After a rotation on demand old wraps open, and check sees whether the key rotates by itself."""
    key = DataKey.generate()
    wrap = Wrap(service.wrap(key, CONTEXT), CONTEXT)
    kms = account.client()
    arn = kms.describe_key(KeyId=service.key.request_id)["KeyMetadata"]["Arn"]
    assert [finding.status for finding in check_key_service(service) if "rotate" in finding.text] == ["warning"]
    kms.rotate_key_on_demand(KeyId=arn)
    kms.enable_key_rotation(KeyId=arn)
    assert opened(service.unwrap_many([wrap])[0]) == key.secret
    assert [finding.status for finding in check_key_service(service) if "rotates every" in finding.text] == ["ok"]


def test_an_alias_that_was_moved(account: Account, alias: str, service: AwsKms) -> None:
    """New wraps are the new key's; old ones open through the former key only, and can be moved to the new one."""
    key = DataKey.generate()
    old = Wrap(service.wrap(key, CONTEXT), CONTEXT)
    kms = account.client()
    former = kms.describe_key(KeyId=f"alias/{alias}")["KeyMetadata"]["Arn"]
    now = account.new_key()
    kms.update_alias(AliasName=f"alias/{alias}", TargetKeyId=now.rsplit("/", 1)[1])
    assert service.wrap(key, CONTEXT).startswith(f"aws-kms:{now}:")
    # moto answers AccessDeniedException here, where KMS itself has IncorrectKeyException.
    assert isinstance(service.unwrap_many([old])[0], (KeyMismatch, KeyServiceDenied))
    source = f"aws-kms://{account.conn_id}/{former}"
    assert opened(AwsKms(source).unwrap_many([old])[0]) == key.secret
    moved = service.rewrap_many([old], source=source)[0]
    assert isinstance(moved, str)
    assert opened(service.unwrap_many([Wrap(moved, CONTEXT)])[0]) == key.secret
    assert isinstance(service.unwrap_many([Wrap(moved, OTHER_CONTEXT)])[0], UnwrapRefused)


def test_a_key_of_another_region(account: Account) -> None:
    """A key named by its ARN works from a connection of another region; by its id it is not found there."""
    arn = account.new_key(region="ap-southeast-2")
    far = AwsKms(f"aws-kms://{account.conn_id}/{arn}")
    key = DataKey.generate()
    assert opened(far.unwrap_many([Wrap(far.wrap(key, CONTEXT), CONTEXT)])[0]) == key.secret
    with pytest.raises(KeyNotFound, match=REGION):
        AwsKms(f"aws-kms://{account.conn_id}/key/{arn.rsplit('/', 1)[1]}").wrap(key, CONTEXT)


def test_an_alias_arn(account: Account, alias: str, service: AwsKms) -> None:
    """An alias may be named by its ARN."""
    by_alias = account.client().describe_key(KeyId=f"alias/{alias}")["KeyMetadata"]["Arn"]
    named = AwsKms(f"aws-kms://{account.conn_id}/{by_alias.split(':key/')[0]}:alias/{alias}")
    key = DataKey.generate()
    assert opened(service.unwrap_many([Wrap(named.wrap(key, CONTEXT), CONTEXT)])[0]) == key.secret


def test_disabled_and_pending_deletion_are_told_by_check(account: Account, alias: str, service: AwsKms) -> None:
    """Check reads the key's state. moto goes on using such keys; the double shows the refusals."""
    kms = account.client()
    key_id = kms.describe_key(KeyId=f"alias/{alias}")["KeyMetadata"]["KeyId"]
    kms.disable_key(KeyId=key_id)
    assert "is Disabled" in failed(service)
    kms.schedule_key_deletion(KeyId=key_id, PendingWindowInDays=7)
    assert "PendingDeletion on 20" in failed(service)


def failed(service: AwsKms) -> str:
    """The text of check's only error."""
    (text,) = (finding.text for finding in check_key_service(service) if finding.status == "error")
    return text


def test_asymmetric_keys_are_told_by_check(account: Account) -> None:
    """A key that binds no wrap is an error of check."""
    rsa = account.client().create_key(KeySpec="RSA_2048", KeyUsage="ENCRYPT_DECRYPT")["KeyMetadata"]["Arn"]
    findings = check_key_service(AwsKms(f"aws-kms://{account.conn_id}/{rsa}"))
    assert [finding.status for finding in findings if "binds no wrap" in finding.text] == ["error"]


# --- logins ---------------------------------------------------------------------------------------------------


def role(account: Account) -> str:
    """A role that may be assumed, and its ARN."""
    name = f"worker-{uuid.uuid4().hex[:8]}"
    trust = {"Version": "2012-10-17", "Statement": []}
    made = account.client("iam").create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(trust))
    return str(made["Role"]["Arn"])


def identity(service: AwsKms) -> str:
    """Who the server says that this is."""
    return str(service.identity.client("sts", service.key.region).get_caller_identity()["Arn"])


def test_assume_role(account: Account, alias: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection with a role asks as the session of that role, and its login is made once for many keys."""
    arn = role(account)
    sts = {"sts": {"endpoint_url": account.endpoint}}
    options = {"role_arn": arn, "assume_role_kwargs": {"RoleSessionName": "task"}, "service_config": sts}
    service = AwsKms(f"aws-kms://{connect(monkeypatch, account.endpoint, options=options)}/alias/{alias}")
    key = DataKey.generate()
    assert opened(service.unwrap_many([Wrap(service.wrap(key, CONTEXT), CONTEXT)])[0]) == key.secret
    assert identity(service).endswith(f":assumed-role/{arn.rsplit('/', 1)[1]}/task")


def test_web_identity(account: Account, alias: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A connection may log in with a web identity's token file, as pods do, without any key of its own."""
    arn = role(account)
    (tmp_path / "token").write_text("of-a-pod")
    service = AwsKms(
        "aws-kms://"
        + connect(
            monkeypatch,
            account.endpoint,
            login=None,
            password=None,
            role_arn=arn,
            assume_role_method="assume_role_with_web_identity",
            assume_role_with_web_identity_federation="file",
            assume_role_with_web_identity_token_file=str(tmp_path / "token"),
            assume_role_kwargs={"RoleSessionName": "pod"},
            service_config={"sts": {"endpoint_url": account.endpoint}},
        )
        + f"/alias/{alias}"
    )
    service.wrap(DataKey.generate(), CONTEXT)
    assert identity(service).endswith("/pod")


def test_a_session_token(account: Account, alias: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection may hold temporary keys with their session token."""
    session = account.client("sts").assume_role(RoleArn=role(account), RoleSessionName="temporary")["Credentials"]
    conn_id = connect(
        monkeypatch,
        account.endpoint,
        login=session["AccessKeyId"],
        password=session["SecretAccessKey"],
        aws_session_token=session["SessionToken"],
    )
    service = AwsKms(f"aws-kms://{conn_id}/alias/{alias}")
    service.wrap(DataKey.generate(), CONTEXT)
    assert identity(service).endswith("/temporary")


def test_a_connection_as_a_uri(account: Account, alias: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection in Airflow's URI form works as well as one in JSON."""
    host = account.endpoint.replace(":", "%3A").replace("/", "%2F")
    monkeypatch.setenv(
        "AIRFLOW_CONN_AWS_BY_URI",
        f"aws://{ACCESS_KEY}:{SECRET_KEY}@/?region_name={REGION}&endpoint_url={host}",
    )
    service = AwsKms(f"aws-kms://aws_by_uri/alias/{alias}")
    assert service.wrap(DataKey.generate(), CONTEXT)


# --- the whole way --------------------------------------------------------------------------------------------


def pipeline(world: World, *key_uris: str) -> Pipeline:
    """A process of a deployment with these keys, and the real key services."""
    compartment = Compartment(name="finance", dags=("*",), key_uris=key_uris, store_uri=world.store.uri)
    world.policy = AccessPolicy([compartment], digest="of this test", consumers_known=False)
    world.pipeline = world.process(services=key_service)
    return world.pipeline


def test_a_value_goes_its_way(account: Account, service: AwsKms) -> None:
    """A mapped task's values come back through KMS, with a reference that stays small."""
    world = World()
    rows = []
    for index in range(5):
        at = coordinate(map_index=index)
        producer = TaskTry(at.dag_id, at.run_id, at.task_id, index, 1)
        rows.append(Row(pipeline(world, service.uri).push([Push(at, {"row": index})], producer=producer)[0]))
    assert pipeline(world, service.uri).pull(rows) == [{"row": index} for index in range(5)]
    assert world.sink.records[-1]["opened_by"] == service.uri
    reference: Any = rows[0].value
    assert len(json.dumps(reference)) < 2048
    assert KmsWrap.parse(reference["keys"][0]["wrapped"]) is not None


def test_from_an_alias_to_its_next_key(account: Account, alias: str, service: AwsKms) -> None:
    """After an alias was moved, the former key in the settings opens what it wrapped, and wraps nothing."""
    world = World()
    row = Row(pipeline(world, service.uri).push([Push(coordinate(), "old")])[0])
    kms = account.client()
    former = kms.describe_key(KeyId=f"alias/{alias}")["KeyMetadata"]["Arn"]
    kms.update_alias(AliasName=f"alias/{alias}", TargetKeyId=account.new_key().rsplit("/", 1)[1])
    with pytest.raises((KeyMismatch, KeyServiceDenied)):
        pipeline(world, service.uri).pull([row])
    retired = f"aws-kms://{account.conn_id}/{former}"
    both = pipeline(world, f"{retired}?wrap=never", service.uri)
    assert both.pull([row]) == ["old"]
    assert world.sink.records[-1]["opened_by"] == retired
    reference = both.push([Push(coordinate(), "new")])[0]
    assert [key["uri"] for key in reference["keys"]] == [service.uri]
