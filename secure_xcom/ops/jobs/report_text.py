"""Parts of what reports say: a few examples of many, and sizes."""

from __future__ import annotations

from collections.abc import Sequence

EXAMPLES = 20
"""How many examples of each kind a report names by default."""


def add_example(examples: list[str], text: str, limit: int = EXAMPLES) -> None:
    """Add an example unless the limit is reached."""
    if len(examples) < limit:
        examples.append(text)


def example_lines(names: Sequence[str], count: int, *, title: str = "") -> list[str]:
    """Return the examples as indented lines below a title, and how many more there are."""
    if not names:
        return []
    more = [f"  ... and {count - len(names)} more"] if count > len(names) else []
    return [*([title] if title else []), *(f"  {name}" for name in names), *more]


def bytes_text(size: int) -> str:
    """Return a size for people."""
    number: float = size
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if number < 1024:
            return f"{number:.0f} {unit}" if unit == "bytes" else f"{number:.1f} {unit}"
        number /= 1024
    return f"{number:.1f} TiB"
