"""The deployment that a command works on: Airflow's own, or that of a file in the form of airflow.cfg."""

from __future__ import annotations

import configparser
import os
from collections.abc import Callable
from pathlib import Path

from secure_xcom.core.config import ENVIRONMENT, OPTIONS, SECTION, Settings
from secure_xcom.core.operator_errors import CommandError
from secure_xcom.deployment.airflow_config import is_true, names_our_backend
from secure_xcom.deployment.deployment import Deployment, airflow_is_installed

_BACKEND = "secure_xcom.SecureXComBackend"


def load(config: Path | None) -> Deployment:
    """Return the deployment of Airflow's configuration, or of a file. The environment overrides the file.

    :param config: a file to read instead of Airflow's own. Without it, and without an installed Airflow, the
        environment alone is read (``AIRFLOW__SECURE_XCOM__*``).
    :raises CommandError: the file or an option cannot be read.
    :raises SettingInvalid: an option cannot be used.
    """
    if config is None and airflow_is_installed():
        return Deployment.of_airflow()
    parser = configparser.ConfigParser()
    if config is not None:
        _read(parser, config)
    option = _reader(parser, config)
    section: dict[str, object] = {name: option(SECTION, name) for name in OPTIONS}
    section.update(dict.fromkeys(_unknown_options(parser), ""))
    log_folder = option("logging", "base_log_folder")
    home = Path(os.environ.get("AIRFLOW_HOME") or "~/airflow").expanduser().absolute()
    logs = Path(log_folder).expanduser().absolute() if log_folder else home / "logs"
    return Deployment(
        Settings.parse(section),
        str(config) if config else "the environment",
        _is_ours(option("core", "xcom_backend")),
        logs / SECTION,
        multi_team=is_true(option("core", "multi_team")),
    )


def backend_name(config: Path | None) -> str:
    """Return the value of ``[core] xcom_backend``.

    :raises CommandError: the file or the option cannot be read.
    """
    parser = configparser.ConfigParser()
    if config is not None:
        _read(parser, config)
    return _reader(parser, config)("core", "xcom_backend") or ""


def _is_ours(name: str | None) -> bool:
    return name == _BACKEND or (bool(name) and airflow_is_installed() and names_our_backend(str(name)))


def _read(parser: configparser.ConfigParser, config: Path) -> None:
    try:
        parser.read_string(config.read_text(), source=str(config))
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(
            f"the file cannot be read ({type(error).__name__})", where=str(config), remedy="check --config"
        ) from None
    except configparser.Error as error:
        # The parser's own message would quote a line of the file, which may hold another section's secret.
        raise CommandError(
            f"not a file in the format of airflow.cfg ({type(error).__name__})",
            where=str(config),
            remedy="correct the file, or name another one with --config",
        ) from None


def _reader(parser: configparser.ConfigParser, config: Path | None) -> Callable[[str, str], str | None]:
    def option(section: str, name: str) -> str | None:
        override = os.environ.get(f"AIRFLOW__{section.upper()}__{name.upper()}")
        if override is not None:
            return override
        try:
            return parser.get(section, name, fallback=None)
        except configparser.Error as error:
            raise CommandError(
                f"the option cannot be read ({type(error).__name__})",
                where=f"{config} [{section}] {name}",
                remedy="write each % in the value as %%",
            ) from None

    return option


def _unknown_options(parser: configparser.ConfigParser) -> list[str]:
    variables = {name for name in os.environ if name.startswith(ENVIRONMENT)}
    known = {f"{ENVIRONMENT}{name.upper()}" for name in OPTIONS}
    of_file = set(parser[SECTION]) if parser.has_section(SECTION) else set()
    return sorted({*(variables - known), *(of_file - set(OPTIONS) - set(parser.defaults()))})
