"""Whose settings a command works with: Airflow's on this machine, those of a file, or those of the environment."""

from __future__ import annotations

import configparser
import os
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from secure_xcom.cli import output
from secure_xcom.core.access_policy import AccessPolicy
from secure_xcom.core.config import OPTIONS, SECTION, Settings
from secure_xcom.core.errors import CommandError

_ENVIRONMENT = f"AIRFLOW__{SECTION.upper()}__"
_BACKEND = "secure_xcom.SecureXComBackend"


@dataclass(frozen=True, slots=True)
class Deployment:
    """One deployment's settings.

    :ivar source: where they were read, for people.
    :ivar backend: whether Airflow uses our backend there.
    :ivar default_sink: the sink URI of the access log when none is set.
    :ivar told: what this Airflow tells of where DAGs come from (`secure_xcom.core.access_policy.check_told`), if
        it was asked.
    """

    settings: Settings
    source: str
    backend: bool
    default_sink: str
    told: frozenset[str] | None = None

    @property
    def sinks(self) -> tuple[str, ...]:
        """The sink URIs of the access log."""
        return self.settings.audit_sinks or (self.default_sink,)

    def policy(self) -> AccessPolicy:
        """The access policy, or the one compartment of a deployment without one.

        :raises PolicyInvalid: the file cannot be used.
        :raises SettingMissing: neither is set.
        """
        self.settings.require_place()
        if self.settings.access_policy:
            return AccessPolicy.load(self.settings.access_policy)
        return AccessPolicy.single(self.settings.key_uris, self.settings.store_uri or "")


def airflow_is_installed() -> bool:
    """Whether this interpreter has Airflow."""
    return find_spec("airflow") is not None


def load(config: Path | None) -> Deployment:
    """The deployment that a command is about.

    :param config: a file in the form of airflow.cfg to read instead of Airflow's own; the environment's
        ``AIRFLOW__SECURE_XCOM__*`` is stronger than it, as with Airflow.
    :raises CommandError: the file cannot be read.
    :raises SettingInvalid: an option cannot be used.
    """
    if config is None and airflow_is_installed():
        return _of_airflow()
    return _of_file(config)


def _of_airflow() -> Deployment:
    from secure_xcom.airflow import settings as airflow_settings

    settings = airflow_settings.load()
    output.logs_to_stderr()
    return Deployment(
        settings,
        "Airflow's configuration",
        airflow_settings.backend_is_ours(),
        airflow_settings.default_sink(),
        airflow_settings.origins_told(),
    )


def _of_file(config: Path | None) -> Deployment:
    parser = configparser.ConfigParser()
    if config is not None:
        try:
            parser.read_string(config.read_text(), source=str(config))
        except (OSError, UnicodeDecodeError) as error:
            raise CommandError(
                f"the file cannot be read ({type(error).__name__})", where=str(config), remedy="check --config"
            ) from None
        except configparser.Error as error:
            # The parser's own message would repeat a line of the file, which may hold another section's secret.
            raise CommandError(
                f"not a file in the form of airflow.cfg ({type(error).__name__})",
                where=str(config),
                remedy="correct the file, or name another one with --config",
            ) from None
    option = _reader(parser, config)
    section: dict[str, object] = {name: option(SECTION, name) for name in OPTIONS}
    section.update(dict.fromkeys(_unknown(parser), ""))
    folder = option("logging", "base_log_folder")
    home = Path(os.environ.get("AIRFLOW_HOME") or "~/airflow").expanduser().absolute()
    logs = Path(folder).expanduser().absolute() if folder else home / "logs"
    return Deployment(
        Settings.parse(section),
        str(config) if config else "the environment",
        option("core", "xcom_backend") == _BACKEND,
        (logs / SECTION / "access-log.jsonl").as_uri(),
    )


def _reader(parser: configparser.ConfigParser, config: Path | None) -> Callable[[str, str], str | None]:
    def option(section: str, name: str) -> str | None:
        strong = os.environ.get(f"AIRFLOW__{section.upper()}__{name.upper()}")
        if strong is not None:
            return strong
        try:
            return parser.get(section, name, fallback=None)
        except configparser.Error as error:
            raise CommandError(
                f"the option cannot be read ({type(error).__name__})",
                where=f"{config} [{section}] {name}",
                remedy="write each % of the value as %%",
            ) from None

    return option


def _unknown(parser: configparser.ConfigParser) -> list[str]:
    written = {name.removeprefix(_ENVIRONMENT).lower() for name in os.environ if name.startswith(_ENVIRONMENT)}
    if parser.has_section(SECTION):
        written.update(parser[SECTION])
    return sorted(written - set(OPTIONS) - set(parser.defaults()))
