"""Which sinks, which sealed log and whose key a command is about: its options before the settings."""

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
        help="Verifier key to believe. May repeat. Default: [secure_xcom] sealed_log_verifiers.",
    ),
]


class Place:
    """The options of one command, and the settings behind them, which are read when they are needed."""

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
        """Whether the option names the sinks, and not the settings."""
        return bool(self._sinks)

    def sinks(self) -> list[str]:
        """The sink URIs of the option, else those of the settings that can be read back (no syslog, for one)."""
        from secure_xcom.ops.audit_trail.read import readable

        kept = [uri for uri in self.deployment.sinks if readable(uri)] if not self._sinks else []
        return list(self._sinks or kept or self.deployment.sinks)

    def sources(self) -> list[Source]:
        """What these sinks have written.

        :raises UriInvalid: one that an option names cannot be read back, or none of the settings can be.
        """
        from secure_xcom.ops.audit_trail.read import source

        return [source(uri) for uri in self.sinks()]

    def signer(self) -> Signer:
        """:raises ConfigurationError: there is none, or its URI cannot be used."""
        from secure_xcom.ops.audit_trail.tlog.signers import signer

        uri = self._key or self.deployment.settings.sealing_key
        if not uri:
            raise SettingMissing(
                "no key is set that signs the sealed log",
                where="[secure_xcom] sealing_key",
                remedy="set it, or name it with --key; a local one is made by "
                "`secure-xcom audit key --create --key file:///path/sealing.pem`",
            )
        return signer(uri)

    def name(self) -> str:
        """The log's name."""
        from secure_xcom.ops.audit_trail.tlog.note import checked_name

        return checked_name(self._name or self.deployment.settings.sealed_log_name, "the name of the sealed log")

    def verifiers(self) -> list[Verifier]:
        """Those of the options or settings, else the signing key's own."""
        from secure_xcom.ops.audit_trail.tlog.note import Verifier

        if given := self._verifiers or self.deployment.settings.sealed_log_verifiers:
            return [Verifier.parse(text) for text in given]
        return [Verifier(self.name(), self.signer().public_key())]

    @property
    def has_log(self) -> bool:
        """Whether a sealed log is named at all."""
        return bool(self._log or self.deployment.settings.sealed_log)

    def log(self) -> AnchoredLog:
        """:raises ConfigurationError: no sealed log is named, or it cannot be used."""
        from secure_xcom.ops.audit_trail.tlog.anchored_log import AnchoredLog
        from secure_xcom.stores import store

        uri = self._log or self.deployment.settings.sealed_log
        if not uri:
            raise SettingMissing(
                "no sealed log is set",
                where="[secure_xcom] sealed_log",
                remedy="set it to a store URI such as file:///path or s3://..., or name one with --log; "
                "`secure-xcom audit verify --chains-only` needs none",
            )
        return AnchoredLog(store(uri), self.verifiers())


def read_file(path: Path) -> bytes:
    """A small file.

    :raises CommandError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise CommandError(
            f"the file cannot be read ({type(error).__name__})",
            where=str(path),
            remedy="name a file that is there",
        ) from None


def write_file(path: Path, content: bytes) -> None:
    """A new file.

    :raises CommandError: it cannot be written.
    """
    try:
        path.write_bytes(content)
    except OSError as error:
        raise CommandError(
            f"the file cannot be written ({type(error).__name__})", where=str(path), remedy="choose another path"
        ) from None
