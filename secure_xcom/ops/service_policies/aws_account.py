"""Asks AWS, or a server that speaks its API, with boto3: each failure named, none of its texts passed on."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NoReturn

from secure_xcom.connections.aws import missing, profile_session, retries_and_times
from secure_xcom.core.errors import AwsDenied, AwsRefused, AwsTrouble, AwsUnreachable, AwsUnsupported

# Error codes are those of the API references of S3, IAM and KMS ("Error responses", "Common errors").
_DENIED = re.compile(r"AccessDenied(Exception)?|UnauthorizedOperation|AllAccessDisabled|Forbidden|403")
_LOGIN = re.compile(
    r"InvalidAccessKeyId|InvalidClientTokenId|UnrecognizedClientException|SignatureDoesNotMatch|ExpiredToken"
    r"(Exception)?|InvalidToken|RequestExpired|RequestTimeTooSkewed|InvalidSignatureException"
)


class AwsAccount:
    """One way in: boto3's default credential chain and settings, or a profile of its configuration.

    :raises ExtraMissing: boto3 is not installed; :raises AwsUnreachable: there is no such profile.
    """

    def __init__(self, profile: str | None = None) -> None:
        self.where = "AWS" if profile is None else f"AWS, profile {profile}"
        self._clients: dict[tuple[str, str | None], Any] = {}
        try:
            self._session = profile_session(profile)
        except ImportError as error:
            raise missing(error, self.where) from None
        except Exception as error:  # noqa: BLE001  # whatever a foreign library raises becomes ours
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
        """The answer, or None where its error code is one of those that say that a thing is not there.

        :raises AwsTrouble: anything else.
        """
        try:
            client = self._client(service, region)
            answer: dict[str, Any] = getattr(client, operation)(**request)
        except Exception as error:  # noqa: BLE001  # whatever a foreign library raises becomes ours
            if code_of(error) in absent:
                return None
            self._trouble(error, f"{service}:{operation}")
        return answer

    def may(self, service: str, operation: str, *, region: str | None = None, **request: Any) -> bool:
        """Whether policies let a request through, whatever then becomes of it.

        :raises AwsTrouble: there is no answer.
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
    """The error code of an answer, or nothing for what is none."""
    response = getattr(error, "response", None)
    code = response.get("Error", {}).get("Code") if isinstance(response, dict) else None
    return str(code) if code is not None else ""


def _named(error: Exception, where: str) -> AwsTrouble:
    code = code_of(error)
    if not code:
        return AwsUnreachable(f"there is no answer ({type(error).__name__})", where=where)
    if _LOGIN.fullmatch(code):
        return AwsUnreachable("the credentials are not taken", where=where, remedy="correct or renew them")
    if _DENIED.fullmatch(code):
        return AwsDenied("the request is denied", where=where)
    status = getattr(error, "response", {}).get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    shown = code if re.fullmatch(r"[A-Za-z0-9.]{1,60}", code) else str(status)
    if status == 501 or code in ("NotImplemented", "UnsupportedOperationException"):
        return AwsUnsupported("the server has no such operation", where=where)
    if status >= 500 or "Throttling" in code or code in ("SlowDown", "RequestLimitExceeded"):
        return AwsUnreachable(f"the server failed ({shown})", where=where, remedy="run it again: it goes on")
    return AwsRefused(f"the request is refused ({shown})", where=where)
