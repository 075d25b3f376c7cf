"""Numbers of each compartment, counted by maintenance and kept in a small table of Airflow's database.

The page in Airflow's UI reads them there, so that no view of it counts rows.
"""

from __future__ import annotations

from secure_xcom.numbers.table import TABLE, Numbers, is_made, read, write

__all__ = ["TABLE", "Numbers", "is_made", "read", "write"]
