"""Options that Airflow's plugin and cluster policy look at in every process."""

from __future__ import annotations

from secure_xcom.core.config import SECTION, Settings
from secure_xcom.core.errors import SettingInvalid
from secure_xcom.deployment.airflow_config import backend_is_ours, option


def switched_on(name: str) -> bool:
    """Return whether a boolean option is on.

    One that cannot be read counts as on: pushing and pulling say what is wrong.

    :param name: an option of which on is the safe side.
    """
    try:
        return bool(getattr(Settings.parse({name: option(SECTION, name)}), name))
    except SettingInvalid:
        return True


def placing_policy() -> str | None:
    """Return the path of the access policy that tasks are placed by; None where Airflow alone places them."""
    path = policy_path()
    return path if path and switched_on("place_tasks") else None


def policy_path() -> str | None:
    """Return the path of the access policy; None without one, or where values do not pass our backend."""
    return (option(SECTION, "access_policy") or None) if backend_is_ours() else None
