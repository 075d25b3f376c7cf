"""``aws-kms://CONN_ID/KEY``: a key of AWS KMS with the key spec ECC_NIST_EDWARDS25519 for SIGN_VERIFY.

CONN_ID and KEY are as for wrapping keys. Permissions: ``kms:Sign`` and ``kms:GetPublicKey``. It signs with
``ED25519_SHA_512`` over the RAW message, which is RFC 8032's Ed25519 (KMS developer guide, "ECC key specs").
"""

from __future__ import annotations

from typing import Any

from secure_xcom.core.errors import KeyServiceError
from secure_xcom.core.operator_errors import SealedLogError, SigningKeyError
from secure_xcom.keys.aws_kms import AwsKms

_ALGORITHM = "ED25519_SHA_512"


class KmsSigner:
    """The key in KMS, as the module's docstring describes it.

    :raises UriInvalid: the URI has another form.
    :raises ConfigurationError: the connection cannot be used, or boto3 is not installed.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self._kms = AwsKms(uri)

    def public_key(self) -> bytes:
        """Return the public key.

        :raises SealedLogError: KMS did not return it, or the key has another type.
        """
        from secure_xcom.ops.audit_trail.tlog.ed25519 import from_spki

        answer = self._ask("GetPublicKey")
        public = from_spki(bytes(answer.get("PublicKey") or b""))
        if not public:
            raise SigningKeyError(
                "the key's spec is not ECC_NIST_EDWARDS25519",
                where=self.uri,
                remedy="create a key with this spec for SIGN_VERIFY",
            )
        return public

    def sign(self, text: bytes) -> bytes:
        """Sign a text.

        :raises SealedLogError: KMS did not sign.
        """
        return bytes(
            self._ask("Sign", Message=text, MessageType="RAW", SigningAlgorithm=_ALGORITHM).get("Signature") or b""
        )

    def _ask(self, operation: str, **request: Any) -> Any:
        try:
            return self._kms.ask(operation, KeyId=self._kms.key.request_id, **request)
        except KeyServiceError as error:
            raise SealedLogError(
                f"the signing key cannot be used: {error.what}", where=self.uri, remedy=error.remedy
            ) from None
