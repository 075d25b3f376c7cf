"""Read AWS's environment variables and shared configuration files by botocore's rules, without botocore.

Importing botocore takes a third of a second, which a task with fixed keys or with keys of the environment would
otherwise pay at its first push. tests/unit/connections/test_shared_config.py compares the answers with botocore's.

Sources: botocore's ``configprovider.py`` (names and order), ``configloader.py`` (the files' syntax); AWS SDKs and
Tools Reference Guide, "Shared config and credentials files" and "Service-specific endpoints".
"""

from __future__ import annotations

import configparser
import os
import shlex
from collections.abc import Mapping
from typing import Any

from secure_xcom.core.errors import SettingInvalid

_FILES = (("AWS_CONFIG_FILE", "~/.aws/config"), ("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials"))
_Sections = dict[str, dict[str, Any]]


class SharedConfig:
    """The settings of one profile, with the environment variables that come before them.

    :param profile: the profile that a connection names; otherwise that of AWS_DEFAULT_PROFILE or AWS_PROFILE.
    :raises SettingInvalid: a file is invalid, or has no such profile. The message repeats nothing of the file.
    """

    def __init__(self, where: str, profile: str | None = None) -> None:
        self._where = where
        config, credentials = (_read(os.environ.get(name, default), where) for name, default in _FILES)
        self.has_files = config is not None or credentials is not None
        profiles: _Sections = {}
        self._services: _Sections = {}
        for section, values in (config or {}).items():
            if section == "default":
                profiles[section] = values
            elif section.startswith("profile"):
                profiles.update(_named(section, values))
            elif section.startswith("services"):
                self._services.update(_named(section, values))
        for section, values in (credentials or {}).items():
            profiles[section] = {**profiles.get(section, {}), **values}
        name = profile or os.environ.get("AWS_DEFAULT_PROFILE", os.environ.get("AWS_PROFILE"))
        if name is not None and name not in profiles:
            source = "profile_name in the connection's extra" if profile else "AWS_PROFILE or AWS_DEFAULT_PROFILE"
            raise SettingInvalid(
                f"AWS's configuration files do not have the profile that {source} names",
                where=where,
                remedy="correct the name; `aws configure list-profiles` shows the profiles of this machine",
            )
        self.profile: Mapping[str, Any] = profiles.get(name or "default", {})

    def value(self, option: str, variable: str | None = None, *, section: str | None = None) -> str | None:
        """Return a setting: of its environment variable, or else of the profile or of a section in it."""
        if variable is not None and variable in os.environ:
            return os.environ[variable]
        values = self.profile if section is None else self.profile.get(section)
        value = values.get(option) if isinstance(values, Mapping) else None
        return value if isinstance(value, str) else None

    def flag(self, option: str, variable: str | None = None, *, section: str | None = None) -> bool:
        """Return a setting that is true or false; false if it is absent."""
        return (self.value(option, variable, section=section) or "").lower() == "true"

    @property
    def region(self) -> str | None:
        """The region of AWS_DEFAULT_REGION or the profile; AWS_REGION, which boto3 does not read, comes last."""
        return self.value("region", "AWS_DEFAULT_REGION") or os.environ.get("AWS_REGION") or None

    def endpoint(self, service: str) -> str | None:
        """Return the endpoint that is configured for a service (``s3``, ``sts``), or None for AWS's own.

        :raises SettingInvalid: the profile names a section ``services`` that does not exist.
        """
        if self.flag("ignore_configured_endpoint_urls", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS"):
            return None
        variables = (f"AWS_ENDPOINT_URL_{service.upper()}", "AWS_ENDPOINT_URL")
        configured = next((os.environ[name] for name in variables if os.environ.get(name)), None)
        if configured is None:
            of_service = self._service_section().get(service)
            configured = of_service.get("endpoint_url") if isinstance(of_service, Mapping) else None
        return configured or self.value("endpoint_url") or None

    def _service_section(self) -> Mapping[str, Any]:
        if "services" not in self.profile:
            return {}
        section = self._services.get(str(self.profile["services"]))
        if not section:
            raise SettingInvalid(
                "the profile names a services section that AWS's configuration file does not have",
                where=self._where,
                remedy="add [services NAME] to the file, or correct `services` in the profile",
            )
        return section


def _read(path: str, where: str) -> _Sections | None:
    path = os.path.expanduser(os.path.expandvars(path))
    if not os.path.isfile(path):
        return None
    parser = configparser.RawConfigParser()
    try:
        parser.read([path])
        return {
            section: {option: _nested(parser.get(section, option)) for option in parser.options(section)}
            for section in parser.sections()
        }
    except (configparser.Error, UnicodeDecodeError, ValueError) as error:
        raise SettingInvalid(
            f"AWS's configuration file cannot be read ({type(error).__name__})",
            where=f"{path}, for {where}",
            remedy="correct the file; `aws configure list` shows what AWS's own tools make of it",
        ) from None


def _nested(value: str) -> str | dict[str, str]:
    """Return an indented block as the section that it is, any other value as it stands."""
    if not value.startswith("\n"):
        return value
    lines = (line.strip().split("=", 1) for line in value.splitlines() if line.strip())
    return {name.strip(): content.strip() for name, content in lines}


def _named(section: str, values: dict[str, Any]) -> _Sections:
    """Return the section by its second word: ``profile NAME``, ``services NAME``."""
    try:
        words = shlex.split(section)
    except ValueError:
        return {}
    return {words[1]: values} if len(words) == 2 else {}
