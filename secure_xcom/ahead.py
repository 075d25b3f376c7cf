"""What a task imports at its first push or pull, imported once by the process that forks its tasks: docs/adr/0013.

A task of Airflow 3 is a fork of the process that supervises it, and begins with what that process has imported.
Without this each task imports the clients of its key service and store anew, hvac or boto3 among them.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

log = logging.getLogger(__name__)


def import_ahead(uris: Iterable[str]) -> None:
    """Import what pushes and pulls over these key and store URIs need.

    Nothing is opened: no connection is looked up, no socket and no thread begins, so a fork inherits modules only.
    What cannot be imported is left to the task, whose error says what to install.
    """
    for uri in uris:
        try:
            _import_for(*uri.partition("://")[::2])
        except Exception as error:  # noqa: BLE001  # a foreign library; the process has other work to do
            log.debug("Left to the task, for %s: %s", uri.partition("://")[0], type(error).__name__)


# A module that is there already costs a look into a dict, so nothing is kept of what was imported.
# ruff: noqa: F401
def _import_for(scheme: str, rest: str) -> None:
    """Our own modules first, then the clients that they will ask for."""
    import secure_xcom.pipeline

    authority = rest.partition("/")[0]
    if scheme == "local":
        import secure_xcom.keys.local
    elif scheme == "file":
        import secure_xcom.stores.files
    elif scheme in ("vault", "vault-kv"):
        if scheme == "vault":
            import secure_xcom.keys.vault
        else:
            import secure_xcom.stores.vault_kv
        # The name for what the environment says; anything else is an Airflow connection.
        if authority != "default":
            import airflow.providers.hashicorp.hooks.vault
    elif scheme == "aws-kms":
        import secure_xcom.keys.aws_kms

        _import_aws(named=authority != "default")
    elif scheme in ("s3", "gs", "abfs"):
        import obstore.store

        import secure_xcom.stores.objects

        # Google's and Azure's hooks are left to the task: they may bring gRPC, which does not like to be forked.
        if scheme == "gs":
            import secure_xcom.stores.gcs
        elif scheme == "abfs":
            import secure_xcom.stores.azure
        else:
            import secure_xcom.stores.s3

            _import_aws(named="@" in authority)


def _import_aws(*, named: bool) -> None:
    if named:
        import airflow.providers.amazon.aws.hooks.base_aws
    else:
        import boto3
