"""The pipeline of a process, put together from Airflow's settings."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from secure_xcom.airflow import settings as airflow_settings
from secure_xcom.core.config import RELEASE

if TYPE_CHECKING:
    from secure_xcom.claims import Ledger
    from secure_xcom.core.access_policy import AccessPolicy
    from secure_xcom.core.pipeline.push_and_pull import Pipeline
    from secure_xcom.sinks import Sink


def pipeline(serialise: Callable[[Any], Any], restore: Callable[[Any], Any]) -> Pipeline:
    """Return a new pipeline with the settings of this process.

    :param serialise: Airflow's own way to a plain structure, and :param restore: the way back.
    :raises ConfigurationError: the settings cannot be used.
    """
    from secure_xcom.airflow.telemetry import telemetry
    from secure_xcom.core.access_policy import AccessPolicy, check_told, watched
    from secure_xcom.core.codecs import Codecs
    from secure_xcom.core.hashed_ids import IdHasher
    from secure_xcom.core.masking import SensitiveNames
    from secure_xcom.core.pipeline.push_and_pull import Pipeline
    from secure_xcom.sinks import AccessLog, PolicyDigestFile, check_apart

    settings = airflow_settings.load()
    settings.require_place()
    if settings.access_policy:
        policy = watched(settings.access_policy).current()
        check_told(policy.compartments, airflow_settings.origins_told(), where=settings.access_policy)
    else:
        policy = AccessPolicy.single(settings.key_uris, settings.store_uri or "")
    sinks = settings.audit_sinks or (airflow_settings.default_sink(),)
    check_apart(policy, sinks)
    hash_key = settings.audit_hash_key
    access_log = AccessLog.open(
        sinks,
        version=RELEASE,
        policy=policy.digest,
        seen=PolicyDigestFile(airflow_settings.log_folder() / "policy-seen"),
        hasher=IdHasher.load(hash_key, settings.audit_hash_ids) if hash_key else None,
        beside=_alarms(policy),
    )
    return Pipeline(
        settings,
        policy,
        access_log,
        SensitiveNames.from_airflow(settings.sensitive_names),
        Codecs(serialise, restore),
        ledger=_ledger(settings.claims_uri),
        telemetry=telemetry(metrics=airflow_settings.metrics_on(), traces=airflow_settings.traces_on()),
    )


def _alarms(policy: AccessPolicy) -> list[Sink]:
    """Return what tells alarms at once, where the access policy has such."""
    if not policy.alarms_at_once:
        # Its imports alone would be a tenth of what a small task costs.
        return []
    from secure_xcom.sinks.alarms.notifiers import AlarmSink

    return [AlarmSink(policy.alarms_at_once)]


def _ledger(uri: str | None) -> Ledger | None:
    if uri is None:
        return None
    from secure_xcom.claims.claim_table import ClaimTable

    return ClaimTable(uri)
