"""Matching uses and events, and reading CloudTrail's records in the shape that AWS documents."""

from __future__ import annotations

import gzip
import json
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from secure_xcom.core.operator_errors import AccessLogUnreadable, CommandError
from secure_xcom.keys.aws_kms_format import kms_context
from secure_xcom.ops.audit_trail.read import source
from secure_xcom.ops.audit_trail.reconcile import cloudtrail
from secure_xcom.ops.audit_trail.reconcile.expected_uses import transit_keys, uses
from secure_xcom.ops.audit_trail.reconcile.match import EventUse, ServerUse, gap_of_use, match
from secure_xcom.ops.audit_trail.reconcile.vault_log import read, seconds_of
from tests.support.access_logs import KEY, START, chain, write

T = 1_800_000_000.0
KMS = "aws-kms://default/alias/xcom-finance"
ARN = "arn:aws:kms:us-west-2:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
CONTEXT = {
    "compartment": "finance",
    "dag_id": "orders",
    "task_id": "extract",
    "run_id": "manual__1",
    "map_index": "-1",
}


def use(
    at: float, *, context: str = "c", ok: bool = True, who: str = "worker", address: str = "10.0.0.1"
) -> ServerUse:
    """An unwrap in the service's log, so many seconds after a moment."""
    return ServerUse(T + at, "vault", "transit/decrypt/x", context, ok, who, address, "request", "log:1")


def ours(at: float, *, context: str = "c", ok: bool = True, chain: str = "one") -> EventUse:
    """An event of ours."""
    return EventUse(T + at, "vault", context, ok, chain, "id", "orders/1/extract", "file:1")


def kinds(
    *given: ServerUse | EventUse, probes: tuple[str, ...] = (), window: float = 300, skew: float = 60
) -> list[str]:
    """What kinds of gaps there are, in the order of time."""
    server = [one for one in given if isinstance(one, ServerUse)]
    events = [one for one in given if isinstance(one, EventUse)]
    proofs = frozenset({"proof"})
    found = match(server, events, window=window, skew=skew, probes=frozenset(probes), proofs=proofs)
    return [gap.rule for gap in found.gaps]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([use(0), ours(1)], []),
        ([use(0), ours(-59)], []),
        ([use(0), ours(-61)], ["no_record", "outside"]),
        ([use(0), ours(359)], []),
        ([use(0), ours(361)], ["outside", "no_record"]),
        ([use(0), ours(1, context="other")], ["outside", "no_record"]),
        # A batch that unwraps once for several XComs of a task: their events are written in one go.
        ([use(0), ours(1), ours(1.0001), ours(1.0002)], []),
        ([use(0), ours(1), ours(1, chain="two")], ["no_record"]),
        # Without a cache a process asks for each pull.
        ([use(0), use(2), ours(1), ours(3)], []),
        # A theft behind the pull, with the worker's own token and from its own host.
        ([use(0), ours(1), use(2)], ["outside"]),
        # A theft before it, by another identity.
        ([use(0, who="thief"), use(0.5), ours(1)], ["outside"]),
        # An answer that was lost and asked for again, before the event was written.
        ([use(0), use(5), ours(6)], ["repeated"]),
        # A refusal that an event tells of, one before another key or try worked, and one of nobody.
        ([use(0, ok=False), ours(1, ok=False)], []),
        ([use(0, ok=False), use(1), ours(2)], []),
        ([use(0, ok=False)], ["attempt"]),
        # A refusal of somebody else beside an honest pull, before and behind it, and beside one that failed.
        ([use(0, ok=False, who="thief"), use(1), ours(2)], ["attempt"]),
        ([use(0, ok=False, address="10.6.6.6"), use(1), ours(2)], ["attempt"]),
        ([use(1), ours(2), use(30, ok=False, who="thief")], ["attempt"]),
        ([use(0, ok=False, who="thief"), use(1, ok=False), ours(2, ok=False)], ["attempt"]),
        ([use(0, ok=False), use(200), ours(201)], ["attempt"]),
        # A login had ended: of its refusal Vault says only from where it came. Then the worker logs in anew.
        ([use(0, ok=False, who="?"), use(1), ours(2)], []),
        ([use(0, ok=False, who="?", address="10.6.6.6"), use(1), ours(2)], ["attempt"]),
        # Two keys that refuse a pull, for one event.
        ([use(0, ok=False), use(1, ok=False), ours(2, ok=False)], []),
        # An event that was refused before any key was asked needs no record.
        ([ours(0, ok=False)], []),
        ([use(0, context="probe")], ["probe"]),
        # A worker's proof of its key is refused; a key that gives something there is not derived.
        ([use(0, ok=False, context="proof")], ["probe"]),
        ([use(0, context="proof")], ["outside"]),
        ([ours(0)], ["no_record"]),
    ],
)
def test_uses_and_events_are_paired(given: list[Any], expected: list[str]) -> None:
    """Each unwrap has its event and each event its unwrap, within clocks, windows, batches and retries."""
    assert kinds(*given, probes=("probe",)) == expected


def test_notes_are_no_findings() -> None:
    """A repeated request and a probe of `check` are told without being findings."""
    found = match([use(0), use(5)], [ours(6)])
    assert [(gap.rule, gap.status) for gap in found.gaps] == [("repeated", "ok")]
    assert gap_of_use("outside", use(0), "text").status == "error"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-22T10:00:00Z", 0.0),
        ("2026-11-22T10:00:00.123456789Z", 0.123456789),
        ("2026-11-22T11:00:00.5+01:00", 0.5),
        ("2026-11-22T09:00:00.25-01:00", 0.25),
    ],
)
def test_times_of_services_are_read(text: str, expected: float) -> None:
    """Seconds of any precision and any zone."""
    assert seconds_of(text) - datetime(2026, 11, 22, 10, tzinfo=timezone.utc).timestamp() == pytest.approx(
        expected
    )


def record(second: int, **changes: Any) -> dict[str, Any]:
    """A record in the shape of AWS's example of Decrypt (KMS Developer Guide, ct-decrypt), with our context."""
    return {
        "eventVersion": "1.05",
        "userIdentity": {
            "type": "IAMUser",
            "principalId": "EX_PRINCIPAL_ID",
            "arn": "arn:aws:iam::111122223333:user/Alice",
            "accountId": "111122223333",
            "accessKeyId": "EXAMPLE_KEY_ID",
            "userName": "Alice",
        },
        "eventTime": f"2026-11-22T10:00:{second:02}Z",
        "eventSource": "kms.amazonaws.com",
        "eventName": "Decrypt",
        "awsRegion": "us-west-2",
        "sourceIPAddress": "192.0.2.0",
        "userAgent": "AWS Internal",
        "requestParameters": {
            "encryptionAlgorithm": "SYMMETRIC_DEFAULT",
            "keyId": ARN,
            "encryptionContext": kms_context(CONTEXT),
        },
        "responseElements": None,
        "requestID": "12345126-30d5-4b28-98b9-9153da559963",
        "eventID": "abcde202-ba1a-467c-b4ba-f729d45ae521",
        "readOnly": True,
        "resources": [{"accountId": "111122223333", "type": "AWS::KMS::Key", "ARN": ARN}],
        "eventType": "AwsApiCall",
        "recipientAccountId": "111122223333",
        **changes,
    }


def test_cloudtrail_is_held_against_events(tmp_path: Path) -> None:
    """Records of KMS fit our events by the context in clear; a foreign use and a refused one are told."""
    lines = chain(1, 3, keys=[{"uri": KMS}], opened_by=KMS)
    write(tmp_path / "access-log.jsonl", lines)
    parameters = record(0)["requestParameters"]
    records = [
        record(0),
        record(1),
        record(40, sourceIPAddress="198.51.100.7"),
        record(
            41, errorCode="AccessDenied", requestParameters={**parameters, "encryptionContext": {"dag_id": "x"}}
        ),
        record(42, requestParameters={**parameters, "encryptionContext": {}}, resources=[{"ARN": ARN + "f"}]),
        record(43, eventSource="s3.amazonaws.com"),
        record(44, eventName="Encrypt"),
    ]
    folder = tmp_path / "AWSLogs/111122223333"
    folder.mkdir(parents=True)
    (folder / "one.json.gz").write_bytes(gzip.compress(json.dumps({"Records": records[:3]}).encode()))
    (folder / "two.jsonl").write_text("".join(json.dumps(one) + "\n" for one in records[3:]))
    found, first, last = cloudtrail.read([tmp_path / "AWSLogs"])
    assert last is not None
    assert first is not None
    assert (len(found), last - first) == (4, 44)
    events, _ = uses(
        [source((tmp_path / "access-log.jsonl").as_uri())],
        {"aws-kms": cloudtrail.name},
        first - 60,
        last,
    )
    done = match(found, events)
    assert [(gap.rule, gap.details["address"]) for gap in done.gaps] == [
        ("outside", "198.51.100.7"),
        ("attempt", "192.0.2.0"),
    ]
    assert done.gaps[0].details["who"] == "arn:aws:iam::111122223333:user/Alice"
    assert done.pairs == 2


def test_what_is_no_cloudtrail_is_refused(tmp_path: Path) -> None:
    """Other JSON and damaged files are named errors."""
    path = tmp_path / "x.json"
    for text in ('{"Records": 1}', '{"a": 1}', "no json", '{"Records": [{"eventTime": "yesterday"}]}'):
        path.write_text(text)
        with pytest.raises(CommandError, match="CloudTrail record"):
            cloudtrail.read([path])
    path = tmp_path / "x.json.gz"
    path.write_bytes(b"no gzip")
    with pytest.raises(AccessLogUnreadable):
        cloudtrail.read([path])


def test_a_vault_log_is_read_strictly(tmp_path: Path) -> None:
    """A file that no audit device wrote is refused; a last line that is being written is passed over."""
    path = tmp_path / "audit.log"
    path.write_text('{"time": "2026-11-22T10:00:00Z", "type": "request"}\n{"time": "2026')
    assert read([path], {"transit/x"}).lines == 1
    path.write_text("hello\n")
    with pytest.raises(CommandError, match="audit device"):
        read([path], {"transit/x"})
    with pytest.raises(AccessLogUnreadable):
        read([tmp_path / "nothing.log"], {"transit/x"})


def test_every_service_of_the_keys_may_have_been_asked(tmp_path: Path) -> None:
    """Where Vault refuses and KMS opens, Vault's record of that belongs to the event and is no attempt."""
    path = tmp_path / "access-log.jsonl"
    write(path, chain(1, 2, keys=[{"uri": KEY}, {"uri": KMS}], opened_by=KMS))
    namers = {"vault": lambda _: "c", "aws-kms": lambda _: "c"}
    found, _ = uses([source(path.as_uri())], namers, 0, 9e9)
    assert sorted((one.service, one.ok) for one in found) == [("aws-kms", True), ("vault", False)]
    at = found[0].time
    refused = use(0, ok=False)._replace(time=at - 1)
    opened = use(0)._replace(time=at - 0.5, service="aws-kms")
    assert match([refused, opened], found).gaps == ()


def test_hashed_and_cached_events_are_counted(tmp_path: Path) -> None:
    """Events behind a keyed hash cannot be held against a log and are said; cached ones need no record."""
    path = tmp_path / "access-log.jsonl"
    producer = {"dag_id": "hmac-sha256:aa:bb", "run_id": "r", "task_id": "t", "map_index": -1, "key": "k"}
    write(path, [*chain(1, 3, producer=producer), *chain(2, 3, cache_hit=True), *chain(3, 3)])
    start = START.timestamp()
    sources = [source(path.as_uri())]
    found, counts = uses(sources, {"vault": lambda context: context["dag_id"]}, start - 1, start + 60)
    assert (len(found), counts.events, counts.hashed, counts.cached) == (2, 6, 2, 2)
    assert transit_keys(sources, [KEY, KMS, "vault://default/other/keys/name"]) == {
        "transit/xcom-finance",
        "other/name",
    }


@pytest.mark.parametrize(
    "changes",
    [
        {"requestParameters": "text"},
        {"requestParameters": {"encryptionContext": 5}},
        {"requestParameters": [], "resources": [1, None, "ARN"]},
        {"resources": {"ARN": "x"}},
        {"userIdentity": ["x"]},
    ],
)
def test_odd_parts_of_cloudtrail_are_no_context(tmp_path: Path, changes: dict[str, Any]) -> None:
    """A record whose parts have other types has no context of ours, and stops nobody."""
    plain = {"eventTime": "2026-11-22T10:00:00Z", "eventSource": "kms.amazonaws.com", "eventName": "Decrypt"}
    path = tmp_path / "trail.json"
    path.write_text(json.dumps({"Records": [{**plain, **changes}]}))
    uses, first, last = cloudtrail.read([path])
    assert uses == []
    assert first == last is not None


def test_logs_that_are_nested_too_deep_are_refused(tmp_path: Path) -> None:
    """JSON deeper than Python reads is of neither service."""
    path = tmp_path / "odd.json"
    path.write_text("[" * 100_000 + "\n")
    with pytest.raises(CommandError, match="not CloudTrail records"):
        cloudtrail.read([path])
    with pytest.raises(CommandError, match="not a line of a Vault audit device"):
        read([path], {"transit/xcom"})
