"""Read some settings alone, because the API server must not learn what the others hold."""

from __future__ import annotations

from secure_xcom.core.config import OPTIONS, SECTION, Settings
from secure_xcom.deployment.airflow_config import option
from secure_xcom.deployment.sensitive_options import declare_sensitive_options


def chosen(*names: str) -> Settings:
    """Return settings in which only these options are read; the others have their defaults.

    :raises SettingInvalid: one of them has a value that cannot be read or used.
    """
    if any(OPTIONS[name].sensitive for name in names):
        declare_sensitive_options()
    return Settings.parse({name: option(SECTION, name) for name in names})
