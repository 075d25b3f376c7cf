"""What rewrap is to do, held against the access policy, and what it tells."""

from __future__ import annotations

from dataclasses import dataclass, field

from secure_xcom.core.access_policy import AccessPolicy
from secure_xcom.core.errors import CommandError, UnsafeRefused
from secure_xcom.keys import KeyUri


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done with the wraps.

    :ivar compartment: its references only; None for those of every compartment.
    :ivar older_than: wraps of older versions of their key only; None for those that are not of the newest.
    :ivar add: key URI of a key that every reference is to be opened by as well.
    :ivar remove: key URI of a key that no reference is to be opened by any longer.
    """

    compartment: str | None = None
    older_than: int | None = None
    add: str | None = None
    remove: str | None = None

    def check(self, policy: AccessPolicy) -> None:
        """Hold it against the access policy.

        :raises CommandError: a key that is to be added is none that pulls may ask.
        :raises UnsafeRefused: a key that is to be removed still wraps.
        """
        chosen = [policy.compartment(self.compartment)] if self.compartment else policy.compartments
        for compartment in chosen:
            listed = [KeyUri.parse(uri) for uri in compartment.all_key_uris]
            where = f"compartment {compartment.name}"
            if self.add and KeyUri.parse(self.add).name not in [key.name for key in listed]:
                raise CommandError(
                    "the key that is to be added is not among the compartment's key_uris, so no pull would ask it",
                    where=where,
                    remedy="add it to key_uris first, and name the compartment with --compartment",
                )
            if self.remove and any(
                key.name == KeyUri.parse(self.remove).name and key.wrap != "never" for key in listed
            ):
                raise UnsafeRefused(
                    "the key that is to be removed still wraps what tasks push",
                    where=where,
                    remedy="write ?wrap=never behind it in key_uris, let every worker read it, and run this again",
                )


@dataclass
class RewrapReport:
    """What was found and done.

    :ivar due: references with something to be done; :ivar changed: written anew by a task meanwhile.
    :ivar refused: of the failed, those whose wraps were made by no key of theirs, so that they open for nobody.
    :ivar oldest: key URI -> the oldest version that a wrap of any row has, after this run.
    """

    applying: bool
    rows: int = 0
    references: int = 0
    due: int = 0
    rewrapped: int = 0
    changed: int = 0
    failed: int = 0
    refused: int = 0
    unreadable: int = 0
    oldest: dict[str, int] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    @property
    def found(self) -> bool:
        """Whether anything is left to be done."""
        return bool(self.failed or self.changed or self.due > self.rewrapped)
