"""Errors of operators' work: maintenance, reading the access log, AWS accounts, Airflow's UI, commands."""

from __future__ import annotations

from secure_xcom.core.errors import AccessError, SecureXComError


class AccessLogUnreadable(SecureXComError):
    """The access log cannot be read back from a sink."""

    remedy = "run the command as a user who may read the access log, and restore damaged parts from a backup"
    met_by = "an operator who reads the access log, and the page in Airflow's UI"
    page = "docs/reference/access-log.md"


class SealedLogError(SecureXComError):
    """The anchored log (the Merkle log of access logs) cannot be read or extended."""

    remedy = "run `secure-xcom audit verify`"
    met_by = "an operator who anchors, verifies or prunes the access log, and the maintenance DAG"
    page = "docs/reference/access-log.md"


class SealedLogInvalid(SealedLogError):
    """The anchored log does not match its signature, or its signer is not trusted."""

    remedy = (
        "run `secure-xcom audit verify`, compare with a checkpoint kept elsewhere, and find out who wrote to it"
    )


class SealRaced(SealedLogError):
    """Another run anchored the log first. This run wrote nothing."""

    remedy = "run `secure-xcom audit anchor` again after the other run has finished; nothing is lost"


class SigningKeyError(SealedLogError):
    """The key that signs checkpoints is unusable."""

    remedy = "check that the signing key's URI names an Ed25519 key that this identity may sign with"


class MaintenanceError(SecureXComError):
    """A maintenance job stopped. Run it again to continue from there."""

    met_by = "an operator who runs a maintenance job, and the maintenance DAG"
    page = "docs/how-to/maintain.md"


class DatabaseUnknown(MaintenanceError):
    """The metadata database is not configured."""

    remedy = (
        "set SECURE_XCOM_DB in the environment to the SQLAlchemy URL of Airflow's database, for a user with "
        "rights on Airflow's tables of XComs, and with exclusive XComs on task_instance (docs/how-to/maintain.md)"
    )


class DatabaseFailed(MaintenanceError):
    """Airflow's metadata database cannot be reached, or rejects a statement."""

    remedy = (
        "check that this machine reaches the database and has its driver, and that the user has the rights that "
        "docs/how-to/maintain.md names; then run the same command again: it continues where it stopped"
    )


class ValueNotKept(MaintenanceError):
    """Airflow's metadata database rejects the value of one row. Other rows are not affected."""

    remedy = (
        "clear the row's task, or delete the row: its value is nested too deeply, or contains a NaN, a NUL or a "
        "lone surrogate, which this database does not store"
    )


class StateInvalid(MaintenanceError):
    """The state file of a job is invalid."""

    remedy = "name another file with --state, or remove this one: the job then starts from the beginning"


class UnsafeRefused(MaintenanceError):
    """The command could delete data that is still needed."""


class AwsTrouble(SecureXComError):
    """AWS, or a server with its API, did not carry out a request."""

    remedy = "check that the endpoint, the region and the credentials belong to an operator of this account"
    met_by = "an operator who applies or verifies the access policy on AWS"
    page = "docs/reference/access-policy.md"


class AwsDenied(AwsTrouble):
    """The policies of these credentials do not allow the request."""

    remedy = "use credentials that may administer IAM, the buckets or the keys"


class AwsUnreachable(AwsTrouble):
    """AWS cannot be reached, or there are no credentials."""

    remedy = "check AWS_PROFILE, AWS_REGION and AWS_ENDPOINT_URL, and that this machine reaches the endpoint"


class AwsUnsupported(AwsTrouble):
    """This server does not support the operation."""

    remedy = "exclude it with --to, and check that another control takes its place"


class AwsRefused(AwsTrouble):
    """The account is not set up as required, or rejects the request."""


class UiError(SecureXComError):
    """The page in Airflow's UI cannot answer a request."""

    remedy = "reload the page"
    met_by = "a person at the page in Airflow's UI"
    page = "docs/reference/ui.md"


class RequestInvalid(UiError):
    """A parameter of a request is invalid."""


class XComNotFound(UiError):
    """There is no such XCom, run or task instance."""

    remedy = "reload the page; the run may have been deleted or cleared meanwhile"


class TablesUnknown(UiError, DatabaseFailed):
    """This release does not know the schema of Airflow's tables."""

    remedy = (
        "finish `airflow db migrate` if it was interrupted; otherwise install a release of secure-xcom that "
        "names this Airflow in its changelog. Nothing in the database was changed"
    )


class CommandError(SecureXComError):
    """A command cannot do this here."""

    remedy = "see `secure-xcom --help`"
    met_by = "whoever runs the command"
    page = "docs/reference/commands.md"


class ThrowawayFailed(CommandError):
    """A component of the throwaway Airflow did not start, stopped, or did not finish in time."""

    remedy = "read the end of the component's output above; `secure-xcom demo --keep` keeps all of it"


class RevealError(SecureXComError):
    """The reveal service cannot answer a request."""

    remedy = "reload the page"
    met_by = "a person who reveals a value, and whoever runs the reveal service"
    page = "docs/how-to/reveal-a-value.md"


class RevealRequestInvalid(RevealError):
    """A request to the reveal service has a missing, unknown or invalid part."""


class RevealOriginRefused(RevealError, AccessError):
    """A request comes from a page of another origin than the reveal service's own."""

    remedy = "open the page at the address that `reveal.origin` of the access policy names"


class IdentityRefused(RevealError, AccessError):
    """The identity token is missing, expired, or was not made for the reveal service."""

    remedy = "log in again"


class IdentityProviderFailed(RevealError):
    """The identity provider does not answer, or its answer does not conform to OpenID Connect."""

    remedy = "check `reveal.oidc` of the access policy, and whether this machine reaches the provider"


class RevealRateExceeded(RevealError, AccessError):
    """A person asks for too many XComs in a minute."""

    remedy = "wait a minute"


class RevealBusy(RevealError):
    """The reveal service is working on as many requests as it may at once."""

    remedy = "try again in a few seconds"


class RevealNotSetUp(RevealError):
    """The access policy or the command does not set up the reveal service."""

    remedy = "see docs/how-to/reveal-a-value.md for the section `reveal` of the access policy"
