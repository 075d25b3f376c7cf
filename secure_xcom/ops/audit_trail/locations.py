"""Find the sinks, the anchored log and its key: what a command or a step names, else the settings'."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from secure_xcom.core.errors import SettingMissing

if TYPE_CHECKING:
    from secure_xcom.deployment import Deployment
    from secure_xcom.ops.audit_trail.pieces import Source
    from secure_xcom.ops.audit_trail.tlog.anchored_log import AnchoredLog
    from secure_xcom.ops.audit_trail.tlog.note import Signer, Verifier


class Locations:
    """What is named, and the deployment behind it, which is loaded on first use: the sinks that are named may
    belong to another one.

    :param load: returns the deployment.
    :param sinks: sink URIs; :param log: a store URI; :param key: the URI of a signing key; :param name: the log's
        name; :param verifiers: verifier keys.
    """

    def __init__(
        self,
        load: Callable[[], Deployment],
        *,
        sinks: Sequence[str] | None = None,
        log: str | None = None,
        key: str | None = None,
        name: str | None = None,
        verifiers: Sequence[str] | None = None,
    ) -> None:
        self._load = load
        self._sinks = sinks
        self._log = log
        self._key = key
        self._name = name
        self._verifiers = verifiers

    @cached_property
    def deployment(self) -> Deployment:
        """:raises ConfigurationError: the settings cannot be used."""
        return self._load()

    @property
    def sinks_named(self) -> bool:
        """Return whether the sinks are named, rather than those of the settings."""
        return bool(self._sinks)

    def sinks(self) -> list[str]:
        """Return the sink URIs that are named, else those of the settings that can be read back (not syslog)."""
        from secure_xcom.ops.audit_trail.read import readable

        if self._sinks:
            return list(self._sinks)
        uris = self.deployment.sinks
        return [uri for uri in uris if readable(uri)] or list(uris)

    def sources(self) -> list[Source]:
        """Return the sources that read these sinks back.

        :raises UriInvalid: a sink that is named cannot be read back, or no sink of the settings can.
        """
        from secure_xcom.ops.audit_trail.read import source

        return [source(uri) for uri in self.sinks()]

    def signer(self) -> Signer:
        """Return the signer.

        :raises ConfigurationError: no key is set, or its URI cannot be used.
        """
        from secure_xcom.ops.audit_trail.tlog.signers import signer

        uri = self._key or self.deployment.settings.sealing_key
        if not uri:
            raise SettingMissing(
                "no signing key is set for the anchored log",
                where="[secure_xcom] sealing_key",
                remedy="set it, or name it with --key; "
                "`secure-xcom audit key --create --key file:///path/sealing.pem` creates a local one",
            )
        return signer(uri)

    def name(self) -> str:
        """Return the log's name."""
        from secure_xcom.ops.audit_trail.tlog.note import checked_name

        return checked_name(self._name or self.deployment.settings.sealed_log_name, "the name of the anchored log")

    def verifiers(self) -> list[Verifier]:
        """Return the verifier keys that are named or set, else the signing key's own."""
        from secure_xcom.ops.audit_trail.tlog.note import Verifier

        if given := self._verifiers or self.deployment.settings.sealed_log_verifiers:
            return [Verifier.parse(text) for text in given]
        return [Verifier(self.name(), self.signer().public_key())]

    def log(self) -> AnchoredLog:
        """Return the anchored log.

        :raises ConfigurationError: none is set, or it cannot be used.
        """
        from secure_xcom.ops.audit_trail.tlog.anchored_log import AnchoredLog
        from secure_xcom.stores import store

        uri = self._log or self.deployment.settings.sealed_log
        if not uri:
            raise SettingMissing(
                "no anchored log is set",
                where="[secure_xcom] sealed_log",
                remedy="set it to a store URI such as file:///path or s3://..., or name one with --log; "
                "`secure-xcom audit verify --chains-only` works without one",
            )
        return AnchoredLog(store(uri), self.verifiers())
