"""What a task writes when it shreds, beside the value."""

from __future__ import annotations

from importlib.metadata import version
from types import SimpleNamespace
from typing import Any

import pytest

from secure_xcom.airflow.shred_on_success import TaskRows
from tests.support.airflow_here import airflow_here
from tests.support.world import coordinate

__all__ = ["airflow_here"]
AT = coordinate(key="return_value")
REFERENCE = {"secure_xcom": 1, "head": {"object": "memory://store/x"}}


class Api:
    """Airflow's XComs of one row, and what is written."""

    def __init__(self) -> None:
        self.row: Any = REFERENCE
        self.written: list[dict[str, Any]] = []

    def get_one(self, **_: Any) -> Any:
        return self.row

    def set(self, **message: Any) -> None:
        self.written.append(message)


class ApiOfAirflow34(Api):
    """As `airflow.sdk.bases.xcom.BaseXCom` of Airflow 3.4 builds and sends a message."""

    def _make_set_message(self, place: Any, map_index: int, key: str, value: Any, **beside: Any) -> dict[str, Any]:
        return {"task_id": place.task_id, "map_index": map_index, "key": key, "value": value, **beside}

    def _send_set(self, message: dict[str, Any]) -> None:
        self.written.append(message)


def test_up_to_airflow_33_the_value_alone_is_written() -> None:
    """There the length is in a table of its own, which the write leaves alone."""
    api = Api()
    rows = TaskRows(api)
    rows.note_lengths([REFERENCE], [[1, 2, 3]])
    assert rows.replace(AT, REFERENCE, "shredded")
    assert [set(message) - {"dag_id", "run_id", "task_id", "map_index", "key"} for message in api.written] == [
        {"value"}
    ]


@pytest.mark.skipif(version("apache-airflow-core") < "3.4", reason="Airflow 3.4 keeps the length beside the value")
@pytest.mark.usefixtures("airflow_here")
def test_on_airflow_34_the_length_stays() -> None:
    """A task that expands over the value later finds how long it was; other keys have no length."""
    api = ApiOfAirflow34()
    rows = TaskRows(api)
    rows.note_lengths([REFERENCE, "plain"], [[1, 2, 3], [1]])
    assert rows.replace(AT, REFERENCE, "shredded")
    assert rows.replace(coordinate(key="other"), REFERENCE, "shredded")
    assert [message.get("mapped_length") for message in api.written] == [3, None]


@pytest.mark.skipif(version("apache-airflow-core") < "3.4", reason="Airflow 3.4 keeps the length beside the value")
@pytest.mark.usefixtures("airflow_here")
@pytest.mark.parametrize(("dependants", "is_result"), [(0, False), (1, False), (0, True)])
def test_what_airflow_did_not_write_is_not_added(dependants: int, is_result: bool) -> None:
    """A value that no mapped task depends on had no length and gets none; a DAG's result stays one."""
    task = SimpleNamespace(
        iter_mapped_dependants=lambda: iter(["mapped"] * dependants), returns_dag_result=is_result
    )
    api = ApiOfAirflow34()
    rows = TaskRows(api)
    rows.dag = SimpleNamespace(dag_id=AT.dag_id, task_dict={AT.task_id: task})
    rows.note_lengths([REFERENCE], [{"a": 1}])
    assert rows.replace(AT, REFERENCE, "shredded")
    [message] = api.written
    assert message.get("mapped_length") == (1 if dependants else None)
    assert message.get("dag_result", False) is is_result


def test_a_row_of_another_push_is_left() -> None:
    """What is there now is not what was read: nothing is written."""
    api = Api()
    api.row = {"another": 1}
    assert not TaskRows(api).replace(AT, REFERENCE, "shredded")
    assert api.written == []
