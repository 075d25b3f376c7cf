"""Print findings and untrusted text on a terminal, for commands and the demo."""

from __future__ import annotations

from typing import TYPE_CHECKING

from secure_xcom.core.findings import Finding

if TYPE_CHECKING:
    from rich.console import Console

STYLES = {"ok": "green", "warning": "yellow", "error": "bold red"}
_GLYPHS = {"ok": "✓", "warning": "!", "error": "✗"}
_ASCII_GLYPHS = {"ok": "+", "warning": "!", "error": "x"}


def console(*, stderr: bool = False, plain: bool = False, width: int | None = None) -> Console:
    """Return a console; rich omits color where NO_COLOR is set or the output is no terminal."""
    from rich.console import Console

    return Console(
        stderr=stderr,
        no_color=True if plain else None,
        force_terminal=False if plain else None,
        highlight=False,
        markup=False,
        emoji=False,
        width=width,
    )


def clean(text: object) -> str:
    """Return untrusted text for a terminal, with characters escaped that could move the cursor or hide text."""
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in str(text)
    )


def show_finding(out: Console, finding: Finding) -> None:
    """Print a finding on one line with a glyph for its severity, and its remedy below."""
    from rich.text import Text

    utf8 = (out.encoding or "").lower().replace("-", "").startswith("utf")
    glyph = (_GLYPHS if utf8 else _ASCII_GLYPHS)[finding.status]
    line = Text(f"{glyph} ", style=STYLES[finding.status])
    line.append(f"{clean(finding.subject)}: ", style="bold")
    line.append(clean(finding.text), style="default")
    out.print(line, soft_wrap=True)
    if finding.remedy:
        out.print(f"  what to do: {clean(finding.remedy)}", soft_wrap=True)
