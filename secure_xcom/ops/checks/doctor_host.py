"""Find files that others can read and settings that leak values, for ``doctor``."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import replace
from urllib.parse import unquote, urlsplit

from secure_xcom.core.access_policy.policy import AccessPolicy
from secure_xcom.core.config import Settings
from secure_xcom.core.errors import SettingInvalid
from secure_xcom.core.findings import Finding, Status
from secure_xcom.core.keyring_errors import KeyringError, KeyringExposed, KeyringMissing
from secure_xcom.keys import KeyUri
from secure_xcom.ops.checks.doctor_workers import settings_of_workers
from secure_xcom.ops.checks.stored_connections import examine_connections, used_by
from secure_xcom.ops.xcom_table import Database
from secure_xcom.sinks.apart_from_payloads import check_apart


def examine_files(policy: AccessPolicy, sinks: tuple[str, ...]) -> Iterator[Finding]:
    """Find keyrings, file stores and access logs that users other than their owner can read."""
    keys = {KeyUri.parse(uri).service for compartment in policy.compartments for uri in compartment.all_key_uris}
    for uri in sorted(keys):
        if uri.startswith("local://"):
            yield from _keyring(uri)
    for uri in sorted({uri for compartment in policy.compartments for uri in compartment.all_store_uris}):
        if uri.startswith("file://"):
            yield from _exposed(_path_of(uri), "store-exposed", 0o077, f"the folder of the store {uri}")
    try:
        check_apart(policy, sinks)
    except SettingInvalid as error:
        yield Finding("access log", "error", error.what, error.remedy, "access-log-in-store")
    for uri in sinks:
        if uri.startswith("file://"):
            yield from _exposed(_path_of(uri), "access-log-exposed", 0o007, f"the access log {uri}")


def repair(finding: Finding) -> bool:
    """Repair what can be repaired without harm: set the mode of a file of this user. Return whether it did."""
    mode = finding.details.get("repaired_mode")
    if mode is None:
        return False
    os.chmod(finding.subject, mode)
    return True


def _keyring(uri: str) -> Iterator[Finding]:
    from secure_xcom.keys.keyring_file import open_keyring
    from secure_xcom.keys.local import keyring_path

    path = keyring_path(uri)
    try:
        with open_keyring(path):
            return
    except KeyringExposed as error:
        details = _repaired_mode(path, 0o600)
        yield Finding(
            path, "error", error.what, error.remedy, "keyring-exposed", examples=(path,), details=details
        )
    except KeyringMissing:
        # A maintenance machine has no keyring and needs none for gc and expire.
        return
    except KeyringError as error:
        yield Finding(path, "error", error.what, error.remedy, "keyring-unusable", examples=(path,))


def _exposed(path: str, rule: str, others: int, what: str) -> Iterator[Finding]:
    try:
        mode = stat.S_IMODE(os.stat(path).st_mode)
    except OSError:
        return
    if mode & others:
        text = f"{what} has mode {mode:04o}, so users other than its owner can access it"
        remedy, details = f"run `chmod {mode & ~others:04o} {path}`", _repaired_mode(path, mode & ~others)
        yield Finding(path, "warning", text, remedy, rule, examples=(path,), details=details)


def _repaired_mode(path: str, mode: int) -> dict[str, int]:
    try:
        is_owner = os.stat(path).st_uid == os.geteuid()
    except OSError:
        return {}
    return {"repaired_mode": mode} if is_owner else {}


def _path_of(uri: str) -> str:
    return unquote(urlsplit(uri).path)


def examine_settings(settings: Settings, *, backend: bool) -> Iterator[Finding]:
    """Find settings that let values leak, of this product and of Airflow on this machine.

    :param backend: whether Airflow uses the backend of this product.
    """
    if not backend:
        yield Finding(
            "[core] xcom_backend",
            "error",
            "[core] xcom_backend is not secure_xcom.SecureXComBackend on this machine, so values are stored in "
            "plaintext",
            "set it for every component and worker",
            "backend-not-used",
        )
    if settings.on_plaintext != "refuse":
        yield Finding(
            "[secure_xcom] on_plaintext",
            "warning",
            f"[secure_xcom] on_plaintext = {settings.on_plaintext}: values that bypassed the backend are pulled",
            "set on_plaintext = refuse once doctor finds no plaintext rows",
            "plaintext-allowed",
        )
    for option, text in (
        ("hide_return_values", "operators log their return values before these are sealed"),
        ("mask_component_logs", "the LocalExecutor copies task logs to the scheduler's output unmasked"),
    ):
        if not getattr(settings, option):
            subject = f"[secure_xcom] {option}"
            yield Finding(
                subject, "warning", f"{subject} is off: {text}", f"set {option} = True", "leak-not-stopped"
            )
    yield from _airflow_settings()


def _airflow_settings() -> Iterator[Finding]:
    from importlib.util import find_spec

    if find_spec("airflow") is None:
        return
    from airflow.configuration import conf

    def option(section: str, name: str, fallback: str) -> str:
        return str(conf.get(section, name, fallback=fallback) or fallback).strip()

    def on(section: str, name: str, fallback: str) -> bool:
        return option(section, name, fallback).lower() in ("true", "t", "1", "yes", "on")

    if not on("core", "hide_sensitive_var_conn_fields", "True"):
        yield _setting(
            "error", "[core] hide_sensitive_var_conn_fields is off: Airflow masks nothing, in logs or rendered "
            "fields", "set hide_sensitive_var_conn_fields = True",
        )  # fmt: skip
    # The second name is the one before Airflow 3.2.
    kept = option("core", "num_dag_runs_to_retain_rendered_fields", "")
    kept = kept or option("core", "max_num_rendered_ti_fields_per_task", "30")
    if kept.isdigit() and int(kept) > 30:
        yield _setting(
            "warning", f"Airflow keeps rendered template fields of {kept} runs, with values that templates "
            "pulled and the masker does not know", "set [core] num_dag_runs_to_retain_rendered_fields to 30",
        )  # fmt: skip
    if option("api", "expose_config", "False").lower() == "true":
        yield _setting(
            "warning", "[api] expose_config = True shows every setting in the UI, sensitive ones included",
            "set expose_config = False or non-sensitive-only",
        )  # fmt: skip
    if on("api", "expose_stacktrace", "False"):
        yield _setting(
            "warning", "[api] expose_stacktrace = True sends stack traces to users of the API",
            "set expose_stacktrace = False",
        )  # fmt: skip
    if option("api", "access_control_allow_origins", "") == "*":
        yield _setting(
            "warning", "[api] access_control_allow_origins = * lets every website read the API in users' browsers",
            "list the allowed origins",
        )  # fmt: skip
    if not option("core", "fernet_key", ""):
        yield _setting(
            "warning", "[core] fernet_key is empty: connections (with the logins for Vault and the bucket) and "
            "arguments of triggers are stored in plaintext",
            "set a fernet_key, and run `airflow rotate-fernet-key`",
        )  # fmt: skip
    for text, remedy in settings_of_workers(
        option("core", "executor", ""),
        option("celery", "result_backend", ""),
        remote=on("celery", "worker_enable_remote_control", "True"),
    ):
        yield _setting("warning", text, remedy)


def _setting(status: Status, text: str, remedy: str) -> Finding:
    return Finding("airflow.cfg", status, text, remedy, "airflow-setting")


def examine_logins(
    policy: AccessPolicy, settings: Settings, sinks: tuple[str, ...], database: Database
) -> Iterator[Finding]:
    """Find connections of keys, stores and the access log that every task of every team can look up."""
    for finding in examine_connections(policy, used_by(policy, settings, sinks), database):
        if finding.status != "ok":
            yield replace(finding, text=f"{finding.subject}: {finding.text}", rule="shared-login")
