"""The key that signs checkpoints, chosen by its URI; each kind of key has one short file.

``vault://CONN_ID/MOUNT/keys/NAME``, ``aws-kms://CONN_ID/KEY`` or ``file:///path/sealing.pem``.
"""

from __future__ import annotations

from secure_xcom.core.uri_faults import unknown_scheme
from secure_xcom.ops.audit_trail.tlog.note import Signer


def signer(uri: str) -> Signer:
    """Return the signer that a signing key's URI names.

    :raises UriInvalid: the scheme is unknown.
    :raises ConfigurationError: its connection cannot be used.
    """
    scheme, separator, _ = uri.partition("://")
    if separator and scheme == "file":
        from secure_xcom.ops.audit_trail.tlog.signer_file import FileSigner

        return FileSigner(uri)
    if separator and scheme == "vault":
        from secure_xcom.ops.audit_trail.tlog.signer_vault import VaultSigner

        return VaultSigner(uri)
    if separator and scheme == "aws-kms":
        from secure_xcom.ops.audit_trail.tlog.signer_kms import KmsSigner

        return KmsSigner(uri)
    raise unknown_scheme("signing key", scheme if separator else "", f"signing key URI {uri!r:.120}")
