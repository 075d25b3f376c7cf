"""Translate errors of bucket services into errors of our tree.

A foreign error's message has the server's whole response, and that of a credential error a traceback, so only the
service's own error code is taken from it.
"""

from __future__ import annotations

import re

from secure_xcom.core.errors import ObjectExists, ObjectMissing, StoreError
from secure_xcom.core.store_errors import StoreDenied, StoreFull, StoreUnavailable

# The second form is obstore's own, for one object of a bulk delete.
_CODE = re.compile(r"<Code>([A-Za-z0-9.]{1,80})</Code>|\(code: ([A-Za-z0-9.]{1,80})\)")
_STATUS = re.compile(r"status code: ([1-5]\d\d)\b")
_NOT_RENEWED = re.compile(r"NotRenewed: ([A-Za-z0-9.]{1,80})")
# obstore's message for S3's response about a bucket of another region, whose body obstore does not read.
_BARE_REDIRECT = ("redirect without LOCATION", "PermanentRedirect")

_DENIED = "the store denies the request to this identity"
_GRANTS = (
    f"{StoreDenied.remedy}; a service gives the same answer for a bucket that does not exist, so check its "
    "name for a typo too"
)
_CREDENTIALS = "correct the credentials in the store URI's Airflow connection, or the default credentials"
_SESSION = "give the connection a role_arn or another login that renews itself; a fixed session token expires"
_SLOW = "try again later; if it persists, raise retries and retry_seconds in the store URI, or spread the load"
_REGION = "set the bucket's own region as region_name in the connection's extra, or region= in the store URI"
_KEY = "enable the key of the bucket's server-side encryption, and allow this identity to use it"
_CONTAINER = "create the bucket, or correct the store URI; `secure-xcom check` tries it"

# The services' own lists: AWS "S3 error responses", Google "XML API HTTP status and error codes", Azure "Blob
# Storage error codes".
_CODES: dict[str, tuple[type[StoreError], str, str]] = {
    "NoSuchKey": (ObjectMissing, "there is no such object", ""),
    "BlobNotFound": (ObjectMissing, "there is no such object", ""),
    "NoSuchBucket": (StoreUnavailable, "the bucket does not exist", _CONTAINER),
    "ContainerNotFound": (StoreUnavailable, "the container does not exist", _CONTAINER),
    "ContainerBeingDeleted": (StoreUnavailable, "the container is being deleted", _CONTAINER),
    "PreconditionFailed": (ObjectExists, "the object already exists", ""),
    "ConditionalRequestConflict": (ObjectExists, "another writer is putting this object", ""),
    "ConditionNotMet": (ObjectExists, "the object already exists", ""),
    "BlobAlreadyExists": (ObjectExists, "the object already exists", ""),
    # Another writer's commit discarded these blocks.
    "InvalidBlockList": (ObjectExists, "another writer has put this object", ""),
    "AccessDenied": (StoreDenied, _DENIED, _GRANTS),
    "AuthorizationFailure": (StoreDenied, _DENIED, _GRANTS),
    "AuthorizationPermissionMismatch": (StoreDenied, _DENIED, _GRANTS),
    "InvalidAccessKeyId": (StoreDenied, "the access key is not known", _CREDENTIALS),
    "SignatureDoesNotMatch": (StoreDenied, "the secret key is wrong", _CREDENTIALS),
    "AuthenticationFailed": (StoreDenied, "the credentials are wrong, or this machine's clock is", _CREDENTIALS),
    "InvalidAuthenticationInfo": (StoreDenied, "the credentials are not understood", _CREDENTIALS),
    "NoAuthenticationInformation": (StoreDenied, "no credentials were sent", _CREDENTIALS),
    "AuthenticationRequired": (StoreDenied, "no credentials were sent", _CREDENTIALS),
    "ExpiredToken": (StoreDenied, "the session has expired", _SESSION),
    "ExpiredTokenException": (StoreDenied, "the session has expired", _SESSION),
    "InvalidToken": (StoreDenied, "the session token is not valid", _SESSION),
    "TokenRefreshRequired": (StoreDenied, "the session token must be renewed", _SESSION),
    "RequestTimeTooSkewed": (
        StoreUnavailable,
        "the clocks of this machine and of the store are too far apart",
        "synchronize this machine's clock (NTP)",
    ),
    "PermanentRedirect": (StoreUnavailable, "the bucket is in another region", _REGION),
    "TemporaryRedirect": (StoreUnavailable, "the bucket is in another region", _REGION),
    "AuthorizationHeaderMalformed": (StoreUnavailable, "the bucket is in another region", _REGION),
    "IllegalLocationConstraintException": (StoreUnavailable, "the bucket is in another region", _REGION),
    "SlowDown": (StoreUnavailable, "the store asks to slow down", _SLOW),
    "ServerBusy": (StoreUnavailable, "the store asks to slow down", _SLOW),
    "RequestLimitExceeded": (StoreUnavailable, "the store asks to slow down", _SLOW),
    "InvalidObjectState": (
        StoreUnavailable,
        "the object is in an archive",
        "restore it from the archive, and exclude the store's prefix from lifecycle rules that archive",
    ),
    "QuotaExceeded": (StoreFull, "the store's quota is used up", ""),
    "InsufficientStorage": (StoreFull, "the store has no space left", ""),
}
# For responses without a body: to HEAD, and of a proxy in between.
_STATUSES: dict[int, tuple[type[StoreError], str, str]] = {
    401: (StoreDenied, "the store does not know this identity", _CREDENTIALS),
    403: (StoreDenied, _DENIED, _GRANTS),
    404: (ObjectMissing, "there is no such object", ""),
    409: (ObjectExists, "the object already exists", ""),
    412: (ObjectExists, "the object already exists", ""),
    429: (StoreUnavailable, "the store asks to slow down", _SLOW),
    500: (StoreUnavailable, "the store failed, even after retries", _SLOW),
    502: (StoreUnavailable, "the store failed, even after retries", _SLOW),
    503: (StoreUnavailable, "the store asks to slow down", _SLOW),
    504: (StoreUnavailable, "the store failed, even after retries", _SLOW),
    507: (StoreFull, "the store has no space left", ""),
}
_KINDS: dict[str, int] = {
    "FileNotFoundError": 404,
    "NotFoundError": 404,
    "AlreadyExistsError": 412,
    "PreconditionError": 412,
    "PermissionDeniedError": 403,
    "UnauthenticatedError": 401,
}

# Failures below HTTP, by the words of rustls, hyper, OpenSSL and the servers themselves.
_CONNECTIONS: tuple[tuple[re.Pattern[str], str, str], ...] = (
    (
        re.compile(r"InvalidContentType|SSL: (?:WRONG_VERSION_NUMBER|HTTP_REQUEST|RECORD_LAYER_FAILURE)"),
        "the endpoint uses plain HTTP, but TLS was tried",
        "correct the port, or write http:// in the endpoint if this network may carry payloads without TLS",
    ),
    (
        re.compile(r"HTTP request (?:was sent )?to (?:an )?HTTPS|requires TLS", re.IGNORECASE),
        "the endpoint uses TLS, but plain HTTP was tried",
        "write https:// in the endpoint",
    ),
    (
        re.compile(r"CERTIFICATE_VERIFY_FAILED|InvalidCertificate|UnknownIssuer|NotValidForName", re.IGNORECASE),
        "the endpoint's certificate is not trusted, or is for another name",
        "name the certificate authority (`verify` in the connection's extra, AWS_CA_BUNDLE or REQUESTS_CA_BUNDLE)",
    ),
    (
        re.compile(r"dns error|failed to lookup|NameResolutionError|getaddrinfo|Name or service", re.IGNORECASE),
        "the endpoint's host name cannot be resolved",
        "correct the endpoint (in AWS's own, the region or the bucket's name)",
    ),
    (
        re.compile(r"Connection ?refused|NewConnectionError", re.IGNORECASE),
        "nothing listens at the endpoint",
        "correct the endpoint's host or port, or start the server",
    ),
)
_CUT = re.compile(
    r"ConnectionReset|ConnectionClosed|IncompleteMessage|Connection was closed|aborted|Parse\(", re.I
)
_NO_CREDENTIALS = re.compile(
    r"NoCredentialsError|Unable to locate credentials|InstanceCredentials|CredentialUnavail"
)


def store_error(error: BaseException, where: str) -> StoreError:
    """Return our error for an error of obstore, botocore, azure-core or google-api-core."""
    not_renewed = _NOT_RENEWED.search(f"{type(error).__name__}: {error}")
    if not_renewed:
        return StoreDenied(
            f"the credentials cannot be loaded or renewed ({not_renewed[1]})", where=where, remedy=_CREDENTIALS
        )
    code, status = _code_of(error)
    if code.startswith("KMS."):
        return StoreUnavailable(f"the bucket's own key cannot be used ({code})", where=where, remedy=_KEY)
    known = _CODES.get(code) or _STATUSES.get(status)
    if known:
        kind, what, remedy = known
        return kind(f"{what} ({code})" if code else what, where=where, remedy=remedy)
    words = _words(error)
    for pattern, what, remedy in _CONNECTIONS:
        if pattern.search(words):
            return StoreUnavailable(what, where=where, remedy=remedy)
    if status:
        shown = f"{code}, " if code else ""
        trouble = StoreUnavailable(f"the store responded with {shown}HTTP {status}", where=where)
        if status == 400 and not code and " at http://" in where:
            # Go servers and nginx respond like this to plain HTTP on a TLS port; botocore drops their message.
            trouble.remedy = f"write https:// in the endpoint if it uses TLS; otherwise {trouble.remedy}"
        return trouble
    if _NO_CREDENTIALS.search(words):
        return StoreDenied("there are no credentials to sign with", where=where, remedy=_CREDENTIALS)
    plain = " at http://" in where and _CUT.search(words)
    return StoreUnavailable(
        f"the store cannot be reached, or its response was cut off ({type(error).__name__})",
        where=where,
        remedy=("write https:// in the endpoint if it uses TLS; otherwise " if plain else "")
        + "check the network, the endpoint and the region with `secure-xcom check`",
    )


def _words(error: BaseException) -> str:
    """Return an error's text with those of the errors that caused it. It is only searched, never shown."""
    texts: list[str] = []
    cause: BaseException | None = error
    while cause is not None and len(texts) < 8:
        texts.append(f"{type(cause).__name__}: {cause} {getattr(cause, 'kwargs', '')}")
        cause = cause.__cause__ or cause.__context__
    return " ".join(texts)


def _code_of(error: BaseException) -> tuple[str, int]:
    """Return the service's own error code and the HTTP status; "" and 0 if there is none."""
    response = getattr(error, "response", None)
    if isinstance(response, dict):  # botocore.exceptions.ClientError
        code = str(response.get("Error", {}).get("Code", ""))
        status = int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        return ("", int(code)) if code.isdigit() else (code, status)
    azure_code = getattr(error, "error_code", None)
    if azure_code is not None:  # azure.core.exceptions.HttpResponseError
        return str(getattr(azure_code, "value", azure_code)), int(getattr(error, "status_code", None) or 0)
    answered = getattr(response, "status_code", None)
    if isinstance(answered, int):  # google.cloud.storage.exceptions.InvalidResponse, requests.HTTPError
        match = _CODE.search(str(getattr(response, "text", "")))
        return (match[1] or "") if match else "", answered
    code_or_status = getattr(error, "code", None)
    if isinstance(code_or_status, int):  # google.api_core.exceptions.GoogleAPICallError
        return "", int(code_or_status)
    text = str(error)
    code_found = _CODE.search(text)
    status_found = _STATUS.search(text)
    status = int(status_found.group(1)) if status_found else _KINDS.get(type(error).__name__, 0)
    if code_found:
        code = code_found[1] or code_found[2]
        # Azure's result for one object of a batch has the status in place of the code.
        return ("", int(code)) if code.isdigit() else (code, status)
    return _BARE_REDIRECT[1] if _BARE_REDIRECT[0] in text else "", status
