"""Which readers of a compartment admit a consumer of another one, and which entry an error names."""

from __future__ import annotations

from typing import Any

import pytest

from secure_xcom.core.access_policy.compartment import Compartment, Reader
from secure_xcom.core.access_policy.readers import judge
from secure_xcom.core.coordinate import TaskTry
from secure_xcom.core.policy_errors import AccessRefused
from tests.support.world import coordinate

XCOM = coordinate(dag_id="finance_daily", task_id="extract")
LOAD = TaskTry("report", "run", "load", -1, 1)


def rule_of(*readers: dict[str, Any], consumer: TaskTry = LOAD, belongs_to: str | None = "audit") -> str:
    """The rule of the verdict; it is a refusal unless it names a whole entry."""
    made = Compartment(
        name="finance",
        dags=("finance_*",),
        key_uris=("memory-key://finance",),
        store_uri="memory://finance",
        readers=tuple(Reader(**reader) for reader in readers),
    )
    verdict = judge(made, XCOM, consumer, belongs_to)
    assert verdict.decided_in is made
    admitted = verdict.rule.startswith("readers[") and verdict.rule.endswith("]")
    assert (verdict.refusal is None) == admitted
    if verdict.refusal is not None:
        assert isinstance(verdict.refusal, AccessRefused)
        assert str(XCOM) in str(verdict.refusal)
        assert "'report'" in str(verdict.refusal)
        assert "compartment 'finance'" in str(verdict.refusal)
    return verdict.rule


ALL = {
    "compartment": "audit",
    "dags": ("rep*",),
    "tasks": ("load",),
    "of_dags": ("*_daily",),
    "of_tasks": ("ex*",),
}


def test_an_entry_admits_where_each_of_its_fields_matches() -> None:
    """And an entry without fields admits everybody."""
    assert rule_of(ALL) == "readers[0]"
    assert rule_of({}) == "readers[0]"
    assert rule_of({}, belongs_to=None) == "readers[0]"


@pytest.mark.parametrize(
    ("field", "value", "rule"),
    [
        ("compartment", "sales", "readers"),
        ("dags", ("other",), "readers"),
        ("tasks", ("save",), "readers[0].tasks"),
        ("of_dags", ("finance_yearly",), "readers[0].of_dags"),
        ("of_tasks", ("clean",), "readers[0].of_tasks"),
    ],
)
def test_one_field_that_does_not_match_refuses(field: str, value: Any, rule: str) -> None:
    """The error names the field, if the entry is for the consumer's DAG."""
    assert rule_of({**ALL, field: value}) == rule
    assert rule_of({field: value}) == rule


def test_a_dag_of_no_compartment_is_of_none_that_an_entry_names() -> None:
    """None is not a name."""
    assert rule_of({"compartment": "audit"}, belongs_to=None) == "readers"


def test_the_first_entry_that_admits_is_the_rule() -> None:
    """Entries before it that do not match refuse nothing."""
    assert rule_of({"dags": ("other",)}, {"tasks": ("save",)}, {"dags": ("report",)}, {}) == "readers[2]"


def test_an_error_names_the_nearest_entry() -> None:
    """The first one for the consumer's DAG, in its first field that does not match."""
    assert rule_of({"dags": ("other",)}, {"of_dags": ("x",)}, {"tasks": ("save",)}) == "readers[1].of_dags"
    assert rule_of({"tasks": ("save",), "of_dags": ("x",)}) == "readers[0].tasks"
    assert rule_of({"compartment": "sales", "tasks": ("save",)}, {"dags": ("x",), "tasks": ("save",)}) == "readers"
    assert rule_of() == "readers"


@pytest.mark.parametrize(
    ("reader", "said"),
    [
        ({"tasks": ("save",)}, "readers[0] does not have its task 'load' in tasks"),
        ({"of_dags": ("x",)}, "readers[0] does not have this XCom in of_dags"),
        ({"dags": ("x",)}, "the DAG 'report' is not a reader of compartment 'finance'"),
    ],
)
def test_an_error_says_what_is_missing(reader: dict[str, Any], said: str) -> None:
    """The consumer's task, or this XCom."""
    made = Compartment(
        name="finance",
        dags=("f",),
        key_uris=("memory-key://f",),
        store_uri="memory://f",
        readers=(Reader(**reader),),
    )
    assert said in str(judge(made, XCOM, LOAD, None).refusal)
