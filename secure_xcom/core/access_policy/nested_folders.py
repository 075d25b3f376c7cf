"""Stores of one compartment inside a folder of another compartment, which a policy file may not have.

Equal store URIs are allowed: below a store each compartment has its own folders (`secure_xcom.core.coordinate`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from secure_xcom.core.access_policy.folders import Folder, LocalFolders, folders_of

if TYPE_CHECKING:
    from secure_xcom.core.access_policy.compartment import Compartment


@dataclass(frozen=True, slots=True)
class Nested:
    """A store of one compartment whose folder lies inside a folder of another compartment.

    :ivar compartment: the inner compartment's number; :ivar field: the path of its URI in the compartment.
    :ivar outer: the outer compartment's number; :ivar shown: the outer folder, for people.
    """

    compartment: int
    field: tuple[str | int, ...]
    outer: int
    shown: str


@dataclass(frozen=True, slots=True)
class _Place:
    compartment: int
    field: tuple[str | int, ...]
    shown: str
    folder: Folder


def nested(compartments: Sequence[Compartment]) -> Iterator[Nested]:
    """Yield every store with payloads or claims in the folder of another compartment, once for each such pair."""
    uris = {uri for compartment in compartments for uri in compartment.all_store_uris}
    if len(uris) < 2 and not any(uri.startswith("file:") for uri in uris):
        return
    local_folders = LocalFolders()
    places = [
        _Place(number, field, shown, folder)
        for number, compartment in enumerate(compartments)
        for uri, field in _stores(compartment)
        for shown, folder in folders_of(uri, compartment.name, local_folders)
    ]
    by_folder: dict[tuple[tuple[str, str], tuple[str, ...]], list[_Place]] = {}
    for place in places:
        by_folder.setdefault((place.folder.space, place.folder.parts), []).append(place)
    told: set[tuple[int, tuple[str | int, ...], int]] = set()
    for inner in places:
        for outer in _above(inner.folder, by_folder):
            pair = (inner.compartment, inner.field, outer.compartment)
            if outer.compartment != inner.compartment and pair not in told:
                told.add(pair)
                yield Nested(inner.compartment, inner.field, outer.compartment, outer.shown)


def _above(
    inner: Folder, by_folder: dict[tuple[tuple[str, str], tuple[str, ...]], list[_Place]]
) -> Iterator[_Place]:
    for length in range(len(inner.parts) + 1):
        for outer in by_folder.get((inner.space, inner.parts[:length]), ()):
            if outer.folder.may_share(inner):
                yield outer


def _stores(compartment: Compartment) -> Iterator[tuple[str, tuple[str | int, ...]]]:
    yield compartment.store_uri, ("store_uri",)
    yield from ((uri, ("former_store_uris", number)) for number, uri in enumerate(compartment.former_store_uris))
    yield from (
        (route.store_uri, ("routes", number, "store_uri")) for number, route in enumerate(compartment.routes)
    )


def texts(stores: Iterable[Nested], compartments: Sequence[Compartment]) -> Iterator[tuple[Nested, str]]:
    """Yield each nested store with the text of its fault."""
    for store in stores:
        inner, outer = compartments[store.compartment].name, compartments[store.outer].name
        text = (
            f"this store of {inner!r} is inside the folder of {outer!r} ({store.shown:.200}), so whoever may "
            f"read, list or delete there may do the same to the objects of {inner!r}: name a store outside of it, "
            f"such as the store of {outer!r} itself, in which each compartment has its own folder"
        )
        yield store, text
