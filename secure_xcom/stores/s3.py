"""Amazon S3, and services with its protocol, as a bucket.

    s3://CONN_ID@BUCKET/PREFIX      credentials of an Airflow connection (AwsBaseHook: keys, session token, role,
                                    web identity, profile; endpoint_url, region_name, verify, config_kwargs)
    s3://BUCKET/PREFIX              AWS's default credential chain

Options after a ``?``: those of `secure_xcom.stores.bucket_uri.Transport`, ``region``, ``endpoint``,
``addressing`` (path, virtual), ``sse`` (AES256, aws:kms, aws:kms:dsse), ``sse_kms_key_id``, ``bucket_key`` (true,
false), ``storage_class``.

Permissions: ``s3:PutObject`` to push, ``s3:GetObject`` to pull, both on BUCKET/PREFIX/COMPARTMENT/*;
``s3:AbortMultipartUpload`` to clean up after a failed large push; ``s3:ListBucket`` with the condition
``s3:prefix`` and ``s3:DeleteObject`` for maintenance. Without ListBucket, S3 responds with 403 instead of 404
for a missing object. Uploads are signed with their SHA-256, and S3 refuses an upload that was changed in transit.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from secure_xcom.core.errors import SettingInvalid, UriInvalid
from secure_xcom.core.per_process import PerProcess
from secure_xcom.stores.airflow_connection import missing
from secure_xcom.stores.bucket import Parts, client_options, put_parts, retry_config
from secure_xcom.stores.bucket_uri import TRUE_FALSE, BucketUri, read_options
from secure_xcom.stores.s3_credentials import Access

if TYPE_CHECKING:
    from obstore.store import S3Config, S3Store

_log = logging.getLogger(__name__)

_OPTIONS: dict[str, tuple[str, ...] | None] = {
    "region": None,
    "endpoint": None,
    "addressing": ("path", "virtual"),
    "sse": ("AES256", "aws:kms", "aws:kms:dsse"),
    "sse_kms_key_id": None,
    "bucket_key": TRUE_FALSE,
    "storage_class": None,
}
# AWS's regions, and any other name for stores without regions. It is part of a header and of the host name.
_REGION = re.compile(r"[A-Za-z0-9_.-]{1,64}")
# User metadata of a large object, by which a put whose response was lost recognizes its own object.
_MARK = "secure-xcom-upload"
# The checksums that botocore computes for each part, by default CRC32, are repeated when the upload is completed.
_CHECKSUMS = ("ChecksumCRC32", "ChecksumCRC32C", "ChecksumCRC64NVME", "ChecksumSHA1", "ChecksumSHA256")


class S3Bucket:
    """A bucket of S3.

    :raises UriInvalid: the URI or one of its options is invalid.
    :raises ConnectionUnknown: Airflow has no such connection.
    :raises SettingInvalid: the connection cannot be used.
    :raises ExtraMissing: the connection needs AwsBaseHook, which is not installed.
    """

    network = True

    def __init__(self, uri: str) -> None:
        self._place = BucketUri.parse(uri, "s3")
        self.uri = self._place.uri
        self._transport, options = read_options(self._place, _OPTIONS)
        if options.get("sse_kms_key_id") and not options.get("sse", "").startswith("aws:kms"):
            raise UriInvalid(
                "sse_kms_key_id needs sse=aws:kms", where=f"store URI {self.uri}", remedy="add &sse=aws:kms"
            )
        self._options = options
        self._access = Access.of(self._place)
        region = options.get("region") or self._access.region
        if region and not _REGION.fullmatch(region):
            raise SettingInvalid(
                f"{region!r:.80} is not a valid region",
                where=f"store URI {self.uri}",
                remedy="correct region= in the store URI, or region_name in the connection's extra",
            )
        bundle = self._access.verify if self._access.verify is not None else os.environ.get("AWS_CA_BUNDLE")
        self._roots = _read_bundle(bundle, self.uri) if isinstance(bundle, str) else None
        # One client for all large puts of this process: making it takes as long as putting 20 MB.
        self._large_puts = PerProcess(self.boto3_client)
        self.attributes: Mapping[str, str] = (
            {"Storage-Class": options["storage_class"]} if "storage_class" in options else {}
        )

    def client(self) -> S3Store:
        from obstore.store import S3Store

        access, options = self._access, self._options
        endpoint = self._endpoint()
        config: S3Config = {"region": options.get("region") or access.region or _default_region()}
        if endpoint:
            config["endpoint"] = endpoint
        addressing = options.get("addressing") or (access.config.get("s3") or {}).get("addressing_style")
        if addressing == "auto":
            addressing = None
        # AWS itself is phasing out path-style addresses, so without an endpoint addresses are virtual-hosted.
        if addressing == "virtual" or (addressing is None and not endpoint and "." not in self._place.bucket):
            config["virtual_hosted_style_request"] = True
            if endpoint:
                scheme, _, host = endpoint.partition("://")
                config["endpoint"] = f"{scheme}://{self._place.bucket}.{host}"
        if access.config.get("signature_version") == "unsigned":
            config["skip_signature"] = True
        if "sse" in options:
            config["server_side_encryption"] = options["sse"]
        if "sse_kms_key_id" in options:
            config["sse_kms_key_id"] = options["sse_kms_key_id"]
        if "bucket_key" in options:
            config["sse_bucket_key_enabled"] = options["bucket_key"] == "true"
        http = client_options(self._transport, allow_http=bool(endpoint and endpoint.startswith("http://")))
        if access.verify is False:
            http["allow_invalid_certificates"] = True
        if self._roots:
            http["root_certificate"] = self._roots
        return S3Store(
            self._place.bucket,
            prefix=self._place.prefix or None,
            config=config,
            client_options=http,
            retry_config=retry_config(self._transport),
            credential_provider=access.credentials,
        )

    def put_large(self, path: str, parts: Parts) -> None:
        """Put with a multipart upload that is completed with ``If-None-Match: *`` or aborted."""
        client = self._kept_client()
        at = {"Bucket": self._place.bucket, "Key": f"{self._place.prefix}/{path}".removeprefix("/")}
        mark = os.urandom(16).hex()

        def put_part(number: int, part: bytearray) -> dict[str, Any]:
            answer = client.upload_part(**at, UploadId=upload, PartNumber=number, Body=part)
            checksums = {name: answer[name] for name in answer if name in _CHECKSUMS}
            return {"PartNumber": number, "ETag": answer["ETag"], **checksums}

        upload = client.create_multipart_upload(**at, Metadata={_MARK: mark}, **self._headers())["UploadId"]
        try:
            done = put_parts(parts, put_part)
            try:
                client.complete_multipart_upload(
                    **at, UploadId=upload, MultipartUpload={"Parts": done}, IfNoneMatch="*"
                )
            except Exception:
                # A completion whose response was lost is sent again, and then finds no upload, or the object. With
                # our mark, it is ours.
                if not self._is_marked(client, at, mark):
                    raise
        except BaseException:
            self._abort(client, at, upload)
            raise

    def _is_marked(self, client: Any, at: dict[str, str], mark: str) -> bool:
        try:
            return bool(client.head_object(**at)["Metadata"].get(_MARK) == mark)
        except Exception:  # noqa: BLE001  # a writer may not be allowed to read it: then it cannot be confirmed as ours
            return False

    def _abort(self, client: Any, at: dict[str, str], upload: str) -> None:
        try:
            client.abort_multipart_upload(**at, UploadId=upload)
        except Exception:  # noqa: BLE001  # the error that led here is the one to report
            _log.warning(
                "Parts of a failed upload could not be removed from %s; a lifecycle rule should remove them",
                self.uri,
            )

    def _headers(self) -> dict[str, Any]:
        options = self._options
        headers: dict[str, Any] = {}
        for name, header in (
            ("sse", "ServerSideEncryption"),
            ("sse_kms_key_id", "SSEKMSKeyId"),
            ("storage_class", "StorageClass"),
        ):
            if name in options:
                headers[header] = options[name]
        if "bucket_key" in options:
            headers["BucketKeyEnabled"] = options["bucket_key"] == "true"
        return headers

    def _kept_client(self) -> Any:
        if self._access.credentials:
            self._access.credentials()
        return self._large_puts.get()

    @property
    def place(self) -> BucketUri:
        """The bucket and the prefix."""
        return self._place

    def boto3_client(self) -> Any:
        """Return a client of AWS's own SDK with this identity and the same options."""
        try:
            from botocore import UNSIGNED
            from botocore.config import Config
        except ImportError as error:
            raise missing("aws", error, self.uri) from None
        access, transport = self._access, self._transport
        if access.credentials:
            # Requested first, so that a failing login is not mistaken for a denied put.
            access.credentials()
        config = dict(access.config)
        config.update(
            connect_timeout=transport.connect_timeout,
            read_timeout=transport.timeout,
            retries={"mode": "standard", "total_max_attempts": transport.retries + 1},
            max_pool_connections=transport.connections,
            user_agent_extra="secure-xcom",
        )
        if (self._endpoint() or "").startswith("http://"):
            # Without TLS, botocore signs each part's SHA-256, so a CRC would only cost time.
            config["request_checksum_calculation"] = "when_required"
        if self._options.get("addressing"):
            config["s3"] = {**(config.get("s3") or {}), "addressing_style": self._options["addressing"]}
        if config.get("signature_version") == "unsigned":
            config["signature_version"] = UNSIGNED
        return access.session().client(
            "s3",
            region_name=self._options.get("region") or access.region or _default_region(),
            endpoint_url=self._endpoint(),
            verify=access.verify,
            config=Config(**config),
        )

    def _endpoint(self) -> str | None:
        own = self._options.get("endpoint") or self._access.endpoint
        return own or os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or None


def _default_region() -> str:
    # S3's own default, which stores without regions expect.
    return os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1"


def _read_bundle(path: str, uri: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise SettingInvalid(
            f"the certificate bundle cannot be read ({type(error).__name__})",
            where=f"store URI {uri}, verify={path!r:.120}",
            remedy="correct verify in the connection's extra, or AWS_CA_BUNDLE",
        ) from None
