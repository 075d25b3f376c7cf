"""What Airflow's scheduler reads of a branching task's XCom: ids of tasks, which stand beside the sealed value."""

from __future__ import annotations

from collections.abc import Mapping

from secure_xcom.core.coordinate import ID_MAX_CHARACTERS
from secure_xcom.core.errors import ReferenceMalformed
from secure_xcom.core.reference import ROUTES, ROUTES_KEY, checked_text

_ROUTES_MAX = 65_536


def routes_of(key: str, structure: object) -> dict[str, list[str]] | None:
    """Return the ids of tasks by which a branching task tells Airflow's scheduler what to skip, or None.

    The scheduler reads these rows itself, past every backend and without a key, when it schedules what was cleared
    and what is mapped (airflow/ti_deps/deps/not_previously_skipped_dep.py). So they stand beside the sealed value.
    """
    if key != ROUTES_KEY or not isinstance(structure, dict) or not structure or set(structure) - set(ROUTES):
        return None
    try:
        check_routes(structure, key)
    except ReferenceMalformed:
        # Some other value under this key, which no reader would take as ids.
        return None
    return dict(structure)


def check_routes(record: Mapping[str, object], key: str) -> None:
    """Check the routes of a record.

    :raises ReferenceMalformed: its XCom is no branching task's, or a route is not a list of ids.
    """
    for name in ROUTES:
        if name not in record:
            continue
        if key != ROUTES_KEY:
            raise ReferenceMalformed(f"the field {name!r} is unknown", where="the record")
        ids = record[name]
        if not isinstance(ids, list) or len(ids) > _ROUTES_MAX:
            raise ReferenceMalformed(f"not a list of at most {_ROUTES_MAX} ids", where=name)
        for entry in ids:
            checked_text(entry, name, ID_MAX_CHARACTERS)
