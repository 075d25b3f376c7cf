"""Mutate the modules of modules.yaml, try each mutant with its module's own tests, and summarize.

    python -m tests.mutation.run [--modules core/seal.py ...] [--sample 300] [--seed 22] [--again]

Results are kept per module in build/mutation/*.json; `--again` tries only the mutants that survived there.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
RESULTS = ROOT / "build" / "mutation"
PACKAGE = "secure_xcom"


def modules() -> dict[str, list[str]]:
    """Return each module below the package with the tests that are to kill its mutants."""
    read: dict[str, list[str]] = yaml.safe_load((HERE / "modules.yaml").read_text())
    return read


def justified() -> dict[str, list[dict[str, str]]]:
    """Return the mutants of each module that no test can tell from the module, each with a reason."""
    read: dict[str, list[dict[str, str]]] = yaml.safe_load((HERE / "justified.yaml").read_text()) or {}
    return read


def is_justified(module: str, mutant: dict[str, Any]) -> bool:
    """Tell whether the file of justified mutants names this one, by the text of its line before and after."""
    return any(
        entry["before"] == mutant["before"] and entry["after"] == mutant["after"]
        for entry in justified().get(module, [])
    )


def sampled(module: str, mutants: list[dict[str, Any]], sample: int, seed: int) -> list[dict[str, Any]]:
    """Return at most so many mutants; the choice depends on the seed and the module, not on what else is run."""
    if len(mutants) <= sample:
        return mutants
    chosen = random.Random(f"{seed}:{module}").sample(range(len(mutants)), sample)
    return [mutants[index] for index in sorted(chosen)]


def _listed(tool: str, module: str) -> list[dict[str, Any]]:
    command = [tool, "-m", "tests.mutation.list_mutants", f"{PACKAGE}/{module}"]
    output = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return [json.loads(line) for line in output.splitlines()]


def _copy(folder: Path) -> None:
    names = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    for name in filter(None, names.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / name)


def _survivors(path: Path, mutants: list[dict[str, Any]]) -> list[dict[str, Any]]:
    earlier = json.loads(path.read_text())["mutants"] if path.exists() else []
    survived = {(one["before"], one["after"]) for one in earlier if one["outcome"] == "survived"}
    return [mutant for mutant in mutants if (mutant["before"], mutant["after"]) in survived]


def run(module: str, tests: list[str], options: argparse.Namespace) -> dict[str, Any]:
    """Try the module's mutants in a copy of the checkout, and keep the results."""
    every = _listed(options.tool, module)
    chosen = sampled(module, every, options.sample, options.seed)
    path = RESULTS / (module.replace("/", ".") + ".json")
    tried = _survivors(path, every) if options.again else chosen
    asked = {"module": f"{PACKAGE}/{module}", "tests": tests, "mutants": tried}
    with tempfile.TemporaryDirectory(prefix="mutation-") as folder:
        copy, temporary = Path(folder) / "copy", Path(folder) / "tmp"
        copy.mkdir()
        temporary.mkdir()
        _copy(copy)
        # A file, so that the results so far can be looked at.
        output = path.with_suffix(".jsonl")
        with output.open("w") as stream:
            done = subprocess.run(
                [sys.executable, "-m", "tests.mutation.try_mutants"],
                cwd=copy,
                env={**os.environ, "TMPDIR": str(temporary), "PYTHONPATH": str(copy)},
                input=json.dumps(asked),
                stdout=stream,
                stderr=subprocess.PIPE,
                text=True,
                check=False,
            )
    if done.returncode:
        raise SystemExit(f"{module}: {done.stderr[-3000:]}")
    unchanged, *results = [json.loads(line) for line in output.read_text().splitlines()]
    if options.again:
        earlier = json.loads(path.read_text())
        fresh = {(one["before"], one["after"]): one for one in results}
        results = [fresh.get((one["before"], one["after"]), one) for one in earlier["mutants"]]
    summary = {
        "module": module,
        "tests": tests,
        "date": dt.datetime.now(dt.timezone.utc).date().isoformat(),
        "seed": options.seed,
        "all": len(every),
        "unchanged": unchanged,
        "mutants": results,
    }
    path.write_text(json.dumps(summary, indent=1))
    return summary


def row(summary: dict[str, Any]) -> dict[str, Any]:
    """Return the figures of a module: what survives and is justified counts neither for nor against its tests."""
    outcomes = [
        "justified" if one["outcome"] == "survived" and is_justified(summary["module"], one) else one["outcome"]
        for one in summary["mutants"]
    ]
    excused, survived = outcomes.count("justified"), outcomes.count("survived")
    counted = len(outcomes) - excused
    return {
        "module": summary["module"],
        "all": summary["all"],
        "tried": len(outcomes),
        "killed": counted - survived,
        "survived": survived,
        "justified": excused,
        "score": round(100 * (counted - survived) / counted, 1) if counted else 100.0,
    }


def _print(summary: dict[str, Any]) -> None:
    figures = row(summary)
    print("{module}: {tried} of {all} tried, {killed} killed, {survived} survived, {justified} justified, "
          "score {score}".format(**figures), flush=True)  # fmt: skip
    for one in summary["mutants"]:
        if one["outcome"] == "survived" and not is_justified(summary["module"], one):
            print(f"  {one['line']}: {one['before']}\n     -> {one['after']}  [{one['operator']}]", flush=True)


def main() -> None:
    """Run what the arguments name."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--modules", nargs="*", default=[], help="default: all of modules.yaml")
    parser.add_argument("--sample", type=int, default=300, help="at most so many mutants per module")
    parser.add_argument("--seed", type=int, default=22)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--again", action="store_true", help="only what survived the last time")
    parser.add_argument("--tool", default=".venv-mutation/bin/python", help="the Python that has cosmic-ray")
    options = parser.parse_args()
    known = modules()
    if unknown := [name for name in options.modules if name not in known]:
        parser.error(f"not in {HERE.name}/modules.yaml: {', '.join(unknown)}")
    RESULTS.mkdir(parents=True, exist_ok=True)
    chosen = options.modules or list(known)
    with ThreadPoolExecutor(options.jobs) as pool:
        summaries = []
        for summary in pool.map(lambda name: run(name, known[name], options), chosen):
            _print(summary)
            summaries.append(row(summary))
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(f"{(usage.ru_utime + usage.ru_stime) / 3600:.2f} processor hours")
    (RESULTS / "summary.json").write_text(json.dumps(summaries, indent=1))
    if any(figures["survived"] for figures in summaries):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
