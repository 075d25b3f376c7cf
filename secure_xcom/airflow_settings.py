"""The ``[secure_xcom]`` section and what else is read out of Airflow's configuration."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from secure_xcom.config import OPTIONS, SECTION, Settings
from secure_xcom.errors import SettingInvalid

_ENVIRONMENT = f"AIRFLOW__{SECTION.upper()}__"
_BACKEND_MODULE = "secure_xcom"


def load() -> Settings:
    """The settings of this process, from airflow.cfg, the environment and whatever else Airflow reads.

    :raises SettingInvalid: an unknown option, or a value that cannot be read or used.
    """
    section: dict[str, object] = dict.fromkeys(_unknown_options(), "")
    for name in OPTIONS:
        # Airflow's getsection() would turn texts into numbers, and gives nothing for a section that stands in
        # the environment only.
        section[name] = _option(SECTION, name)
    return Settings.parse(section)


def switched_on(name: str) -> bool:
    """Whether a boolean option is on. One that cannot be read counts as on: pushing and pulling say what is wrong.

    :param name: an option of which on is the safe side.
    """
    try:
        return bool(getattr(Settings.parse({name: _option(SECTION, name)}), name))
    except SettingInvalid:
        return True


def backend_is_ours() -> bool:
    """Whether ``[core] xcom_backend`` is `secure_xcom.SecureXComBackend` or a class made from it."""
    try:
        path = str(_option("core", "xcom_backend") or "")
        if path.partition(".")[0] == _BACKEND_MODULE:
            return True
        backend = _conf().getimport("core", "xcom_backend")
    except Exception:  # noqa: BLE001  # whatever a backend's import raises, Airflow reports it when it is used
        return False
    return any(base.__module__.partition(".")[0] == _BACKEND_MODULE for base in getattr(backend, "__mro__", ()))


def log_folder() -> Path:
    """Our own folder below Airflow's logs."""
    return Path(str(_option("logging", "base_log_folder") or "logs")).expanduser().absolute() / SECTION


def default_sink() -> str:
    """The sink URI of the access log when none is set: beside Airflow's logs."""
    return (log_folder() / "access-log.jsonl").as_uri()


def _option(section: str, name: str) -> str | None:
    try:
        text = _conf().get(section, name, fallback=None)
    except Exception as error:  # noqa: BLE001  # Airflow's parser raises its own and configparser's errors
        raise SettingInvalid(
            f"Airflow cannot read it ({type(error).__name__})",
            where=f"[{section}] {name}",
            remedy="write each % of the value as %% in airflow.cfg, or look at `airflow config get-value`",
        ) from None
    return None if text is None else str(text)


def _unknown_options() -> list[str]:
    conf = _conf()
    written = {name.removeprefix(_ENVIRONMENT).lower() for name in os.environ if name.startswith(_ENVIRONMENT)}
    # A provider's package gives the options their defaults, which stand in no section of the file.
    if conf.has_section(SECTION):
        written.update(conf.options(SECTION))
    plain = {name.removesuffix("_cmd").removesuffix("_secret") for name in written}
    return sorted(plain - set(OPTIONS))


def _conf() -> Any:
    try:
        from airflow.sdk.configuration import conf
    except ImportError:
        # Airflow 3.1 has it only here, and of another class.
        from airflow import configuration

        return configuration.conf
    return conf
