"""Check a local keyring: whether its file can be used, how old its newest version is, and whom it serves."""

from __future__ import annotations

from collections.abc import Iterator

from secure_xcom.core import clock
from secure_xcom.core.errors import KeyServiceError
from secure_xcom.core.findings import Finding
from secure_xcom.core.keyring_errors import KeyringError
from secure_xcom.keys import DataKey, Wrap
from secure_xcom.keys.keyring import Keyring
from secure_xcom.keys.local import LocalKeyring
from secure_xcom.ops.error_findings import as_finding

# NIST SP 800-57 part 1, table 1: a key-wrapping key's originator usage period is two years at the most.
ROTATE_AFTER_DAYS = 365


def findings(service: LocalKeyring) -> list[Finding]:
    """Return all findings about a local keyring. A failure is a finding."""
    subject = f"key {service.uri}"
    try:
        keyring = service.keyring()
        data_key = DataKey.generate()
        if service.unwrap_many([Wrap(service.wrap(data_key, {}), {})]) != [data_key]:
            raise KeyringError("a wrapped data key did not unwrap to the same key", where=service.uri)
    except KeyServiceError as error:
        return [as_finding(subject, error)]
    return list(_of_keyring(subject, keyring))


def _of_keyring(subject: str, keyring: Keyring) -> Iterator[Finding]:
    days = (clock.now() - keyring.versions[keyring.latest].created).days
    text = (
        f"only its owner can use the keyring, and a wrap opens again; {len(keyring.versions)} version(s), the "
        f"newest, v{keyring.latest}, is {days} day(s) old"
    )
    if days > ROTATE_AFTER_DAYS:
        yield Finding(
            subject,
            "warning",
            text,
            "rotate the keyring (docs/how-to/rotate.md), then run `secure-xcom rewrap --apply`",
        )
    else:
        yield Finding(subject, "ok", text)
    yield Finding(
        subject,
        "ok",
        "a local keyring is for one machine: every process that reads the file can open everything, and nothing "
        "logs who did; workers on other machines need Vault or KMS",
    )
