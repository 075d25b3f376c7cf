"""Try each identity's actual rights in the buckets with its own credentials.

S3 responds with "denied" for a missing object if the identity may not list, so reading is tried on probe objects:
an identity that may push puts one at each place, and one that may delete deletes them. Their names begin with
``verify_``. Probes that nobody could delete are reported.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from secure_xcom.core.access_policy.compartment import Compartment
from secure_xcom.core.access_policy.identities import Identity
from secure_xcom.core.access_policy.policy import AccessPolicy
from secure_xcom.core.coordinate import path_segment
from secure_xcom.core.operator_errors import AwsDenied, AwsTrouble, AwsUnsupported
from secure_xcom.ops.service_policies.aws_account import AwsAccount
from secure_xcom.ops.service_policies.payload_prefixes import below, buckets, prefixes
from secure_xcom.ops.service_policies.rights import Act, Right
from secure_xcom.ops.service_policies.verify.matrix import INSIDE, Trial

SERVICE = "the bucket"
Rights = Mapping[str, Sequence[Right]]


class S3Verifier:
    """Tries every act of every identity with credentials, in every compartment.

    :param accounts: identity -> its own account; :param rights: of all identities, by name.
    :ivar left: objects that could not be deleted, and trials that were not possible.
    """

    def __init__(self, policy: AccessPolicy, accounts: Mapping[str, AwsAccount], rights: Rights) -> None:
        self._policy, self._accounts, self._rights = policy, accounts, rights
        self._probe = f"verify_{secrets.token_hex(4)}"
        self._there: dict[tuple[str, str], str] = {}
        self._made: dict[tuple[str, str], Compartment] = {}
        self.left: list[str] = []

    def rows(self) -> Iterator[Trial]:
        """Yield the matrix, and delete the probes at the end, even after an error.

        :raises AwsTrouble: the server does not respond.
        """
        places = list(self._places())
        try:
            for compartment, bucket, folder, _ in places:
                self._put_probe(compartment, bucket, folder)
            for identity in self._policy.identities:
                if identity.name in self._accounts:
                    yield from self._of_identity(identity, places)
        finally:
            self._delete_probes()

    def _places(self) -> Iterator[tuple[Compartment, str, str, str | None]]:
        """Yield compartment, bucket, a DAG's folder with a slash, and the DAG; None for one without a grant."""
        places: dict[tuple[str, str, str | None], tuple[Compartment, str, str, str | None]] = {}
        for compartment in self._policy.compartments:
            dags = {
                dag for rights in self._rights.values() for right in rights if right.compartment is compartment
                for dag in right.scope.dags
            }  # fmt: skip
            for place in buckets(compartment.all_store_uris, "s3"):
                for dag in (None, *sorted(dag_id for dag_id in dags if dag_id is not None)):
                    folder = below(place, compartment, dag or self._probe)
                    places.setdefault((place.bucket, folder, dag), (compartment, place.bucket, folder, dag))
        yield from places.values()

    def _covers(self, name: str, act: Act, compartment: Compartment, bucket: str, folder: str) -> bool:
        return any(
            right.act == act
            and right.compartment is compartment
            and any(place.bucket == bucket and folder.startswith(place.prefix) for place in prefixes(right, "s3"))
            for right in self._rights[name]
        )

    def _put_probe(self, compartment: Compartment, bucket: str, folder: str) -> None:
        key = f"{folder}{self._probe}/verify/-1/there"
        pushing = [name for name in self._rights if self._covers(name, "push", compartment, bucket, folder)]
        for name in pushing:
            if name in self._accounts and self._put(name, compartment, bucket, key):
                self._there[bucket, folder] = key
                return
        if pushing:
            # Nobody may put anything into a former store, so nothing can be read there either.
            self.left.append(
                f"{bucket}/{folder}: no identity with credentials may put a probe, so reading was not tried"
            )

    def _put(self, name: str, compartment: Compartment, bucket: str, key: str, **more: Any) -> bool:
        request = {"Bucket": bucket, "Key": key, "Body": b"", "IfNoneMatch": "*", **more}
        arguments = {word: value for word, value in request.items() if value is not None}
        if not self._accounts[name].may("s3", "put_object", **arguments):
            return False
        self._made[bucket, key] = compartment
        return True

    def _of_identity(
        self, identity: Identity, places: Sequence[tuple[Compartment, str, str, str | None]]
    ) -> Iterator[Trial]:
        name = identity.name
        for compartment, bucket, folder, dag in places:
            rights = [
                right for right in self._rights[name] if right.compartment is compartment and right.act != "look"
            ]
            limited = any(not right.scope.whole for right in rights)
            place = INSIDE if not limited else "another DAG"
            if dag is not None:
                # Also if only other identities are limited to this DAG: their objects must not be open to
                # everyone.
                place = f"DAG {dag}"
            for action, allowed, act in self._acts(name, compartment, bucket, folder):
                expected = act is not None and self._covers(name, act, compartment, bucket, folder)
                yield Trial(name, "s3", action, compartment.name, place, allowed, expected)
            copied = self._copy(name, bucket, folder)
            if copied is not None:
                yield Trial(
                    name,
                    "s3",
                    "copy out",
                    compartment.name,
                    place,
                    copied,
                    self._covers(name, "pull", compartment, bucket, folder),
                )
        for compartment in dict.fromkeys(compartment for compartment, _, _, _ in places):
            for place, action, allowed in self._beside(name, compartment, places):
                yield Trial(name, "s3", action, compartment.name, place, allowed, expected=False)
        for bucket in dict.fromkeys(bucket for _, bucket, _, _ in places):
            for action, allowed in self._of_bucket(name, bucket, places[0][0]):
                yield Trial(name, "s3", action, "-", SERVICE, allowed, expected=False)

    def _beside(
        self, name: str, compartment: Compartment, places: Sequence[tuple[Compartment, str, str, str | None]]
    ) -> Iterator[tuple[str, str, bool]]:
        """Yield place, action and result, for places where no compartment has anything."""
        aws = self._accounts[name]
        others = {bucket for whose, bucket, _, _ in places if whose is not compartment}
        for store in buckets(compartment.all_store_uris, "s3"):
            others.discard(store.bucket)
            inside = below(store, compartment)
            # A name with the compartment's folder as its prefix, and a folder beside it.
            above = inside.removesuffix(f"{path_segment(compartment.name)}/")
            for folder in (f"{inside[:-1]}-{self._probe}/", f"{above}{self._probe}/"):
                arguments = {"Bucket": store.bucket}
                yield "beside", "create", self._put(name, compartment, store.bucket, f"{folder}verify")
                yield "beside", "get", aws.may("s3", "get_object", **arguments, Key=f"{folder}none")
                yield "beside", "list", aws.may("s3", "list_objects_v2", **arguments, Prefix=folder, MaxKeys=1)
                yield "beside", "delete", aws.may("s3", "delete_object", **arguments, Key=f"{folder}none")
            for bucket in sorted(others):
                allowed = aws.may("s3", "list_objects_v2", Bucket=bucket, Prefix=inside, MaxKeys=1)
                yield "another bucket", "list", allowed

    def _acts(
        self, name: str, compartment: Compartment, bucket: str, folder: str
    ) -> Iterator[tuple[str, bool, Act | None]]:
        """Yield action, result, and the act that grants it."""
        aws, arguments = self._accounts[name], {"Bucket": bucket}
        new = f"{folder}{self._probe}/verify/-1/{secrets.token_hex(8)}"
        yield "create", self._put(name, compartment, bucket, new), "push"
        # At an unused name: a put that could overwrite must be forbidden.
        yield "put without If-None-Match", self._put(name, compartment, bucket, f"{new}-w", IfNoneMatch=None), None
        large = self._large(name, bucket, f"{new}-l")
        yield "begin a large object", large is not None, "push"
        if large is not None:
            yield "end a large object", large, "push"
        probe = self._there.get((bucket, folder))
        if probe is not None:
            yield "get", aws.may("s3", "get_object", **arguments, Key=probe), "pull"
            yield "head", aws.may("s3", "head_object", **arguments, Key=probe), "pull"
            yield from _row("get a version", aws, "get_object", None, **arguments, Key=probe, VersionId="null")
            for action, operation in (("read acl", "get_object_acl"), ("read tags", "get_object_tagging")):
                yield from _row(action, aws, operation, None, **arguments, Key=probe)
        yield "list", aws.may("s3", "list_objects_v2", **arguments, Prefix=folder, MaxKeys=1), "rewrap"
        yield "list versions", aws.may("s3", "list_object_versions", **arguments, Prefix=folder, MaxKeys=1), None
        yield "delete", aws.may("s3", "delete_object", **arguments, Key=f"{new}-none"), "rewrap"
        yield from _row(
            "delete a version", aws, "delete_object", None, **arguments, Key=f"{new}-none", VersionId="null"
        )

    def _large(self, name: str, bucket: str, key: str) -> bool | None:
        """Check whether the identity may abort its upload; None if it may not start one."""
        aws, arguments = self._accounts[name], {"Bucket": bucket, "Key": key}
        try:
            answer = aws.ask("s3", "create_multipart_upload", **arguments) or {}
        except AwsDenied:
            return None
        ended = aws.may("s3", "abort_multipart_upload", **arguments, UploadId=answer["UploadId"])
        if not ended:
            self.left.append(f"{bucket}/{key}: an upload that was begun and may not be ended")
        return ended

    def _copy(self, name: str, bucket: str, folder: str) -> bool | None:
        """Copy from a place to one where the identity may push; None if there is no probe or no such place."""
        source = self._there.get((bucket, folder))
        for (where, target_folder), probe in self._there.items():
            compartment = self._made[where, probe]
            if source is None or not self._covers(name, "push", compartment, where, target_folder):
                continue
            target = f"{target_folder}{self._probe}/verify/-1/{secrets.token_hex(8)}"
            request: dict[str, Any] = {"Bucket": where, "Key": target, "IfNoneMatch": "*"}
            request["CopySource"] = {"Bucket": bucket, "Key": source}
            allowed = self._accounts[name].may("s3", "copy_object", **request)
            if allowed:
                self._made[where, target] = compartment
            return allowed
        return None

    def _of_bucket(self, name: str, bucket: str, compartment: Compartment) -> Iterator[tuple[str, bool]]:
        aws, arguments = self._accounts[name], {"Bucket": bucket}
        yield "list all", aws.may("s3", "list_objects_v2", **arguments, MaxKeys=1)
        yield "list versions", aws.may("s3", "list_object_versions", **arguments, MaxKeys=1)
        yield "list uploads", aws.may("s3", "list_multipart_uploads", **arguments, MaxUploads=1)
        yield "put elsewhere", self._put(name, compartment, bucket, f"{self._probe}/verify")
        yield "delete elsewhere", aws.may("s3", "delete_object", **arguments, Key=f"{self._probe}/none")
        yield "read the policy", aws.may("s3", "get_bucket_policy", **arguments)
        # An invalid policy, which no server accepts.
        yield "write the policy", aws.may("s3", "put_bucket_policy", **arguments, Policy="verify")
        for action, operation in (
            ("read the lifecycle", "get_bucket_lifecycle_configuration"),
            ("read the acl", "get_bucket_acl"),
        ):
            for row in _row(action, aws, operation, None, **arguments):
                yield row[:2]

    def _delete_probes(self) -> None:
        for (bucket, key), compartment in self._made.items():
            for name in self._accounts:
                if self._covers(name, "rewrap", compartment, bucket, key) and self._deleted(name, bucket, key):
                    break
            else:
                self.left.append(f"{bucket}/{key}: a probe that no identity with credentials may delete")

    def _deleted(self, name: str, bucket: str, key: str) -> bool:
        try:
            self._accounts[name].ask("s3", "delete_object", Bucket=bucket, Key=key)
        except AwsTrouble:
            return False
        return True


def _row(
    action: str, aws: AwsAccount, operation: str, act: Act | None, **request: Any
) -> Iterator[tuple[str, bool, Act | None]]:
    """Yield a row, or none if this server has no such operation."""
    try:
        yield action, aws.may("s3", operation, **request), act
    except AwsUnsupported:
        return
