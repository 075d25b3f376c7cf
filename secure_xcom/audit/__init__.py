"""The access log: every push, pull, purge and refusal is an event, and no value is given before it is written.

Events hold ids only: never a value, a data key, a wrapped key or a preview.
"""

from __future__ import annotations

from secure_xcom.audit.apart import check_apart
from secure_xcom.audit.events import Event, KeyUse, Line, Outcome
from secure_xcom.audit.hashed_ids import IdHasher
from secure_xcom.audit.log import AccessLog
from secure_xcom.audit.policy_seen import PolicySeen
from secure_xcom.audit.recording import Draft, recording
from secure_xcom.audit.sinks import Sink, sink

__all__ = [
    "AccessLog",
    "Draft",
    "Event",
    "IdHasher",
    "KeyUse",
    "Line",
    "Outcome",
    "PolicySeen",
    "Sink",
    "check_apart",
    "recording",
    "sink",
]
