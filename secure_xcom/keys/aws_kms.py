"""``aws-kms://CONN_ID/KEY``: a symmetric encryption key of AWS KMS.

URI: CONN_ID is an Airflow connection of type ``aws``, with any login of the Amazon provider, or ``default`` for
boto3's default credential chain. KEY is ``alias/NAME``, an alias ARN, a key ARN or ``key/ID``, including
multi-Region keys (``mrk-...``). The region of an ARN takes precedence over the connection's.

Environment: with ``default``, whatever boto3 reads, such as ``AWS_PROFILE``, ``AWS_REGION``,
``AWS_ENDPOINT_URL_KMS`` and ``AWS_CA_BUNDLE``.

Permissions, on this key: ``kms:Encrypt`` to push, ``kms:Decrypt`` to pull, ``kms:ReEncryptFrom`` and
``kms:ReEncryptTo`` to rewrap. With ``kms:DescribeKey`` and ``kms:GetKeyRotationStatus``, `secure-xcom check`
reports more. The five ids of the encryption context are KMS's EncryptionContext, in the form of
`secure_xcom.keys.aws_kms_format.kms_context_value`. So a policy can be scoped by
``kms:EncryptionContext:compartment``, ``...:dag_id`` and so on, and CloudTrail shows them.

A wrapped data key is ``aws-kms:KEY_ARN:BASE64``: the ARN of the key that made it, and KMS's ciphertext. Every
Decrypt and ReEncrypt pins the KeyId to this service's own key; the ARN in the text only tells which key is
needed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from secure_xcom.connections.aws.identity import AwsIdentity, aws_identity
from secure_xcom.core.errors import KeyServiceError, UnwrapRefused
from secure_xcom.core.service_errors import KeyMismatch
from secure_xcom.keys import DATA_KEY_BYTES, DataKey, Wrap
from secure_xcom.keys.aws_kms_errors import another_key, concerns_all, of_foreign, would_succeed
from secure_xcom.keys.aws_kms_format import KmsKey, KmsWrap, is_key_arn, kms_context, same_key

THREADS_AT_MOST = 32
"""The most concurrent requests. The client's connection pool is another limit (botocore's
``max_pool_connections``, 10 unless the connection's ``config_kwargs`` set it)."""

# The only algorithm with an encryption context. Naming it prevents the use of a key of another kind.
_ALGORITHM = "SYMMETRIC_DEFAULT"

_METHODS = {
    "Encrypt": "encrypt",
    "Decrypt": "decrypt",
    "ReEncrypt": "re_encrypt",
    "DescribeKey": "describe_key",
    "GetKeyRotationStatus": "get_key_rotation_status",
    # For the key that signs the anchored log's checkpoints (secure_xcom.ops.audit_trail.tlog.signer_kms).
    "GetPublicKey": "get_public_key",
    "Sign": "sign",
}

Result = TypeVar("Result")


class AwsKms:
    """The key service of one KMS key: see the module's docstring. Thread-safe.

    The constructor looks up the connection. The first request to AWS is the first wrap or unwrap.

    :raises UriInvalid: the URI is invalid.
    :raises ConfigurationError: the connection cannot be used, or boto3 is not installed.
    """

    def __init__(self, uri: str) -> None:
        self.key = KmsKey.parse(uri)
        self.uri = uri
        self.identity: AwsIdentity = aws_identity(self.key.conn_id)
        self._region = ""

    def __repr__(self) -> str:
        return f"AwsKms({self.uri!r})"

    # --- wrap -----------------------------------------------------------------------------------------------

    def wrap(self, data_key: DataKey, context: Mapping[str, str]) -> str:
        """Wrap with the key that the URI currently names.

        :raises KeyServiceError: KMS did not wrap.
        """
        answer = self.ask(
            "Encrypt",
            KeyId=self.key.request_id,
            Plaintext=data_key.secret,
            EncryptionContext=kms_context(context),
            EncryptionAlgorithm=_ALGORITHM,
        )
        return self._text(answer)

    # --- unwrap, rewrap -------------------------------------------------------------------------------------

    def unwrap_many(self, wraps: Sequence[Wrap]) -> list[DataKey | KeyServiceError]:
        """Unwrap each, in order. The same wrap is requested once, and concurrency is bounded.

        :raises KeyServiceError: KMS as a whole cannot answer.
        """
        return self._many(wraps, self._unwrap)

    def rewrap_many(self, wraps: Sequence[Wrap], *, source: str | None = None) -> list[str | KeyServiceError]:
        """Rewrap each with the newest key material. The data keys do not leave KMS.

        :param source: the URI of another key of the same region, which made the wraps, to move from key to key. It
            must come from the settings, never from a reference.
        :raises KeyServiceError: KMS as a whole cannot answer.
        """
        made_by = self.key if source is None else KmsKey.parse(source)
        return self._many(wraps, lambda wrap: self._rewrap(wrap, made_by))

    def _unwrap(self, wrap: Wrap) -> DataKey:
        wrapped = self._read(wrap, self.key)
        answer = self._ask_about(
            wrapped,
            self.key,
            "Decrypt",
            KeyId=self.key.request_id,
            CiphertextBlob=wrapped.blob,
            EncryptionContext=kms_context(wrap.context),
            EncryptionAlgorithm=_ALGORITHM,
        )
        self._expect(answer.get("KeyId"), wrapped)
        secret = answer.get("Plaintext")
        if not isinstance(secret, bytes) or len(secret) != DATA_KEY_BYTES:
            raise UnwrapRefused("the wrapped bytes are not a data key", where=self.where)
        return DataKey(secret)

    def _rewrap(self, wrap: Wrap, source: KmsKey) -> str:
        wrapped = self._read(wrap, source)
        context = kms_context(wrap.context)
        answer = self._ask_about(
            wrapped,
            source,
            "ReEncrypt",
            SourceKeyId=source.request_id,
            CiphertextBlob=wrapped.blob,
            SourceEncryptionContext=context,
            SourceEncryptionAlgorithm=_ALGORITHM,
            DestinationKeyId=self.key.request_id,
            DestinationEncryptionContext=context,
            DestinationEncryptionAlgorithm=_ALGORITHM,
        )
        self._expect(answer.get("SourceKeyId"), wrapped)
        text = self._text(answer)
        # Not every KMS emulator checks the SourceKeyId, but each returns the key that it used.
        if source is self.key and not same_key(str(answer["SourceKeyId"]), str(answer["KeyId"])):
            raise another_key(self.where, wrapped.arn, source.alias)
        return text

    def _read(self, wrap: Wrap, key: KmsKey) -> KmsWrap:
        wrapped = KmsWrap.parse(wrap.wrapped)
        if wrapped is None:
            raise UnwrapRefused("the wrapped data key is not of the form aws-kms:KEY_ARN:BASE64", where=self.where)
        if not key.is_key(wrapped.arn):
            raise another_key(self.where, wrapped.arn, key.alias)
        return wrapped

    def _expect(self, answered: object, wrapped: KmsWrap) -> None:
        """Check that KMS used the key that the wrap names: the pinned key may be an alias."""
        if not is_key_arn(str(answered)) or not same_key(str(answered), wrapped.arn):
            raise UnwrapRefused("the wrap names another key than the one that opened it", where=self.where)

    def _text(self, answer: Mapping[str, Any]) -> str:
        arn, blob = str(answer.get("KeyId")), answer.get("CiphertextBlob")
        if not is_key_arn(arn) or not isinstance(blob, bytes) or not self.key.is_key(arn):
            raise KeyServiceError("KMS's response has no wrap of this key", where=self.where)
        return str(KmsWrap(arn, blob))

    # --- asking ---------------------------------------------------------------------------------------------

    @property
    def where(self) -> str:
        """The key URI, which names the connection and the key, and the region if the URI does not name it."""
        return self.uri if self.key.region or not self._region else f"{self.uri} in {self._region}"

    def client(self) -> Any:
        """Return the boto3 client of KMS in the key's region.

        :raises SecureXComError: it cannot be made: a `KeyServiceError`, or an error of a missing setting.
        """
        try:
            client = self.identity.client("kms", self.key.region)
            self._region = str(client.meta.region_name)
        except Exception as error:  # noqa: BLE001  # any error of a foreign library becomes one of ours
            raise of_foreign(error, "", self.where) from None
        return client

    def ask(self, operation: str, **request: Any) -> Mapping[str, Any]:
        """Send one request, with botocore's retries, and return the response.

        :param operation: the name in KMS's API; :param request: its parameters. An allowed dry run returns an
            empty response.
        :raises SecureXComError: no response, or a refusal: a `KeyServiceError`, or an error of a missing setting.
        """
        client = self.client()
        try:
            answer: Mapping[str, Any] = getattr(client, _METHODS[operation])(**request)
        except Exception as error:  # noqa: BLE001  # any error of a foreign library becomes one of ours
            if request.get("DryRun") and would_succeed(error):
                return {}
            raise of_foreign(error, operation, self.where) from None
        return answer

    def _ask_about(self, wrapped: KmsWrap, key: KmsKey, operation: str, **request: Any) -> Mapping[str, Any]:
        try:
            return self.ask(operation, **request)
        except KeyMismatch:
            raise another_key(self.where, wrapped.arn, key.alias) from None

    def _many(self, wraps: Sequence[Wrap], ask: Callable[[Wrap], Result]) -> list[Result | KeyServiceError]:
        """Request each wrap once. After an error that concerns all wraps, the others get the same error."""
        if not wraps:
            return []
        asked = [(wrap.wrapped, tuple(sorted(wrap.context.items()))) for wrap in wraps]
        distinct = dict(zip(asked, wraps, strict=True))
        stopped: list[KeyServiceError] = []

        def ask_once(wrap: Wrap) -> Result | KeyServiceError:
            if stopped:
                return stopped[0]
            try:
                return ask(wrap)
            except KeyServiceError as error:
                if concerns_all(error):
                    stopped.append(error)
                return error

        # A failing login and a missing region are found here, and not in every thread.
        at_once = min(len(distinct), self.client().meta.config.max_pool_connections, THREADS_AT_MOST)
        if at_once == 1:
            results = [ask_once(wrap) for wrap in distinct.values()]
        else:
            with ThreadPoolExecutor(at_once, thread_name_prefix="aws-kms") as threads:
                results = list(threads.map(ask_once, distinct.values()))
        if stopped and all(isinstance(result, KeyServiceError) for result in results):
            raise stopped[0]
        answers = dict(zip(distinct, results, strict=True))
        return [answers[name] for name in asked]
