"""Check a KMS key and this identity at AWS."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from secure_xcom.core.errors import KeyServiceError, SecureXComError
from secure_xcom.core.findings import Finding
from secure_xcom.core.service_errors import KeyServiceDenied, KeyServiceLoginRefused
from secure_xcom.keys import DataKey, Wrap
from secure_xcom.keys.aws_kms import AwsKms
from secure_xcom.keys.aws_kms_format import CONTEXT_NAMES, KmsWrap, kms_context
from secure_xcom.ops.error_findings import as_finding

# No compartment can have such a name, so nothing that is wrapped here can be mistaken for an XCom's data key.
_NO_COMPARTMENT = dict.fromkeys(CONTEXT_NAMES, "secure_xcom/check")

_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_STATES = {
    "Disabled": "enable it: `aws kms enable-key`",
    "PendingDeletion": "cancel it: `aws kms cancel-key-deletion`, then `aws kms enable-key`",
    "PendingReplicaDeletion": "delete its replicas first, or cancel: `aws kms cancel-key-deletion`",
    "PendingImport": "import its key material: `aws kms import-key-material`",
    "Unavailable": "connect its custom key store",
    "Creating": "wait a minute",
    "Updating": "wait a minute",
}


def findings(service: AwsKms, context: Mapping[str, str] | None) -> list[Finding]:
    """Return all findings. Nothing follows an error that prevents the rest.

    :param context: see `secure_xcom.ops.checks.key_services.check_key_service`.
    """
    reported: list[Finding] = []
    try:
        for finding in _all(service, context):
            reported.append(finding)
    except SecureXComError as error:
        reported.append(as_finding(_subject(service), error))
    return reported


def _all(service: AwsKms, context: Mapping[str, str] | None) -> Iterator[Finding]:
    yield from _transport(service)
    yield from _identity(service)
    described = _described(service)
    if isinstance(described, Finding):
        yield described
    else:
        unusable = False
        for finding in _key(service, described):
            unusable = unusable or finding.status == "error"
            yield finding
        if unusable:
            return
        yield _rotation(service, described)
    yield from _rights(service, context)


def _subject(service: AwsKms) -> str:
    return f"key {service.uri}"


def _transport(service: AwsKms) -> Iterator[Finding]:
    parts = urlsplit(str(service.client().meta.endpoint_url))
    if parts.scheme != "https" and parts.hostname not in _LOOPBACK:
        yield Finding(
            _subject(service),
            "error",
            f"{parts.scheme}://{parts.netloc} does not use TLS: data keys are sent in plaintext",
            "use https in the connection's `endpoint_url`",
        )
    if service.identity.verify is False:
        yield Finding(
            _subject(service),
            "error",
            "the endpoint's certificate is not verified, so anyone on the network path can read data keys",
            "name the CA in the connection's `verify` instead of false",
        )


def _identity(service: AwsKms) -> Iterator[Finding]:
    """Report the identity. A machine that reaches only KMS (a VPC endpoint) need not reach STS."""
    subject = f"aws {service.key.conn_id}"
    try:
        client = service.identity.client("sts", service.key.region)
        arn = client.get_caller_identity()["Arn"]
    except Exception:  # noqa: BLE001  # if KMS itself fails, the next request to it reports the reason
        yield Finding(subject, "ok", "STS does not report the identity here; it is not needed")
        return
    yield Finding(subject, "ok", f"the identity is {arn}")


def _described(service: AwsKms) -> Mapping[str, Any] | Finding:
    try:
        metadata = service.ask("DescribeKey", KeyId=service.key.request_id).get("KeyMetadata")
    except KeyServiceLoginRefused:
        raise
    except KeyServiceDenied:
        return Finding(
            _subject(service),
            "warning",
            "this identity may not see the key's state; it is not needed to push or pull",
            "grant kms:DescribeKey and kms:GetKeyRotationStatus to the identity that runs `secure-xcom check`",
        )
    if not isinstance(metadata, Mapping):
        raise KeyServiceError("the response is not from KMS", where=service.where, remedy="correct the endpoint")
    return metadata


def _key(service: AwsKms, metadata: Mapping[str, Any]) -> Iterator[Finding]:
    subject = _subject(service)
    arn, state = metadata.get("Arn", "?"), metadata.get("KeyState", "?")
    # A key of this spec is for encryption and nothing else (KMS API, CreateKey, KeyUsage).
    if metadata.get("KeySpec") != "SYMMETRIC_DEFAULT":
        yield Finding(
            subject,
            "error",
            f"{arn} has the key spec {metadata.get('KeySpec')}, which binds no wrap to an encryption context",
            "create a key with the key spec SYMMETRIC_DEFAULT",
        )
        return
    if metadata.get("KeyManager") == "AWS":
        yield Finding(subject, "error", f"{arn} is managed by AWS", "create a customer managed key")
        return
    if state != "Enabled":
        until = metadata.get("DeletionDate")
        when = f" on {until:%Y-%m-%d}" if until else ""
        yield Finding(
            subject, "error", f"{arn} is {state}{when}", _STATES.get(state, "see `aws kms describe-key`")
        )
        return
    behind = f"the alias names {arn}" if service.key.alias else f"{arn}"
    yield Finding(subject, "ok", f"{behind}, enabled, {_regions(metadata)}")
    if valid_to := metadata.get("ValidTo"):
        yield Finding(
            subject,
            "warning",
            f"its key material expires on {valid_to:%Y-%m-%d}; then nothing opens until it is imported again",
            "keep a copy of the key material, or import it without an expiration date",
        )


def _regions(metadata: Mapping[str, Any]) -> str:
    if not metadata.get("MultiRegion"):
        return "in this region only"
    regions = metadata.get("MultiRegionConfiguration") or {}
    primary = regions.get("PrimaryKey", {}).get("Region", "?")
    replicas = sorted(str(replica.get("Region")) for replica in regions.get("ReplicaKeys", ()))
    return f"multi-Region: primary in {primary}, replicas in {', '.join(replicas) or 'no other region'}"


def _rotation(service: AwsKms, metadata: Mapping[str, Any]) -> Finding:
    subject = _subject(service)
    if metadata.get("Origin", "AWS_KMS") != "AWS_KMS":
        return Finding(subject, "ok", f"its key material is from {metadata['Origin']}: rotation is up to you")
    try:
        status = service.ask("GetKeyRotationStatus", KeyId=str(metadata.get("Arn")))
    except KeyServiceLoginRefused:
        raise
    except KeyServiceError:
        return Finding(subject, "ok", "this identity may not see whether it rotates (kms:GetKeyRotationStatus)")
    if status.get("KeyRotationEnabled"):
        return Finding(subject, "ok", f"rotates every {status.get('RotationPeriodInDays', 365)} days")
    return Finding(
        subject,
        "warning",
        "the key does not rotate",
        "run `aws kms enable-key-rotation`; earlier wraps still open",
    )


def _rights(service: AwsKms, context: Mapping[str, str] | None) -> Iterator[Finding]:
    """Report the identity's rights, found by dry runs, and by a real wrap and unwrap if it may do both."""
    subject = _subject(service)
    bound = dict(context or _NO_COMPARTMENT)
    shown, key, data_key = kms_context(bound), service.key.request_id, DataKey.generate()
    may = {"wrap": _allowed(service, "Encrypt", KeyId=key, EncryptionContext=shown, Plaintext=data_key.secret)}
    wrapped = service.wrap(data_key, bound) if may["wrap"] else None
    # A dry run needs a ciphertext as well, unless it is told to ignore it.
    about: dict[str, Any] = {"DryRunModifiers": ["IGNORE_CIPHERTEXT"]}
    if wrapped is not None:
        read = KmsWrap.parse(wrapped)
        about = {"CiphertextBlob": read.blob if read else b""}
    if wrapped is not None or _knows_modifiers(service):
        may["unwrap"] = _allowed(service, "Decrypt", KeyId=key, EncryptionContext=shown, **about)
        may["rewrap"] = _allowed(
            service,
            "ReEncrypt",
            SourceKeyId=key,
            SourceEncryptionContext=shown,
            DestinationKeyId=key,
            DestinationEncryptionContext=shown,
            **about,
        )
    if wrapped is not None and may["unwrap"] and service.unwrap_many([Wrap(wrapped, bound)]) != [data_key]:
        yield Finding(subject, "error", "a wrapped data key did not unwrap to the same key", "check the endpoint")
        return
    yield _summary(subject, may, context is None)


def _summary(subject: str, may: Mapping[str, bool], anywhere: bool) -> Finding:
    able = ", ".join(name for name, allowed in may.items() if allowed)
    unable = ", ".join(name for name, allowed in may.items() if not allowed)
    if able:
        return Finding(subject, "ok", f"this identity may {able}" + (f"; it may not {unable}" if unable else ""))
    if anywhere:
        return Finding(
            subject,
            "warning",
            "this identity has no rights in an encryption context without a compartment: its policy is "
            "limited to some contexts, or grants nothing",
            "run `secure-xcom policy verify`, which tries the encryption contexts of the compartments",
        )
    return Finding(
        subject,
        "error",
        f"this identity may not {unable} in this encryption context",
        "compare its IAM policy and the key policy with what `secure-xcom policy compile` writes",
    )


def _allowed(service: AwsKms, operation: str, **request: Any) -> bool:
    try:
        service.ask(operation, DryRun=True, **request)
    except KeyServiceLoginRefused:
        raise
    except KeyServiceDenied:
        return False
    return True


def _knows_modifiers(service: AwsKms) -> bool:
    # Older botocore releases do not have the parameter.
    model = service.client().meta.service_model.operation_model("Decrypt")
    return "DryRunModifiers" in model.input_shape.members
