"""What KMS costs: requests for each operation, and many unwraps against boto3 one after the other.

    python benchmarks/bench_kms.py [--delay MILLISECONDS] [--count XCOMS]
    python benchmarks/bench_kms.py --throttled 10000 [--rate 100] [--at-once 16,64,256]

KMS is the tests' double on loopback, which answers each request after ``--delay`` (a real KMS in its own region
takes a few milliseconds up to some tens). Every figure is a ratio of two measurements of the same run.

With ``--throttled``, the double answers ThrottlingException above ``--rate`` requests a second, as a KMS does
whose quota other work of the account leaves little of. So many mapped tasks unwrap one data key and wrap another,
some of them at a time. Threads stand for tasks, each with clients of its own. Counted are the requests, and the
tasks that failed, which Airflow would retry. AWS_MAX_ATTEMPTS applies as it does to tasks.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from secure_xcom.connections.aws.identity import AwsIdentity
from secure_xcom.core.coordinate import Coordinate, encryption_context
from secure_xcom.core.errors import KeyServiceError
from secure_xcom.keys import DataKey, Wrap, openers
from secure_xcom.keys.aws_kms import AwsKms
from secure_xcom.keys.aws_kms_format import KmsWrap, kms_context
from secure_xcom.keys.data_keys import Candidates, DataKeys
from tests.support.servers.kms_double import Key, KmsDouble, KmsRefusal, Request

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


class Quota:
    """Lets so many requests pass in each second, as a bucket of tokens that holds those of one second."""

    def __init__(self, rate: float) -> None:
        self.rate, self.left, self.seen = rate, rate, time.monotonic()
        self.refused = 0

    def __call__(self, _: Request) -> bool:
        """Pass, or refuse as KMS does. The double's requests come one at a time through its lock."""
        now = time.monotonic()
        self.left = min(self.rate, self.left + (now - self.seen) * self.rate)
        self.seen = now
        if self.left < 1:
            self.refused += 1
            raise KmsRefusal("ThrottlingException", "You have exceeded the rate at which you may call KMS.")
        self.left -= 1
        return True


def throttled(kms: KmsDouble, key: Key, tasks: int, at_once: int, rate: float) -> None:
    """Let many mapped tasks pull and push while KMS throttles, and print how they fared."""
    uri = f"aws-kms://default/{key.arn}"
    kms.calm()
    producer = encryption_context("finance", Coordinate("orders", "run", "extract", -1, "k"))
    pulled = Wrap(AwsKms(uri).wrap(DataKey.generate(), producer), producer)
    free: list[AwsKms] = []
    for _ in range(at_once):
        service = AwsKms(uri)
        # A task is a process: it shares neither connections nor botocore's count of retries with others.
        service.identity = AwsIdentity("default")
        service.client()
        free.append(service)
    kms.calm()
    quota = Quota(rate)
    kms.allows = quota

    def task(number: int) -> tuple[str, float]:
        service = free.pop()
        begun = time.monotonic()
        try:
            service.unwrap_many([pulled])
            context = encryption_context("finance", Coordinate("orders", "run", "load", number, "k"))
            service.wrap(DataKey.generate(), context)
        except KeyServiceError as error:
            return type(error).__name__, time.monotonic() - begun
        finally:
            free.append(service)
        return "", time.monotonic() - begun

    begun = time.monotonic()
    with ThreadPoolExecutor(at_once) as pool:
        results = list(pool.map(task, range(tasks)))
    took = time.monotonic() - begun
    failed = Counter(name for name, _ in results if name)
    waits = sorted(seconds for _, seconds in results)
    asked = sum(kms.count.values())
    print(
        f"{tasks} tasks, {at_once} at a time, {rate:.0f} requests a second: {asked} requests in {took:.0f} s, "
        f"{quota.refused} of them throttled ({quota.refused / tasks:.2f} a task); a task took "
        f"{statistics.median(waits):.2f} s at the median and {waits[int(0.99 * tasks)]:.1f} s for one in 100; "
        f"failed: {dict(failed) or 'none'}",
        flush=True,
    )


def main() -> None:
    """Print one line for each claim."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--delay", type=float, default=10.0, help="how long the double takes to answer, in ms")
    parser.add_argument("--count", type=int, default=200, help="instances of the mapped task")
    parser.add_argument("--throttled", type=int, metavar="TASKS", help="mapped tasks under a throttling KMS")
    parser.add_argument("--rate", type=float, default=100, help="requests a second that it answers")
    parser.add_argument("--at-once", default="16,64,256", help="how many tasks run at a time")
    options = parser.parse_args()
    with KmsDouble() as kms:
        os.environ.update(ENVIRONMENT, AWS_ENDPOINT_URL_KMS=kms.endpoint)
        key = kms.create_key()
        if options.throttled:
            for at_once in map(int, options.at_once.split(",")):
                throttled(kms, key, options.throttled, at_once, options.rate)
            return
        requests(kms, key)
        threads(kms, key, options.count, options.delay / 1000)


if __name__ == "__main__":
    main()
