"""Let Airflow look up options that a command or a secrets backend gives."""

from __future__ import annotations

import sys

from secure_xcom.core.config import SECTION
from secure_xcom.deployment.airflow_config import airflow_conf


def declare_sensitive_options() -> None:
    """Tell Airflow 3.1 which of our options it has to look up.

    It reads the descriptions of providers' options where a component starts, not in every process. Later releases
    read them everywhere.
    """
    conf = airflow_conf()
    if "airflow.sdk.configuration" not in sys.modules and SECTION not in conf.configuration_description:
        from airflow.providers_manager import ProvidersManager

        ProvidersManager().initialize_providers_configuration()
