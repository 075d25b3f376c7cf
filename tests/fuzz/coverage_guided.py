"""Coverage-guided fuzzing by atheris: ``make fuzz-coverage FUZZ_SECONDS=3600``.

    python -m tests.fuzz.coverage_guided [--seconds N] [--only NAME] [--into FOLDER]

One harness after the other, each in a process of its own. ``FOLDER/NAME/corpus`` keeps every input that reached
something new, so the next run goes on from there; a finding is kept beside it, and ends the run with an error.
A finding is repeated by ``python -m tests.fuzz.coverage_guided --only NAME --repeat FILE``.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import re
import subprocess
import sys
from dataclasses import asdict, dataclass
from hashlib import sha1
from pathlib import Path

from tests.fuzz import scratch
from tests.fuzz.harness import WEIGHTS, inputs, load

MEMORY_MIB = 2048
"""Of a whole process, libraries and coverage counters included; one input is limited by its harness."""
HANG_SECONDS = 60
"""On the clock, so a busy machine has room; CPU time is limited by the harness."""

_EXECUTIONS = re.compile(r"stat::number_of_executed_units: (\d+)|^Done (\d+) runs", re.MULTILINE)
_EDGES = re.compile(r"\bcov: (\d+)")


def shares(seconds: float, names: list[str]) -> dict[str, int]:
    """Return the seconds of each harness, at least one."""
    total = sum(WEIGHTS[name] for name in names)
    return {name: max(1, round(seconds * WEIGHTS[name] / total)) for name in names}


def fuzz(name: str, seconds: int, folder: Path) -> None:
    """Fuzz one harness in this process, which atheris ends."""
    import atheris

    # A refused key is logged before the next one is asked, thousands of times a second.
    logging.disable(logging.CRITICAL)
    with atheris.instrument_imports(include=["secure_xcom"]):
        harness = load(name)
        stored = list(inputs(name, harness))
        # What is imported late is instrumented as well.
        for data in stored:
            harness.check(data)
    corpus = folder / name / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    for data in stored:
        (corpus / sha1(data, usedforsecurity=False).hexdigest()).write_bytes(data)
    words = folder / name / "words"
    words.write_text("".join(f"{_quoted(word)}\n" for word in harness.words))
    arguments = [
        "fuzz",
        f"-max_total_time={seconds}",
        f"-timeout={HANG_SECONDS}",
        f"-rss_limit_mb={MEMORY_MIB}",
        f"-max_len={harness.longest}",
        f"-dict={words}",
        f"-artifact_prefix={folder / name}/",
        "-print_final_stats=1",
        str(corpus),
    ]
    atheris.Setup(arguments, harness.check)
    atheris.Fuzz()


def _quoted(word: str) -> str:
    """Return a word as libFuzzer's dictionaries have it."""
    letters = (
        chr(byte) if 32 <= byte < 127 and byte not in b'"\\' else f"\\x{byte:02X}" for byte in word.encode()
    )
    return f'"{"".join(letters)}"'


@dataclass(frozen=True)
class Result:
    """What became of one harness: ``ended`` is the exit code, ``findings`` are names of files."""

    harness: str
    seconds: int
    executions: int
    edges: int
    ended: int
    findings: list[str]


def run(name: str, seconds: int, folder: Path) -> Result:
    """Fuzz one harness in a process of its own, and return what became of it."""
    command = [sys.executable, "-m", "tests.fuzz.coverage_guided", "--here", name]
    command += ["--seconds", str(seconds), "--into", str(folder)]
    folder.mkdir(parents=True, exist_ok=True)
    output = folder / f"{name}.txt"
    before = _findings(folder / name)
    # Atheris ends its process without atexit, so the files of its harness are removed here.
    with output.open("wb") as file, scratch.temporary() as place:
        environment = {**os.environ, "TMPDIR": place}
        done = subprocess.run(command, stdout=file, stderr=subprocess.STDOUT, env=environment, check=False)
    text = output.read_text(errors="replace")
    executed = [int(first or second) for first, second in _EXECUTIONS.findall(text)]
    return Result(
        harness=name,
        seconds=seconds,
        executions=max(executed, default=0),
        edges=max(map(int, _EDGES.findall(text)), default=0),
        ended=done.returncode,
        findings=sorted(_findings(folder / name) - before),
    )


def _findings(folder: Path) -> set[str]:
    """Return the names of what libFuzzer kept: crash-…, timeout-…, oom-…."""
    return {path.name for path in folder.glob("*-*")}


def main() -> int:
    """Run the harnesses and print a line for each; the exit code is 1 where one found something."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=300, help="for all harnesses together")
    parser.add_argument("--only", action="append", choices=WEIGHTS, help="a harness; can be repeated")
    parser.add_argument("--into", type=Path, default=Path("build/fuzz"), help="corpora, output and findings")
    parser.add_argument("--repeat", type=Path, help="give this file to the harness, without fuzzing")
    parser.add_argument("--here", choices=WEIGHTS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    names = arguments.only or list(WEIGHTS)
    if arguments.here:
        fuzz(arguments.here, int(arguments.seconds), arguments.into)
        return 0
    if arguments.repeat:
        for name in names:
            load(name).check(arguments.repeat.read_bytes())
        return 0
    results = []
    for name, seconds in shares(arguments.seconds, names).items():
        result = run(name, seconds, arguments.into)
        results.append(result)
        reached = f"{result.executions} executions in {seconds} s, {result.edges} edges"
        print(f"{name}: {reached}, findings: {len(result.findings) or 'none'}", flush=True)
    (arguments.into / "results.json").write_text(json.dumps([asdict(one) for one in results], indent=1) + "\n")
    failed = [result.harness for result in results if result.ended]
    if failed:
        print(f"see {arguments.into} for what failed: {', '.join(failed)}", file=sys.stderr)
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
