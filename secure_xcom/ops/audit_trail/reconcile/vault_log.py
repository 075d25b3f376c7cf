"""Unwraps in the log of Vault's (or OpenBao's) file audit device, and the form of contexts in it.

A context is logged as an HMAC whose salt only Vault knows; ``sys/audit-hash/DEVICE`` returns the HMAC of a text
(developer.hashicorp.com/vault/docs/audit, "Sensitive information"). Permission: ``update`` on that path.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import zip_longest
from pathlib import Path
from typing import Any

from secure_xcom.connections.vault.client import VaultClient
from secure_xcom.core.findings import Finding
from secure_xcom.core.operator_errors import CommandError
from secure_xcom.core.vault_errors import VaultTrouble
from secure_xcom.keys.vault_context import proof_context, transit_context
from secure_xcom.ops.audit_trail.pieces import Piece
from secure_xcom.ops.audit_trail.reconcile.match import UNKNOWN, ServerUse, gap_of_use
from secure_xcom.ops.audit_trail.rotated_files import opener

SERVICE = "vault"

VIEWERS_POLICY = "secure-xcom-viewers-"
"""The beginning of the names of the policies that `secure-xcom policy compile` makes for viewers."""


@dataclass(slots=True)
class VaultLog:
    """What the files of one audit device record of some keys.

    :ivar lines: how many lines were read. :ivar exports: exports and backups of a key.
    :ivar first: the time of the first line, and :ivar last: of the last one, in seconds since 1970.
    """

    uses: list[ServerUse] = field(default_factory=list)
    exports: list[Finding] = field(default_factory=list)
    first: float | None = None
    last: float | None = None
    lines: int = 0


def read(paths: list[Path], keys: set[str]) -> VaultLog:
    """Read the files.

    :param keys: ``MOUNT/NAME`` of each of the deployment's transit keys.
    :raises AccessLogUnreadable: a file cannot be read; :raises CommandError: a line does not come from an audit
        device.
    """
    log = VaultLog()
    for path in paths:
        size = path.stat().st_size if path.exists() else 0
        for line in Piece(str(path), size, opener(path)).lines():
            if not line.whole:
                # Vault is still writing this line.
                continue
            place = f"{line.place}:{line.number}"
            try:
                record = json.loads(line.data)
                moment = seconds_of(str(record["time"]))
            except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
                raise CommandError(
                    "not a line of a Vault audit device", where=place, remedy="name the device's JSON file"
                ) from None
            log.lines += 1
            log.first = moment if log.first is None else min(log.first, moment)
            log.last = moment if log.last is None else max(log.last, moment)
            if record.get("type") == "response":
                uses, exports = _read_response(record, moment, place, keys)
                log.uses += uses
                log.exports += exports
    return log


def _read_response(
    record: Mapping[str, Any], moment: float, place: str, keys: set[str]
) -> tuple[list[ServerUse], list[Finding]]:
    uses: list[ServerUse] = []
    exports: list[Finding] = []
    request = mapping(record.get("request"))
    path = str(request.get("path", ""))
    failed = bool(record.get("error"))
    auth = mapping(record.get("auth"))
    who = str(auth.get("display_name") or UNKNOWN)
    accessor = str(auth.get("accessor") or request.get("client_token_accessor") or "")
    who = f"{who} {accessor[-12:]}".strip()
    use = ServerUse(
        moment,
        SERVICE,
        path,
        "",
        not failed,
        who,
        str(request.get("remote_address") or ""),
        str(request.get("id") or ""),
        place,
        str(auth.get("display_name") or UNKNOWN) if _is_viewer(auth) else "",
    )
    for key in keys:
        mount, _, name = key.rpartition("/")
        if path == f"{mount}/decrypt/{name}":
            uses += [
                use._replace(context=context, ok=ok and not failed) for context, ok in _contexts(record, request)
            ]
        elif not failed and path.startswith(f"{mount}/export/") and name in path.split("/"):
            exports.append(gap_of_use("exported", use, f"the wrapping key itself was exported ({path})"))
        elif not failed and path == f"{mount}/backup/{name}":
            exports.append(gap_of_use("exported", use, f"a backup of the wrapping key was made ({path})"))
    return uses, exports


def _is_viewer(auth: Mapping[str, Any]) -> bool:
    """Return whether a token has a policy of viewers, by itself or by the groups of its entity."""
    held = [auth.get(kind) for kind in ("policies", "token_policies", "identity_policies")]
    names = [name for names in held if isinstance(names, list) for name in names]
    return any(isinstance(name, str) and name.startswith(VIEWERS_POLICY) for name in names)


def _contexts(record: Mapping[str, Any], request: Mapping[str, Any]) -> Iterator[tuple[str, bool]]:
    """Return the context of each entry of a decrypt request, and whether a plaintext was returned for it."""
    data = mapping(request.get("data"))
    answer = mapping(mapping(record.get("response")).get("data"))
    batch = data.get("batch_input")
    if not isinstance(batch, list):
        yield str(data.get("context", "")), bool(answer.get("plaintext"))
        return
    results = answer.get("batch_results")
    for entry, result in zip_longest(batch, results[: len(batch)] if isinstance(results, list) else []):
        yield str(mapping(entry).get("context", "")), bool(mapping(result).get("plaintext"))


def mapping(value: object) -> Mapping[str, Any]:
    """Return a part of a record that is an object; an empty one where it is something else."""
    return value if isinstance(value, dict) else {}


def seconds_of(text: str) -> float:
    """Return a time of RFC 3339, with any number of digits of a second, as Go writes them.

    :raises ValueError: the text is not a time.
    """
    whole, separator, rest = text.partition(".")
    digits = rest.rstrip("Z").partition("+")[0].partition("-")[0] if separator else ""
    zone = rest[len(digits) :] if separator else ""
    moment = datetime.fromisoformat((whole + zone).replace("Z", "+00:00"))
    return moment.timestamp() + (int(digits) / 10 ** len(digits) if digits else 0.0)


class Contexts:
    """The form of encryption contexts in the log of one audit device; each is requested once.

    :param device: the audit device's path, ``file`` for ``vault audit enable file``.
    :raises ConfigurationError: the connection cannot be used.
    """

    def __init__(self, conn_id: str, device: str) -> None:
        self._client = VaultClient(conn_id)
        self._device = device.strip("/")
        self._known: dict[str, str] = {}

    def check_device(self) -> None:
        """Check that Vault has the audit device, even if no context will be requested.

        :raises CommandError: it has none, or this identity may not ask.
        """
        self._ask("secure-xcom")

    def name(self, context: Mapping[str, str]) -> str:
        """Return the form of a context.

        :raises CommandError: Vault does not return it.
        """
        text = base64.b64encode(transit_context(context)).decode()
        if text not in self._known:
            self._known[text] = self._ask(text)
        return self._known[text]

    def proofs(self) -> frozenset[str]:
        """Return the contexts in which workers with a scoped grant check their keys, for all contexts named so
        far.

        :raises CommandError: Vault does not return them.
        """
        return frozenset(self._ask(text) for text in {proof_context(context) for context in self._known})

    def _ask(self, text: str) -> str:
        path = f"sys/audit-hash/{self._device}"
        try:
            answer = self._client.call("POST", path, {"input": text})
        except VaultTrouble as trouble:
            raise CommandError(
                f"Vault did not return how its audit log hashes a context: {trouble.what}",
                where=path,
                remedy="give this identity `update` on that path, and name the audit device with --device: "
                "`vault audit list` shows the devices",
            ) from None
        hashed = answer.data.get("hash")
        if not answer.ok or not isinstance(hashed, str):
            raise CommandError(
                f"Vault has no audit device with the path {self._device!r:.80}",
                where=path,
                remedy="name the device with --device: `vault audit list` shows the devices",
            )
        return hashed
