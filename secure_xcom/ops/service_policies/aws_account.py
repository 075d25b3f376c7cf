"""Call AWS, or a server with its API, with boto3. Failures become our errors, without AWS's own messages."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NoReturn

from secure_xcom.connections.aws.identity import missing, profile_session, retries_and_times
from secure_xcom.core.operator_errors import AwsDenied, AwsRefused, AwsTrouble, AwsUnreachable, AwsUnsupported

# Error codes are those of the API references of S3, IAM and KMS ("Error responses", "Common errors").
_DENIED = re.compile(r"AccessDenied(Exception)?|UnauthorizedOperation|AllAccessDisabled|Forbidden|403")
_LOGIN = re.compile(
    r"InvalidAccessKeyId|InvalidClientTokenId|UnrecognizedClientException|SignatureDoesNotMatch|ExpiredToken"
    r"(Exception)?|InvalidToken|RequestExpired|RequestTimeTooSkewed|InvalidSignatureException"
)


class AwsAccount:
    """Access to AWS with boto3's default credential chain and settings, or with a profile of its configuration.

    :raises ExtraMissing: boto3 is not installed; :raises AwsUnreachable: there is no such profile.
    """

    def __init__(self, profile: str | None = None) -> None:
        self.where = "AWS" if profile is None else f"AWS, profile {profile}"
        self._clients: dict[tuple[str, str | None], Any] = {}
        try:
            self._session = profile_session(profile)
        except ImportError as error:
            raise missing(error, self.where) from None
        except Exception as error:  # noqa: BLE001  # any error of a foreign library becomes one of ours
            self._trouble(error, "session")

    def ask(
        self,
        service: str,
        operation: str,
        *,
        region: str | None = None,
        absent: Sequence[str] = (),
        **request: Any,
    ) -> dict[str, Any] | None:
        """Return the response, or None for an error code in ``absent``: the object does not exist.

        :raises AwsTrouble: any other failure.
        """
        try:
            client = self._client(service, region)
            answer: dict[str, Any] = getattr(client, operation)(**request)
        except Exception as error:  # noqa: BLE001  # any error of a foreign library becomes one of ours
            if code_of(error) in absent:
                return None
            self._trouble(error, f"{service}:{operation}")
        return answer

    def may(self, service: str, operation: str, *, region: str | None = None, **request: Any) -> bool:
        """Check whether policies allow a request, even if it then fails for another reason.

        :raises AwsTrouble: there is no response.
        """
        try:
            self.ask(service, operation, region=region, **request)
        except AwsDenied:
            return False
        except AwsRefused:
            return True
        return True

    def _client(self, service: str, region: str | None) -> Any:
        if (service, region) not in self._clients:
            config = retries_and_times()
            self._clients[service, region] = self._session.client(service, region_name=region, config=config)
        return self._clients[service, region]

    def _trouble(self, error: Exception, asked: str) -> NoReturn:
        raise _named(error, f"{self.where}, {asked}") from None


def code_of(error: Exception) -> str:
    """Return the error code of a response, or an empty text for any other error."""
    response = getattr(error, "response", None)
    code = response.get("Error", {}).get("Code") if isinstance(response, dict) else None
    return str(code) if code is not None else ""


def _named(error: Exception, where: str) -> AwsTrouble:
    code = code_of(error)
    if not code:
        return AwsUnreachable(f"there is no response ({type(error).__name__})", where=where)
    if _LOGIN.fullmatch(code):
        return AwsUnreachable("the credentials are refused", where=where, remedy="correct or renew them")
    if _DENIED.fullmatch(code):
        return AwsDenied("the request is denied", where=where)
    status = getattr(error, "response", {}).get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    shown = code if re.fullmatch(r"[A-Za-z0-9.]{1,60}", code) else str(status)
    if status == 501 or code in ("NotImplemented", "UnsupportedOperationException"):
        return AwsUnsupported("the server has no such operation", where=where)
    if status >= 500 or "Throttling" in code or code in ("SlowDown", "RequestLimitExceeded"):
        return AwsUnreachable(f"the server failed ({shown})", where=where, remedy="run it again: it continues")
    return AwsRefused(f"the request is refused ({shown})", where=where)
