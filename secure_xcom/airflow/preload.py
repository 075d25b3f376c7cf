"""What each task would import anew, imported once by the process that forks the tasks: docs/adr/0013.

A task of Airflow 3 is a fork of the process that supervises it, and begins with what that process has imported.
Without this each task imports the clients of its key service and store anew, hvac or boto3 among them, and what
Airflow itself needs to read a DAG file.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable

from secure_xcom.deployment import airflow_config

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


def import_parser() -> None:
    """Import what a task runner imports to read its DAG file: some eighty modules, with any XCom backend.

    croniter, which is among it, starts a process of its own to learn the width of a pointer.
    """
    try:
        try:
            import airflow.dag_processing.dagbag
        except ModuleNotFoundError:
            # Where it is in Airflow 3.1.
            import airflow.models.dagbag
    except Exception as error:  # noqa: BLE001  # a foreign library; the process has other work to do
        log.debug("Left to the task, for its DAG file: %s", type(error).__name__)


def import_alarms() -> None:
    """Import what tells the access policy's alarms at once."""
    import secure_xcom.sinks.alarms.notifiers


def configure_models() -> None:
    """Let SQLAlchemy work out once how Airflow's models hang together, where tasks will ask for that.

    Airflow's `LocalFilesystemBackend` gives connections as such models, and the first one that a process makes
    configures all of them, which took as long as all else that a small task did. No database is asked.
    """
    if "airflow.secrets.local_filesystem" not in sys.modules:
        return
    try:
        from airflow.models import import_all_models
        from sqlalchemy.orm import configure_mappers

        import_all_models()
        # Where nothing new was imported since the last fork it looks at a flag.
        configure_mappers()
    except Exception as error:  # noqa: BLE001  # as above
        log.debug("Left to the task, for its connections: %s", type(error).__name__)


# A module that is there already costs a look into a dict, so nothing is kept of what was imported.
# ruff: noqa: F401
def _import_for(scheme: str, rest: str) -> None:
    """Import our own modules first, then the clients that they will ask for."""
    # The access log that is written where no other is set, and what each pipeline is made with.
    import secure_xcom.airflow.lazy_sequence
    import secure_xcom.airflow.without_context
    import secure_xcom.core.access_policy.single
    import secure_xcom.core.codecs.registry
    import secure_xcom.core.codecs.zstd
    import secure_xcom.core.masking.masker_registration
    import secure_xcom.core.masking.text_check
    import secure_xcom.core.pipeline.push_and_pull
    import secure_xcom.deployment.dag_origins
    import secure_xcom.sinks.apart_from_payloads
    import secure_xcom.sinks.file

    if airflow_config.metrics_on() or airflow_config.traces_on():
        import secure_xcom.airflow.telemetry

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

        import secure_xcom.stores.object_store

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
