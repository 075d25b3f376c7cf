"""Retention per compartment and per key, and legal holds: what the access policy says of them."""

from __future__ import annotations

import json
import uuid
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from secure_xcom.core.access_policy.field_types import seconds
from secure_xcom.core.access_policy.policy import AccessPolicy
from secure_xcom.core.operator_errors import CommandError
from secure_xcom.core.policy_errors import PolicyInvalid
from secure_xcom.core.reference import TIME_FORMAT
from secure_xcom.ops.jobs.durations import duration
from secure_xcom.ops.service_policies.compile.all_services import compile_policy
from secure_xcom.ops.service_policies.lint.access_policy import lint
from tests.support.world import World, coordinate

POLICY = """\
version: 1
compartments:
  - name: finance
    dags: ["fin_*"]
    key_uris: ["memory-key://finance"]
    store_uri: STORE
    retention: 30d
    retention_of:
      - {keys: ["*_token"], retention: 10m}
      - {keys: ["archive", "api_token"], retention: 52w}
  - name: sales
    dags: ["sales_*"]
    key_uris: ["memory-key://sales"]
    store_uri: STORE
    retention: 7d
identities:
  - name: worker
    workers_of: [finance, sales]
    aws: {principal: "arn:aws:iam::111122223333:role/worker"}
"""
HOLDS = """\
legal_holds:
  - {name: case-7, dags: ["fin_daily"], runs: ["scheduled__2026-11-*"], reason: "case 7, asked for by legal"}
  - {name: one-run, runs: ["manual__2026-01-01T00:00:00+00:00"]}
"""


def parse(text: str, store: str = "s3://a@pay/xcom") -> AccessPolicy:
    """The policy of a file's text."""
    return AccessPolicy.parse(text.replace("STORE", store).encode(), where="policy.yaml")


def when(text: str) -> datetime:
    """A head's time."""
    return datetime.strptime(text, TIME_FORMAT).replace(tzinfo=timezone.utc)


def world(text: str = POLICY) -> World:
    """A deployment with this policy, in memory."""
    name = f"memory://{uuid.uuid4().hex}"
    return World(policy=parse(text, name), store_uri=name)


@pytest.mark.parametrize(
    ("key", "lasts"),
    [
        ("return_value", timedelta(days=30)),
        ("db_token", timedelta(minutes=10)),
        ("api_token", timedelta(minutes=10)),
        ("archive", timedelta(weeks=52)),
    ],
)
def test_the_first_retention_that_names_a_key_wins(key: str, lasts: timedelta) -> None:
    """An XCom expires when its key's own retention is over, else its compartment's; the head says when."""
    head = world().push(1, coordinate(dag_id="fin_daily", key=key))["head"]
    assert when(head["expires"]) - when(head["created"]) == lasts


def test_a_retention_of_a_key_alone() -> None:
    """A compartment without a retention has one for the keys that are named, and none for the others."""
    there = world(POLICY.replace("    retention: 30d\n", ""))
    assert "expires" in there.push(1, coordinate(dag_id="fin_daily", key="a_token"))["head"]
    assert "expires" not in there.push(1, coordinate(dag_id="fin_daily"))["head"]


def test_a_retention_needs_keys_and_a_time() -> None:
    """A retention of no keys, and one without a time, are refused where they stand."""
    for broken in ("{keys: [], retention: 1d}", "{retention: 1d}", "{keys: [a]}"):
        with pytest.raises(PolicyInvalid, match=r"policy\.yaml, line 9"):
            parse(POLICY.replace('{keys: ["*_token"], retention: 10m}', broken))


@pytest.mark.parametrize(
    ("dag", "run", "name"),
    [
        ("fin_daily", "scheduled__2026-11-22T10:00:00+00:00", "case-7"),
        ("fin_daily", "scheduled__2026-12-22T10:00:00+00:00", None),
        ("fin_other", "scheduled__2026-11-22T10:00:00+00:00", None),
        ("sales_a", "manual__2026-01-01T00:00:00+00:00", "one-run"),
    ],
)
def test_a_hold_is_on_dags_and_runs(dag: str, run: str, name: str | None) -> None:
    """A legal hold is on what its globs of DAGs and of runs both take."""
    hold = parse(POLICY + HOLDS).held(dag, run)
    assert (hold and hold.name) == name


def test_two_holds_have_two_names() -> None:
    """A hold's name stands once, so that a report says which one it is."""
    with pytest.raises(PolicyInvalid, match="is used twice"):
        parse(POLICY + HOLDS.replace("one-run", "case-7"))


def lifecycle(policy: AccessPolicy) -> dict[str, Any]:
    """Prefix -> days after which the bucket itself deletes, of a compiled policy."""
    files = compile_policy(policy).files
    [path] = [name for name in files if name.endswith("lifecycle.json")]

    return {
        rule["Filter"]["Prefix"]: rule.get("Expiration", {}).get("Days")
        for rule in json.loads(files[path])["Rules"]
    }


def test_the_bucket_never_deletes_before_the_head_says() -> None:
    """A bucket's lifecycle is the longest retention of the compartment and a day: the second net."""
    assert lifecycle(parse(POLICY)) == {"xcom/finance/": 52 * 7 + 1, "xcom/sales/": 8}


def test_the_bucket_never_deletes_what_has_no_retention() -> None:
    """With a key whose XComs are good for ever the bucket deletes nothing of the compartment."""
    assert lifecycle(parse(POLICY.replace("    retention: 30d\n", "")))["xcom/finance/"] is None
    every = POLICY.replace("    retention: 30d\n", "").replace('"archive", "api_token"', '"*"')
    assert lifecycle(parse(every))["xcom/finance/"] == 52 * 7 + 1


def test_the_bucket_never_deletes_what_may_be_held() -> None:
    """A compartment with a legal hold has no expiration in its bucket, and the compiler says so."""
    policy = parse(POLICY + HOLDS.replace("  - {name: one-run", "  - {name: one-run, dags: [fin_x]"))
    assert lifecycle(policy) == {"xcom/finance/": None, "xcom/sales/": 8}
    assert any("case-7" in note for note in compile_policy(policy).notes)


def test_a_good_policy_has_no_remark() -> None:
    """Retentions and holds are nothing that lint complains about."""
    rules = {
        remark.rule for remark in lint((POLICY + HOLDS).replace("STORE", "s3://a@pay/xcom").encode(), where="x")
    }
    assert not {rule for rule in rules if "retention" in rule or "hold" in rule or rule == "invalid"}


def test_expiry_is_counted_in_utc() -> None:
    """The head's times are UTC whatever the machine's zone is."""
    head = world().push(1, coordinate(dag_id="sales_a"))["head"]
    assert abs(when(head["created"]) - datetime.now(timezone.utc)) < timedelta(minutes=1)


@pytest.mark.parametrize(
    ("text", "length"),
    [("45s", 45), ("10m", 600), ("24h", 86_400), ("30d", 2_592_000), ("999999w", 604_799_395_200)],
)
def test_a_duration_is_one_text_everywhere(text: str, length: int) -> None:
    """The file and the commands read the same text as the same time."""
    assert seconds(text) == length
    assert duration(text, "--grace") == timedelta(seconds=length)


@pytest.mark.parametrize("text", ["", "24", "h", "1.5h", "-1h", "24H", " 24h", "24h\n", "1h30m", "1000000s"])
def test_what_is_no_duration_is_refused_with_its_option(text: str) -> None:
    """A command says which option it was, and what to write."""
    with pytest.raises(CommandError, match="not a duration") as caught:
        duration(text, "--grace")
    assert caught.value.where == "--grace"
    assert "24h" in caught.value.remedy
