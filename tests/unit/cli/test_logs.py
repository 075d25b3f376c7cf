"""What loggers say while a command runs, and where it goes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

CODE = """
import json, logging
from secure_xcom.cli import context, output
context.load(None)
logging.getLogger("botocore.credentials").warning("found some")
output.show_json({"a": 1})
"""


def test_standard_output_has_no_line_of_a_log(tmp_path: Path) -> None:
    """What Airflow's root logger writes during a command goes to standard error, and the output is JSON alone."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
    done = subprocess.run(
        [sys.executable, "-c", CODE],
        env={**environment, "AIRFLOW_HOME": str(tmp_path), "PYTHONPATH": str(Path(__file__).parents[3])},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert json.loads(done.stdout) == {"a": 1}
    assert "found some" in done.stderr
