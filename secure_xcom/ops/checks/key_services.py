"""Check a key service: one file per service, chosen by its class."""

from __future__ import annotations

from collections.abc import Mapping

from secure_xcom.core.findings import Finding
from secure_xcom.keys import KeyService
from secure_xcom.keys.aws_kms import AwsKms
from secure_xcom.keys.local import LocalKeyring
from secure_xcom.keys.vault import VaultTransit
from secure_xcom.ops.checks import aws_kms, local_keyring, vault


def check_key_service(service: KeyService, context: Mapping[str, str] | None = None) -> list[Finding]:
    """Return what an operator should know about a key, its service and this identity.

    Raises nothing: a failure is a finding.

    :param context: the encryption context in which the identity's rights on a KMS key are tried, for an identity
        whose policy is limited to some; without one, a context that no compartment has.
    """
    if isinstance(service, LocalKeyring):
        return local_keyring.findings(service)
    if isinstance(service, VaultTransit):
        return vault.findings(service)
    if isinstance(service, AwsKms):
        return aws_kms.findings(service, context)
    return []
