"""Former path of `secure_xcom.airflow.backend`, kept for code that imports it."""

from secure_xcom.airflow.backend import SecureXComBackend

__all__ = ["SecureXComBackend"]
