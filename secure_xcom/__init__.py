"""secure_xcom: an encrypted, secrets-aware XCom backend for Apache Airflow 3.

``[core] xcom_backend = secure_xcom.SecureXComBackend`` is all that a deployment sets; DAGs do not change.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from secure_xcom.core.config import RELEASE
from secure_xcom.core.errors import SecureXComError

if TYPE_CHECKING:
    from secure_xcom.airflow.backend import SecureXComBackend
    from secure_xcom.claims.exclusive import exclusive

__all__ = ["SecureXComBackend", "SecureXComError", "__version__", "exclusive"]
__version__ = RELEASE


def __getattr__(name: str) -> Any:
    # The backend imports Airflow, which whoever only reads a reference or runs the core must not need.
    if name == "SecureXComBackend":
        # Airflow looks for its configured backend while this module of its own is imported. It comes first, so
        # that Airflow finds the class and not a half-imported module, which it would log as a circular import.
        import airflow.sdk.execution_time.xcom  # noqa: F401  # only to have it imported

        from secure_xcom.airflow.backend import SecureXComBackend

        return SecureXComBackend
    # Airflow reads the list of options at every start, and needs no more of the package for that.
    if name == "exclusive":
        from secure_xcom.claims.exclusive import exclusive

        return exclusive
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
