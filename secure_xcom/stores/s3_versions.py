"""Versioned and object-locked buckets of S3: the effect of a deletion, and the deletion of every version.

In a versioned bucket a deletion only hides an object behind a marker. Its versions stay until a lifecycle rule
expires them, or until each is deleted by its id. Nobody can delete a version under object lock before its date.

Permissions, in addition to those of `secure_xcom.stores.s3`: ``s3:GetBucketVersioning`` and
``s3:GetBucketObjectLockConfiguration`` to describe a bucket; ``s3:ListBucketVersions`` and
``s3:DeleteObjectVersion`` to delete every version.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from typing import Any

from secure_xcom.core.errors import StoreError
from secure_xcom.core.store_errors import StoreDenied
from secure_xcom.stores import StoredObject
from secure_xcom.stores.bucket_errors import store_error
from secure_xcom.stores.object_store import WINDOW, ObjectStore
from secure_xcom.stores.paths import checked_path, checked_prefix
from secure_xcom.stores.s3 import S3Bucket


def bucket_state(uri: str) -> dict[str, str]:
    """Return the state of a bucket: ``versioning`` (off, enabled, suspended) and ``object_lock``."""
    bucket = S3Bucket(uri)
    client, name = bucket.boto3_client(), bucket.place.bucket
    try:
        versioning = str(client.get_bucket_versioning(Bucket=name).get("Status", "off")).lower()
    except Exception as error:  # noqa: BLE001  # maintenance may not be allowed to ask; that is reported, not raised
        versioning = f"not known: {store_error(error, uri).what}"
    try:
        lock = client.get_object_lock_configuration(Bucket=name)["ObjectLockConfiguration"]
    except Exception as error:  # noqa: BLE001  # most buckets have none, which S3 reports as an error
        missing = "ObjectLockConfigurationNotFound" in str(error) or "NotImplemented" in str(error)
        return {"versioning": versioning, "object_lock": "off" if missing else "not known"}
    rule = lock.get("Rule", {}).get("DefaultRetention", {})
    kept = f"{rule.get('Mode', 'by object')} {rule.get('Days', rule.get('Years', ''))}".strip().lower()
    return {"versioning": versioning, "object_lock": kept}


class EveryVersion(ObjectStore):
    """A bucket whose every version and marker is listed and deleted, not only the newest one."""

    def __init__(self, uri: str) -> None:
        super().__init__(uri)
        self._s3 = S3Bucket(uri)
        self._boto3: Any = None

    def delete_many(self, paths: Sequence[str]) -> list[StoreError | None]:
        """Delete all versions of each. A locked version stays, and its error is the result."""
        self._sdk()
        with ThreadPoolExecutor(WINDOW) as threads:
            return list(threads.map(self._delete_versions, paths))

    def _delete_versions(self, path: str) -> StoreError | None:
        where = f"{self.uri}/{path}"
        try:
            key = self._key(checked_path(path, self.uri))
            listed = [entry for entry in self._versions(key) if entry["Key"] == key]
            for start in range(0, len(listed), 1000):
                ids = [{"Key": key, "VersionId": entry["VersionId"]} for entry in listed[start : start + 1000]]
                answer = self._sdk().delete_objects(
                    Bucket=self._s3.place.bucket, Delete={"Objects": ids, "Quiet": True}
                )
                for failed in answer.get("Errors", ()):
                    return StoreDenied(
                        f"a version of it remains ({str(failed.get('Code'))[:40]})",
                        where=where,
                        remedy="wait until its object lock ends, or grant s3:DeleteObjectVersion",
                    )
        except StoreError as error:
            return error
        except Exception as error:  # noqa: BLE001  # any error of a foreign library becomes one of ours
            return store_error(error, where)
        return None

    def _versions(self, prefix: str) -> Iterator[dict[str, Any]]:
        pages = self._sdk().get_paginator("list_object_versions")
        for page in pages.paginate(Bucket=self._s3.place.bucket, Prefix=prefix):
            # Both lists of a page are sorted by key, but not their concatenation.
            both = [*page.get("Versions", ()), *page.get("DeleteMarkers", ())]
            yield from sorted(both, key=lambda entry: str(entry["Key"]))

    def _key(self, path: str) -> str:
        return f"{self._s3.place.prefix}/{path}".removeprefix("/")

    def _sdk(self) -> Any:
        if self._boto3 is None:
            self._boto3 = self._s3.boto3_client()
        return self._boto3

    # Last, because after it `list` means this method and not the type.
    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """Yield every name with a version or a marker: the size of all versions, the time of the newest."""
        folder = checked_prefix(prefix, self.uri)
        above = self._key("")
        with self._translated(folder):
            below = self._key(f"{folder}/" if folder else "")
            for key, entries in groupby(self._versions(below), lambda entry: str(entry["Key"])):
                each = tuple(entries)
                size = sum(int(entry.get("Size", 0)) for entry in each)
                yield StoredObject(key.removeprefix(above), size, max(entry["LastModified"] for entry in each))
