"""Unwraps in the log of Vault's (or OpenBao's) file audit device, and how our contexts look in it.

A context stands there as an HMAC whose salt only Vault knows; ``sys/audit-hash/DEVICE`` tells the HMAC of a text
(developer.hashicorp.com/vault/docs/audit, "Sensitive information"). Permission: ``update`` on that path.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from secure_xcom.connections.vault.client import VaultClient
from secure_xcom.core.errors import CommandError, VaultTrouble
from secure_xcom.keys.vault_context import proof_context, transit_context
from secure_xcom.ops.audit_trail.read import Piece, opener
from secure_xcom.ops.audit_trail.reconcile.match import UNKNOWN, Gap, ServerUse

SERVICE = "vault"


@dataclass(slots=True)
class VaultLog:
    """What some files of one audit device say of some keys.

    :ivar first: the time of the first line, and :ivar last: of the last one, in seconds since 1970.
    """

    uses: list[ServerUse] = field(default_factory=list)
    exports: list[Gap] = field(default_factory=list)
    first: float | None = None
    last: float | None = None
    lines: int = 0


def read(paths: list[Path], keys: set[str]) -> VaultLog:
    """Read the files.

    :param keys: ``MOUNT/NAME`` of each transit key that is ours.
    :raises AccessLogUnreadable: a file cannot be read; :raises CommandError: a line is no line of an audit device.
    """
    found = VaultLog()
    for path in paths:
        size = path.stat().st_size if path.exists() else 0
        for line in Piece(str(path), size, opener(path)).lines():
            if not line.whole:
                # The one that is being written.
                continue
            place = f"{line.place}:{line.number}"
            try:
                record = json.loads(line.data)
                moment = seconds_of(str(record["time"]))
            except (ValueError, KeyError, TypeError):
                raise CommandError(
                    "not a line of a Vault audit device", where=place, remedy="name the device's JSON file"
                ) from None
            found.lines += 1
            found.first = moment if found.first is None else min(found.first, moment)
            found.last = moment if found.last is None else max(found.last, moment)
            if record.get("type") == "response":
                _take(record, moment, place, keys, found)
    return found


def _take(record: Mapping[str, Any], moment: float, place: str, keys: set[str], found: VaultLog) -> None:
    request = _mapping(record.get("request"))
    path = str(request.get("path", ""))
    failed = bool(record.get("error"))
    auth = _mapping(record.get("auth"))
    who = str(auth.get("display_name") or UNKNOWN)
    accessor = str(auth.get("accessor") or request.get("client_token_accessor") or "")
    who = f"{who} {accessor[-12:]}".strip()
    address, number = str(request.get("remote_address") or ""), str(request.get("id") or "")
    for key in keys:
        mount, _, name = key.rpartition("/")
        if path == f"{mount}/decrypt/{name}":
            for context, ok in _contexts(record, request):
                given = ok and not failed
                found.uses.append(ServerUse(moment, SERVICE, path, context, given, who, address, number, place))
        elif not failed and path.startswith(f"{mount}/export/") and name in path.split("/"):
            text = f"the wrapping key itself was exported ({path})"
            found.exports.append(Gap("exported", moment, text, place, who, address, number))
        elif not failed and path == f"{mount}/backup/{name}":
            text = f"a backup of the wrapping key was taken ({path})"
            found.exports.append(Gap("exported", moment, text, place, who, address, number))


def _contexts(record: Mapping[str, Any], request: Mapping[str, Any]) -> Iterator[tuple[str, bool]]:
    """The context of each entry of a decrypt request, and whether a plaintext was given for it."""
    data = _mapping(request.get("data"))
    answer = _mapping(_mapping(record.get("response")).get("data"))
    batch = data.get("batch_input")
    if not isinstance(batch, list):
        yield str(data.get("context", "")), bool(answer.get("plaintext"))
        return
    results = answer.get("batch_results")
    listed = results if isinstance(results, list) else []
    for at, entry in enumerate(batch):
        result = listed[at] if at < len(listed) else {}
        yield str(_mapping(entry).get("context", "")), bool(_mapping(result).get("plaintext"))


def _mapping(found: object) -> Mapping[str, Any]:
    return found if isinstance(found, dict) else {}


def seconds_of(text: str) -> float:
    """A time of RFC 3339, with as many digits of a second as Go writes.

    :raises ValueError: it is none.
    """
    whole, separator, rest = text.partition(".")
    digits = rest.rstrip("Z").partition("+")[0].partition("-")[0] if separator else ""
    zone = rest[len(digits) :] if separator else ""
    moment = datetime.fromisoformat((whole + zone).replace("Z", "+00:00"))
    return moment.timestamp() + (int(digits) / 10 ** len(digits) if digits else 0.0)


class Contexts:
    """How encryption contexts look in the log of one audit device; each is asked for once.

    :param device: the audit device's path, ``file`` for ``vault audit enable file``.
    :raises ConfigurationError: the connection cannot be used.
    """

    def __init__(self, conn_id: str, device: str) -> None:
        self._client = VaultClient(conn_id)
        self._device = device.strip("/")
        self._known: dict[str, str] = {}

    def name(self, context: Mapping[str, str]) -> str:
        """:raises CommandError: Vault does not tell."""
        text = base64.b64encode(transit_context(context)).decode()
        if text not in self._known:
            self._known[text] = self._ask(text)
        return self._known[text]

    def proofs(self) -> frozenset[str]:
        """The contexts in which workers with a scoped grant prove their keys, for all that was named until now.

        :raises CommandError: Vault does not tell.
        """
        return frozenset(self._ask(text) for text in {proof_context(known) for known in self._known})

    def _ask(self, text: str) -> str:
        path = f"sys/audit-hash/{self._device}"
        try:
            answer = self._client.call("POST", path, {"input": text})
        except VaultTrouble as trouble:
            raise CommandError(
                f"Vault does not tell how its audit log writes a context: {trouble.what}",
                where=path,
                remedy="give this identity `update` on that path, and name the audit device with --device",
            ) from None
        found = answer.data.get("hash")
        if not answer.ok or not isinstance(found, str):
            raise CommandError(
                "Vault has no audit device of this name", where=path, remedy="name it with --device"
            )
        return found
