"""The Vault policies of each role, in HCL: least rights, each line with its reason.

The templates are in ``templates/*.hcl``, also available as ``policies/templates``. Source:
developer.hashicorp.com/vault/docs/concepts/policies. Every token has ``default``, with which it can look itself
up, renew itself and ask for its own capabilities.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from string import Template
from typing import Literal

Role = Literal["writer", "reader", "maintenance"]
KvRole = Literal["writer", "reader", "maintenance", "claimant"]
ROLES: tuple[Role, ...] = ("writer", "reader", "maintenance")

TEMPLATES = Path(__file__).with_name("templates")
_NAMED = re.compile(r"^#: ([a-z ]+)\n((?:[^\n]+\n)+)", re.MULTILINE)
_BLOCK = re.compile(r'# ([^\n]+)\npath "([^"\n]+)" \{\n  capabilities = \[([^\]\n]+)\]\n\}\n')


def transit_grant(role: Role, mount: str, key: str, scopes: Sequence[str] = ()) -> str:
    """Return the policy of a role for one transit key.

    :param scopes: prefixes from `secure_xcom.keys.vault_context.transit_scope`. With any, the grant is ``scoped``:
        only single requests within them. Without, it is ``whole``: everything that the key wraps, also in batches.
    """
    contexts = ", ".join(f'"{scope}*"' for scope in scopes)
    text = _template("transit")[f"{role} scoped" if scopes else role]
    filled = text.substitute(mount=mount, key=key, contexts=contexts)
    return filled if role != "maintenance" else f"{filled}\n{look_grant(mount, key)}"


def look_grant(mount: str, key: str) -> str:
    """Return the policy to see the settings of a transit key, never the key itself."""
    return _template("transit")["look"].substitute(mount=mount, key=key)


def kv_grant(roles: KvRole | Sequence[KvRole], mount: str, prefix: str, below: str = "") -> str:
    """Return the policy of a role, or of several together, for a Vault KV store: one block for each path.

    :param below: a path below the store's prefix, such as a compartment's; empty for the whole store.
    """
    path = f"{prefix}/{below}".strip("/")
    blocks: dict[str, tuple[list[str], list[str]]] = {}
    for role in [roles] if isinstance(roles, str) else roles:
        text = _template("kv")[role].substitute(mount=mount, path=path)
        for reason, place, words in _BLOCK.findall(text):
            reasons, capabilities = blocks.setdefault(place, ([], []))
            reasons.append(f"# {reason}\n")
            capabilities += [word for word in words.split(", ") if word not in capabilities]
    return "\n".join(
        f'{"".join(reasons)}path "{place}" {{\n  capabilities = [{", ".join(capabilities)}]\n}}\n'
        for place, (reasons, capabilities) in blocks.items()
    )


@lru_cache(maxsize=8)
def _template(name: str) -> dict[str, Template]:
    text = TEMPLATES.joinpath(f"{name}.hcl").read_text(encoding="utf-8")
    return {block: Template(body) for block, body in _NAMED.findall(text)}
