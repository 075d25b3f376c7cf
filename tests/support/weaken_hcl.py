"""Every way to weaken one line of a compiled Vault policy, and every way to take one thing away from it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

CAPABILITIES = ("create", "read", "update", "delete", "list", "patch", "sudo")
_BLOCK = re.compile(r'path "([^"]+)" \{\n(.*?)\n\}', re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A path and what is allowed there; None where the block has no such line."""

    path: str
    capabilities: tuple[str, ...]
    required: tuple[str, ...] | None = None
    allowed: tuple[tuple[str, tuple[str, ...]], ...] | None = None

    @classmethod
    def read(cls, path: str, body: str) -> Block:
        """A block as the compiler writes it."""
        lines = dict(line.strip().split("=", 1) for line in body.split("\n"))
        found = {name.strip(): text.strip() for name, text in lines.items()}
        allowed = found.get("allowed_parameters")
        return cls(
            path,
            tuple(re.findall(r'"(\w+)"', found["capabilities"])),
            tuple(re.findall(r'"(\w+)"', found["required_parameters"]))
            if "required_parameters" in found
            else None,
            None
            if allowed is None
            else tuple(
                (name, tuple(re.findall(r'"([^"]+)"', values)))
                for name, values in re.findall(r'"(\w+)" = \[([^\]]*)\]', allowed)
            ),
        )

    def hcl(self) -> str:
        """As Vault reads it."""
        lines = [f"capabilities = [{_listed(self.capabilities)}]"]
        if self.required:
            lines.append(f"required_parameters = [{_listed(self.required)}]")
        if self.allowed:
            words = ", ".join(f'"{name}" = [{_listed(values)}]' for name, values in self.allowed)
            lines.append(f"allowed_parameters = {{ {words} }}")
        return f'path "{self.path}" {{\n' + "".join(f"  {line}\n" for line in lines) + "}\n"


def _listed(words: tuple[str, ...]) -> str:
    return ", ".join(f'"{word}"' for word in words)


def blocks(text: str) -> list[Block]:
    """The blocks of a policy."""
    found = [Block.read(match.group(1), match.group(2)) for match in _BLOCK.finditer(text)]
    assert len(found) == text.count('path "')
    return found


def weakened(text: str) -> Iterator[tuple[str, str]]:
    """What was changed, and the policy with that one change: each gives more than the policy did."""
    yield from _changed(text, _wider)


def narrowed(text: str) -> Iterator[tuple[str, str]]:
    """The same, each giving less: what somebody needs is gone."""
    yield from _changed(text, _narrower)


def _changed(text: str, ways: object) -> Iterator[tuple[str, str]]:
    assert callable(ways)
    all_blocks = blocks(text)
    for number, block in enumerate(all_blocks):
        for what, changed in ways(block):
            if what.removeprefix("capability ") in _elsewhere(all_blocks, block):
                # Vault adds up the blocks of one path, so the policy is the same as before.
                continue
            kept = [*all_blocks[:number], *([changed] if changed else []), *all_blocks[number + 1 :]]
            yield f"{block.path}: {what}", "\n".join(one.hcl() for one in kept)


def _elsewhere(all_blocks: list[Block], block: Block) -> set[str]:
    return {word for one in all_blocks if one is not block and one.path == block.path for word in one.capabilities}


def _wider(block: Block) -> Iterator[tuple[str, Block]]:
    for word in CAPABILITIES:
        if word not in block.capabilities:
            yield f"capability {word}", replace(block, capabilities=(*block.capabilities, word))
    for path in _paths(block.path):
        yield f"path {path}", replace(block, path=path)
    if block.required is None or block.allowed is None:
        return
    yield "no parameter limits", replace(block, required=None, allowed=None)
    yield "no required parameters", replace(block, required=None)
    for word in block.required:
        yield f"{word} not required", replace(block, required=tuple(one for one in block.required if one != word))
    yield "any parameters", replace(block, allowed=None)
    for word in ("batch_input", "*"):
        yield f"parameter {word} allowed", replace(block, allowed=(*block.allowed, (word, ())))
    others = tuple(one for one in block.allowed if one[0] != "context")
    contexts = next(values for name, values in block.allowed if name == "context")
    yield "any context", replace(block, allowed=(*others, ("context", ())))
    for number, context in enumerate(contexts):
        # A context is 64 letters for each of its parts, and an asterisk.
        for letters in range(0, len(context) - 1, 64):
            shorter = (*contexts[:number], f"{context[:letters]}*", *contexts[number + 1 :])
            yield (
                f"context {number} cut to {letters} letters",
                replace(block, allowed=(*others, ("context", shorter))),
            )


def _paths(path: str) -> Iterator[str]:
    parts = path.split("/")
    if parts[-1] != "*":
        yield f"{path}*"
        yield f"{path}/*"
    for number in range(len(parts)):
        if parts[number] != "*":
            yield "/".join([*parts[:number], "*"])
            yield "/".join([*parts[:number], "+", *parts[number + 1 :]])


def _narrower(block: Block) -> Iterator[tuple[str, Block | None]]:
    yield "gone", None
    for word in block.capabilities:
        if len(block.capabilities) > 1:
            kept = tuple(one for one in block.capabilities if one != word)
            yield f"no {word}", replace(block, capabilities=kept)
    for name, values in block.allowed or ():
        for value in values if len(values) > 1 else ():
            changed = tuple(
                (one, tuple(v for v in had if v != value) if one == name else had)
                for one, had in block.allowed or ()
            )
            yield f"no {name} {value[:8]}", replace(block, allowed=changed)
