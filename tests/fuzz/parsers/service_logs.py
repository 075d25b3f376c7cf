"""The services' own logs, which `secure-xcom audit reconcile` reads: Vault's audit device, CloudTrail's files."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from typing import Any

from secure_xcom.core.operator_errors import AccessLogUnreadable, CommandError
from secure_xcom.ops.audit_trail.reconcile import cloudtrail, vault_log
from tests.fuzz.harness import Harness
from tests.fuzz.scratch import file_of

_VAULT: dict[str, Any] = {
    "time": "2026-11-22T10:00:00.123456789Z",
    "type": "response",
    "auth": {"display_name": "approle", "accessor": "hmac-sha256:00aa", "policies": ["secure-xcom-viewers-pay"]},
    "request": {
        "id": "019ab9a0-0000-7000-8000-000000000000",
        "path": "transit/decrypt/xcom",
        "remote_address": "127.0.0.1",
        "data": {"context": "hmac-sha256:11bb", "batch_input": [{"context": "hmac-sha256:22cc"}]},
    },
    "response": {"data": {"plaintext": "hmac-sha256:33dd", "batch_results": [{"plaintext": "hmac-sha256:44ee"}]}},
}
_CONTEXT = {"compartment": "pay", "dag_id": "orders", "task_id": "load", "run_id": "r", "map_index": "-1"}
_CLOUDTRAIL = {
    "eventTime": "2026-11-22T10:00:00Z",
    "eventSource": "kms.amazonaws.com",
    "eventName": "Decrypt",
    "userIdentity": {"arn": "arn:aws:sts::111122223333:assumed-role/worker/i-0"},
    "sourceIPAddress": "192.0.2.1",
    "requestID": "019ab9a0",
    "requestParameters": {"encryptionContext": _CONTEXT, "keyId": "alias/xcom"},
    "resources": [{"ARN": "arn:aws:kms:eu-central-1:111122223333:key/1234abcd"}],
}


def _vault(data: bytes) -> None:
    vault_log.read([file_of(data, "vault.log")], {"transit/xcom"})


def _cloudtrail(data: bytes) -> None:
    cloudtrail.read([file_of(data, "trail.json.gz" if data[:2] == b"\x1f\x8b" else "trail.json")])


def _seeds() -> Iterator[bytes]:
    export = {**_VAULT, "request": {**_VAULT["request"], "path": "transit/export/encryption-key/xcom"}}
    for record in (_VAULT, export, _CLOUDTRAIL):
        yield json.dumps(record).encode() + b"\n"
    trail = json.dumps({"Records": [_CLOUDTRAIL]}).encode()
    yield trail
    yield gzip.compress(trail, mtime=0)


HARNESS = Harness(
    (_vault, _cloudtrail),
    (AccessLogUnreadable, CommandError),
    _seeds,
    words=(
        *_VAULT,
        *_CLOUDTRAIL,
        "Records",
        "batch_input",
        "batch_results",
        "transit/backup/xcom",
        "1e999",
        "null",
    ),
)
