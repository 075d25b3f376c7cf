"""The form of an encryption context for transit, so that Vault's own policies can be scoped by it.

Transit accepts the context of a derived key as base64. It is the concatenation of four SHA-384 digests: of the
compartment, the DAG's id, the task's id, and the map index with the run's id. 48 bytes are exactly 64 base64
characters, so a policy can name the first one, two or three parts as a prefix (`transit_scope`), and no id can be
chosen to look like the beginning of another.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping

from secure_xcom.core.errors import KeyServiceError

_NAMES = ("compartment", "dag_id", "task_id", "run_id", "map_index")


def transit_context(context: Mapping[str, str]) -> bytes:
    """Return the 192 bytes that a transit wrap is bound to.

    :param context: from `secure_xcom.core.coordinate.encryption_context`.
    :raises KeyServiceError: it does not have exactly those five names.
    """
    if set(context) != set(_NAMES):
        raise KeyServiceError(f"an encryption context must have the names {', '.join(_NAMES)}")
    parts = (
        context["compartment"],
        context["dag_id"],
        context["task_id"],
        # The map index is a number, so everything after its newline is the run id, whatever that contains.
        f"{context['map_index']}\n{context['run_id']}",
    )
    return b"".join(hashlib.sha384(part.encode()).digest() for part in parts)


def transit_scope(compartment: str, dag_id: str | None = None, task_id: str | None = None) -> str:
    """Return the first 64, 128 or 192 base64 characters of every context of a compartment, a DAG or a task.

    A policy contains it with an asterisk: ``allowed_parameters = { "context" = ["SCOPE*"] }``.
    """
    parts = [compartment]
    if dag_id is not None:
        parts.append(dag_id)
        if task_id is not None:
            parts.append(task_id)
    return base64.b64encode(b"".join(hashlib.sha384(part.encode()).digest() for part in parts)).decode()


def proof_context(context: str) -> str:
    """Return the context of another run of the same task, in base64. No wrap has it.

    It is within every scope that a policy can have, so only a derived key refuses to open a wrap of `context` with
    it. So a worker with a scoped grant checks that its key is derived.
    """
    return context[:192] + transit_scope("another run")
