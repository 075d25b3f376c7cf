"""The plan of `secure-xcom policy credentials`: what each identity's file lacks, and who gets which file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from secure_xcom.connections.vault.endpoint import VaultEndpoint
from secure_xcom.core.access_policy.identities import Identity
from secure_xcom.core.access_policy.policy import AccessPolicy
from secure_xcom.ops.service_policies.credentials.connection_files import (
    Ids,
    dump,
    ids_of,
    login_in,
    parse,
    s3_connection,
    vault_connection,
)
from secure_xcom.ops.service_policies.credentials.logins import Login, Logins
from secure_xcom.ops.service_policies.credentials.private_folder import (
    check_private_folder,
    open_private_folder,
    read_private,
    write_private,
)

FILE = "connections.json"

State = Literal["there", "make", "change", "rotate", "none"]


@dataclass(frozen=True, slots=True)
class Services:
    """The services as workers reach them."""

    vault: VaultEndpoint | None
    s3_endpoint: str | None
    s3_region: str | None


@dataclass(slots=True)
class Handout:
    """One identity's file: what is there, what is missing, and for whom it is.

    :ivar kept: logins of the file that still work, by service.
    :ivar notes: what needs no login or cannot have one here.
    """

    identity: Identity
    file: Path
    ids: Ids
    logins: dict[str, Logins]
    workers: str
    state: State
    there: dict[str, Any] = field(repr=False)
    kept: dict[str, Login] = field(repr=False)
    notes: tuple[str, ...] = ()


def plan(
    policy: AccessPolicy,
    identities: Iterable[Identity],
    folder: Path,
    logins: dict[str, dict[str, Logins]],
    services: Services,
    *,
    rotate: bool = False,
) -> Iterator[Handout]:
    """Yield each identity's handout. Reads only.

    :param logins: identity -> service (``vault``, ``s3``) -> its logins there.
    :raises SettingInvalid: others may enter the folder or read a file in it; :raises VaultTrouble,
    :raises AwsTrouble: a service does not answer, or lacks the role or the user.
    """
    if folder.is_symlink() or folder.exists():
        check_private_folder(folder, folder.lstat())
    for identity in identities:
        file = folder / identity.name / FILE
        if file.parent.is_symlink() or file.parent.exists():
            check_private_folder(file.parent, file.parent.lstat())
        ids, by_service = ids_of(policy, identity), logins.get(identity.name, {})
        existing = parse(read_private(file), str(file))
        kept = {}
        for service, of_service in by_service.items():
            login = login_in(existing, getattr(ids, service))
            if login is not None and of_service.works(login):
                kept[service] = login
        handout = Handout(
            identity,
            file,
            ids,
            by_service,
            workers_of(policy, identity),
            "there",
            existing,
            kept,
            tuple(_notes(identity, ids)),
        )
        if not by_service:
            handout.state = "none"
        elif not existing:
            handout.state = "make"
        elif rotate:
            handout.state = "rotate"
        elif len(kept) < len(by_service) or _connections(handout, kept, services) != existing:
            handout.state = "change"
        yield handout


def hand_out(handout: Handout, services: Services) -> None:
    """Make the logins that are missing, or all of them to rotate, and write the file.

    :raises SecureXComError: a login cannot be made, or the file cannot be written; what was made is taken back.
    """
    if handout.state not in ("make", "change", "rotate"):
        return
    # The folder comes first: no login is made that could not be written.
    open_private_folder(handout.file.parent.parent)
    open_private_folder(handout.file.parent)
    kept = {} if handout.state == "rotate" else dict(handout.kept)
    created: dict[str, Login] = {}
    try:
        for service, of_service in handout.logins.items():
            if service not in kept:
                created[service] = of_service.make()
        write_private(handout.file, dump(_connections(handout, {**kept, **created}, services)))
    except BaseException:
        for service, login in created.items():
            handout.logins[service].take_back(login)
        raise


def end_old(handout: Handout, *, dry_run: bool = False) -> list[str]:
    """End every login of an identity but those in its file, and return what was ended, without secrets.

    Does nothing at a service at which the file has no login that works.
    """
    ended = []
    for service, login in handout.kept.items():
        others = handout.logins[service].others(login)
        if not dry_run:
            handout.logins[service].end(others)
        ended += [f"{handout.logins[service].text}: {len(others)} old ones revoked"] if others else []
    return ended


def workers_of(policy: AccessPolicy, identity: Identity) -> str:
    """Return whose file it is, in words: the places of the identity's workers."""
    compartments = [policy.compartment(name) for name in identity.workers_of]
    run_on = [
        place
        for compartment in compartments
        if compartment.tasks_run_on
        for place in compartment.tasks_run_on.places
    ]
    run_on += identity.runs_on.places if identity.runs_on else ()
    # A pool counts slots and does not decide which worker runs a task.
    places = [f"{label} {value}" for label, value in run_on if label != "pool"]
    if places:
        return "workers of " + ", ".join(dict.fromkeys(place.replace("_", " ") for place in places))
    return (
        "workers of " + ", ".join(identity.workers_of)
        if identity.workers_of
        else f"whoever works as {identity.name}"
    )


def _connections(handout: Handout, logins: dict[str, Login], services: Services) -> dict[str, Any]:
    # What an operator put beside ours stays.
    connections = dict(handout.there)
    if "vault" in logins and services.vault is not None:
        mount = (handout.identity.vault and handout.identity.vault.mount) or "approle"
        for conn_id in handout.ids.vault:
            connections[conn_id] = vault_connection(services.vault, mount, logins["vault"])
    if "s3" in logins:
        for conn_id in handout.ids.s3:
            connections[conn_id] = s3_connection(services.s3_endpoint, services.s3_region, logins["s3"])
    return connections


def _notes(identity: Identity, ids: Ids) -> Iterator[str]:
    vault = identity.vault
    if vault is not None and vault.auth == "kubernetes":
        yield "Vault: no login is needed, pods log in with their service account's token"
    elif vault is not None and vault.auth == "jwt":
        yield "Vault: no login is created, workers log in with a token of their issuer"
    elif vault is not None and vault.auth == "other":
        yield "Vault: its login is managed elsewhere (auth: other)"
    if identity.aws is not None and ":role/" in identity.aws.principal:
        yield "AWS: no key is needed, workers assume the role (IRSA, or the role of the machine)"
    for uri in ids.without:
        yield f"{uri}: it names no connection, so no file can hold its login; write CONN_ID into it"
