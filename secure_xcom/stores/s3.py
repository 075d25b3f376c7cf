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
import zlib
from base64 import b64encode
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from secure_xcom.connections.aws.s3_access import s3_access
from secure_xcom.connections.extras import missing
from secure_xcom.core.errors import UriInvalid
from secure_xcom.stores.bucket import Parts, client_options, put_parts, retry_config
from secure_xcom.stores.bucket_uri import TRUE_FALSE, BucketUri, read_options
from secure_xcom.stores.native_environment import hidden_from_obstore

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
        self._access = s3_access(self._place.conn_id, self._place.bucket, options, self.uri)
        self.endpoint = self._access.endpoint.url
        # Read at once, so that a bundle that cannot be read is found when the store is opened.
        self._http = client_options(
            self._transport,
            self._access.network,
            f"store URI {self.uri}",
            logs_in=self._access.credentials is None,
        )
        # One client for all large puts of a process: making it takes as long as putting 20 MB.
        self._large_puts: dict[int, Any] = {}
        self.attributes: Mapping[str, str] = (
            {"Storage-Class": options["storage_class"]} if "storage_class" in options else {}
        )

    def client(self) -> S3Store:
        from obstore.store import S3Store

        access, options = self._access, self._options
        endpoint = access.endpoint.bucket_url(self._place.bucket)
        # Every option, because each one that is left out would be taken from the environment.
        config: S3Config = {
            "region": access.endpoint.region,
            "endpoint": endpoint,
            "aws_endpoint_url_s3": endpoint,
            "virtual_hosted_style_request": access.endpoint.virtual,
            "s3_express": access.endpoint.express,
            "skip_signature": not access.signed,
            "unsigned_payload": False,
            "conditional_put": "etag",
            "copy_if_not_exists": "multipart",
            "disable_tagging": False,
            "disable_bulk_delete": False,
            "request_payer": False,
            "imdsv1_fallback": False,
        }
        if "sse" in options:
            config["server_side_encryption"] = options["sse"]
        if "sse_kms_key_id" in options:
            config["sse_kms_key_id"] = options["sse_kms_key_id"]
        if "bucket_key" in options:
            config["sse_bucket_key_enabled"] = options["bucket_key"] == "true"
        with hidden_from_obstore():
            return S3Store(
                self._place.bucket,
                prefix=self._place.prefix or None,
                config=config,
                client_options=self._http,
                retry_config=retry_config(self._transport),
                credential_provider=access.credentials,
            )

    def put_large(self, path: str, parts: Parts) -> None:
        """Put with a multipart upload that is completed with ``If-None-Match: *`` or aborted."""
        client = self._kept_client()
        target = {"Bucket": self._place.bucket, "Key": f"{self._place.prefix}/{path}".removeprefix("/")}
        mark = os.urandom(16).hex()
        checked = client.meta.config.request_checksum_calculation == "when_supported"

        def put_part(number: int, part: bytearray) -> dict[str, Any]:
            # botocore's own CRC32 comes after the part, for which it copies the part and cuts it into 16 KiB.
            crc = {"ChecksumCRC32": b64encode(zlib.crc32(part).to_bytes(4, "big")).decode()} if checked else {}
            answer = client.upload_part(**target, UploadId=upload, PartNumber=number, Body=part, **crc)
            checksums = {name: answer[name] for name in answer if name in _CHECKSUMS}
            return {"PartNumber": number, "ETag": answer["ETag"], **checksums}

        upload = client.create_multipart_upload(**target, Metadata={_MARK: mark}, **self._headers())["UploadId"]
        try:
            done = put_parts(parts, put_part)
            try:
                client.complete_multipart_upload(
                    **target, UploadId=upload, MultipartUpload={"Parts": done}, IfNoneMatch="*"
                )
            except Exception:
                # A completion whose response was lost is sent again, and then finds no upload, or the object. With
                # our mark, it is ours.
                if not self._is_marked(client, target, mark):
                    raise
        except BaseException:
            self._abort(client, target, upload)
            raise

    def _is_marked(self, client: Any, target: dict[str, str], mark: str) -> bool:
        try:
            return bool(client.head_object(**target)["Metadata"].get(_MARK) == mark)
        except Exception:  # noqa: BLE001  # a writer may not be allowed to read it: then it cannot be confirmed as ours
            return False

    def _abort(self, client: Any, target: dict[str, str], upload: str) -> None:
        try:
            client.abort_multipart_upload(**target, UploadId=upload)
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
        process = os.getpid()
        if process not in self._large_puts:
            # Without a lock, because a login is a request; of two threads' clients one is kept.
            return self._large_puts.setdefault(process, self.boto3_client())
        if self._access.credentials:
            # Requested first, so that a failing login is not mistaken for a denied put.
            self._access.credentials()
        return self._large_puts[process]

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
        endpoint = access.endpoint
        config.update(
            connect_timeout=transport.connect_timeout,
            read_timeout=transport.timeout,
            retries={"mode": "standard", "total_max_attempts": transport.retries + 1},
            max_pool_connections=transport.connections,
            user_agent_extra="secure-xcom",
            proxies=access.network.proxies,
            # What the endpoint says already must not come again from the environment or the configuration files.
            ignore_configured_endpoint_urls=True,
            use_fips_endpoint=False,
            use_dualstack_endpoint=False,
            s3={
                **(config.get("s3") or {}),
                "addressing_style": "virtual" if endpoint.virtual else "path",
                "use_accelerate_endpoint": False,
                "use_dualstack_endpoint": False,
            },
        )
        if access.network.plain:
            # Without TLS, botocore signs each part's SHA-256, so a CRC would only cost time.
            config["request_checksum_calculation"] = "when_required"
        if not access.signed:
            config["signature_version"] = UNSIGNED
        return access.session().client(
            "s3",
            region_name=endpoint.region,
            # botocore makes the address of a directory bucket, and its sessions, by itself.
            endpoint_url=None if endpoint.express else endpoint.url,
            verify=access.network.verify,
            config=Config(**config),
        )
