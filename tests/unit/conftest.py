"""What makes the unit tests fast: commands are built once in a process, and not for each call of one."""

from __future__ import annotations

from functools import cache

from typer import testing

# Typer's runner reads the signatures of all commands anew for each call, which takes longer than most commands do.
testing._get_command = cache(testing._get_command)  # type: ignore[attr-defined]  # Typer does not export it
