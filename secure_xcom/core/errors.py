"""The error tree: every error says what happened, where, and what to do.

No foreign error leaves the package: each room turns what its library raises into one of these. A message
carries ids, URIs and names of settings; it never carries a value, a key, a wrapped key or a preview, because
Airflow writes it to the task's log.

Errors of operators' commands and of Vault's client are declared in files of their own, which few tasks load. All
of them can be imported from here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from secure_xcom.core.operator_errors import *  # noqa: F403  # found by __getattr__
    from secure_xcom.core.vault_errors import *  # noqa: F403


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


class AlarmNotTold(SecureXComError):
    """An alarm was raised, and somebody could not be told."""

    remedy = "correct the alarm's `notify` in the access policy, and tell them yourself this time"


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


def __getattr__(name: str) -> object:
    if name.startswith("Vault"):
        from secure_xcom.core import vault_errors

        return getattr(vault_errors, name)
    if name.startswith("__"):
        raise AttributeError(name)
    from secure_xcom.core import operator_errors

    return getattr(operator_errors, name)
