"""The error tree: every error says what happened, where, and what to do.

No foreign error leaves the package: each subpackage turns what its library raises into one of these. A message
carries ids, URIs and names of settings; it never carries a value, a key, a wrapped key or a preview, because
Airflow writes it to the task's log.

Errors of the access policy file, of claims, of stores, of services, of Vault's client and of operators' commands
are declared in files of their own, which few tasks load. Users import all of them from `secure_xcom.errors`.
"""

from __future__ import annotations


class SecureXComError(Exception):
    """The root of the tree.

    `secure-xcom explain` and docs/reference/errors.md read the docstring of each class and these attributes.

    :cvar refuses: whether it refuses something, as opposed to saying that something could not be done.
    :cvar met_by: who sees the error; :cvar page: the page that has more about it, if there is one.
    :param what: what happened, one clause without a full stop.
    :param where: the coordinate, URI or option it happened at.
    :param remedy: what an operator does about it, one sentence without a full stop.
    """

    remedy = (
        "report this, with the event's line of the access log, at "
        "https://github.com/secure-xcom/secure-xcom/issues"
    )
    refuses = False
    met_by = "a task that pushes or pulls, and a command or a page that does so for a person"
    page = ""

    def __init__(self, what: str, *, where: str = "", remedy: str = "") -> None:
        self.what = what
        self.where = where
        self.remedy = remedy or type(self).remedy
        super().__init__(what, where, self.remedy)

    def __str__(self) -> str:
        place = f" [{_on_one_line(self.where)}]" if self.where else ""
        # The demonstration's errors quote a log of several lines.
        what = "\n".join(map(_on_one_line, self.what.split("\n")))
        return f"{what}{place}. What to do: {_on_one_line(self.remedy)}. See {self.error_id()}."

    @classmethod
    def error_id(cls) -> str:
        """Return the id that the documentation and `secure-xcom explain` know, such as `SXC-HeadTampered`."""
        return f"SXC-{cls.__name__}"

    def __reduce__(self) -> tuple[object, ...]:
        # Exceptions with keyword-only arguments do not pickle by themselves, and executors pickle errors.
        return _rebuild, (type(self), self.what, self.where, self.remedy)


def _on_one_line(text: str) -> str:
    """Return a text with each character that cannot be printed as its escape."""
    # A URI may hold a newline, which would begin a line in the task's log, or a lone surrogate (PEP 383), which no
    # log can hold.
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def _rebuild(cls: type[SecureXComError], what: str, where: str, remedy: str) -> SecureXComError:
    return cls(what, where=where, remedy=remedy)


# --- settings ---------------------------------------------------------------------------------------------


class ConfigurationError(SecureXComError):
    """The deployment's settings are invalid."""

    remedy = "correct the option in [secure_xcom] and run `secure-xcom check`"
    met_by = "every process with these settings: tasks, the DAG processor, the API server and commands"
    page = "docs/reference/settings.md"


class SettingMissing(ConfigurationError):
    """A required option is not set."""


class SettingInvalid(ConfigurationError):
    """An option has an invalid value."""


class UriInvalid(ConfigurationError):
    """A key URI, store URI or sink URI cannot be parsed or names an unknown service."""


class ExtraMissing(ConfigurationError):
    """A URI names a service whose optional dependency is not installed."""


class CoordinateInvalid(SecureXComError):
    """An id is invalid in a coordinate."""

    remedy = "rename the DAG, run, task or XCom key"


# --- values -----------------------------------------------------------------------------------------------


class CodecError(SecureXComError):
    """A value cannot be encoded or decoded."""

    met_by = "a task that pushes or pulls such a value"
    page = "docs/reference/codecs.md"


class ValueNotSerialisable(CodecError):
    """Airflow's serialization does not support a class in the value."""

    remedy = "convert it to a type that Airflow serializes, or give the class serialize() and deserialize()"


class ValueTooLarge(CodecError):
    """The value is over [secure_xcom] max_bytes."""

    remedy = "push a smaller value, or only its address, or raise max_bytes of [secure_xcom] or of the compartment"


class CodecUnknown(CodecError):
    """The head names a codec or a compression that this release does not have."""

    remedy = "upgrade secure_xcom on this worker, or install the package that provides the codec"


class ValueNotDecodable(CodecError):
    """The opened bytes cannot be decoded."""

    remedy = (
        "check that this worker has the classes that the producer used, and [core] allowed_deserialization_classes"
    )


# --- references -------------------------------------------------------------------------------------------


class ReferenceRefused(SecureXComError):
    """A row in Airflow's database is not a reference that may be opened."""

    refuses = True
    remedy = "clear the producing task so that it pushes again, and find out who wrote this row"
    met_by = "a task that pulls, and a command or a page that reads the row for a person"


class PlaintextRefused(ReferenceRefused):
    """The row holds a value without a reference."""

    remedy = (
        "clear the producing task so that it pushes a sealed value, or, during a migration, set "
        "[secure_xcom] on_plaintext = warn"
    )


class ReferenceMalformed(ReferenceRefused):
    """The record has the tag, but a field is missing, unknown, of the wrong type or too long."""


class ReferenceVersionUnknown(ReferenceRefused):
    """The record has a version that this release cannot read."""

    remedy = "upgrade secure_xcom on this worker"


class ReferenceExpired(ReferenceRefused):
    """The XCom has expired."""

    remedy = "clear the producing task so that it pushes again, or lengthen the compartment's retention"


class ClockSkewed(ReferenceRefused):
    """The clocks of the producer and of this machine are too far apart to tell whether the XCom has expired."""

    remedy = "synchronize this machine's clock (NTP)"


class ReferenceShredded(ReferenceRefused):
    """The data key of an exclusive XCom was destroyed after its reader succeeded."""

    remedy = "clear the producing task so that it pushes again"


class CoordinateMismatch(ReferenceRefused):
    """The reference belongs to another row: it was moved, copied or replayed."""


class AttemptMismatch(CoordinateMismatch):
    """The reference belongs to another try of the task, or to another iteration of its loop."""

    remedy = "clear the producing task so that it pushes again, and find out who swapped rows of the database"


# --- access -----------------------------------------------------------------------------------------------


class AccessError(SecureXComError):
    """The access policy does not allow this."""

    refuses = True
    page = "docs/reference/access-policy.md"


class CompartmentUnknown(AccessError):
    """No compartment of the access policy includes this DAG, or the reference names another one."""

    remedy = "add the DAG to a compartment of the access policy"


class ContextRefused(AccessError):
    """The reference names a key or an object outside its compartment."""

    remedy = (
        "add the key URI or store URI to the compartment if it was moved; otherwise find out who wrote this row"
    )


# --- seal -------------------------------------------------------------------------------------------------


class SealError(SecureXComError):
    """A sealed payload cannot be opened."""

    refuses = True
    remedy = "clear the producing task so that it pushes again, and find out who changed this XCom"
    met_by = "a task that pulls, and a command or a page that opens the XCom for a person"


class HeadTampered(SealError):
    """The head or the data key differs from the one that the payload was sealed with."""


class PayloadSwapped(SealError):
    """The object in the store is not the payload that the reference was made for."""


class PayloadTampered(SealError):
    """The sealed payload was changed."""


class PayloadTruncated(SealError):
    """The sealed payload was truncated or extended."""


# --- keys -------------------------------------------------------------------------------------------------


class KeyServiceError(SecureXComError):
    """The key service failed to wrap or unwrap a data key."""

    remedy = "run `secure-xcom check` on this machine"


class KeyServiceUnavailable(KeyServiceError):
    """The key service cannot be reached, is sealed, or throttles requests."""


class KeyVersionUnknown(KeyServiceError):
    """The wrapping key has no such version, or no longer has it."""


class UnwrapRefused(KeyServiceError):
    """The wrapped data key was edited, or belongs to another encryption context."""

    refuses = True
    remedy = "clear the producing task so that it pushes again, and find out who changed this reference"


# --- stores -----------------------------------------------------------------------------------------------


class StoreError(SecureXComError):
    """The store failed to store or return a payload."""

    remedy = "run `secure-xcom check` on this machine"
    page = "docs/reference/stores.md"


class PathInvalid(StoreError):
    """A path was not made by this package, so it may lead out of the store."""

    remedy = "clear the producing task so that it pushes again, and find out who wrote this row"


class ObjectMissing(StoreError):
    """The object that the reference names does not exist."""

    remedy = "restore the object from a backup, or clear the producing task so that it pushes again"


class ObjectExists(StoreError):
    """The object already exists. Objects are never overwritten."""

    remedy = "run the task again: every push has a path of its own"


# --- audit, claims ----------------------------------------------------------------------------------------


class AuditError(SecureXComError):
    """The access log cannot be written, so no value is returned."""

    remedy = "make the sink of [secure_xcom] audit_sinks writable for this worker"
    page = "docs/reference/access-log.md"
