"""Where the time of a push and of a pull goes, as flame graphs: docs/evidence/performance/flame-*.svg.

    python benchmarks/flames.py [--seconds SECONDS]

Ten-kilobyte dicts over the local keyring and files, warm, sampled by py-spy, which must be allowed to read another
process's memory. The widths are shares of the time; nothing is compared with anything.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.report import flame
from benchmarks.side import Side

KB = 1_000


def work(way: str, seconds: float) -> None:
    """Push or pull for so long; what py-spy samples."""
    side = Side("ours")
    side.make("dict", 10 * KB)
    side.push(20)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if way == "push":
            side.push(20)
        else:
            side.pull()


def sample(way: str, seconds: float, environment: dict[str, str], folder: Path) -> None:
    """Run it under py-spy, and draw what lies below the backend's own call."""
    out = folder / f"{way}.txt"
    spy = str(Path(sys.executable).with_name("py-spy"))
    subprocess.run(
        [
            *(spy, "record", "--function", "--format", "raw", "--rate", "500", "--output", str(out), "--"),
            *(sys.executable, __file__, "--way", way, "--seconds", str(seconds)),
        ],
        env=environment,
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    begin = "serialize_value" if way == "push" else "deserialize_value"
    stacks: Counter[tuple[str, ...]] = Counter()
    for line in out.read_text().splitlines():
        stack, _, count = line.rpartition(" ")
        frames = [shown(frame) for frame in stack.split(";")]
        at = next((at for at, frame in enumerate(frames) if frame.endswith(f"{begin} (backend)")), None)
        # What the first call imports is the cold start, which has figures of its own.
        if at is not None and "_find_and_load" not in stack:
            stacks[tuple(frames[at:])] += int(count)
    flame(f"flame-{way}", f"{way} of a dict of 10 KB, files and local keyring, warm", stacks)


def shown(frame: str) -> str:
    """``Pipeline.push (secure_xcom/core/pipeline/push_and_pull.py)`` as ``Pipeline.push (pipeline)``."""
    name, _, file = frame.rstrip(")").rpartition(" (")
    place = file.partition(":")[0].removesuffix(".py").removesuffix("/__init__")
    return f"{name} ({place.rpartition('/')[2]})" if name else frame


def main() -> None:
    """Both graphs, or, as a child, one way for some time."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--way", choices=["push", "pull"], help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.way:
        work(chosen.way, chosen.seconds)
        return
    folder = Path(tempfile.mkdtemp(prefix="secure_xcom_flames_"))
    try:
        key, store = (folder / "keyring.json").as_uri().replace("file:", "local:"), (folder / "store").as_uri()
        environment = {
            **os.environ,
            "AIRFLOW_HOME": str(folder / "airflow"),
            "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR",
            "AIRFLOW__SECURE_XCOM__KEY_URIS": key,
            "AIRFLOW__SECURE_XCOM__STORE_URI": store,
        }
        command = [str(Path(sys.executable).with_name("secure-xcom")), "init", "--key", key, "--store", store]
        subprocess.run(command, env=environment, check=True, capture_output=True)
        for way in ("push", "pull"):
            sample(way, chosen.seconds, environment, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
