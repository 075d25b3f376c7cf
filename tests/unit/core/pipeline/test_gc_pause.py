"""Python's search for garbage while values are on their way."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator

import pytest

from secure_xcom.core.pipeline.gc_pause import pause_gc


@pytest.fixture(autouse=True)
def _searching() -> Iterator[None]:
    """Whatever a test leaves, the next one begins with the search on."""
    gc.enable()
    yield
    gc.enable()


def test_the_search_is_off_within_the_block_alone() -> None:
    """It is off within the block, and on again behind it, also where the block fails."""
    with pause_gc():
        assert not gc.isenabled()
    assert gc.isenabled()
    with pytest.raises(LookupError), pause_gc():
        raise LookupError
    assert gc.isenabled()


def test_who_switched_it_off_keeps_it_off() -> None:
    """A process that looks for no garbage at all goes on to look for none."""
    gc.disable()
    with pause_gc():
        assert not gc.isenabled()
    assert not gc.isenabled()


def test_the_first_of_several_ends_it() -> None:
    """Of two blocks that overlap, the first to end lets the search go on, so that it never stays off for long."""
    first, second = pause_gc(), pause_gc()
    with first:
        second.__enter__()
    assert gc.isenabled()
    second.__exit__(None, None, None)
    assert gc.isenabled()


def test_a_child_that_is_forked_within_the_block_searches() -> None:
    """A forked child looks for garbage, since the thread that would end the block is not in it."""
    with pause_gc():
        child = os.fork()
        if not child:
            os._exit(0 if gc.isenabled() else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert not gc.isenabled()
    assert gc.isenabled()
