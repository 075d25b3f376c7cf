"""Lint service policies: a file or a folder of files. The content of a file determines its kind."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from secure_xcom.core.access_policy.loading import place
from secure_xcom.core.access_policy.yaml_reader import Marks
from secure_xcom.core.findings import Finding
from secure_xcom.core.policy_errors import PolicyInvalid
from secure_xcom.ops.service_policies.lint import aws, hcl_reader, json_reader, vault
from secure_xcom.ops.service_policies.lint.hcl_reader import Block
from secure_xcom.ops.service_policies.lint.lint_finding import lint_finding, position

_MAX_BYTES = 4 << 20
_PUBLIC_ACCESS = {"BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets"}


def lint_documents(path: Path) -> Iterator[Finding]:
    """Return every finding about a file or the files of a folder, in order. The subject is the file's path.

    :raises PolicyInvalid: it cannot be read, or the folder holds no policy.
    """
    files = (
        sorted(entry for entry in path.rglob("*") if entry.suffix in (".hcl", ".json"))
        if path.is_dir()
        else [path]
    )
    if not files:
        raise PolicyInvalid(
            "the folder contains no .hcl and no .json file",
            where=str(path),
            remedy="name the folder that `secure-xcom policy compile` wrote",
        )
    policies: dict[str, list[Block]] = {}
    for file in files:
        for finding in sorted(_of_file(file, policies), key=position):
            yield replace(finding, subject=str(file))
    yield from _whole_beside_limited(policies)


def _of_file(file: Path, policies: dict[str, list[Block]]) -> Iterator[Finding]:
    text = _text(file)
    if isinstance(text, Finding):
        yield text
        return
    if file.suffix == ".hcl":
        blocks, trouble = hcl_reader.read(text)
        if trouble is not None:
            yield _unreadable(*trouble)
        policies[str(file)] = blocks
        yield from vault.of_policy(blocks)
        return
    yield from findings_of_json(text)


def findings_of_json(text: str) -> list[Finding]:
    """Return every finding about one JSON document, in no order."""
    document = json_reader.read(text)
    if document.fault is not None:
        return [_unreadable(*document.fault)]
    findings = [
        lint_finding("duplicate-key", "error", path, text, "leave one out") for path, text in document.twice
    ]
    findings += _of_json(document.data, document.marks)
    return [_placed(finding, document.marks) for finding in findings]


def _placed(finding: Finding, marks: Marks) -> Finding:
    # The findings about a Vault policy in JSON have their places already.
    if not finding.path:
        return finding
    line, column = place(marks, finding.path)
    return replace(finding, line=line, column=column)


def _text(file: Path) -> str | Finding:
    try:
        if file.stat().st_size > _MAX_BYTES:
            return _unreadable(1, 1, f"over {_MAX_BYTES} bytes")
        return file.read_bytes().decode()
    except UnicodeDecodeError:
        return _unreadable(1, 1, "not UTF-8")
    except OSError as error:
        raise PolicyInvalid(
            f"the file cannot be read ({type(error).__name__})",
            where=str(file),
            remedy="name a file that exists and is readable",
        ) from None


def _unreadable(line: int, column: int, text: str) -> Finding:
    return lint_finding("unreadable", "error", (), text, "correct it: its grants are not known", line, column)


def _of_json(data: Any, marks: Marks) -> Iterator[Finding]:
    """Return the findings about a document. Its content determines its kind, not its name."""
    if isinstance(data, dict) and "Statement" in data:
        yield from aws.of_document(data)
    elif isinstance(data, dict) and data and set(data) <= _PUBLIC_ACCESS:
        yield from aws.of_public_access(data)
    elif isinstance(data, dict) and isinstance(data.get("path"), dict):
        yield from vault.of_policy(_blocks(data["path"], marks))
    elif isinstance(data, dict) and isinstance(data.get("body"), dict) and "path" in data:
        yield from vault.of_role(data)
    elif isinstance(data, dict) and isinstance(data.get("create"), dict) and "path" in data:
        yield from vault.of_transit(data)
    elif isinstance(data, dict) and isinstance(data.get("reveal"), list):
        # Logins and groups: what they may do is in the policies.
        return
    elif isinstance(data, dict) and "Rules" in data:
        # A lifecycle only deletes payloads.
        return
    elif isinstance(data, list) and data and all(isinstance(entry, dict) for entry in data):
        for index, entry in enumerate(data):
            yield from _of_entry(entry, index)
    elif isinstance(data, dict) and data and all("includedPermissions" in str(entry) for entry in data.values()):
        return
    else:
        yield lint_finding("unknown-document", "ok", (), "not a known kind of policy")


def _blocks(paths: dict[str, Any], marks: Marks) -> Iterator[Block]:
    """Yield the blocks of a policy in JSON, which Vault also accepts."""
    for name, fields in paths.items():
        if isinstance(fields, dict):
            block_path = ("path", name)
            places = {field: marks[("path", name, field)] for field in fields}
            line, column = marks[block_path]
            yield Block(name, line, column, fields, places)


def _of_entry(entry: dict[str, Any], index: int) -> Iterator[Finding]:
    """Return the findings about a Google binding or an Azure role assignment."""
    if "members" in entry:
        if re.search("allUsers|allAuthenticatedUsers", str(entry["members"])):
            yield lint_finding(
                "google-public", "error", (index, "members"), "anybody is allowed", "name the members"
            )
        condition = entry.get("condition")
        if "resource.name" not in str(condition.get("expression") if isinstance(condition, dict) else ""):
            yield lint_finding(
                "google-no-condition",
                "error",
                (index,),
                f"{entry.get('role')} applies to all objects of the bucket",
                'add a condition: resource.name.startsWith("projects/_/buckets/BUCKET/objects/PREFIX/")',
            )
    elif "principalId" in entry:
        text = str(entry.get("condition") or "")
        if "blobs:path]" not in text and "blobs:prefix]" not in text:
            yield lint_finding(
                "azure-no-condition",
                "error",
                (index,),
                f"{entry.get('roleName')} applies to all blobs of the scope",
                "add a condition on the path of the blob",
            )


def _whole_beside_limited(policies: dict[str, list[Block]]) -> Iterator[Finding]:
    """Return a note for each policy with all of a key of which another policy has a part."""
    limited: dict[str, str] = {}
    for name, blocks in policies.items():
        for block, part in vault.keys_of(blocks):
            if part:
                limited.setdefault(block.path, name)
    for name, blocks in policies.items():
        for block, part in vault.keys_of(blocks):
            other = limited.get(block.path)
            if not part and other is not None and other != name:
                text = (
                    f"this policy has all of {block.path!r}, batches included, and {Path(other).name} a part of it"
                )
                note = lint_finding("vault-whole-beside-limited", "ok", (), text, "", block.line, block.column)
                yield replace(note, subject=name)
