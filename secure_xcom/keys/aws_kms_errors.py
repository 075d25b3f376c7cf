"""What botocore, STS and KMS say, in the words of a key service.

No text of theirs is passed on: such texts repeat ARNs, encryption contexts and parts of requests. Error codes are
those of the KMS API's reference ("Errors" of each operation, "Common Errors") and of STS.
"""

from __future__ import annotations

from typing import NamedTuple

from secure_xcom.core.errors import (
    KeyServiceError,
    KeyServiceUnavailable,
    SecureXComError,
    SettingMissing,
    UnwrapRefused,
)
from secure_xcom.core.service_errors import (
    KeyDisabled,
    KeyMismatch,
    KeyNotFound,
    KeyPendingDeletion,
    KeyServiceDenied,
    KeyServiceLoginRefused,
    KeyServiceThrottled,
    KeyServiceTimeout,
    KeyServiceUntrusted,
    KeyUnbound,
)


class _Said(NamedTuple):
    family: type[SecureXComError]
    what: str
    remedy: str = ""


_EXPIRED = _Said(
    KeyServiceLoginRefused,
    "the credentials have expired",
    "give the connection new credentials, or a login that renews itself: role_arn, a profile, the machine's role",
)
_UNKNOWN_KEY = _Said(
    KeyServiceLoginRefused,
    "AWS does not know the access key, or its session token is missing",
    "correct the access key of the connection; temporary keys (ASIA...) need their aws_session_token as well",
)
_NO_CREDENTIALS = _Said(
    KeyServiceLoginRefused,
    "there are no AWS credentials",
    "name an Airflow connection in the key URI instead of `default`, or give the worker an identity: a role of "
    "its machine or pod, AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
)
_SIGNATURE = _Said(
    KeyServiceLoginRefused,
    "AWS rejects the signature: the secret key is wrong",
    "correct the secret key of the connection",
)
_CLOCK = _Said(
    KeyServiceLoginRefused,
    "AWS rejects the signature: by the clock of AWS it was made too early or too late",
    "synchronize the clock of this machine (NTP)",
)
_THROTTLED = _Said(
    KeyServiceThrottled,
    "KMS throttles requests: the account's quota in this region is used up",
    "raise the quota (Service Quotas, `Cryptographic operations (symmetric) request rate`) or [secure_xcom] "
    "key_cache_seconds, or run fewer tasks at a time",
)
_INTERNAL = _Said(
    KeyServiceUnavailable,
    "KMS could not answer because of an internal error",
    "run the task again; see AWS's health page",
)
_UNREACHABLE = _Said(
    KeyServiceUnavailable,
    "the endpoint cannot be reached, or it closed the connection",
    "check that this machine can reach it: VPC endpoint, proxy, DNS, `endpoint_url` of the connection",
)

_CODES: dict[str, _Said] = {
    "NotFoundException": _Said(
        KeyNotFound,
        "KMS has no such key or alias in this region and account",
        "correct the key URI or the connection's region_name; a key of another account or region needs its ARN",
    ),
    "DisabledException": _Said(
        KeyDisabled,
        "the key is disabled",
        "enable it (`aws kms enable-key`); to let a key only open what it wrapped, do not disable it but list "
        "it as KEY_URI?wrap=never",
    ),
    "KeyUnavailableException": _Said(
        KeyServiceUnavailable, "the key is not available at the moment", "run the task again; see its key store"
    ),
    "KMSInternalException": _INTERNAL,
    "DependencyTimeoutException": _INTERNAL,
    "InvalidKeyUsageException": _Said(
        KeyUnbound,
        "the key is not a symmetric encryption key, so it binds no wrap to its encryption context",
        "make one with key spec SYMMETRIC_DEFAULT and key usage ENCRYPT_DECRYPT, and name it in the key URI",
    ),
    "InvalidCiphertextException": _Said(
        UnwrapRefused,
        "the data key does not unwrap: the wrap was edited, or belongs to another encryption context",
    ),
    "IncorrectKeyException": _Said(KeyMismatch, "the wrap was made by another key"),
    "ExpiredTokenException": _EXPIRED,
    "ExpiredToken": _EXPIRED,
    "RequestExpired": _CLOCK,
    "UnrecognizedClientException": _UNKNOWN_KEY,
    "InvalidClientTokenId": _UNKNOWN_KEY,
    "InvalidAccessKeyId": _UNKNOWN_KEY,
    "MissingAuthenticationToken": _UNKNOWN_KEY,
    "MissingAuthenticationTokenException": _UNKNOWN_KEY,
    "IncompleteSignature": _SIGNATURE,
    "IncompleteSignatureException": _SIGNATURE,
    "Throttling": _THROTTLED,
    "ThrottlingException": _THROTTLED,
    "ThrottledException": _THROTTLED,
    "RequestLimitExceeded": _THROTTLED,
    "RequestThrottled": _THROTTLED,
    "RequestThrottledException": _THROTTLED,
    "TooManyRequestsException": _THROTTLED,
    "SlowDown": _THROTTLED,
}

_STOPS = (
    KeyServiceUnavailable,
    KeyServiceUntrusted,
    KeyServiceLoginRefused,
    KeyNotFound,
    KeyDisabled,
    KeyUnbound,
)


def concerns_all(error: KeyServiceError) -> bool:
    """Return whether every other wrap would fail in the same way, so that no further request helps."""
    return isinstance(error, _STOPS)


def would_succeed(error: Exception) -> bool:
    """Return whether an error is the one with which KMS ends a dry run that is allowed."""
    return _code(error) == "DryRunOperationException"


def another_key(where: str, made_by: str, alias: bool) -> KeyMismatch:
    """Return the error about a wrap of a key other than the pinned one. The key's ARN is an id, not a secret."""
    what = f"the wrap was made by {made_by}"
    what += ", which the alias does not name (any longer)" if alias else ", which is another key"
    return KeyMismatch(
        what,
        where=where,
        remedy="if that is your key (its alias was moved), list it before this one as "
        f"aws-kms://CONN_ID/{made_by}?wrap=never, then run `secure-xcom rewrap`; otherwise find out who "
        "changed this reference",
    )


def of_foreign(error: Exception, operation: str, where: str) -> SecureXComError:
    """Return whatever a request to AWS raised as an error of our tree: a `KeyServiceError`, or a missing setting.

    :param operation: of KMS, as in its permissions: Encrypt, Decrypt, ...
    :param where: the key URI and the region.
    """
    from botocore.exceptions import ClientError

    said = _of_answer(error, operation) if isinstance(error, ClientError) else _of_way(error)
    return said.family(said.what, where=where, remedy=said.remedy)


def _code(error: Exception) -> str:
    return str(getattr(error, "response", {}).get("Error", {}).get("Code", ""))


def _of_answer(error: Exception, operation: str) -> _Said:
    answer = getattr(error, "response", {})
    code = _code(error)
    words = str(answer.get("Error", {}).get("Message", "")).lower()
    status = answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    login = str(getattr(error, "operation_name", ""))
    if code in ("InvalidSignatureException", "SignatureDoesNotMatch"):
        return _CLOCK if "expired" in words or "not yet current" in words else _SIGNATURE
    if code in _CODES and not (login.startswith("AssumeRole") and _CODES[code].family is KeyNotFound):
        return _CODES[code]
    if status == 429:
        return _THROTTLED
    if status >= 500:
        return _INTERNAL
    if login.startswith("AssumeRole"):
        return _Said(
            KeyServiceLoginRefused,
            f"STS refuses {login} for the connection's role ({code:.60})",
            "compare role_arn and assume_role_kwargs of the connection with the role's trust policy, and check "
            "that the first identity may sts:AssumeRole",
        )
    if code in ("AccessDeniedException", "AccessDenied"):
        return _Said(
            KeyServiceDenied,
            f"KMS refuses kms:{operation} to this identity",
            f"allow kms:{operation} on this key in its key policy and in the identity's IAM policy; "
            "`secure-xcom policy compile` writes both, with conditions on kms:EncryptionContext",
        )
    if code == "KMSInvalidStateException":
        return _of_state(words)
    if code == "OptInRequired":
        return _Said(KeyServiceLoginRefused, "the account has no KMS", "subscribe the account to AWS KMS")
    return _Said(
        KeyServiceError, f"KMS rejects the request ({code:.60})", "run `secure-xcom check` on this machine"
    )


def _of_state(words: str) -> _Said:
    if "pending deletion" in words or "pendingdeletion" in words:
        return _Said(
            KeyPendingDeletion,
            "the key is pending deletion; once it is gone, nothing that it wrapped can be opened again",
            "cancel it (`aws kms cancel-key-deletion`, then `aws kms enable-key`); to retire a key, list it "
            "as KEY_URI?wrap=never and run `secure-xcom rewrap` first",
        )
    if "import" in words:
        return _Said(
            KeyDisabled,
            "the key has no key material: it was not imported yet, or has expired",
            "import the same key material again (`aws kms import-key-material`)",
        )
    return _Said(
        KeyDisabled,
        "the key is in an unusable state",
        "see `aws kms describe-key`; a key of a custom key store needs its store to be connected",
    )


def _of_way(error: Exception) -> _Said:
    """Return what stopped a request before it had an answer."""
    from botocore import exceptions as botocore
    from botocore.parsers import ResponseParserError

    if isinstance(error, botocore.NoRegionError):
        return _Said(
            SettingMissing,
            "no region is known for KMS",
            "put `region_name` into the connection's extra, set AWS_REGION, or name the key by its ARN",
        )
    if isinstance(error, botocore.ProfileNotFound):
        return _Said(
            KeyServiceLoginRefused,
            "this machine has no such AWS profile",
            "add it to ~/.aws/config of the user that Airflow runs as, or correct the connection's `profile_name`",
        )
    if isinstance(error, (botocore.NoCredentialsError, botocore.PartialCredentialsError)):
        return _NO_CREDENTIALS
    if isinstance(error, (botocore.ConnectTimeoutError, botocore.ReadTimeoutError)):
        return _Said(
            KeyServiceTimeout,
            "KMS did not answer in time",
            "find out why the connection is slow, or allow more time: connect_timeout and read_timeout among the "
            "config_kwargs of the connection",
        )
    if isinstance(error, botocore.SSLError):
        return _Said(
            KeyServiceUntrusted,
            "the endpoint's certificate is not trusted",
            "name the CA: `verify` in the connection's extra, or AWS_CA_BUNDLE",
        )
    if isinstance(error, (botocore.HTTPClientError, botocore.ConnectionError, ResponseParserError)):
        return _UNREACHABLE
    if isinstance(error, botocore.BotoCoreError):
        # What is left are the logins: credential processes, SSO, metadata services, token files.
        return _Said(
            KeyServiceLoginRefused,
            f"the login at AWS failed ({type(error).__name__})",
            "try it as the user that Airflow runs as: `aws sts get-caller-identity`",
        )
    if isinstance(error, OSError) and error.filename:
        return _Said(
            KeyServiceLoginRefused,
            f"a file of the login at AWS cannot be read ({type(error).__name__})",
            f"check that {error.filename} exists and that the worker may read it",
        )
    return _Said(
        KeyServiceLoginRefused,
        f"the connection's login failed ({type(error).__name__})",
        "correct the connection; docs/reference/aws-kms.md has an example for each login method",
    )
