"""What a harness of one parser is, and the check of one input, by `make test` and by `make fuzz-coverage`."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

# The names only: what a harness imports is to be instrumented, so `load` imports it when it is wanted.
WEIGHTS = {
    "references": 6,
    "pulls": 8,
    "claims": 6,
    "events": 8,
    "service_logs": 4,
    "checkpoints": 6,
    "access_policies": 8,
    "hcl": 4,
    "json_policies": 4,
    "arrow_bodies": 10,
    "key_files": 3,
    "uris": 5,
}
"""Each harness, by the name of its module in `tests.fuzz.parsers`, and its share of the time: by what a hostile
input could reach, and how much code of ours reads it."""

FOUND = Path(__file__).parent / "found"
"""Inputs that the fuzzer found, in a folder for each harness."""

_KIB_OF_MIB = 1024


class TooSlow(AssertionError):
    """One input took more CPU time than its harness allows."""


class TooMuchMemory(AssertionError):
    """One input took more memory than its harness allows."""


class OddText(AssertionError):
    """The text of an error is not one line that can be printed."""


@dataclass(frozen=True)
class Harness:
    """One parser, or several of one format.

    :ivar readers: each is given every input, and may raise what ``raises`` names and nothing else.
    :ivar raises: errors of our tree.
    :ivar seeds: inputs to begin with, from the stored vectors where there are some.
    :ivar words: what the format is made of, for the fuzzer's dictionary.
    :ivar seconds: the most CPU time for one input; :ivar mebibytes: the most memory.
    :ivar longest: the longest input that is tried, in bytes.
    """

    readers: tuple[Callable[[bytes], object], ...]
    raises: tuple[type[Exception], ...]
    seeds: Callable[[], Iterable[bytes]]
    words: tuple[str, ...] = ()
    seconds: float = 5.0
    mebibytes: int = 256
    longest: int = 8192

    def check(self, data: bytes) -> None:
        """Give one input to each reader.

        :raises TooSlow, TooMuchMemory, OddText: what these say. Any other error is one that the parser let out.
        """
        peak, begun = _peak(), time.process_time()
        for reader in self.readers:
            try:
                reader(data)
            except self.raises as error:
                text = str(error)
                # A task's log has a line for each event: no input may write a second one, or stop the first.
                if not text.isprintable():
                    raise OddText(ascii(text)) from error
        if (took := time.process_time() - begun) > self.seconds:
            raise TooSlow(f"{took:.1f} s of CPU time, {self.seconds} are allowed")
        if (grown := (_peak() - peak) / _KIB_OF_MIB) > self.mebibytes:
            raise TooMuchMemory(f"{grown:.0f} MiB, {self.mebibytes} are allowed")


def _peak() -> int:
    """Return the most memory that this process ever had, in KiB (getrusage(2), on Linux)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def load(name: str) -> Harness:
    """Return a harness of `WEIGHTS`."""
    harness: Harness = import_module(f"tests.fuzz.parsers.{name}").HARNESS
    return harness


def inputs(name: str, harness: Harness) -> Iterable[bytes]:
    """Yield every stored input of a harness: its seeds, and what the fuzzer found."""
    yield from harness.seeds()
    for path in sorted((FOUND / name).glob("*")):
        yield path.read_bytes()
