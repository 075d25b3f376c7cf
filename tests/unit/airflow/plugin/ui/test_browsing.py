"""The scan behind the page under Browse, on Airflow's tables in SQLite."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from tests.support.airflow_here import airflow_here
from tests.support.ui_browsing_contract import BrowsingContract, make_tables

__all__ = ["airflow_here"]
pytestmark = pytest.mark.usefixtures("airflow_here")


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    """A session on empty tables."""
    engine = make_tables(f"sqlite:///{tmp_path}/airflow.db")
    with Session(engine) as opened:
        yield opened
    engine.dispose()


class TestSqlite(BrowsingContract):
    """The contract."""


def test_tables_of_another_airflow_are_refused(tmp_path: Path) -> None:
    """A database without the table, or with tables of two Airflows, is refused with an error of ours."""
    from secure_xcom.airflow.plugin.ui.known_tables import tables_of
    from secure_xcom.core.operator_errors import TablesUnknown

    for number, names in enumerate(([], ["xcom_v2"], ["xcom", "xcom_v2"])):
        engine = sa.create_engine(f"sqlite:///{tmp_path}/{number}.db")
        with engine.begin() as connection:
            for name in names:
                connection.execute(sa.text(f"CREATE TABLE {name} (id INTEGER)"))
        with Session(engine) as session, pytest.raises(TablesUnknown):
            tables_of(session)
        engine.dispose()
