"""A deployment: its settings, and the parts that are made from them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from secure_xcom.core.config import RELEASE, Settings
from secure_xcom.core.load_adapter import load
from secure_xcom.core.per_process import unlocked_property

if TYPE_CHECKING:
    from secure_xcom.claims.ledger import ListedLedger
    from secure_xcom.core.access_policy.interface import Decisions
    from secure_xcom.core.access_policy.policy import AccessPolicy
    from secure_xcom.core.codecs import Codecs
    from secure_xcom.core.masking.secrets_of_value import Secrets
    from secure_xcom.core.masking.sensitive_names import SensitiveNames
    from secure_xcom.core.pipeline.push_and_pull import Pipeline
    from secure_xcom.core.pipeline.telemetry.measuring import Telemetry
    from secure_xcom.sinks.access_log import AccessLog
    from secure_xcom.sinks.hashed_ids import IdHasher
    from secure_xcom.sinks.interface import Sink


def default_sink(log_folder: Path) -> str:
    """Return the sink URI of the access log where none is set: a file beside Airflow's logs."""
    return (log_folder / "access-log.jsonl").as_uri()


@dataclass(frozen=True)
class Deployment:
    """The settings of a deployment. What is made from them is made when it is first asked for, once.

    :ivar source: where the settings were read, for people.
    :ivar backend: whether Airflow uses our backend there.
    :ivar log_folder: our folder below Airflow's logs, with the default access log and the policy's last digest.
    :ivar of_this_airflow: whether the settings are this Airflow's.
    :ivar multi_team: whether Airflow keeps teams apart.
    """

    settings: Settings
    source: str
    backend: bool
    log_folder: Path
    of_this_airflow: bool = False
    multi_team: bool = False

    @classmethod
    def of_airflow(cls) -> Deployment:
        """Return the deployment of Airflow's own configuration.

        :raises SettingInvalid: an option cannot be used.
        """
        from secure_xcom.deployment import airflow_config

        return cls(
            airflow_config.load(),
            "Airflow's configuration",
            airflow_config.backend_is_ours(),
            airflow_config.log_folder(),
            of_this_airflow=True,
            multi_team=airflow_config.multi_team(),
        )

    @property
    def sinks(self) -> tuple[str, ...]:
        """The sink URIs of the access log: those of the settings, else a file beside Airflow's logs."""
        return self.settings.audit_sinks or (default_sink(self.log_folder),)

    @unlocked_property
    def told(self) -> frozenset[str] | None:
        """What this Airflow tells of where DAGs come from (`secure_xcom.deployment.dag_origins`).

        None where the settings are not this Airflow's.
        """
        from secure_xcom.deployment.dag_origins import origins_told

        return origins_told() if self.of_this_airflow else None

    @unlocked_property
    def policy(self) -> AccessPolicy:
        """The access policy, or the single compartment of a deployment without one.

        :raises PolicyInvalid: the file cannot be used.
        :raises SettingMissing: neither is set.
        """
        from secure_xcom.core.access_policy.policy import AccessPolicy
        from secure_xcom.core.access_policy.watched_policy import watched

        settings = self.settings
        settings.require_place()
        if settings.access_policy:
            # A forked task takes over what its supervisor has read.
            return watched(settings.access_policy).current()
        return AccessPolicy.single(settings.key_uris, settings.store_uri or "")

    @unlocked_property
    def decisions(self) -> Decisions:
        """The decisions of `policy`, for pushes and pulls: without a file, its model is not loaded.

        :raises ConfigurationError: as `policy`.
        """
        if self.settings.access_policy:
            return self.policy
        from secure_xcom.core.access_policy.single import single_policy

        self.settings.require_place()
        return single_policy(self.settings.key_uris, self.settings.store_uri or "")

    @unlocked_property
    def access_log(self) -> AccessLog:
        """The access log, which also records a changed access policy and raises the alarms that are told at once.

        :raises ConfigurationError: the policy is invalid; a sink is invalid, or lies in a folder of payloads.
        """
        from secure_xcom.sinks.access_log import AccessLog
        from secure_xcom.sinks.apart_from_payloads import check_apart
        from secure_xcom.sinks.policy_digest import PolicyDigestFile

        policy, hash_key = self.decisions, self.settings.audit_hash_key
        check_apart(policy, self.sinks)
        return AccessLog.open(
            self.sinks,
            version=RELEASE,
            policy=policy.digest,
            seen=PolicyDigestFile(self.log_folder / "policy-seen"),
            hasher=None if not hash_key else _hasher(hash_key, self.settings.audit_hash_ids),
            beside=_immediate_alarms(policy),
        )

    @unlocked_property
    def ledger(self) -> ListedLedger | None:
        """The database of claims, or None where claims are kept in the stores.

        :raises ConfigurationError: its URI cannot be used.
        """
        if self.settings.claims_uri is None:
            return None
        from secure_xcom.claims import IMPLEMENTATIONS

        ledger: ListedLedger = load(IMPLEMENTATIONS, "database")(self.settings.claims_uri)
        return ledger

    @unlocked_property
    def sensitive_names(self) -> SensitiveNames:
        """The names that mark a value as sensitive: Airflow's where it is installed here, and the settings'."""
        from secure_xcom.core.masking.sensitive_names import DEFAULT_NAMES, SensitiveNames

        listed, not_sensitive = self.settings.sensitive_names, self.settings.not_sensitive_names
        if airflow_is_installed():
            from secure_xcom.deployment import airflow_config

            return airflow_config.sensitive_names(listed, not_sensitive)
        return SensitiveNames(DEFAULT_NAMES, listed=listed, not_sensitive=not_sensitive)

    def pipeline(
        self,
        codecs: Codecs,
        *,
        register: Callable[[Secrets], None] | None = None,
        telemetry: Telemetry | None = None,
    ) -> Pipeline:
        """Return a new pipeline that pushes and pulls for this deployment.

        :param codecs: the codecs, with the serialization that the caller wants.
        :param register: registers sensitive values with a masker; without it, with Airflow's.
        :param telemetry: takes the measurements; without it, nobody does.
        :raises ConfigurationError: the settings or the policy cannot be used, or the policy relies on what this
            Airflow does not tell.
        """
        from secure_xcom.core.pipeline.push_and_pull import Pipeline

        if self.settings.access_policy and self.told is not None:
            from secure_xcom.core.access_policy.dag_origin import check_told

            check_told(self.policy.compartments, self.told, where=self.settings.access_policy)
        return Pipeline(
            self.settings,
            self.decisions,
            self.access_log,
            self.sensitive_names,
            codecs,
            register=register,
            ledger=self.ledger,
            telemetry=telemetry,
        )


def _hasher(key: str, ids: tuple[str, ...]) -> IdHasher:
    from secure_xcom.sinks.access_log import IMPLEMENTATIONS

    hasher: IdHasher = load(IMPLEMENTATIONS, "hashed ids").load(key, ids)
    return hasher


def airflow_is_installed() -> bool:
    """Return whether this interpreter has Airflow."""
    return find_spec("airflow") is not None


def _immediate_alarms(policy: Decisions) -> list[Sink]:
    """Return the sink that raises alarms at once, if the access policy has such alarms."""
    if not policy.alarms_at_once:
        # Importing it would be a tenth of the cost of a small task.
        return []
    from secure_xcom.sinks.interface import IMPLEMENTATIONS

    return [load(IMPLEMENTATIONS, "alarms")(policy.alarms_at_once)]
