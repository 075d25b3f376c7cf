"""Where a bucket of S3 is: region, endpoint and addressing, decided once for every client of it.

Order: the store URI, the connection, the environment, AWS's configuration files, AWS's own endpoint of the region.
What a URI or a connection says comes before all that boto3 would read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from secure_xcom.connections.aws.shared_config import SharedConfig
from secure_xcom.connections.network import ENDPOINT_REMEDY, is_endpoint
from secure_xcom.core.errors import SettingInvalid

# AWS's regions, and any other name for stores without regions. It is part of a header and of the host name.
_REGION = re.compile(r"[A-Za-z0-9_.-]{1,64}")
# S3's own default, which stores without regions expect.
_DEFAULT_REGION = "us-east-1"
# botocore, data/partitions.json.
_DNS_SUFFIXES = (
    ("cn-", "amazonaws.com.cn"),
    ("eusc-", "amazonaws.eu"),
    ("us-iso-", "c2s.ic.gov"),
    ("us-isob-", "sc2s.sgov.gov"),
    ("eu-isoe-", "cloud.adc-e.uk"),
    ("us-isof-", "csp.hci.ic.gov"),
)
# botocore, isVirtualHostableS3Bucket: a certificate is for one label before the service's name.
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{1,61})[a-z0-9]")
_LABELS = re.compile(rf"{_LABEL.pattern}(?:\.{_LABEL.pattern})*")
_ADDRESS = re.compile(r"https?://(?:[0-9.]+|\[.*\])(?::[0-9]+)?(?:/.*)?")
# "Directory bucket naming rules": a bucket of S3 Express One Zone ends with its zone.
_DIRECTORY_BUCKET = re.compile(r".+--([a-z0-9-]+)--xa?-s3")


@dataclass(frozen=True, slots=True)
class S3Endpoint:
    """Where a bucket is.

    :ivar url: the service's endpoint, without the bucket.
    :ivar virtual: True if the bucket is part of the host name, False if it is part of the path.
    :ivar express: True for a directory bucket of S3 Express One Zone, which has sessions of its own.
    """

    url: str
    region: str
    virtual: bool
    express: bool

    def bucket_url(self, bucket: str) -> str:
        """Return the endpoint as obstore takes it: with the bucket if it is part of the host name."""
        if not self.virtual or self.express:
            return self.url
        scheme, _, host = self.url.partition("://")
        return f"{scheme}://{bucket}.{host}"


def s3_endpoint(
    bucket: str, given: Mapping[str, str | None], s3: Mapping[str, Any], shared: SharedConfig, where: str
) -> S3Endpoint:
    """Return where a bucket is.

    :param given: ``region``, ``endpoint`` and ``addressing`` of the store URI or the connection, if they say so.
    :param s3: ``s3`` of the connection's config_kwargs.
    :raises SettingInvalid: the environment or AWS's configuration files are invalid.
    """
    region = given.get("region") or shared.region or _DEFAULT_REGION
    if not _REGION.fullmatch(region):
        raise SettingInvalid(
            f"{region!r:.80} is not a valid region",
            where=where,
            remedy="correct region= in the store URI, region_name in the connection's extra, "
            "AWS_DEFAULT_REGION or AWS_REGION",
        )
    custom = given.get("endpoint") or shared.endpoint("s3")
    if custom and not is_endpoint(custom):
        raise SettingInvalid(
            "the endpoint of S3 in the environment or in AWS's configuration file is not a URL",
            where=where,
            remedy=f"correct AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL or endpoint_url: {ENDPOINT_REMEDY}",
        )
    zone = _DIRECTORY_BUCKET.fullmatch(bucket)
    style = given.get("addressing") or s3.get("addressing_style") or shared.value("addressing_style", section="s3")
    if zone and not custom:
        url = f"https://{bucket}.s3express-{zone[1]}.{region}.{_dns_suffix(region)}"
        return S3Endpoint(url, region, virtual=True, express=True)
    url = (custom or _own_endpoint(region, s3, shared)).rstrip("/")
    # AWS itself is phasing out path-style addresses; other services rarely have a name for each bucket.
    wanted = style == "virtual" if custom else style != "path"
    return S3Endpoint(url, region, wanted and _may_be_in_host(bucket, url), express=False)


def _may_be_in_host(bucket: str, url: str) -> bool:
    labels = _LABELS if url.startswith("http://") else _LABEL
    return labels.fullmatch(bucket) is not None and not _ADDRESS.fullmatch(url)


def _own_endpoint(region: str, s3: Mapping[str, Any], shared: SharedConfig) -> str:
    """Return AWS's endpoint of a region. Source: botocore, data/s3/2006-03-01/endpoint-rule-set-1.json."""

    def chosen(option: str, variable: str | None = None) -> bool:
        if option in s3:
            return bool(s3[option])
        return shared.flag(option, section="s3") or (variable is not None and shared.flag(option, variable))

    dual = ".dualstack" if chosen("use_dualstack_endpoint", "AWS_USE_DUALSTACK_ENDPOINT") else ""
    suffix = _dns_suffix(region)
    if chosen("use_accelerate_endpoint"):
        return f"https://s3-accelerate{dual}.{suffix}"
    fips = "-fips" if shared.flag("use_fips_endpoint", "AWS_USE_FIPS_ENDPOINT") else ""
    return f"https://s3{fips}{dual}.{region}.{suffix}"


def _dns_suffix(region: str) -> str:
    return next((suffix for start, suffix in _DNS_SUFFIXES if region.startswith(start)), "amazonaws.com")
