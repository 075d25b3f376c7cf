"""What an access policy decides about a DAG, a push and a pull, without a pipeline."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from secure_xcom.core.access_policy.dag_origin import Origin
from secure_xcom.core.access_policy.policy import AccessPolicy, read_bytes
from secure_xcom.core.access_policy.verdict import Verdict
from secure_xcom.core.coordinate import TaskTry
from secure_xcom.core.errors import CompartmentUnknown, SettingInvalid
from secure_xcom.core.policy_errors import AccessRefused, OriginRefused, PolicyInvalid, WriteRefused
from tests.support.world import coordinate

POLICY = """\
version: 1
defaults: {compartment: shared, retention: 30d, max_bytes: 100, mask_values: all, hide_return_values: true}
compartments:
  - name: finance
    dags: ["finance_*", "both"]
    key_uris: ["memory-key://finance"]
    store_uri: memory://finance
    readers: [{dags: [report], tasks: [load]}]
  - name: audit
    dags: ["audit_*", "both"]
    bundles: [audit-dags]
    key_uris: ["memory-key://audit"]
    store_uri: memory://audit
    retention: 1h
    max_bytes: 7
    mask_values: named
    hide_return_values: false
  - name: tax
    dags: ["tax_*"]
    teams: [tax]
    key_uris: ["memory-key://tax"]
    store_uri: memory://tax
  - name: shared
    key_uris: ["memory-key://shared"]
    store_uri: memory://shared
identities:
  - {name: none, workers_of: [finance]}
  - {name: places, runs_on: {queue: q}}
  - {name: first, runs_on: {queue: q1, dags: ["upkeep*"]}}
  - {name: second, runs_on: {queue: q2, dags: ["upkeep*", "other"]}}
legal_holds:
  - {name: case, reason: "1", dags: ["finance_*"], runs: ["2026*"]}
  - {name: all, reason: "2", dags: ["finance_x"]}
"""
NOBODY = (
    "version: 1\ncompartments: [{name: a, dags: [a], key_uris: ['memory-key://a'], store_uri: 'memory://a'}]\n"
)


@pytest.fixture
def policy() -> AccessPolicy:
    """Compartments with and without an origin, and a default one."""
    return AccessPolicy.parse(POLICY.encode(), where="policy.yaml")


def task(dag_id: str, task_id: str = "load", **more: Any) -> TaskTry:
    """A task that pushes or pulls."""
    return TaskTry(dag_id, "run", task_id, -1, 1, **more)


def name_of(policy: AccessPolicy, dag_id: str) -> str | None:
    """The name of a DAG's compartment."""
    found = policy.resolve_dag(dag_id)
    return None if found is None else found.name


def test_the_first_compartment_that_names_a_dag_has_it(policy: AccessPolicy) -> None:
    """Then the default one, and without one none; an answer that was given before stays."""
    ids = ("finance_x", "both", "audit_x", "anything", "finance_x")
    assert [name_of(policy, dag_id) for dag_id in ids] == ["finance", "finance", "audit", "shared", "finance"]
    bare = AccessPolicy.parse(NOBODY.encode(), where="p")
    assert (bare.default, name_of(bare, "a"), name_of(bare, "b")) == (None, "a", None)
    with pytest.raises(CompartmentUnknown, match="the DAG 'b' belongs to no compartment"):
        bare.resolve(coordinate(dag_id="b"))
    assert bare.resolve(coordinate(dag_id="a")).name == "a"


def test_any_number_of_dags_can_be_asked_for(policy: AccessPolicy) -> None:
    """A DAG processor asks for thousands, and what is kept of them has a limit."""
    for number in range(9000):
        assert name_of(policy, f"finance_{number}") == "finance"
        # They are forgotten all at once.
        assert len(policy._resolved) == number % 4096 + 1
    assert name_of(policy, "audit_1") == "audit"


def test_defaults_fill_in_what_a_compartment_does_not_say(policy: AccessPolicy) -> None:
    """And overwrite nothing, though it be false or small."""
    said = [(one.retention, one.max_bytes, one.mask_values, one.hide_return_values) for one in policy.compartments]
    inherited = ("30d", 100, "all", True)
    assert said == [inherited, ("1h", 7, "named", False), inherited, inherited]
    bare = AccessPolicy.parse(NOBODY.encode(), where="p").compartments[0]
    assert (bare.retention, bare.max_bytes, bare.mask_values, bare.hide_return_values) == (None,) * 4


def test_a_compartment_is_found_by_its_name(policy: AccessPolicy) -> None:
    """Another name is an error of ours, cut short."""
    assert policy.compartment("tax").name == "tax"
    assert policy.default is policy.compartment("shared")
    with pytest.raises(CompartmentUnknown, match="there is no compartment 'taxes'"):
        policy.compartment("taxes")
    with pytest.raises(CompartmentUnknown) as caught:
        policy.compartment("x" * 1000)
    assert len(str(caught.value)) < 300


def test_the_first_identity_that_runs_a_dag_is_its_runner(policy: AccessPolicy) -> None:
    """Identities without places, or with places for no DAG, run none."""
    found = [policy.runner(dag_id) for dag_id in ("upkeep_x", "other", "finance_x")]
    assert [one and one.name for one in found] == ["first", "second", None]


@pytest.mark.parametrize(
    ("dag_id", "run_id", "name"),
    [
        ("finance_y", "2026-01-01", "case"),
        ("finance_x", "2026-01-01", "case"),
        ("finance_x", "2025-01-01", "all"),
        ("finance_y", "2025-01-01", None),
        ("audit_x", "2026-01-01", None),
    ],
)
def test_the_first_hold_on_a_run_counts(policy: AccessPolicy, dag_id: str, run_id: str, name: str | None) -> None:
    """A hold is on DAGs and on their runs."""
    hold = policy.held(dag_id, run_id)
    assert (hold and hold.name) == name


def refused(verdict: Verdict, error: type[Exception], said: str) -> str:
    """The rule of a verdict that refuses with this error."""
    assert isinstance(verdict.refusal, error)
    assert said in str(verdict.refusal)
    with pytest.raises(error):
        verdict.enforce()
    return verdict.rule


FINANCE = coordinate(dag_id="finance_daily")


def test_a_task_writes_within_its_own_compartment(policy: AccessPolicy) -> None:
    """At a coordinate of its own DAG or of another one there."""
    for dag_id in ("finance_daily", "finance_other"):
        verdict = policy.decide_write(FINANCE, task(dag_id))
        assert (verdict.rule, verdict.enforce()) == ("own", policy.compartment("finance"))
    outside = policy.decide_write(FINANCE, task("audit_x", bundle="audit-dags"))
    said = "the DAG 'audit_x' belongs to compartment 'audit', and the XCom to compartment 'finance'"
    assert refused(outside, WriteRefused, said) == "producer.compartment"
    assert str(FINANCE) in str(outside.refusal)


def test_a_task_of_no_compartment_writes_nowhere() -> None:
    """Not even where the coordinate's DAG has one."""
    bare = AccessPolicy.parse(NOBODY.encode(), where="p")
    verdict = bare.decide_write(coordinate(dag_id="a"), task("b"))
    assert refused(verdict, WriteRefused, "the DAG 'b' belongs to no compartment") == "producer.compartment"
    with pytest.raises(CompartmentUnknown):
        bare.decide_write(coordinate(dag_id="b"), task("b"))


def test_a_write_needs_a_task_or_maintenance(policy: AccessPolicy) -> None:
    """A job of ours works on rows that are there; somebody unknown is refused, with what to do."""
    assert policy.decide_write(FINANCE, None, maintenance=True).rule == "maintenance"
    verdict = policy.decide_write(FINANCE, None)
    assert refused(verdict, WriteRefused, "does not report here which task instance") == "producer"
    assert "push and delete XComs in a task" in str(verdict.refusal)


@pytest.mark.parametrize(
    ("dag_id", "right", "wrong", "field"),
    [
        ("audit_x", {"bundle": "audit-dags"}, {"bundle": "other"}, "bundle"),
        ("audit_x", {"bundle": "audit-dags"}, {}, "bundle"),
        ("tax_x", {"team": "tax"}, {"team": "other"}, "team"),
        ("tax_x", {"team": "tax"}, {}, "team"),
    ],
)
def test_origins_are_required_of_writers_and_readers(
    policy: AccessPolicy, dag_id: str, right: dict[str, str], wrong: dict[str, str], field: str
) -> None:
    """Of a bundle and of a team alike, also where the consumer reads within its own compartment."""
    at, name = coordinate(dag_id=dag_id), dag_id.partition("_")[0]
    assert policy.decide_write(at, task(dag_id, **right)).rule == "own"
    assert policy.decide(at, name, task(dag_id, **right)).rule == "own"
    said = f"takes the DAG '{dag_id}' from {field}"
    assert refused(policy.decide_write(at, task(dag_id, **wrong)), OriginRefused, said) == f"producer.{field}"
    assert refused(policy.decide(at, name, task(dag_id, **wrong)), OriginRefused, said) == f"consumer.{field}"
    # Of another DAG of the compartment nobody knows here where it came from.
    other = policy.decide_write(coordinate(dag_id=f"{name}_other"), task(dag_id, **right))
    assert refused(other, OriginRefused, "does not report") == f"producer.{field}"
    assert policy.decide(coordinate(dag_id=f"{name}_other"), name, task(dag_id, **right)).rule == "own"
    assert Origin.of(task(dag_id, **right), dag_id) != Origin()


def test_a_pull_is_decided_by_the_compartment_and_its_readers(policy: AccessPolicy) -> None:
    """Its own tasks, then its readers; the rule goes to the access log."""
    assert policy.decide(FINANCE, "finance", task("finance_other")).rule == "own"
    assert policy.decide(FINANCE, "finance", task("report")).rule == "readers[0]"
    verdict = policy.decide(FINANCE, "finance", task("report", "save"))
    assert refused(verdict, AccessRefused, "does not have its task 'save'") == "readers[0].tasks"
    verdict = policy.decide(FINANCE, "finance", task("anything"))
    assert refused(verdict, AccessRefused, "is not a reader of compartment 'finance'") == "readers"
    verdict = policy.decide(FINANCE, "finance", None)
    assert refused(verdict, AccessRefused, "the consumer is not known here") == "consumer"
    assert str(FINANCE) in str(verdict.refusal)
    assert policy.decide(coordinate(dag_id="x"), "shared", task("y")).rule == "own"


def test_a_head_of_another_compartment_is_refused(policy: AccessPolicy) -> None:
    """Before anything else is looked at."""
    verdict = policy.decide(FINANCE, "audit", None)
    assert verdict.rule == "compartment"
    assert verdict.refusal is not None
    assert verdict.decided_in is policy.compartment("finance")


def test_a_consumer_of_no_compartment_may_be_a_reader() -> None:
    """Where an entry names its DAG and no compartment."""
    text = NOBODY.replace("store_uri: 'memory://a'", "store_uri: 'memory://a', readers: [{dags: [b]}]")
    made = AccessPolicy.parse(text.encode(), where="p")
    assert made.decide(coordinate(dag_id="a"), "a", task("b")).rule == "readers[0]"


def test_one_compartment_for_all_asks_for_no_task() -> None:
    """Without a file, callbacks and triggers may pull and push as well."""
    made = AccessPolicy.single(["memory-key://one"], "memory://one")
    at = coordinate(dag_id="any")
    assert made.decide(at, "default", None).rule == "single"
    assert made.decide_write(at, None).rule == "single"
    assert made.decide_write(at, None, maintenance=True).rule == "single"
    assert made.decide(at, "other", None).rule == "compartment"
    assert [one.name for one in made.compartments] == ["default"]


@pytest.mark.parametrize(("keys", "uri"), [([], "memory://a"), (["x"] * 9, "memory://a"), (["a b"], "memory://a")])
def test_settings_that_make_no_policy_are_refused(keys: list[str], uri: str) -> None:
    """By the names of the settings, in one line."""
    with pytest.raises(SettingInvalid, match=r"\[secure_xcom\] key_uris, store_uri") as caught:
        AccessPolicy.single(keys, uri)
    assert "\n" not in str(caught.value)


def test_the_digest_is_that_of_the_files_bytes(tmp_path: Path) -> None:
    """Whoever has the file can compare it with the access log."""
    file = tmp_path / "policy.yaml"
    file.write_text(POLICY)
    assert AccessPolicy.load(str(file)).digest == hashlib.sha256(POLICY.encode()).hexdigest()
    assert read_bytes(str(file)) == POLICY.encode()
    with pytest.raises(PolicyInvalid, match=r"cannot be read \(FileNotFoundError\)") as caught:
        AccessPolicy.load(str(tmp_path / "other"))
    assert str(tmp_path / "other") in str(caught.value)


def test_a_policy_without_open_places_has_none() -> None:
    """They are made when they are asked for, once."""
    made = AccessPolicy.parse(NOBODY.encode(), where="p")
    assert made.open_places.places == ()
    bare = AccessPolicy(made.compartments, digest="d", consumers_known=True)
    assert bare.open_places.places == ()
    assert bare.open_places is bare.open_places
    assert (bare.identities, bare.legal_holds, bare.alarms, bare.alarms_at_once, bare.reveal) == ((),) * 4 + (
        None,
    )
