"""Python's search for garbage, put off while values are on their way.

A value of many parts makes Python look for cycles of garbage again and again, and every few times through all that
Airflow has imported, which takes 0.1 s. It finds nothing: what was decoded is still in use, and what reference
counts free needs no search.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager

_off = False


@contextmanager
def pause_gc() -> Iterator[None]:
    """Look for no garbage within this block.

    Of several threads, the first to be done lets Python look again: one that pulls without end keeps no other's
    garbage. Where the process looks for none anyway, nothing is changed.
    """
    global _off  # noqa: PLW0603  # one switch per process, as Python's own
    if not gc.isenabled():
        yield
        return
    _off = True
    gc.disable()
    try:
        yield
    finally:
        _off = False
        gc.enable()


def _begin_process() -> None:
    """Enable it in a child that another thread forks meanwhile, which has no thread that would end the block."""
    global _off  # noqa: PLW0603  # as above
    if _off:
        _off = False
        gc.enable()


os.register_at_fork(after_in_child=_begin_process)
