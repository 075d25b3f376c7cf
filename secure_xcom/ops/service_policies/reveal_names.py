"""Names at Vault of what `secure-xcom reveal` needs there. The service and its page rely on them."""

from __future__ import annotations

import hashlib
import re

from secure_xcom.core.access_policy.policy import AccessPolicy

REVEAL_NAME = "secure-xcom-reveal"
"""The name of the OIDC role, the identity key and the token role, and the audience of identity tokens."""
VIEWERS_PREFIX = "secure-xcom-viewers-"
_PLAIN_GROUP = re.compile(r"[a-z0-9_.-]{1,100}")
_DIGEST = re.compile(r"-[0-9a-f]{12}$")


def viewers_name(group: str) -> str:
    """Return the name of a group's policy and of its identity group.

    Vault writes the names of policies in lower case. A group with other characters than these gets a digest as
    well, so that no two groups share a name, and so does one that ends as if it had a digest.
    """
    if _PLAIN_GROUP.fullmatch(group) and not _DIGEST.search(group):
        return f"{VIEWERS_PREFIX}{group}"
    plain = re.sub(r"[^a-z0-9_.-]+", "-", group.lower()).strip("-")[:60]
    return f"{VIEWERS_PREFIX}{plain}-{hashlib.sha256(group.encode()).hexdigest()[:12]}"


def viewer_groups(policy: AccessPolicy) -> tuple[str, ...]:
    """Return the groups of all viewers, each once and in the file's order."""
    return tuple(
        dict.fromkeys(viewer.group for compartment in policy.compartments for viewer in compartment.viewers)
    )
