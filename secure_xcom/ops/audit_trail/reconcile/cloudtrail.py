"""Unwraps in CloudTrail's records: KMS ``Decrypt`` events with their EncryptionContext, which is not encrypted.

The shape is that of AWS's own examples (KMS Developer Guide, "Decrypt", ct-decrypt): files of
``{"Records": [...]}`` as CloudTrail delivers them, gzipped or not, or one record per line as tools export them.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from secure_xcom.core.operator_errors import AccessLogUnreadable, CommandError
from secure_xcom.keys.aws_kms_format import CONTEXT_NAMES, kms_context
from secure_xcom.ops.audit_trail.reconcile.match import UNKNOWN, ServerUse
from secure_xcom.ops.audit_trail.reconcile.vault_log import mapping, seconds_of

SERVICE = "aws-kms"
_SUFFIXES = (".json", ".json.gz", ".jsonl", ".jsonl.gz")


def name(context: Mapping[str, str]) -> str:
    """Return an encryption context as text."""
    return json.dumps(kms_context(context), sort_keys=True)


def read(paths: list[Path]) -> tuple[list[ServerUse], float | None, float | None]:
    """Return the uses of the deployment's keys, and the times of the first and the last KMS record.

    A key is the deployment's if it was ever used with a context of secure_xcom's five names. Every other use of
    such a key is returned as well.

    :raises AccessLogUnreadable: a file cannot be read; :raises CommandError: it does not hold CloudTrail records.
    """
    candidates: list[tuple[ServerUse, bool]] = []
    times: list[float] = []
    for path in paths:
        for number, record in enumerate(_records(path), start=1):
            place = f"{path}: record {number}"
            try:
                moment = seconds_of(str(record["eventTime"]))
                source, operation = str(record["eventSource"]), str(record["eventName"])
            except (KeyError, ValueError, OverflowError):
                raise CommandError(
                    "not a CloudTrail record", where=place, remedy="name files as CloudTrail delivers them"
                ) from None
            if source != "kms.amazonaws.com":
                continue
            times.append(moment)
            if operation == "Decrypt":
                candidates.append(_use(record, moment, place))
    keys = {use.key for use, has_our_names in candidates if has_our_names}
    uses = [use for use, _ in candidates if use.key in keys]
    return uses, min(times, default=None), max(times, default=None)


def _use(record: Mapping[str, Any], moment: float, place: str) -> tuple[ServerUse, bool]:
    parameters = mapping(record.get("requestParameters"))
    context = mapping(parameters.get("encryptionContext"))
    listed = record.get("resources")
    resources = map(mapping, listed if isinstance(listed, list) else [])
    key = next(
        (str(resource["ARN"]) for resource in resources if "ARN" in resource), str(parameters.get("keyId", "?"))
    )
    who = str(mapping(record.get("userIdentity")).get("arn") or UNKNOWN)
    use = ServerUse(
        moment,
        SERVICE,
        key,
        json.dumps(context, sort_keys=True),
        not record.get("errorCode"),
        who,
        str(record.get("sourceIPAddress") or ""),
        str(record.get("requestID") or ""),
        place,
    )
    return use, set(context) == set(CONTEXT_NAMES)


def _records(path: Path) -> Iterator[Mapping[str, Any]]:
    """Return the records of a file, or of every file below a folder."""
    files = sorted(file for file in path.rglob("*") if file.name.endswith(_SUFFIXES)) if path.is_dir() else [path]
    for file in files:
        try:
            raw = file.read_bytes()
            text = gzip.decompress(raw) if file.suffix == ".gz" else raw
        except (OSError, EOFError, zlib.error) as error:
            raise AccessLogUnreadable(
                f"the file cannot be read ({type(error).__name__})", where=str(file), remedy="restore it"
            ) from None
        try:
            whole = json.loads(text) if text.lstrip()[:1] == b"{" and b'"Records"' in text[:4096] else None
            records = list(whole["Records"]) if whole else [json.loads(line) for line in text.splitlines() if line]
        except (ValueError, KeyError, TypeError, RecursionError):
            raise CommandError(
                "not CloudTrail records", where=str(file), remedy="name files as CloudTrail delivers them"
            ) from None
        for record in records:
            if isinstance(record, dict):
                yield record
