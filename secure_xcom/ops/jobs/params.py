"""The Params of the maintenance DAG, each declared once for the jobs that share it."""

from __future__ import annotations

from secure_xcom.ops.jobs.job import DagParam

_FLAG = {"type": "boolean"}

DELETE = DagParam("delete", "Delete", "Let steps delete; otherwise they only report.", _FLAG)
OLDER_THAN = DagParam(
    "older_than",
    "gc's window",
    "Keep payloads younger than this; at least 2h.",
    {"type": "string", "pattern": "^[1-9][0-9]{0,4}[hdw]$"},
)
MAX_SHARE = DagParam(
    "max_share",
    "Largest share",
    "gc refuses to delete more than this share of the payloads.",
    {"type": "number", "minimum": 0, "maximum": 1},
)
RATE = DagParam(
    "rate",
    "Deletions per second",
    "Maximum number of deletions per second; 0 for no limit.",
    {"type": "number", "minimum": 0},
)
REWRAP = DagParam("rewrap", "Rewrap", "Let rewrap change rows; otherwise it only reports.", _FLAG)
COMPARTMENT = DagParam(
    "compartment", "Compartment", "Rewrap only references of this compartment.", {"type": ["null", "string"]}
)
OLDER_THAN_VERSION = DagParam(
    "older_than_version",
    "Older than version",
    "Rewrap only data keys that an older key version wrapped.",
    {"type": ["null", "integer"], "minimum": 2},
)
PAYLOADS = DagParam("payloads", "Compare with payloads", "Let doctor compare rows with payloads.", _FLAG)
VAULT_LOG = DagParam(
    "vault_log", "Vault's audit log", "A file, for audit_reconcile.", {"type": ["null", "string"]}
)
VAULT_CONN_ID = DagParam("vault_conn_id", "Vault connection", "For audit-hash.", {"type": "string"})
CLOUDTRAIL = DagParam("cloudtrail", "CloudTrail", "A folder, for audit_reconcile.", {"type": ["null", "string"]})
