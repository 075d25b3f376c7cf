"""What the API server knows of the deployment: the access policy and a few settings, none of them a secret."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass, field
from typing import Literal

from secure_xcom.airflow.plugin.ui.chosen_settings import chosen
from secure_xcom.core.access_policy.policy import AccessPolicy, read_bytes
from secure_xcom.core.config import Settings
from secure_xcom.core.errors import SecureXComError

READ = ("access_policy", "key_uris", "store_uri", "on_plaintext", "preview", "max_bytes", "refuse_rest_writes")
"""The options that are read here."""

_SINGLE = "There is no access policy file: every DAG belongs to one compartment, and every task may pull."


@dataclass(frozen=True)
class Deployment:
    """The settings that were read, and the access policy where it could be.

    :ivar state: ``file``, ``single`` (one compartment for all DAGs) or ``unknown``.
    :ivar text: the file's path, or why the policy is not known; :ivar remedy: what to do about it.
    """

    settings: Settings
    policy: AccessPolicy | None
    state: Literal["file", "single", "unknown"]
    text: str
    remedy: str = ""
    raw: bytes | None = field(default=None, repr=False)


class _Cache:
    """The deployment as it was read last, for as long as the policy's file stays the same."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen: object = None
        self._deployment: Deployment | None = None

    def get(self) -> Deployment:
        with self._lock:
            settings = _settings()
            source = settings if isinstance(settings, Deployment) else (settings, _version(settings.access_policy))
            if self._deployment is None or source != self._seen:
                self._deployment = settings if isinstance(settings, Deployment) else _read(settings)
                self._seen = source
            return self._deployment


_CACHE = _Cache()


def deployment() -> Deployment:
    """Return what is known now; a policy file that was changed is read anew."""
    return _CACHE.get()


def _settings() -> Settings | Deployment:
    try:
        return chosen(*READ)
    except SecureXComError as error:
        return Deployment(Settings(), None, "unknown", f"The settings cannot be used: {error.what}.", error.remedy)


def _version(path: str | None) -> tuple[int, ...] | None:
    if path is None:
        return None
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


def _read(settings: Settings) -> Deployment:
    if settings.access_policy:
        try:
            raw = read_bytes(settings.access_policy)
            policy = AccessPolicy.parse(raw, where=settings.access_policy)
        except SecureXComError as error:
            text = f"The API server cannot use the access policy {settings.access_policy}: {error.what}."
            return Deployment(settings, None, "unknown", text, error.remedy)
        return Deployment(settings, policy, "file", settings.access_policy, raw=raw)
    try:
        settings.require_place()
        policy = AccessPolicy.single(settings.key_uris, settings.store_uri or "")
    except SecureXComError as error:
        text = f"The API server does not have the workers' settings: {error.what}."
        return Deployment(settings, None, "unknown", text, error.remedy)
    return Deployment(settings, policy, "single", _SINGLE)
