"""What a task imports at its first push or pull, imported once by the process that forks its tasks: docs/adr/0013.

A task of Airflow 3 is a fork of the process that supervises it, and begins with what that process has imported.
Without this each task imports the clients of its key service and store anew, hvac or boto3 among them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

log = logging.getLogger(__name__)


def import_ahead(uris: Iterable[str]) -> None:
    """Import what pushes and pulls over these key and store URIs need.

    Nothing is opened: no connection is looked up, no socket and no thread begins, so a fork inherits modules only.
    What cannot be imported is left to the task, whose error says what to install.
    """
    parts: dict[Callable[[], None], None] = {_ours: None}
    for uri in uris:
        scheme, _, rest = uri.partition("://")
        for part in _PARTS.get(scheme, ()):
            parts[part] = None
        named = "@" in rest.partition("/")[0] if scheme in ("s3", "gs", "abfs") else not rest.startswith("default")
        for part in _NAMED.get(scheme, ()) if named else _UNNAMED.get(scheme, ()):
            parts[part] = None
    for part in parts:
        try:
            part()
        except Exception as error:  # noqa: BLE001  # a foreign library; the process has other work to do
            log.debug("Left to the task: %s (%s)", part.__name__, type(error).__name__)


def _ours() -> None:
    import secure_xcom.pipeline  # noqa: F401


def _local() -> None:
    import secure_xcom.keys.local  # noqa: F401


def _files() -> None:
    import secure_xcom.stores.files  # noqa: F401


def _vault() -> None:
    import secure_xcom.keys.vault  # noqa: F401


def _vault_kv() -> None:
    import secure_xcom.stores.vault_kv  # noqa: F401


def _vault_hook() -> None:
    import airflow.providers.hashicorp.hooks.vault  # noqa: F401


def _kms() -> None:
    import secure_xcom.keys.aws_kms  # noqa: F401


def _obstore() -> None:
    import obstore.store  # noqa: F401

    import secure_xcom.stores.objects  # noqa: F401


def _s3() -> None:
    import secure_xcom.stores.s3  # noqa: F401


def _gcs() -> None:
    import secure_xcom.stores.gcs  # noqa: F401


def _azure() -> None:
    import secure_xcom.stores.azure  # noqa: F401


def _boto3() -> None:
    import boto3  # noqa: F401


def _aws_hook() -> None:
    import airflow.providers.amazon.aws.hooks.base_aws  # noqa: F401


# Google's and Azure's hooks are left to the task: they may bring gRPC, which does not like to be forked.
_PARTS: dict[str, tuple[Callable[[], None], ...]] = {
    "local": (_local,),
    "vault": (_vault,),
    "aws-kms": (_kms,),
    "file": (_files,),
    "s3": (_obstore, _s3),
    "gs": (_obstore, _gcs),
    "abfs": (_obstore, _azure),
    "vault-kv": (_vault_kv,),
}
# With an Airflow connection, and with the environment's own credentials.
_NAMED = {"vault": (_vault_hook,), "vault-kv": (_vault_hook,), "aws-kms": (_aws_hook,), "s3": (_aws_hook,)}
_UNNAMED = {"aws-kms": (_boto3,), "s3": (_boto3,)}
