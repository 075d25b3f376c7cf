"""Each harness of `make fuzz-coverage` on its stored inputs, without the fuzzer, and the checks themselves."""

from __future__ import annotations

import resource
from collections.abc import Callable
from pathlib import Path

import pytest

from secure_xcom.core.errors import UriInvalid
from tests.fuzz.coverage_guided import shares
from tests.fuzz.harness import FOUND, WEIGHTS, Harness, OddText, TooMuchMemory, TooSlow, inputs, load

FOUND_MAX_BYTES = 256 << 10


@pytest.mark.parametrize("name", WEIGHTS)
def test_stored_inputs_are_read_or_refused(name: str) -> None:
    """Each seed, and each input that the fuzzer found, is read or refused with an error of our tree, in time."""
    harness = load(name)
    count = 0
    for data in inputs(name, harness):
        harness.check(data)
        count += 1
    assert count > 0


@pytest.mark.parametrize("name", WEIGHTS)
def test_empty_and_odd_inputs_are_read_or_refused(name: str) -> None:
    """Nothing at all, a byte, and bytes that are no text are inputs as well."""
    harness = load(name)
    for data in (b"", b"\x00", b"\xff\xfe", b"[" * 3000, b'\x00{"a":' * 500, b"\xf0\x9f\x98\x80" * 20):
        harness.check(data)


def test_every_parser_has_a_harness_and_a_share() -> None:
    """The table names the modules that there are; what the fuzzer found is of one of them, and is small."""
    modules = {path.stem for path in (Path(__file__).parent / "parsers").glob("*.py")} - {"__init__"}
    assert modules == set(WEIGHTS)
    assert {path.name for path in FOUND.iterdir()} <= modules
    assert sum(path.stat().st_size for path in FOUND.rglob("*") if path.is_file()) <= FOUND_MAX_BYTES
    assert shares(3600, list(WEIGHTS)).keys() == modules
    assert abs(sum(shares(3600, list(WEIGHTS)).values()) - 3600) < len(modules)


def _harness(reader: Callable[[bytes], object], *, seconds: float = 5.0, mebibytes: int = 256) -> Harness:
    return Harness((reader,), (UriInvalid,), lambda: [b""], seconds=seconds, mebibytes=mebibytes)


def _raises(error: Exception) -> Harness:
    def read(_: bytes) -> None:
        raise error

    return _harness(read)


def test_an_error_of_our_tree_is_accepted() -> None:
    """An error that the harness names is how a parser refuses."""
    _raises(UriInvalid("no", where="here")).check(b"")


def test_a_foreign_error_is_a_finding() -> None:
    """Any other error leaves the check, and ends the fuzzer."""
    with pytest.raises(KeyError):
        _raises(KeyError("x")).check(b"")


def test_a_text_of_two_lines_is_a_finding() -> None:
    """An error's text stays on its line."""
    with pytest.raises(OddText):
        _raises(UriInvalid("two\nlines")).check(b"")


def test_a_slow_parser_is_a_finding() -> None:
    """CPU time over the limit is found after the input, however slow the machine is."""
    with pytest.raises(TooSlow):
        _harness(lambda data: sum(range(400_000)), seconds=0.0001).check(b"")


def test_a_parser_that_takes_memory_is_a_finding() -> None:
    """Memory over the limit is found, also where it was given back."""
    # proc(5): the second number is how many pages are resident. What this process had before does not count.
    resident = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    over = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - resident + (64 << 20)
    with pytest.raises(TooMuchMemory):
        _harness(lambda data: len(bytearray(b"x") * over), mebibytes=32).check(b"")
