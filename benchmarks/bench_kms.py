"""What KMS costs: requests for each operation, and many unwraps against boto3 one after the other.

    python benchmarks/bench_kms.py [--delay MILLISECONDS] [--count XCOMS]

KMS is the tests' double on loopback, which answers each request after ``--delay`` (a real KMS in its own region
takes a few milliseconds up to some tens). Every figure is a ratio of two measurements of the same run.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from secure_xcom.core.coordinate import Coordinate, encryption_context
from secure_xcom.keys import DataKey, Wrap, openers
from secure_xcom.keys.aws_kms import AwsKms
from secure_xcom.keys.aws_kms_format import KmsWrap, kms_context
from secure_xcom.keys.data_keys import Candidates, DataKeys
from tests.support.servers.kms_double import Key, KmsDouble

ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "test-access-key",
    "AWS_SECRET_ACCESS_KEY": "test-secret-key",
    "AWS_DEFAULT_REGION": "eu-west-1",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
}


def seconds(work: Callable[[], object]) -> float:
    """How long it takes once."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def requests(kms: KmsDouble, key: Key) -> None:
    """How many requests a task's XComs cost."""
    uri = f"aws-kms://default/{key.arn}"
    context = encryption_context("finance", Coordinate("orders", "run", "extract", -1, "k"))
    kms.calm()
    pushing = DataKeys(300, 1000)
    _, wraps = [pushing.for_try([uri], context, 1) for _ in range(100)][-1]
    print(f"100 XComs pushed by one try:      {kms.count['Encrypt']} Encrypt")
    pulling = DataKeys(300, 1000)
    candidates = Candidates(openers([uri], wraps), context)
    pulling.unwrap_many([candidates] * 100)
    print(f"100 XComs of one try pulled:      {kms.count['Decrypt']} Decrypt")
    kept = pulling.cached(candidates)
    print(f"the same again within the cache:  {0 if kept else 100} Decrypt")


def threads(kms: KmsDouble, key: Key, count: int, delay: float) -> None:
    """Unwraps of a mapped task's instances against boto3 one after the other."""
    service = AwsKms(f"aws-kms://default/{key.arn}")
    kms.calm()
    contexts = [
        encryption_context("finance", Coordinate("orders", "run", "extract", at, "k")) for at in range(count)
    ]
    wraps = [Wrap(service.wrap(DataKey.generate(), context), context) for context in contexts]
    kms.delay = delay
    client = service.client()

    def one_by_one() -> None:
        for wrap in wraps:
            read = KmsWrap.parse(wrap.wrapped)
            assert read is not None
            client.decrypt(KeyId=key.arn, CiphertextBlob=read.blob, EncryptionContext=kms_context(wrap.context))

    def together() -> None:
        assert all(isinstance(answer, DataKey) for answer in service.unwrap_many(wraps))

    together()
    single = min(seconds(one_by_one) for _ in range(3))
    many = min(seconds(together) for _ in range(3))
    print(
        f"{count} instances of a mapped task:    {single / many:.1f} times faster than boto3 one by one "
        f"({many * 1000:.0f} ms against {single * 1000:.0f} ms at {delay * 1000:.0f} ms an answer)"
    )


def main() -> None:
    """Print one line for each claim."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--delay", type=float, default=10.0, help="how long the double takes to answer, in ms")
    parser.add_argument("--count", type=int, default=200, help="instances of the mapped task")
    options = parser.parse_args()
    with KmsDouble() as kms:
        os.environ.update(ENVIRONMENT, AWS_ENDPOINT_URL_KMS=kms.endpoint)
        key = kms.create_key()
        requests(kms, key)
        threads(kms, key, options.count, options.delay / 1000)


if __name__ == "__main__":
    main()
