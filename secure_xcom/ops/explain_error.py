"""Explain each error of the tree from its class, for `secure-xcom explain` and for docs/reference/errors.md."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from secure_xcom.core import (
    claim_errors,
    errors,
    keyring_errors,
    operator_errors,
    policy_errors,
    service_errors,
    store_errors,
    vault_errors,
)
from secure_xcom.core.errors import SecureXComError
from secure_xcom.core.operator_errors import CommandError
from secure_xcom.core.suggest import did_you_mean

PAGE = "docs/reference/errors.md"
ROOMS = (
    errors,
    keyring_errors,
    policy_errors,
    claim_errors,
    store_errors,
    service_errors,
    vault_errors,
    operator_errors,
)
"""The modules that declare errors, those of a task first."""
_PREFIX = "sxc-"


@dataclass(frozen=True, slots=True)
class Explanation:
    """One error.

    :ivar id: the stable id that each message ends with, such as `SXC-HeadTampered`; :ivar error: the class's name.
    :ivar what: what happened, one sentence.
    :ivar remedy: what to do unless the message is more specific, without a full stop.
    :ivar met_by: who sees it.
    :ivar kinds: the classes that also catch it, the nearest first.
    :ivar pages: where it is documented: its section of the page of errors, then the page with more about it.
    """

    id: str
    error: str
    what: str
    remedy: str
    met_by: str
    kinds: tuple[str, ...]
    pages: tuple[str, ...]

    @property
    def documentation(self) -> str:
        """Where to read more, by the names that pages have on the site and in the repository."""
        section, *more = (page.removeprefix("docs/").partition("#")[0].removesuffix(".md") for page in self.pages)
        return "; ".join((f"page {section}, section {self.id}", *(f"page {page}" for page in more)))

    def record(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        return asdict(self)


def explanations() -> Iterator[Explanation]:
    """Yield every error in the order of the files that declare them: those of a task first."""
    for room in ROOMS:
        for found in vars(room).values():
            if (
                isinstance(found, type)
                and issubclass(found, SecureXComError)
                and found.__module__ == room.__name__
            ):
                yield _explanation(found)


def explain(name: str) -> Explanation:
    """Return the explanation of one error.

    :param name: its id or its class, in any case, with or without the module that a traceback names.
    :raises CommandError: there is no such error.
    """
    by_name = {each.error.casefold(): each for each in explanations()}
    asked = name.strip().rpartition(".")[2].casefold().removeprefix(_PREFIX)
    if found := by_name.get(asked):
        return found
    raise CommandError(
        "there is no such error",
        where=name,
        remedy=did_you_mean(asked, (each.error for each in by_name.values()), "list them: `secure-xcom explain`"),
    )


def _explanation(found: type[SecureXComError]) -> Explanation:
    return Explanation(
        id=found.error_id(),
        error=found.__name__,
        what=(inspect.getdoc(found) or "").partition("\n")[0],
        remedy=found.remedy,
        met_by=found.met_by,
        kinds=tuple(cls.__name__ for cls in found.__mro__[1:] if issubclass(cls, SecureXComError)),
        pages=(f"{PAGE}#{found.error_id().lower()}", *((found.page,) if found.page else ())),
    )
