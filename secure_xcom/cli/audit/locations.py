"""The sinks, the sealed log and the key that a command works on: its options, else the settings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from secure_xcom.cli import context
from secure_xcom.core.errors import CommandError, SettingMissing

if TYPE_CHECKING:
    from secure_xcom.deployment import Deployment
    from secure_xcom.ops.audit_trail.read import Source
    from secure_xcom.ops.audit_trail.tlog.anchored_log import AnchoredLog
    from secure_xcom.ops.audit_trail.tlog.note import Signer, Verifier

SinkOption = Annotated[
    list[str] | None,
    typer.Option(
        "--sink", metavar="URI", help="Sink URI to read. May repeat. Default: [secure_xcom] audit_sinks."
    ),
]
LogOption = Annotated[
    str | None,
    typer.Option("--log", metavar="URI", help="Store URI of the sealed log. Default: [secure_xcom] sealed_log."),
]
KeyOption = Annotated[
    str | None,
    typer.Option("--key", metavar="URI", help="URI of the signing key. Default: [secure_xcom] sealing_key."),
]
NameOption = Annotated[
    str | None,
    typer.Option("--name", metavar="NAME", help="Name of the log. Default: [secure_xcom] sealed_log_name."),
]
VerifierOption = Annotated[
    list[str] | None,
    typer.Option(
        "--verifier",
        metavar="NAME+ID+KEY",
        help="Verifier key to trust. May repeat. Default: [secure_xcom] sealed_log_verifiers.",
    ),
]
QuietOption = Annotated[
    int,
    typer.Option("--quiet", metavar="SECONDS", min=0, help="Age at which events of a chain without an end count."),
]


class Place:
    """The options of one command, and the settings behind them, which are read on first use."""

    def __init__(
        self,
        config: Path | None,
        *,
        sinks: Sequence[str] | None = None,
        log: str | None = None,
        key: str | None = None,
        name: str | None = None,
        verifiers: Sequence[str] | None = None,
    ) -> None:
        self._config = config
        self._sinks = sinks
        self._log = log
        self._key = key
        self._name = name
        self._verifiers = verifiers
        self._deployment: Deployment | None = None

    @property
    def deployment(self) -> Deployment:
        """:raises ConfigurationError: the settings cannot be used."""
        if self._deployment is None:
            self._deployment = context.load(self._config)
        return self._deployment

    @property
    def sinks_named(self) -> bool:
        """Whether the option names the sinks, rather than the settings."""
        return bool(self._sinks)

    def sinks(self) -> list[str]:
        """Return the sink URIs of the option, else those of the settings that can be read back (not syslog)."""
        from secure_xcom.ops.audit_trail.read import readable

        kept = [uri for uri in self.deployment.sinks if readable(uri)] if not self._sinks else []
        return list(self._sinks or kept or self.deployment.sinks)

    def sources(self) -> list[Source]:
        """Return the sources that read these sinks back.

        :raises UriInvalid: a sink that the option names cannot be read back, or no sink of the settings can.
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
                "no signing key is set for the sealed log",
                where="[secure_xcom] sealing_key",
                remedy="set it, or name it with --key; "
                "`secure-xcom audit key --create --key file:///path/sealing.pem` creates a local one",
            )
        return signer(uri)

    def name(self) -> str:
        """Return the log's name."""
        from secure_xcom.ops.audit_trail.tlog.note import checked_name

        return checked_name(self._name or self.deployment.settings.sealed_log_name, "the name of the sealed log")

    def verifiers(self) -> list[Verifier]:
        """Return the verifier keys of the options or settings, else the signing key's own."""
        from secure_xcom.ops.audit_trail.tlog.note import Verifier

        if given := self._verifiers or self.deployment.settings.sealed_log_verifiers:
            return [Verifier.parse(text) for text in given]
        return [Verifier(self.name(), self.signer().public_key())]

    def log(self) -> AnchoredLog:
        """Return the sealed log.

        :raises ConfigurationError: no sealed log is set, or it cannot be used.
        """
        from secure_xcom.ops.audit_trail.tlog.anchored_log import AnchoredLog
        from secure_xcom.stores import store

        uri = self._log or self.deployment.settings.sealed_log
        if not uri:
            raise SettingMissing(
                "no sealed log is set",
                where="[secure_xcom] sealed_log",
                remedy="set it to a store URI such as file:///path or s3://..., or name one with --log; "
                "`secure-xcom audit verify --chains-only` works without one",
            )
        return AnchoredLog(store(uri), self.verifiers())


def read_file(path: Path) -> bytes:
    """Read a small file.

    :raises CommandError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise CommandError(
            f"the file cannot be read ({type(error).__name__})",
            where=str(path),
            remedy="name an existing file",
        ) from None


def write_file(path: Path, content: bytes) -> None:
    """Write a small file.

    :raises CommandError: it cannot be written.
    """
    try:
        path.write_bytes(content)
    except OSError as error:
        raise CommandError(
            f"the file cannot be written ({type(error).__name__})", where=str(path), remedy="choose another path"
        ) from None
