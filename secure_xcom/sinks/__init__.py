"""The access log: every push, pull, purge and refusal is an event, written before a value is given out.

Events hold ids only: never a value, a data key, a wrapped key or a preview.
"""

from __future__ import annotations

from secure_xcom.sinks.access_log import AccessLog
from secure_xcom.sinks.apart_from_payloads import check_apart
from secure_xcom.sinks.interface import Sink, sink
from secure_xcom.sinks.policy_digest import PolicyDigestFile
from secure_xcom.sinks.recording import Draft, Record, recording

__all__ = [
    "AccessLog",
    "Draft",
    "PolicyDigestFile",
    "Record",
    "Sink",
    "check_apart",
    "recording",
    "sink",
]
