"""``secure-xcom doctor``, this machine: files that others can read, settings that leak, rights beyond the role."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from functools import partial
from itertools import islice
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

from secure_xcom.core.access_policy import AccessPolicy, Compartment
from secure_xcom.core.config import Settings
from secure_xcom.core.coordinate import path_segment
from secure_xcom.core.errors import (
    KeyringError,
    KeyringExposed,
    KeyringMissing,
    SecureXComError,
    SettingInvalid,
    StoreDenied,
)
from secure_xcom.keys import KeyUri, key_service
from secure_xcom.ops.checks.doctor_findings import Ailment
from secure_xcom.ops.checks.stored_connections import examine_connections, used_by
from secure_xcom.ops.jobs.doctor_workers import settings_of_workers
from secure_xcom.ops.xcom_table import Database
from secure_xcom.sinks import check_apart
from secure_xcom.stores import store

Role = Literal["worker", "maintenance"]

# What a role's identity has no use for, by the end of transit's paths (docs/vault.md).
_BEYOND_ANY = ("rotate", "config", "trim")
_BEYOND_MAINTENANCE = ("encrypt", "decrypt")
_HARMLESS = {"deny", "list", "read"}


def examine_files(policy: AccessPolicy, sinks: tuple[str, ...]) -> Iterator[Ailment]:
    """Keyrings, file stores and access logs that others than their owner can read."""
    keys = {KeyUri.parse(uri).service for one in policy.compartments for uri in one.all_key_uris}
    for uri in sorted(keys):
        if uri.startswith("local://"):
            yield from _keyring(uri)
    for uri in sorted({uri for one in policy.compartments for uri in one.all_store_uris}):
        if uri.startswith("file://"):
            yield from _exposed(_path_of(uri), "store-exposed", 0o077, f"the folder of the store {uri}")
    try:
        check_apart(policy, sinks)
    except SettingInvalid as error:
        yield Ailment("access-log-in-store", "error", error.what, error.remedy)
    for uri in sinks:
        if uri.startswith("file://"):
            yield from _exposed(_path_of(uri), "access-log-exposed", 0o007, f"the access log {uri}")


def _keyring(uri: str) -> Iterator[Ailment]:
    from secure_xcom.keys.keyring_file import open_keyring
    from secure_xcom.keys.local import keyring_path

    path = keyring_path(uri)
    try:
        with open_keyring(path):
            return
    except KeyringExposed as error:
        own = _owner(path) == os.geteuid()
        yield Ailment(
            "keyring-exposed", "error", error.what, error.remedy, examples=[path],
            fix=partial(os.chmod, path, 0o600) if own else None,
        )  # fmt: skip
    except KeyringMissing:
        # A caretaker of another machine has none, and needs none for gc and expire.
        return
    except KeyringError as error:
        yield Ailment("keyring-unusable", "error", error.what, error.remedy, examples=[path])


def _exposed(path: str, kind: str, others: int, what: str) -> Iterator[Ailment]:
    try:
        mode = stat.S_IMODE(os.stat(path).st_mode)
    except OSError:
        return
    if mode & others:
        own = _owner(path) == os.geteuid()
        yield Ailment(
            kind,
            "warning",
            f"{what} has mode {mode:04o}, so others than its owner may use it",
            f"run `chmod {mode & ~others:04o} {path}`",
            examples=[path],
            fix=partial(os.chmod, path, mode & ~others) if own else None,
        )


def _owner(path: str) -> int:
    try:
        return os.stat(path).st_uid
    except OSError:
        return -1


def _path_of(uri: str) -> str:
    return unquote(urlsplit(uri).path)


def examine_settings(settings: Settings, *, backend: bool) -> Iterator[Ailment]:
    """Settings by which values leave, of this product and of Airflow on this machine.

    :param backend: whether Airflow uses our backend.
    """
    if not backend:
        yield Ailment(
            "backend-not-used",
            "error",
            "[core] xcom_backend is not secure_xcom.SecureXComBackend here, so values are kept in plaintext",
            "set it for every component and worker",
        )
    if settings.on_plaintext != "refuse":
        yield Ailment(
            "plaintext-allowed",
            "warning",
            f"[secure_xcom] on_plaintext = {settings.on_plaintext}: what is written past the backend is pulled",
            "set on_plaintext = refuse once doctor finds no plaintext rows",
        )
    for option, text in (
        ("hide_return_values", "operators log what they return before it is sealed"),
        ("mask_component_logs", "the LocalExecutor copies task logs to the scheduler's output unmasked"),
    ):
        if not getattr(settings, option):
            yield Ailment(
                "leak-not-stopped", "warning", f"[secure_xcom] {option} is off: {text}", f"set {option} = True"
            )
    yield from _airflow_settings()


def _airflow_settings() -> Iterator[Ailment]:
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
    # Its name before Airflow 3.2 stands behind it.
    kept = option("core", "num_dag_runs_to_retain_rendered_fields", "")
    kept = kept or option("core", "max_num_rendered_ti_fields_per_task", "30")
    if kept.isdigit() and int(kept) > 30:
        yield _setting(
            "warning", f"rendered template fields of {kept} runs are kept: what templates pulled and no masker "
            "knows stays in the database for as long", "set [core] num_dag_runs_to_retain_rendered_fields to 30",
        )  # fmt: skip
    if option("api", "expose_config", "False").lower() == "true":
        yield _setting(
            "warning", "[api] expose_config = True shows every setting, sensitive ones too, in the UI",
            "set expose_config = False or non-sensitive-only",
        )  # fmt: skip
    if on("api", "expose_stacktrace", "False"):
        yield _setting(
            "warning", "[api] expose_stacktrace = True sends stack traces to users of the API",
            "set expose_stacktrace = False",
        )  # fmt: skip
    if option("api", "access_control_allow_origins", "") == "*":
        yield _setting(
            "warning", "[api] access_control_allow_origins = * lets every site read the API in a user's browser",
            "name the sites",
        )  # fmt: skip
    if not option("core", "fernet_key", ""):
        yield _setting(
            "warning", "[core] fernet_key is empty: connections (the way to Vault and the bucket) and arguments "
            "of triggers are kept in plaintext", "set a fernet_key, and run `airflow rotate-fernet-key`",
        )  # fmt: skip
    for text, remedy in settings_of_workers(
        option("core", "executor", ""),
        option("celery", "result_backend", ""),
        remote=on("celery", "worker_enable_remote_control", "True"),
    ):
        yield _setting("warning", text, remedy)


def _setting(status: Literal["warning", "error"], text: str, remedy: str) -> Ailment:
    return Ailment("airflow-setting", status, text, remedy)


def examine_logins(
    policy: AccessPolicy, settings: Settings, sinks: tuple[str, ...], database: Database
) -> Iterator[Ailment]:
    """Connections of keys, stores and the access log that every task of every team may look up."""
    for finding in examine_connections(policy, used_by(policy, settings, sinks), database):
        if finding.status != "ok":
            yield Ailment("shared-login", finding.status, f"{finding.subject}: {finding.text}", finding.remedy)


def examine_rights(policy: AccessPolicy, role: Role) -> Iterator[Ailment]:
    """Rights of this process's identity that its role has no use for. Nothing is wrapped, opened or written.

    :param role: ``worker`` pushes and pulls; ``maintenance`` rewraps, lists and deletes, and opens nothing.
    """
    looked: set[str] = set()
    for compartment in policy.compartments:
        for uri in compartment.all_key_uris:
            service = KeyUri.parse(uri).service
            if service.startswith("vault://") and service not in looked:
                looked.add(service)
                yield from _vault(service, role)
        for uri in compartment.written_store_uris:
            if uri not in looked and not uri.startswith(("file://", "memory://")):
                looked.add(uri)
                yield from _bucket(uri, compartment, role)


def _vault(uri: str, role: Role) -> Iterator[Ailment]:
    try:
        service: Any = key_service(uri)
        name = service.path("keys")
        mount = name.removesuffix(f"/keys/{service.name}")
        asked = {
            **{f"{name}/{end}": _HARMLESS for end in _BEYOND_ANY},
            name: _HARMLESS,
            f"{mount}/export/encryption-key/{service.name}": {"deny"},
            service.path("encrypt"): {"deny"} if role == "maintenance" else {"deny", "update"},
            "sys/policies/acl/secure-xcom": {"deny"},
        }
        if role == "maintenance":
            asked[service.path("decrypt")] = {"deny"}
        held = service.client.capabilities(list(asked))
    except SecureXComError as error:
        yield Ailment("rights-not-known", "warning", f"{uri}: {error.what}", error.remedy)
        return
    for path, harmless in asked.items():
        beyond = sorted(set(held.get(path) or ()) - harmless)
        if beyond:
            yield Ailment(
                "vault-rights",
                "error",
                f"this identity has {', '.join(beyond)} on {path}, which a {role} has no use for",
                "compare its policy with the one that `secure-xcom policy compile` writes",
            )


def _bucket(uri: str, compartment: Compartment, role: Role) -> Iterator[Ailment]:
    folder = path_segment(compartment.name)
    try:
        target = store(uri)
        first = next(islice(target.list(folder), 1), None)
    except StoreDenied:
        return
    except SecureXComError as error:
        yield Ailment("rights-not-known", "warning", f"{uri}: {error.what}", error.remedy)
        return
    if role == "worker":
        yield Ailment(
            "store-rights",
            "warning",
            f"this identity may list {uri}/{folder}, which a worker has no use for",
            "compare its policy with the one that `secure-xcom policy compile` writes",
        )
        return
    if first is None:
        return
    try:
        # One piece of ciphertext, which is not kept.
        next(target.get(first.path), None)
    except SecureXComError:
        return
    yield Ailment(
        "store-rights",
        "warning",
        f"this identity may read payloads of {uri}, which maintenance has no use for",
        "compare its policy with the one that `secure-xcom policy compile` writes",
    )
