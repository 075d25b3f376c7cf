"""Errors of operators' work: maintenance, reading the access log, AWS accounts, Airflow's UI, commands."""

from __future__ import annotations

from secure_xcom.core.errors import SecureXComError


class AccessLogUnreadable(SecureXComError):
    """What a sink has written cannot be read back."""

    remedy = "run it as a user who may read the access log, and restore what is damaged from a backup"


class SealedLogError(SecureXComError):
    """The anchored log (the Merkle log of access logs) cannot be read or extended."""

    remedy = "run `secure-xcom audit verify`"


class SealedLogInvalid(SealedLogError):
    """Something in the anchored log is not what was signed, or is signed by nobody that is trusted here."""

    remedy = (
        "run `secure-xcom audit verify`, compare with a checkpoint kept elsewhere, and find out who wrote here"
    )


class SealRaced(SealedLogError):
    """Another seal was first; nothing of this one was written into the log."""

    remedy = "nothing is lost: run `secure-xcom audit anchor` again when the other one is done"


class SigningKeyError(SealedLogError):
    """The key that signs checkpoints cannot be used."""

    remedy = "see that the signing key's URI names an Ed25519 key that this identity may sign with"


class MaintenanceError(SecureXComError):
    """A job of maintenance stopped. What it had done stays done, and running it again goes on from there."""


class DatabaseUnknown(MaintenanceError):
    """No metadata database is named."""

    remedy = (
        "set SECURE_XCOM_DB in the environment to the SQLAlchemy URL of Airflow's database, for a user with "
        "rights on Airflow's tables of XComs, and with exclusive XComs on task_instance (docs/operations.md)"
    )


class DatabaseFailed(MaintenanceError):
    """Airflow's metadata database cannot be reached, or refuses a statement."""

    remedy = (
        "see that this machine reaches the database, has its driver, and that its user has the rights that "
        "docs/operations.md names; then run the same command again, which goes on where it stopped"
    )


class ValueNotKept(MaintenanceError):
    """Airflow's metadata database does not take one row's value; the other rows are not concerned."""

    remedy = (
        "clear the row's task, or delete the row: its value is nested too deeply, or has a NaN, a NUL or a lone "
        "surrogate, which this database does not keep"
    )


class StateInvalid(MaintenanceError):
    """The state file of a job cannot be used."""

    remedy = "name another file with --state, or remove this one: the job then begins anew"


class UnsafeRefused(MaintenanceError):
    """What was asked for could delete what is still needed."""


class AwsTrouble(SecureXComError):
    """AWS, or a server that speaks its API, did not do what was asked."""

    remedy = "see that the endpoint, the region and the credentials are those of an operator of this account"


class AwsDenied(AwsTrouble):
    """The policies of these credentials do not allow it."""

    remedy = "use credentials that may administer IAM, the buckets or the keys"


class AwsUnreachable(AwsTrouble):
    """There is no answer, or there are no credentials to ask with."""

    remedy = "see AWS_PROFILE, AWS_REGION and AWS_ENDPOINT_URL, and that the endpoint can be reached from here"


class AwsUnsupported(AwsTrouble):
    """This server has no such operation."""

    remedy = "leave this out with --to, and see that another wall stands in its place"


class AwsRefused(AwsTrouble):
    """The account is not as it must be, or does not take the request."""


class UiError(SecureXComError):
    """The page in Airflow's UI cannot answer a request."""

    remedy = "load the page again"


class RequestInvalid(UiError):
    """A parameter of a request cannot be used."""


class XComNotFound(UiError):
    """There is no such XCom, run or task instance."""

    remedy = "load the page again; the run may have been deleted or cleared meanwhile"


class TablesUnknown(UiError, DatabaseFailed):
    """Airflow's tables are not those that this release reads."""

    remedy = (
        "finish `airflow db migrate` if it was interrupted, else install a release of secure-xcom that names this "
        "Airflow in its changelog; until then nothing in the database was changed"
    )


class CommandError(SecureXComError):
    """A command was asked for something that it cannot do here."""

    remedy = "see `secure-xcom --help`"


class ThrowawayFailed(CommandError):
    """A component of the throwaway Airflow did not start, ended, or did not finish in time."""

    remedy = "read the component's output, the end of which is above; `secure-xcom demo --keep` keeps all of it"
