"""Airflow's door: a thin subclass of ``BaseXCom``. What happens to a value is in
`secure_xcom.core.pipeline.push_and_pull`.

Airflow up to 3.3 calls `serialize_value` and `deserialize_value`, and from 3.4 on `store_value` and `load_value`,
which know the task instance that pushes. Both are one implementation here, and a subclass may override either.

Airflow's own queries are used as they are, through `Rows`, which gives the rows unopened; so this file knows
no message of Airflow's and holds from 3.1 on.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from airflow.sdk.bases.xcom import BaseXCom

from secure_xcom.airflow import task_context
from secure_xcom.airflow.asked import asked, asking, guard_sequences, wants_unopened
from secure_xcom.airflow.process import Rows, Value, pull_each, push_value
from secure_xcom.airflow.refused_push import payload_of_refused_row_deleted
from secure_xcom.core.coordinate import Asked, Coordinate
from secure_xcom.core.reference import is_reference

if TYPE_CHECKING:
    from secure_xcom.core.attempt import Attempt
    from secure_xcom.core.pipeline.push_and_pull import Pulled

_IDS = ("dag_id", "run_id", "task_id", "map_index")
_STORES_BY_COORDINATE = hasattr(BaseXCom, "store_value")
"""Whether this is Airflow 3.4 or later."""


class _Storing(NamedTuple):
    """What Airflow 3.4 says of a push besides the value: `store_value` is not told the map index."""

    coordinate: Any
    map_index: int


class _Opened(NamedTuple):
    """A row that was opened together with others, and its value: for the hooks of a subclass."""

    row: Any
    value: Any


_storing: ContextVar[_Storing | None] = ContextVar("secure_xcom_storing", default=None)
_opened: ContextVar[_Opened | None] = ContextVar("secure_xcom_opened", default=None)


class SecureXComBackend(BaseXCom):
    """Seals what tasks push and opens what they may pull; Airflow's database keeps references."""

    def __init_subclass__(cls, **options: Any) -> None:
        """Let the rows of sequences pass a subclass's own hook unopened: they are opened later, together."""
        super().__init_subclass__(**options)
        if _STORES_BY_COORDINATE:
            # Airflow 3.4 reads sequences through `_load`.
            return
        # The hook may also be of a mixin, which is no subclass of this one.
        owner = next(base for base in cls.__mro__ if "deserialize_value" in vars(base))
        if owner is not cls and issubclass(owner, SecureXComBackend):
            return
        hook = vars(owner)["deserialize_value"]

        def deserialize_value(subclass: type[SecureXComBackend], result: Any) -> Any:
            return result.value if wants_unopened() else hook.__get__(None, subclass)(result)

        # A subclass's hook is replaced by one that calls it.
        cls.deserialize_value = classmethod(deserialize_value)  # type: ignore[method-assign,assignment]  # see above

    @classmethod
    def store_value(cls, coordinate: Any, key: str, value: Any) -> Any:
        """Seal a value and return the reference: the hook of Airflow 3.4 and later.

        :param coordinate: Airflow's `XComCoordinate`.
        :raises SecureXComError: nothing was kept, and the task fails.
        """
        from secure_xcom.airflow import loops

        storing = _storing.get()
        known = storing is not None and storing.coordinate is coordinate
        map_index = storing.map_index if storing is not None and known else loops.map_index_of(coordinate)
        ids = coordinate.dag_id, coordinate.run_id, coordinate.task_id
        return push_value(value, Coordinate(*ids, map_index, key, loops.attempt_of_push(coordinate)))

    @staticmethod
    def serialize_value(
        value: Any,
        *,
        key: str | None = None,
        task_id: str | None = None,
        dag_id: str | None = None,
        run_id: str | None = None,
        map_index: int | None = None,
    ) -> Any:
        """Seal a value and return the reference: the hook of Airflow up to 3.3, and of subclasses.

        :raises SecureXComError: nothing was kept, and the task fails.
        """
        ids = dag_id or "", run_id or "", task_id or ""
        index = -1 if map_index is None else map_index
        return push_value(value, Coordinate(*ids, index, key or "", _attempt_of(ids)))

    @classmethod
    def _store(cls, coordinate: Any, map_index: int, key: str, value: Any) -> Any:
        token = _storing.set(_Storing(coordinate, map_index))
        try:
            return super()._store(coordinate, map_index, key, value)  # type: ignore[misc]  # Airflow 3.4's
        finally:
            _storing.reset(token)

    if not _STORES_BY_COORDINATE:

        @classmethod
        def set(cls, key: str, value: Any, **place: Any) -> None:
            """Push. Nothing is kept of a row that Airflow refuses."""
            row = cls.serialize_value(value, key=key, **{name: place.get(name) for name in _IDS})
            with payload_of_refused_row_deleted(partial(_take_back, row)):
                Rows.set(key, row, **place)

    @classmethod
    def _send_set(cls, msg: Any) -> None:
        with payload_of_refused_row_deleted(partial(_take_back, msg.value)):
            super()._send_set(msg)  # type: ignore[misc]  # Airflow 3.4's

    @classmethod
    async def aset(cls, key: str, value: Any, **place: Any) -> None:
        """Push without blocking the event loop."""
        if _STORES_BY_COORDINATE:
            # Airflow's own builds the message and sends it with the two methods that follow.
            await super().aset(key, value, **place)
            return
        from secure_xcom.airflow import async_calls

        ids = {name: place.get(name) for name in _IDS}
        row = await async_calls.sealed(partial(cls.serialize_value, value, key=key, **ids), _take_back)
        await async_calls.sent(partial(Rows.aset, key, row, **place), partial(_take_back, row))

    @classmethod
    async def _abuild_set_message(
        cls, coordinate: Any, map_index: int, key: str, value: Any, *, dag_result: bool, mapped_length: int | None
    ) -> Any:
        from secure_xcom.airflow import async_calls

        row = await async_calls.sealed(partial(cls._store, coordinate, map_index, key, value), _take_back)
        more = {"dag_result": dag_result, "mapped_length": mapped_length}
        make = cls._make_set_message  # type: ignore[attr-defined]  # Airflow 3.4's
        return make(coordinate, map_index, key, row, **more)

    @classmethod
    async def _asend_set(cls, msg: Any) -> None:
        from secure_xcom.airflow import async_calls

        send = super()._asend_set  # type: ignore[misc]  # Airflow 3.4's
        await async_calls.sent(partial(send, msg), partial(_take_back, msg.value))

    @classmethod
    def load_value(cls, stored: Any) -> Any:
        """Open a row of which only the value is known: the hook of Airflow 3.4 and later.

        :raises SecureXComError: never a value that was not opened.
        """
        return _open_row(stored)

    @staticmethod
    def deserialize_value(result: Any) -> Any:
        """Open a row of which only the value is known: the hook of Airflow up to 3.3, and of subclasses.

        :raises SecureXComError: never a value that was not opened.
        """
        return _open_row(result.value)

    @classmethod
    def _load(cls, result: Any) -> Any:
        if wants_unopened():
            return result.value
        return super()._load(result)  # type: ignore[misc]  # Airflow 3.4's

    @classmethod
    def get_one(cls, **query: Any) -> Any:
        """Pull one value; None where there is no row."""
        row = Rows.get_one(**query)
        return None if row is None else cls._pull([row], _asked_one(query))[0]

    @classmethod
    async def aget_one(cls, **query: Any) -> Any:
        """Pull one value without blocking the event loop."""
        row = await Rows.aget_one(**query)
        if row is None:
            return None
        from secure_xcom.airflow.async_calls import in_thread

        return (await in_thread(partial(cls._pull, [row], _asked_one(query))))[0]

    @classmethod
    def get_all(cls, **query: Any) -> Any:
        """Pull all values of a task's map indexes, in one go; None where there is no row."""
        rows = Rows.get_all(**query)
        return None if rows is None else cls._pull(rows, _asked(query), order=_order(query))

    @classmethod
    async def aget_all(cls, **query: Any) -> Any:
        """Pull all values of a task's map indexes without blocking the event loop."""
        rows = await Rows.aget_all(**query)
        if rows is None:
            return None
        from secure_xcom.airflow.async_calls import in_thread

        return await in_thread(partial(cls._pull, rows, _asked(query), order=_order(query)))

    @classmethod
    def _pull(cls, rows: Sequence[Any], asked: Asked, *, order: int = 0) -> list[Any]:
        values = [value for value, _ in pull_each(rows, [asked] * len(rows), order)]
        return values if cls is SecureXComBackend else cls._through_hooks(rows, values)

    @classmethod
    def _through_hooks(cls, rows: Sequence[Any], values: Sequence[Any]) -> list[Any]:
        """Give rows that were opened in one go to a subclass's own hook, which finds each opened already."""
        # Airflow 3.4 has a rule for which of the two hooks it is.
        hook = super()._load if _STORES_BY_COORDINATE else cls.deserialize_value  # type: ignore[misc]  # 3.4's
        given = []
        for row, value in zip(rows, values, strict=True):
            token = _opened.set(_Opened(row, value))
            try:
                given.append(hook(Value(row)))
            finally:
                _opened.reset(token)
        return given

    @classmethod
    def purge(cls, xcom: Any, *_: Any) -> None:
        """Delete the payload of a row that is being deleted.

        :raises WriteRefused: this task is of another compartment, or not known, so Airflow is not to delete the
            row either.
        """
        from secure_xcom.airflow import deletion

        deletion.purge(xcom.value, asked())

    @classmethod
    def delete(cls, key: str, task_id: str, dag_id: str, run_id: str, map_index: int | None = None) -> None:
        """Delete a row and its payload, after checking that the row's reference is of the row's own coordinate.

        :raises WriteRefused: this task may not, and neither is deleted.
        """
        with asking(Asked(dag_id, task_id, key, run_id, map_index)):
            if _STORES_BY_COORDINATE:
                # Airflow 3.4 deletes the row first, and purges what it named.
                row = cls._get_xcom_db_ref(
                    key=key, dag_id=dag_id, task_id=task_id, run_id=run_id, map_index=map_index
                ).value
                from secure_xcom.airflow import deletion

                if is_reference(row) and not deletion.may_purge(row):
                    cls.purge(Value(row))
            super().delete(key, task_id, dag_id, run_id, map_index)


def _take_back(row: Any) -> None:
    from secure_xcom.airflow import deletion

    deletion.take_back(row)


def _open_row(row: Any) -> Any:
    if wants_unopened():
        return row
    opened = _opened.get()
    if opened is not None and opened.row is row:
        return opened.value
    return pull_each([row], [asked()], 0)[0].value


def _pull_of_sequence(rows: Sequence[Any], questions: Sequence[Asked | None], order: int) -> list[Pulled]:
    from airflow.sdk.execution_time.xcom import XCom

    pulled = pull_each(rows, questions, order)
    if XCom is SecureXComBackend or not issubclass(XCom, SecureXComBackend):
        return pulled
    values = XCom._through_hooks(rows, [value for value, _ in pulled])
    return [entry._replace(value=value) for entry, value in zip(pulled, values, strict=True)]


def _order(query: dict[str, Any]) -> int:
    """Return 1 for rising map indexes, as Airflow gives a task's rows; 0 with prior runs, which repeat them."""
    return 0 if query.get("include_prior_dates") else 1


def _asked(query: dict[str, Any]) -> Asked:
    return task_context.reach(_question(query), several=True)


def _asked_one(query: dict[str, Any]) -> Asked:
    """Return the question for one value.

    Without a map index, Airflow's API server gives the row of the task instance that is not mapped.
    """
    asked = _question(query)
    of_one_index = replace(asked, map_index=-1) if asked.map_index is None else asked
    return task_context.reach(of_one_index, previous=bool(query.get("_previous_iteration")))


def _question(query: dict[str, Any]) -> Asked:
    run_id = None if query.get("include_prior_dates") else query["run_id"]
    return Asked(query["dag_id"], query["task_id"], query["key"], run_id, query.get("map_index"))


def _attempt_of(ids: tuple[str, str, str]) -> Attempt | None:
    """Return the attempt that Airflow 3.4 names for a push which comes through the older hook."""
    storing = _storing.get()
    if storing is None:
        return None
    coordinate = storing.coordinate
    is_own = (coordinate.dag_id, coordinate.run_id, coordinate.task_id) == ids
    if not is_own:
        return None
    from secure_xcom.airflow import loops

    return loops.attempt_of_push(coordinate)


guard_sequences(_pull_of_sequence)
