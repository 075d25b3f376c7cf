"""The Vault policies of each role, in HCL: least rights, each line with its reason.

Vault's words for it: developer.hashicorp.com/vault/docs/concepts/policies. ``default`` comes with every token and
lets it look itself up, renew itself and ask for its own capabilities.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

Role = Literal["writer", "reader", "maintenance"]
ROLES: tuple[Role, ...] = ("writer", "reader", "maintenance")


def transit_grant(role: Role, mount: str, key: str, scopes: Sequence[str] = ()) -> str:
    """What a role may do with one transit key.

    :param scopes: prefixes of `secure_xcom.vault.context.transit_scope`. With any, the grant is ``scoped``: single
        requests within them only. Without, it is ``whole``: everything that the key wraps, in batches too.
    """
    if role == "writer":
        return _grant(
            "Push: wrap data keys. Never `create`: it would make a key of any name that is not there yet.",
            f"{mount}/encrypt/{key}",
            "plaintext",
            scopes,
        )
    if role == "reader":
        return _grant("Pull: unwrap data keys.", f"{mount}/decrypt/{key}", "ciphertext", scopes)
    return (
        _grant(
            "Rewrap to the newest version, without seeing a data key.",
            f"{mount}/rewrap/{key}",
            "ciphertext",
            scopes,
        )
        + "\n"
        + _block("See versions and settings of the key, never the key itself.", f"{mount}/keys/{key}", ["read"])
    )


def kv_grant(roles: Role | Sequence[Role], mount: str, prefix: str, below: str = "") -> str:
    """What a role, or several together, may do in a Vault KV store: one block for each path.

    :param below: a path below the store's prefix, such as a compartment's, or nothing for the whole store.
    """
    path = f"{prefix}/{below}".strip("/")
    data, metadata = f"{mount}/data/{path}/*", f"{mount}/metadata/{path}/*"
    grants: dict[Role, list[tuple[str, str, list[str]]]] = {
        "writer": [
            (data, "Push: create payloads. Without `update` none is ever overwritten.", ["create"]),
            (
                metadata,
                "Purge with all versions, as when a task is cleared. Without it payloads stay until gc.",
                ["delete"],
            ),
        ],
        "reader": [(data, "Pull: read payloads, which are sealed.", ["read"])],
        "maintenance": [
            # Vault takes this for the folder itself as well when it is listed.
            (metadata, "Find what no reference names, and destroy it.", ["list", "delete"]),
            (data, "Sizes and times are only in the entries, which are sealed.", ["read"]),
        ],
    }
    blocks: dict[str, tuple[list[str], list[str]]] = {}
    for role in [roles] if isinstance(roles, str) else roles:
        for place, reason, words in grants[role]:
            reasons, given = blocks.setdefault(place, ([], []))
            reasons.append(reason)
            given += [word for word in words if word not in given]
    return "\n".join(_block("\n# ".join(reasons), place, given) for place, (reasons, given) in blocks.items())


def _grant(reason: str, path: str, text: str, scopes: Sequence[str]) -> str:
    if not scopes:
        return _block(reason, path, ["update"])
    contexts = ", ".join(f'"{scope}*"' for scope in scopes)
    return _block(
        f"{reason} One at a time, within these contexts: Vault does not see into a batch.",
        path,
        ["update"],
        f'  required_parameters = ["{text}", "context"]\n'
        f'  allowed_parameters  = {{ "{text}" = [], "context" = [{contexts}] }}\n',
    )


def _block(reason: str, path: str, capabilities: Sequence[str], more: str = "") -> str:
    words = ", ".join(f'"{word}"' for word in capabilities)
    indent = "  capabilities        = " if more else "  capabilities = "
    return f'# {reason}\npath "{path}" {{\n{indent}[{words}]\n{more}}}\n'
