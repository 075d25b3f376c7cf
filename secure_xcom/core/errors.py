"""The error tree: every error says what happened, where, and what to do.

No foreign error leaves the package: each room turns what its library raises into one of these. A message
carries ids, URIs and names of settings; it never carries a value, a key, a wrapped key or a preview, because
Airflow writes it to the task's log.
"""

from __future__ import annotations


class SecureXComError(Exception):
    """The root of the tree.

    :param what: what happened, one clause without a full stop.
    :param where: the coordinate, URI or option it happened at.
    :param remedy: what an operator does about it, one sentence without a full stop.
    """

    remedy = "report this with the access log's line at https://github.com/secure-xcom/secure-xcom/issues"

    def __init__(self, what: str, *, where: str = "", remedy: str = "") -> None:
        self.what = what
        self.where = where
        self.remedy = remedy or type(self).remedy
        super().__init__(what, where, self.remedy)

    def __str__(self) -> str:
        at = f" [{self.where}]" if self.where else ""
        return f"{self.what}{at}. What to do: {self.remedy}."

    def __reduce__(self) -> tuple[object, ...]:
        # Exceptions with keyword-only arguments do not pickle by themselves, and executors pickle errors.
        return _rebuild, (type(self), self.what, self.where, self.remedy)


def _rebuild(cls: type[SecureXComError], what: str, where: str, remedy: str) -> SecureXComError:
    return cls(what, where=where, remedy=remedy)


# --- settings ---------------------------------------------------------------------------------------------


class ConfigurationError(SecureXComError):
    """The deployment's settings cannot be used."""

    remedy = "correct the option in [secure_xcom] and run `secure-xcom check`"


class SettingMissing(ConfigurationError):
    """An option that must be set is not set."""


class SettingInvalid(ConfigurationError):
    """An option has a value that cannot be used."""


class UriInvalid(ConfigurationError):
    """A key URI, store URI or sink URI cannot be parsed or names an unknown service."""


class ExtraMissing(ConfigurationError):
    """A URI names a service whose optional dependency is not installed."""


class ConnectionUnknown(ConfigurationError):
    """A URI names a connection that Airflow does not give."""


class CoordinateInvalid(SecureXComError):
    """An id cannot be part of a coordinate."""

    remedy = "rename the DAG, run, task or XCom key"


# --- values -----------------------------------------------------------------------------------------------


class CodecError(SecureXComError):
    """A value could not be turned into bytes, or back."""


class ValueNotSerialisable(CodecError):
    """Airflow's serialisation does not take this type."""

    remedy = "push a type that Airflow serialises, or give the class serialize() and deserialize()"


class ValueTooLarge(CodecError):
    """The value is over [secure_xcom] max_bytes."""

    remedy = "push less, or raise [secure_xcom] max_bytes"


class CodecUnknown(CodecError):
    """The head names a codec or a compression that this version does not have."""

    remedy = "upgrade secure_xcom on this worker, or install the package that brings the codec"


class ValueNotDecodable(CodecError):
    """The opened bytes could not be turned back into a value."""

    remedy = (
        "check that this worker has the classes that the producer used, and [core] allowed_deserialization_classes"
    )


# --- references -------------------------------------------------------------------------------------------


class ReferenceRefused(SecureXComError):
    """A value in Airflow's database is not a reference that may be opened."""

    remedy = "clear the producing task so that it pushes again, and look for who wrote this row"


class PlaintextRefused(ReferenceRefused):
    """The row holds a value without a reference."""

    remedy = (
        "clear the producing task so that it pushes a sealed value, or, for the time of a migration, set "
        "[secure_xcom] on_plaintext = warn"
    )


class ReferenceMalformed(ReferenceRefused):
    """The record carries the tag, but a field is missing, unknown, of the wrong type or over-long."""


class ReferenceVersionUnknown(ReferenceRefused):
    """The record is of a version that this release cannot read."""

    remedy = "upgrade secure_xcom on this worker"


class ReferenceExpired(ReferenceRefused):
    """The XCom's retention is over."""

    remedy = "clear the producing task so that it pushes again, or lengthen the compartment's retention"


class ClockSkewed(ReferenceRefused):
    """The clocks of the producer and of this machine are too far apart to tell whether the XCom has expired."""

    remedy = "set this machine's clock (NTP)"


class ReferenceShredded(ReferenceRefused):
    """The data key of an exclusive XCom was destroyed after its reader succeeded."""

    remedy = "clear the producing task so that it pushes again"


class CoordinateMismatch(ReferenceRefused):
    """The reference belongs to another row: it was moved, copied or replayed."""


class AttemptMismatch(CoordinateMismatch):
    """The reference belongs to another try of the task, or to another iteration of its loop."""

    remedy = "clear the producing task so that it pushes again, and look for who exchanged rows of the database"


# --- access -----------------------------------------------------------------------------------------------


class AccessError(SecureXComError):
    """The access policy stands in the way."""


class PolicyInvalid(AccessError):
    """The access policy file cannot be used."""

    remedy = "correct the access policy file and run `secure-xcom policy lint`"


class CompartmentUnknown(AccessError):
    """No compartment of the access policy takes this DAG, or the reference names another one."""

    remedy = "add the DAG to a compartment of the access policy"


class AccessRefused(AccessError):
    """The access policy does not let this consumer pull this XCom."""

    remedy = "ask the owner of the compartment to add the DAG to its readers"


class WriteRefused(AccessRefused):
    """A task pushes or purges outside its own compartment, or nothing says which task it is."""

    remedy = (
        "push and delete XComs in a task of the same compartment; a task of the other compartment can pull them "
        "as a reader"
    )


class OriginRefused(AccessRefused):
    """A DAG is not of the bundle or the team that its compartment takes DAGs from, or Airflow does not say."""

    remedy = (
        "move the DAG file to a bundle of the compartment, rename the DAG, or add the bundle or team to the "
        "compartment in the access policy"
    )


class PlacementRefused(AccessError):
    """A task would run where the access policy does not send it, or it cannot be sent there."""

    remedy = (
        "leave queue, pool, executor and service account out of the DAG: the access policy's tasks_run_on says "
        "where its tasks run"
    )


class ContextRefused(AccessError):
    """The reference names a key or an object outside its compartment."""

    remedy = "add the key URI or store URI to the compartment if it was moved; else look for who wrote this row"


# --- seal -------------------------------------------------------------------------------------------------


class SealError(SecureXComError):
    """A sealed payload cannot be opened."""

    remedy = "clear the producing task so that it pushes again, and look for who changed this XCom"


class HeadTampered(SealError):
    """The head or the data key is not the one that the payload was sealed with."""


class PayloadSwapped(SealError):
    """The object in the store is another sealed payload than the one that the reference was made for."""


class PayloadTampered(SealError):
    """The sealed payload was changed."""


class PayloadTruncated(SealError):
    """The sealed payload was cut short or made longer."""


# --- keys -------------------------------------------------------------------------------------------------


class KeyServiceError(SecureXComError):
    """The key service did not wrap or unwrap."""

    remedy = "run `secure-xcom check` on this machine"


class KeyServiceUnavailable(KeyServiceError):
    """The key service cannot be reached, is sealed, or asks to slow down."""


class KeyServiceTimeout(KeyServiceUnavailable):
    """The key service did not answer in time."""


class KeyServiceSealed(KeyServiceUnavailable):
    """The key service runs, but is locked: Vault is sealed."""


class KeyServiceThrottled(KeyServiceUnavailable):
    """The key service asks to slow down."""


class KeyServiceUntrusted(KeyServiceError):
    """The key service could not prove who it is, or did not take our proof: TLS."""


class KeyServiceDenied(KeyServiceError):
    """The key service's own policy refuses this identity."""


class KeyServiceLoginRefused(KeyServiceDenied):
    """The key service gives this identity no token, or takes the one it had no longer."""


class KeyNotFound(KeyServiceError):
    """The key service has no such key."""


class KeyDisabled(KeyServiceError):
    """The wrapping key is there, but switched off or not in a state to be used."""


class KeyPendingDeletion(KeyDisabled):
    """The wrapping key is about to be deleted, and with it all that it wrapped."""


class KeyUnbound(KeyServiceError):
    """The wrapping key does not bind a wrap to its encryption context, so it must not be used."""


class KeyVersionUnknown(KeyServiceError):
    """The wrapping key has no such version (any more)."""


class UnwrapRefused(KeyServiceError):
    """The wrapped data key was edited, or belongs to another encryption context."""

    remedy = "clear the producing task so that it pushes again, and look for who changed this reference"


class KeyMismatch(UnwrapRefused):
    """The wrapped data key was made by another wrapping key than the one that may open it."""


class KeyringError(KeyServiceError):
    """The local keyring file cannot be used."""


class KeyringMissing(KeyringError):
    """There is no keyring file at the path of the key URI."""

    remedy = "make it with `secure-xcom init --key URI --store URI`, or restore it from its backup"


class KeyringExposed(KeyringError):
    """The keyring file can be read or written by others."""

    remedy = "run `chmod 600` on it, and rotate the keyring if others could have read it"


class KeyringBroken(KeyringError):
    """The keyring file is not one of ours, or was damaged."""

    remedy = "restore it from its backup; a new keyring cannot open what the old one wrapped"


# --- vault ------------------------------------------------------------------------------------------------
# What can be wrong with a Vault, told apart once (secure_xcom.connections.vault). The key service and the store
# say it in their own errors. No text of Vault's or hvac's is passed on: it can hold tokens, JWT claims and
# parameters.


class VaultTrouble(SecureXComError):
    """Vault did not do what it was asked for."""

    retry = False
    """Whether the same request may succeed in a moment."""

    after = 0.0
    """How long Vault asks to wait before the next request, in seconds."""

    attempts = 1
    """How often it was sent; over 1, an earlier attempt may have been carried out."""


class VaultUnreachable(VaultTrouble):
    """No connection, a cut answer, or an answer of 5xx."""

    retry = True
    remedy = "see that Vault runs at this address and that nothing between stops the way, then run the task again"


class VaultTimeout(VaultUnreachable):
    """No answer within the time that was given."""

    remedy = (
        "see why Vault is slow, or give it more time: VAULT_CLIENT_TIMEOUT, or `timeout` among the client_kwargs "
        "of the connection"
    )


class VaultSealed(VaultUnreachable):
    """Vault is sealed and has no key of its own to work with."""

    remedy = "unseal it (`vault operator unseal`), or repair its auto-unseal"


class VaultThrottled(VaultUnreachable):
    """A rate limit quota of Vault is used up."""

    remedy = "raise the rate limit quota (`vault read sys/quotas/rate-limit/NAME`), or run fewer tasks at a time"


class VaultUntrusted(VaultTrouble):
    """The TLS handshake failed."""

    remedy = (
        "name the CA of Vault's certificate: VAULT_CACERT, or `verify` among the client_kwargs of the connection; "
        "for mutual TLS VAULT_CLIENT_CERT and VAULT_CLIENT_KEY, or `cert`"
    )


class VaultLoginRefused(VaultTrouble):
    """Vault gave no token, or takes the one that there is no longer."""


class VaultDenied(VaultTrouble):
    """Vault's policy refuses this identity, or Vault does not know its token: both are a 403."""

    token_unknown = False
    """Whether Vault's words are those for a token that it does not know."""


class VaultRefused(VaultTrouble):
    """Vault takes the identity, but not the request."""

    remedy = "compare the version of Vault with docs/vault.md, and run `secure-xcom check`"


# --- stores -----------------------------------------------------------------------------------------------


class StoreError(SecureXComError):
    """The store did not take or give a payload."""

    remedy = "run `secure-xcom check` on this machine"


class StoreUnavailable(StoreError):
    """The store cannot be reached, does not exist, or asks to slow down."""


class StoreDenied(StoreError):
    """The store's own policy refuses this identity."""

    remedy = "compare this worker's identity with the grants that `secure-xcom policy compile` writes"


class PayloadTooLarge(StoreError):
    """The store does not take a payload of this size."""

    remedy = "push less, or give the compartment a store URI of a bucket"


class StoreFull(StoreError):
    """There is no room left."""

    remedy = "free room, or run `secure-xcom gc` to remove payloads that no row refers to"


class PathInvalid(StoreError):
    """A path is not one that this package makes, so it may lead out of the store."""

    remedy = "clear the producing task so that it pushes again, and look for who wrote this row"


class ObjectMissing(StoreError):
    """There is no object where the reference says."""

    remedy = "restore the object from a backup, or clear the producing task so that it pushes again"


class ObjectExists(StoreError):
    """There is an object already, and objects are never overwritten."""

    remedy = "run the task again: every push has a path of its own"


# --- audit, claims ----------------------------------------------------------------------------------------


class AuditError(SecureXComError):
    """The access log cannot be written, so nothing is given out."""

    remedy = "make the sink of [secure_xcom] audit_sinks writable for this worker"


class AccessLogUnreadable(SecureXComError):
    """What a sink has written cannot be read back."""

    remedy = "run it as a user who may read the access log, and restore what is damaged from a backup"


class AlarmNotTold(SecureXComError):
    """An alarm was raised, and somebody could not be told."""

    remedy = "correct the alarm's `notify` in the access policy, and tell them yourself this time"


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


class ClaimError(SecureXComError):
    """An exclusive XCom cannot be claimed."""

    remedy = "see docs/exclusive.md for who may pull an exclusive XCom, and how"


class ClaimRefused(ClaimError):
    """Another task instance has claimed this XCom, or nobody says which task instance pulls it."""


class ClaimTampered(ClaimError):
    """The claim on this XCom was edited, moved or forged."""

    remedy = "look for who wrote it, and clear the producing task so that it pushes again"


class ClaimsUnavailable(ClaimError):
    """The database of claims cannot be asked."""

    remedy = "check [secure_xcom] claims_uri from this machine, and run `secure-xcom claims migrate` once"


# --- maintenance ------------------------------------------------------------------------------------------


class MaintenanceError(SecureXComError):
    """A job of maintenance stopped. What it had done stays done, and running it again goes on from there."""


class DatabaseUnknown(MaintenanceError):
    """No metadata database is named."""

    remedy = (
        "set SECURE_XCOM_DB in the environment to the SQLAlchemy URL of Airflow's database, for a user with "
        "rights on the table xcom, and with exclusive XComs on task_instance (docs/operations.md)"
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


# --- policies at AWS --------------------------------------------------------------------------------------


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


# --- the page in Airflow's UI -----------------------------------------------------------------------------


class UiError(SecureXComError):
    """The page in Airflow's UI cannot answer a request."""

    remedy = "load the page again"


class RequestInvalid(UiError):
    """A parameter of a request cannot be used."""


class XComNotFound(UiError):
    """There is no such XCom, run or task instance."""

    remedy = "load the page again; the run may have been deleted or cleared meanwhile"


class TablesUnknown(UiError):
    """Airflow's tables are not those that this release reads."""

    remedy = "install a release of secure-xcom that names this Airflow in its changelog"


# --- the command ------------------------------------------------------------------------------------------


class CommandError(SecureXComError):
    """A command was asked for something that it cannot do here."""

    remedy = "see `secure-xcom --help`"


class ThrowawayFailed(CommandError):
    """A component of the throwaway Airflow did not start, ended, or did not finish in time."""

    remedy = "read the component's output, the end of which is above; `secure-xcom demo --keep` keeps all of it"
