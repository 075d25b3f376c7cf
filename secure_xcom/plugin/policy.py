"""Former path of `secure_xcom.airflow.plugin.cluster_policy`, kept for code that imports it."""

from secure_xcom.airflow.plugin.cluster_policy import *  # noqa: F403  # every name, as it was
