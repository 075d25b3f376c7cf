"""docs/how-to/for-dag-authors.md: its DAGs run with its commands and its test, as a CI job would run them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.documented import ROOT, blocks

pytestmark = pytest.mark.xdist_group("e2e-in-process")

PAGE = ROOT / "docs" / "how-to" / "for-dag-authors.md"


def test_the_examples_run_as_a_ci_job_runs_them(tmp_path: Path) -> None:
    """The page's files and commands, and nothing else: both DAGs succeed, and secrets are masked."""
    for name in ("dags", "tests"):
        (tmp_path / name).mkdir()
    for code in blocks(PAGE, "python"):
        # Each file of the page says its own name in its first line.
        (tmp_path / code.partition("\n")[0].removeprefix("# ")).write_text(code)
    commands, with_policy = blocks(PAGE, "sh")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "SECURE_XCOM"))}

    def typed(text: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-e", "-c", text.replace("pytest tests", "pytest -p no:cacheprovider -s tests")],
            cwd=tmp_path,
            env={**kept, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=1800,
        )

    done = typed(commands)
    assert done.returncode == 0, done.stdout[-3000:]
    assert "1 passed" in done.stdout
    assert "logging in with {'user': 'ada', 'password': '***'}" in done.stdout
    (log,) = (tmp_path / ".airflow").rglob("access-log.jsonl")
    events = [json.loads(line) for line in log.read_text().splitlines()]
    pulls = {
        (event["producer"]["task_id"], event["consumer"]["dag_id"])
        for event in events
        if event["action"] == "pull"
    }
    assert {("one_time_token", "orders"), ("extract", "orders"), ("extract", "reports")} <= pulls
    assert {event["outcome"] for event in events} == {"ok"}
    settings = "".join(line for line in commands.splitlines(keepends=True) if line.startswith("export "))
    allowed = typed(settings + with_policy)
    assert allowed.returncode == 0, allowed.stdout[-3000:]
    without = "".join(line for line in with_policy.splitlines(keepends=True) if "readers:" not in line)
    refused = typed(settings + without)
    assert refused.returncode == 1, refused.stdout[-3000:]
    assert "AccessRefused" in refused.stdout
