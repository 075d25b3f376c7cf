"""SQL databases: engines and the differences between dialects in `engines`; Airflow's tables in `airflow_tables`.

A task that writes to a database loads the engines alone.
"""

from secure_xcom.connections.sql.engines import (
    FORM,
    SQLITE_WAIT_SECONDS,
    ProcessEngine,
    database_url,
    driver_error_name,
    is_duplicate_key,
    is_missing_table,
    make_engine,
    shown_url,
    url_of_connection,
    with_driver,
)

__all__ = [
    "FORM",
    "SQLITE_WAIT_SECONDS",
    "ProcessEngine",
    "database_url",
    "driver_error_name",
    "is_duplicate_key",
    "is_missing_table",
    "make_engine",
    "shown_url",
    "url_of_connection",
    "with_driver",
]
