"""The objects of Airflow's own `XComObjectStorageBackend`: find them by the path in a row, read and delete them.

Its base path is ``[common.io] xcom_objectstorage_path``. A row that holds a text below it names an object with
JSON, compressed by its suffix, which lies at ``DAG_ID/RUN_ID/TASK_ID/UUID`` of the row's own ids. Only such texts
are ever followed: a task can push any text, and the stock backend would give it whatever object that names.
"""

from __future__ import annotations

import json
from typing import Any, Protocol

from secure_xcom.core.coordinate import Coordinate
from secure_xcom.core.operator_errors import MaintenanceError


class OldObjects(Protocol):
    """The objects in which another backend stored values."""

    def names(self, value: object) -> bool:
        """Return whether a row's value names an object."""

    def read(self, path: str, of: Coordinate) -> Any:
        """Return the structure in the object.

        :param of: the row's own coordinate.
        :raises MaintenanceError: it is another task's, cannot be read, or holds no JSON.
        """

    def delete(self, path: str) -> None:
        """Delete the object; a missing one counts as deleted.

        :raises MaintenanceError: it cannot be deleted.
        """


class NoObjects:
    """A deployment that has all values in the database."""

    def names(self, _value: object) -> bool:
        """See `OldObjects`."""
        return False

    def read(self, path: str, of: Coordinate) -> Any:  # noqa: ARG002  # as the interface has it
        """See `OldObjects`."""
        raise MaintenanceError("there are no objects of another backend", where=path)

    def delete(self, path: str) -> None:
        """See `OldObjects`."""
        raise MaintenanceError("there are no objects of another backend", where=path)


class StockObjects:
    """Objects below a base path, through Airflow's `ObjectStoragePath` and its connections.

    :param base: as in ``[common.io] xcom_objectstorage_path``.
    """

    def __init__(self, base: str) -> None:
        from airflow.sdk import ObjectStoragePath

        self._path = ObjectStoragePath
        self._base = ObjectStoragePath(base)

    def names(self, value: object) -> bool:
        """Return whether it is a text with a scheme, below the base path."""
        if not isinstance(value, str) or "://" not in value or ".." in value.split("/"):
            return False
        try:
            return bool(self._path(value).is_relative_to(self._base))
        # a row can have any text, and a file system's library may raise anything
        except Exception:  # noqa: BLE001
            return False

    def read(self, path: str, of: Coordinate) -> Any:
        """See `OldObjects`."""
        folder = "/".join((self._base.path.rstrip("/"), *of.of_task, ""))
        if not self._path(path).path.startswith(folder):
            raise MaintenanceError(
                "the row names an object of another task, so it is not read",
                where=str(of),
                remedy="find out who wrote this row; then clear its task, or delete the row",
            )
        try:
            with self._path(path).open(mode="rb", compression="infer") as file:
                return json.loads(file.read())
        except Exception as error:  # noqa: BLE001  # whatever a file system's library raises becomes ours
            raise self._failed("read", error, path) from None

    def delete(self, path: str) -> None:
        """See `OldObjects`."""
        try:
            self._path(path).unlink(missing_ok=True)
        except Exception as error:  # noqa: BLE001  # whatever a file system's library raises becomes ours
            raise self._failed("deleted", error, path) from None

    @staticmethod
    def _failed(verb: str, error: Exception, path: str) -> MaintenanceError:
        return MaintenanceError(
            f"an object of the other backend cannot be {verb} ({type(error).__name__})",
            where=path,
            remedy="check [common.io] xcom_objectstorage_path and its connection, then run the same command again",
        )


def old_objects() -> OldObjects:
    """Return the objects of Airflow's own backend, if Airflow's settings name their path."""
    from importlib.util import find_spec

    if find_spec("airflow") is None:
        return NoObjects()
    from airflow.configuration import conf

    base = conf.get("common.io", "xcom_objectstorage_path", fallback=None)
    return StockObjects(str(base)) if base else NoObjects()
