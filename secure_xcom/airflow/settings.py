"""The ``[secure_xcom]`` section and what else is read out of Airflow's configuration."""

from __future__ import annotations

import inspect
import json
import os
import sys
from configparser import RawConfigParser
from pathlib import Path
from typing import Any

from secure_xcom.core.config import OPTIONS, SECTION, Settings
from secure_xcom.core.errors import SettingInvalid

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


def chosen(*names: str) -> Settings:
    """Return settings in which only these options are read; the others have their defaults.

    For a process that must not learn what the others hold, such as the API server.

    :raises SettingInvalid: one of them has a value that cannot be read or used.
    """
    if any(OPTIONS[name].sensitive for name in names):
        _tell_sensitive()
    return Settings.parse({name: _option(SECTION, name) for name in names})


def is_written(name: str) -> bool:
    """Return whether an option stands in airflow.cfg or the environment, in any way, without reading its value."""
    ways = {f"{name}{way}" for way in ("", "_cmd", "_secret")}
    environment = {text.removeprefix(_ENVIRONMENT).lower() for text in os.environ if text.startswith(_ENVIRONMENT)}
    conf = _conf()
    return bool(ways & environment) or any(RawConfigParser.has_option(conf, SECTION, way) for way in ways)


def metrics_on() -> bool:
    """Whether Airflow sends metrics anywhere."""
    return any(_is_on("metrics", name) for name in ("statsd_on", "statsd_datadog_enabled", "otel_on"))


def traces_on() -> bool:
    """Whether Airflow sends traces anywhere."""
    return _is_on("traces", "otel_on")


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


def placing_policy() -> str | None:
    """The path of the access policy that tasks are placed by; None where they are left where Airflow runs them."""
    path = policy_path()
    return path if path and switched_on("place_tasks") else None


def policy_path() -> str | None:
    """The path of the access policy, where values pass our backend and there is one."""
    return (_option(SECTION, "access_policy") or None) if backend_is_ours() else None


def origins_told() -> frozenset[str]:
    """What this Airflow tells of where DAGs come from, in the words of
    `secure_xcom.core.access_policy.check_told`."""
    told = {"bundles"}
    if multi_team() and "team_name" in _fields_of_a_run():
        told.add("teams")
    from airflow.policies import task_instance_mutation_hook

    if "dag_run" in inspect.signature(task_instance_mutation_hook).parameters:
        told.add("placed bundles")
    return frozenset(told)


def bundles() -> list[dict[str, Any]]:
    """The entries of ``[dag_processor] dag_bundle_config_list`` that have the form that Airflow documents."""
    try:
        entries = json.loads(_option("dag_processor", "dag_bundle_config_list") or "[]")
    except ValueError:
        return []
    return [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []


def team_of(bundle: str | None) -> str | None:
    """The team that a DAG bundle belongs to, as Airflow's configuration says."""
    if bundle is None or not multi_team():
        return None
    return next((entry.get("team_name") for entry in bundles() if entry.get("name") == bundle), None)


def default_queue() -> str:
    """The queue of tasks that name none."""
    return _option("operators", "default_queue") or "default"


def default_impersonation() -> str | None:
    """The operating-system user of tasks that name none."""
    return _option("core", "default_impersonation") or None


def pod_template() -> Path | None:
    """The pod template of the KubernetesExecutor, where one is set."""
    path = _option("kubernetes_executor", "pod_template_file")
    return Path(path) if path else None


def bundle_of(file: str) -> str | None:
    """The bundle that a DAG file lies in, as far as the configuration tells where bundles lie.

    :param file: an absolute path.
    """
    found: list[tuple[int, str]] = []
    path = Path(file).resolve()
    for entry in bundles():
        name = str(entry.get("name"))
        for root in _roots(name, entry):
            if path.is_relative_to(root):
                found.append((len(root.parts), name))
    if not found:
        return None
    deepest = max(found)[0]
    names = {name for depth, name in found if depth == deepest}
    return names.pop() if len(names) == 1 else None


def _roots(name: str, entry: dict[str, Any]) -> list[Path]:
    """Where a bundle may lie: the folder of a local one, and the one below Airflow's storage of bundles."""
    from airflow.dag_processing.bundles.base import get_bundle_storage_root_path

    roots = [Path(get_bundle_storage_root_path()) / name]
    if str(entry.get("classpath", "")).endswith(".LocalDagBundle"):
        kwargs = entry.get("kwargs")
        path = kwargs.get("path") if isinstance(kwargs, dict) else None
        roots.append(Path(str(path or _option("core", "dags_folder") or "")))
    return [root.expanduser().resolve() for root in roots if root.is_absolute()]


def multi_team() -> bool:
    """Return whether Airflow keeps teams apart, bundles and executors included: ``[core] multi_team``."""
    return (_option("core", "multi_team") or "").strip().lower() in ("true", "t", "1", "yes", "on")


def _fields_of_a_run() -> frozenset[str]:
    try:
        from airflow.sdk.api.datamodels._generated import DagRun
    except ImportError:
        return frozenset()
    return frozenset(DagRun.model_fields)


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


def _is_on(section: str, name: str) -> bool:
    try:
        text = _option(section, name)
    except SettingInvalid:
        # Airflow itself reports what it cannot read there, and no value is worth less for it.
        return False
    # As Airflow's own getboolean() reads it.
    return (text or "").split("#")[0].strip().lower() in ("t", "true", "1")


def _unknown_options() -> list[str]:
    conf = _conf()
    written = {name.removeprefix(_ENVIRONMENT).lower() for name in os.environ if name.startswith(_ENVIRONMENT)}
    # A provider's package gives the options their defaults, which stand in no section of the file.
    if conf.has_section(SECTION):
        written.update(conf.options(SECTION))
    # Of other options than sensitive ones Airflow runs no command and asks no secrets backend.
    indirect = {
        f"{name}_{way}" for name, option in OPTIONS.items() if option.sensitive for way in ("cmd", "secret")
    }
    if written & indirect:
        _tell_sensitive()
    return sorted(written - set(OPTIONS) - indirect)


def _tell_sensitive() -> None:
    """Let Airflow 3.1 know which of our options it is to look up.

    It reads the descriptions of providers' options where a component starts, not in every process; later ones do.
    """
    conf = _conf()
    if "airflow.sdk.configuration" not in sys.modules and SECTION not in conf.configuration_description:
        from airflow.providers_manager import ProvidersManager

        ProvidersManager().initialize_providers_configuration()


def _conf() -> Any:
    try:
        from airflow.sdk.configuration import conf
    except ImportError:
        # Airflow 3.1 has it only here, and of another class.
        from airflow import configuration

        return configuration.conf
    return conf
