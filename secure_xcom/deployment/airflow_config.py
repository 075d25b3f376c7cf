"""Read the ``[secure_xcom]`` section, and what else a deployment needs, from Airflow's own configuration."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterable
from configparser import RawConfigParser
from pathlib import Path
from typing import TYPE_CHECKING, Any

from secure_xcom.core.config import ENVIRONMENT, OPTIONS, SECTION, Settings
from secure_xcom.core.errors import SettingInvalid

if TYPE_CHECKING:
    from secure_xcom.core.masking.sensitive_names import SensitiveNames

_BACKENDS = ("secure_xcom.SecureXComBackend", "secure_xcom.airflow.backend.SecureXComBackend")


def load() -> Settings:
    """Return the settings of this process, from airflow.cfg, the environment and whatever else Airflow reads.

    :raises SettingInvalid: an option is unknown, or its value cannot be read or used.
    """
    section: dict[str, object] = dict.fromkeys(_unknown_options(), "")
    for name in OPTIONS:
        # Airflow's getsection() would turn texts into numbers, and returns nothing for a section that exists only
        # in the environment.
        section[name] = option(SECTION, name)
    return Settings.parse(section)


def is_written(name: str) -> bool:
    """Return whether an option is set in airflow.cfg or the environment, in any way, without reading its value."""
    ways = {f"{name}{way}" for way in ("", "_cmd", "_secret")}
    environment = {text.removeprefix(ENVIRONMENT).lower() for text in os.environ if text.startswith(ENVIRONMENT)}
    conf = airflow_conf()
    return bool(ways & environment) or any(RawConfigParser.has_option(conf, SECTION, way) for way in ways)


def backend_is_ours() -> bool:
    """Return whether ``[core] xcom_backend`` is `secure_xcom.SecureXComBackend` or a subclass of it."""
    try:
        return names_our_backend(option("core", "xcom_backend") or "")
    except SettingInvalid:
        return False


def names_our_backend(name: str) -> bool:
    """Return whether a class is our backend or a subclass of it."""
    if name in _BACKENDS:
        return True
    module, _, class_name = name.rpartition(".")
    try:
        backend = getattr(importlib.import_module(module), class_name)
    except Exception:  # noqa: BLE001  # whatever a backend's import raises, Airflow reports it when it is used
        return False
    return any(f"{base.__module__}.{base.__name__}" in _BACKENDS for base in getattr(backend, "__mro__", ()))


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


def log_folder() -> Path:
    """Return our own folder below Airflow's logs."""
    return Path(str(option("logging", "base_log_folder") or "logs")).expanduser().absolute() / SECTION


def sensitive_names(listed: Iterable[str] = (), not_sensitive: Iterable[str] = ()) -> SensitiveNames:
    """Return Airflow's defaults, ``[core] sensitive_var_conn_names``, and more.

    The built-in defaults stay in, so that an older Airflow with a shorter list does not show more.
    """
    from airflow.sdk._shared.secrets_masker import DEFAULT_SENSITIVE_FIELDS

    from secure_xcom.core.masking.sensitive_names import DEFAULT_MIN_LENGTH, DEFAULT_NAMES, SensitiveNames

    conf = airflow_conf()
    configured = conf.get("core", "sensitive_var_conn_names", fallback="") or ""
    return SensitiveNames(
        {*DEFAULT_NAMES, *DEFAULT_SENSITIVE_FIELDS},
        listed={*configured.split(","), *listed},
        not_sensitive=not_sensitive,
        min_length=conf.getint("logging", "min_length_masked_secret", fallback=DEFAULT_MIN_LENGTH),
    )


def metrics_on() -> bool:
    """Return whether Airflow sends metrics anywhere."""
    return any(_is_on("metrics", name) for name in ("statsd_on", "statsd_datadog_enabled", "otel_on"))


def traces_on() -> bool:
    """Return whether Airflow sends traces anywhere."""
    return _is_on("traces", "otel_on")


def multi_team() -> bool:
    """Return whether Airflow keeps teams apart, bundles and executors included: ``[core] multi_team``."""
    return is_true(option("core", "multi_team"))


def is_true(text: str | None) -> bool:
    """Return whether an option of Airflow is on, in any spelling of a switch that we take for our own options."""
    return (text or "").strip().lower() in ("true", "t", "1", "yes", "on")


def option(section: str, name: str) -> str | None:
    """Return the text of one option, or None where nothing is set.

    :raises SettingInvalid: Airflow cannot read it.
    """
    try:
        text = airflow_conf().get(section, name, fallback=None)
    except Exception as error:  # noqa: BLE001  # Airflow's parser raises its own and configparser's errors
        raise SettingInvalid(
            f"Airflow cannot read it ({type(error).__name__})",
            where=f"[{section}] {name}",
            remedy="write each % in the value as %% in airflow.cfg, or check it with `airflow config get-value`",
        ) from None
    return None if text is None else str(text)


def _is_on(section: str, name: str) -> bool:
    try:
        text = option(section, name)
    except SettingInvalid:
        # Airflow itself reports what it cannot read there, and that is no reason to lose a value.
        return False
    # As Airflow's own getboolean() reads it.
    return (text or "").split("#")[0].strip().lower() in ("t", "true", "1")


def _unknown_options() -> list[str]:
    conf = airflow_conf()
    variables = [name for name in os.environ if name.startswith(ENVIRONMENT)]
    # Airflow reads a variable in capital letters only.
    upper = [name for name in variables if name == name.upper()]
    written = {name.removeprefix(ENVIRONMENT).lower() for name in upper}
    # The package's provider info gives the options their defaults, which are in no section of the file.
    if conf.has_section(SECTION):
        written.update(conf.options(SECTION))
    # Airflow runs commands and asks secrets backends for sensitive options only.
    indirect = {
        f"{name}_{suffix}"
        for name, declared in OPTIONS.items()
        if declared.sensitive
        for suffix in ("cmd", "secret")
    }
    if written & indirect:
        from secure_xcom.deployment.sensitive_options import declare_sensitive_options

        declare_sensitive_options()
    unknown = written - set(OPTIONS) - indirect
    of_environment = {name for name in upper if name.removeprefix(ENVIRONMENT).lower() in unknown}
    of_file = unknown - {name.removeprefix(ENVIRONMENT).lower() for name in of_environment}
    return sorted({*of_file, *of_environment, *set(variables).difference(upper)})


def airflow_conf() -> Any:
    """Return Airflow's own configuration, which every process has."""
    try:
        from airflow.sdk.configuration import conf
    except ImportError:
        # Airflow 3.1 has it only here, and as another class.
        from airflow import configuration

        return configuration.conf
    return conf
