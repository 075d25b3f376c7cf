"""Errors of a local keyring's file, raised by its adapter and by what creates and rotates it."""

from __future__ import annotations

from secure_xcom.core.errors import KeyServiceError


class KeyringError(KeyServiceError):
    """The local keyring file is unusable."""


class KeyringMissing(KeyringError):
    """There is no keyring file at the path of the key URI."""

    remedy = "create it with `secure-xcom init --key URI --store URI`, or restore it from its backup"


class KeyringExposed(KeyringError):
    """Other users can read or write the keyring file."""

    remedy = "run `chmod 600` on it, and rotate the keyring if others could have read it"


class KeyringBroken(KeyringError):
    """The file is not a keyring, or is damaged."""

    remedy = "restore it from its backup; a new keyring cannot open what the old one wrapped"
