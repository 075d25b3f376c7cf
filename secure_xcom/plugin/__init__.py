"""Former path of `secure_xcom.airflow.plugin`, kept for code that imports it."""

from secure_xcom.airflow.plugin import SecureXComPlugin

__all__ = ["SecureXComPlugin"]
