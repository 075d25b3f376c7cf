"""Lint: Vault policies, roles and transit settings, compiled or written by hand."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from secure_xcom.core.findings import Finding, Status
from secure_xcom.ops.service_policies.lint.hcl_reader import Block
from secure_xcom.ops.service_policies.lint.lint_finding import lint_finding

_TRANSIT = {
    "encrypt", "decrypt", "rewrap", "datakey", "keys", "export", "backup", "restore", "trim", "hmac", "sign",
    "verify", "random", "hash", "cache-config", "wrapping_key",
}  # fmt: skip
_KV = {"data", "metadata", "delete", "undelete", "destroy", "subkeys"}
_CHANGES = {"create", "update", "patch", "delete", "sudo"}
# `secure_xcom.keys.vault_context`: each part of a context is exactly 64 base64 characters.
_SCOPE = re.compile(r"(?:[A-Za-z0-9+/]{64}){1,3}\*|[A-Za-z0-9+/]{256}")
_OF_EVERYBODY = {
    "auth/token/renew-self", "auth/token/lookup-self", "auth/token/revoke-self", "sys/capabilities-self",
    "sys/leases/renew",
}  # fmt: skip
LIMITED = ("encrypt", "decrypt", "rewrap")


def place_of(path: str) -> tuple[str, str, str]:
    """Return the engine of a path (``transit``, ``kv``, ``system``, ``other``), the operation and its object."""
    segments = path.split("/")
    if segments[0] in ("sys", "auth", "identity"):
        return "system", segments[0], "/".join(segments[1:])
    for position, segment in enumerate(segments[1:], start=1):
        if segment in _TRANSIT or segment in _KV:
            return "transit" if segment in _TRANSIT else "kv", segment, "/".join(segments[position + 1 :])
    return "other", "", path


def of_policy(blocks: Iterable[Block]) -> Iterator[Finding]:
    """Return the findings about the blocks of one policy."""
    blocks = list(blocks)
    seen: set[str] = set()
    for block in blocks:
        if block.path in seen:
            yield _block_finding(
                block,
                "vault-repeated-path",
                "warning",
                f"{block.path!r} occurs twice",
                "write one block for each path",
            )
        seen.add(block.path)
        yield from _of_block(block)
    opens = [block for block in blocks if _does(block, ("decrypt", "export", "backup"), {"update", "read"})]
    rules = [block for block in blocks if _administers(block)]
    if opens and rules:
        yield _block_finding(
            rules[0],
            "vault-reads-and-administers",
            "error",
            f"this policy opens data keys ({opens[0].path}) and administers {rules[0].path}",
            "split it into two policies for two identities",
        )


def _block_finding(block: Block, rule: str, status: Status, text: str, remedy: str, field: str = "") -> Finding:
    line, column = block.places.get(field, (block.line, block.column))
    return lint_finding(rule, status, (), text, remedy, line, column)


def capabilities(block: Block) -> set[str]:
    """Return a block's capabilities, with the words of Vault's first releases translated."""
    listed = block.fields.get("capabilities")
    words = {str(word) for word in listed} if isinstance(listed, list) else set()
    old = {"write": {"create", "read", "update", "delete", "list"}, "read": {"read", "list"}, "sudo": {"sudo"}}
    return words | old.get(str(block.fields.get("policy", "")), set())


def _does(block: Block, operations: tuple[str, ...], needed: set[str]) -> bool:
    engine, operation, _ = place_of(block.path)
    if not needed & capabilities(block):
        return False
    if engine == "transit" and (operation in operations or operation in ("+", "*")):
        return True
    # A wildcard in place of an operation is every operation.
    return engine == "other" and block.path.rstrip("/").endswith(("*", "+"))


def _administers(block: Block) -> bool:
    engine, operation, _ = place_of(block.path)
    if not _CHANGES & capabilities(block):
        return False
    if engine == "system":
        # Every token may renew, look up and revoke itself, and ask for its own capabilities.
        return block.path not in _OF_EVERYBODY
    if engine == "transit":
        return operation in ("keys", "restore", "trim", "cache-config")
    return engine == "other" and block.path.rstrip("/").endswith(("*", "+"))


def _of_block(block: Block) -> Iterator[Finding]:
    engine, operation, rest = place_of(block.path)
    words = capabilities(block)
    if words <= {"deny"}:
        return
    if operation == "encrypt" and "create" in words:
        yield _block_finding(
            block,
            "vault-create-on-encrypt",
            "error",
            "`create` on encrypt creates a key of any name that does not exist yet, with default settings",
            'write capabilities = ["update"]',
            "capabilities",
        )
    if words & {"sudo", "root"}:
        yield _block_finding(
            block, "vault-sudo", "error", f"{block.path!r} is given with sudo", "leave sudo out", "capabilities"
        )
    if engine == "transit" and operation in ("export", "backup"):
        yield _block_finding(
            block, "vault-key-material", "error", f"{block.path!r} gives access to the key itself", "remove it"
        )
    yield from _wildcards(block, engine, rest)
    if engine == "transit" and operation in LIMITED:
        yield from _limits(block)
    yield from _needless(block, operation, words)


def _needless(block: Block, operation: str, words: set[str]) -> Iterator[Finding]:
    needless: set[str] = set()
    if operation in LIMITED:
        needless, text = words - {"update", "create", "sudo", "deny"}, "these requests need only `update`"
    elif operation == "data":
        needless, text = words & {"update", "patch"}, "an existing payload can be overwritten"
    else:
        return
    if needless:
        yield _block_finding(
            block,
            "vault-needless",
            "warning",
            f"{', '.join(sorted(needless))} on {block.path!r}: {text}",
            "leave it out",
            "capabilities",
        )


def _wildcards(block: Block, engine: str, rest: str) -> Iterator[Finding]:
    wild = "*" in block.path or "+" in block.path.split("/")
    if not wild:
        return
    if engine == "kv":
        # The names of payloads are not known in advance, so one grant covers a compartment's folder.
        if re.fullmatch(r"[^*/]+(/[^*/]+)+/\*", rest) and "+" not in block.path.split("/"):
            return
        yield _block_finding(
            block,
            "vault-wildcard",
            "error",
            f"{block.path!r} is open to every compartment of the store",
            "end the path in PREFIX/COMPARTMENT/*",
        )
    else:
        what = "every key whose name fits" if engine == "transit" else "everything that is or will be there"
        yield _block_finding(
            block, "vault-wildcard", "error", f"{block.path!r} is open to {what}", "write each path by its name"
        )


def _limits(block: Block) -> Iterator[Finding]:
    allowed = block.fields.get("allowed_parameters")
    listed = block.fields.get("required_parameters")
    required = listed if isinstance(listed, list) else []
    if not isinstance(allowed, dict):
        if required:
            yield _block_finding(
                block,
                "vault-context",
                "warning",
                "parameters are required but none is limited: batches and every context are allowed",
                'add allowed_parameters with "context" = ["SCOPE*"]',
                "required_parameters",
            )
        return
    if open_ones := sorted({"batch_input", "*"} & set(allowed)):
        yield _block_finding(
            block,
            "vault-batch",
            "error",
            f"{open_ones[0]!r} is allowed beside a limited context: a batch can carry any context, and Vault "
            "does not inspect it",
            "allow only the context and the text",
            "allowed_parameters",
        )
    contexts = allowed.get("context")
    wrong = (
        [context for context in contexts if not _SCOPE.fullmatch(str(context))]
        if isinstance(contexts, list)
        else []
    )
    if not contexts or wrong:
        yield _block_finding(
            block,
            "vault-context",
            "error",
            "the context is not limited"
            if not contexts
            else f"{str(wrong[0])[:24]!r} is not a digest of a compartment, a DAG or a task: it lets in "
            "others, or nobody",
            "write 64, 128 or 192 base64 characters and an asterisk, as `policy compile` does",
            "allowed_parameters",
        )
    if "context" not in required:
        yield _block_finding(
            block,
            "vault-context",
            "error",
            "the context is limited but not required, so a request without one is allowed",
            'add "context" to required_parameters',
            "allowed_parameters",
        )


def keys_of(blocks: Iterable[Block]) -> Iterator[tuple[Block, bool]]:
    """Yield the blocks that use a transit key, and whether each is limited by context."""
    for block in blocks:
        engine, operation, _ = place_of(block.path)
        if engine == "transit" and operation in LIMITED and "update" in capabilities(block):
            yield block, isinstance(block.fields.get("allowed_parameters"), dict)


def of_role(document: dict[str, Any]) -> Iterator[Finding]:
    """Return the findings about a role: ``path`` and ``body``."""
    body = document["body"]
    path = ("body",)
    wrong: list[tuple[str, str]] = []
    for name in ("bound_service_account_names", "bound_service_account_namespaces"):
        if "*" in str(body.get(name) or ""):
            wrong.append((name, "every service account that fits can log in"))
    if body.get("bind_secret_id") is False and not body.get("secret_id_bound_cidrs"):
        wrong.append(("bind_secret_id", "the role's id is enough to log in, and it is not secret"))
    if body.get("role_type") == "jwt" and not (body.get("bound_subject") or body.get("bound_claims")):
        wrong.append(("role_type", "every token of the audience can log in: bind a subject or claims"))
    policies = body.get("token_policies")
    if "root" in (policies if isinstance(policies, list) else [policies]):
        wrong.append(("token_policies", "its tokens may do anything"))
    for name, text in wrong:
        yield lint_finding(
            "vault-role-open", "error", (*path, name), text, "bind it to the workers that are meant"
        )


def of_transit(document: dict[str, Any]) -> Iterator[Finding]:
    """Return the findings about a key's settings: ``create`` and ``config``."""
    required = {
        ("create", "derived"): (True, "a wrap opens with any context"),
        ("create", "exportable"): (False, "the key can be taken out of Vault"),
        ("create", "allow_plaintext_backup"): (False, "the key can be taken out of Vault"),
        ("config", "deletion_allowed"): (False, "the key, and with it every value, can be deleted"),
        ("create", "convergent_encryption"): (False, "wrapping the same data key always gives the same text"),
    }
    for (part, name), (right, text) in required.items():
        settings = document.get(part)
        current = settings.get(name, False) if isinstance(settings, dict) else False
        if current is not right:
            yield lint_finding(
                "vault-key-weak", "error", (part, name), text, f"write {name}: {str(right).lower()}"
            )
