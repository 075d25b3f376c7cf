"""docs/quickstart/aws-kms-and-s3.md, word by word, on moto's KMS and S3, which enforce no policies."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.support.documented import ROOT
from tests.support.servers.kms_server import kms_endpoint

PAGE = ROOT / "docs" / "quickstart" / "aws-kms-and-s3.md"


def test_the_page_leads_from_nothing_to_settings_that_work(tmp_path: Path) -> None:
    """Every command succeeds in one shell, `init` tries the key and the bucket, and `check` finds no error."""
    steps = re.findall(r"^```sh\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert len(steps) == 3
    commands = tmp_path / "bin"
    commands.mkdir()
    command = commands / "secure-xcom"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -c "from secure_xcom.cli import main; main()" "$@"\n')
    command.chmod(0o755)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "AWS", "SECURE"))}
    with kms_endpoint() as endpoint:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", "\n".join(steps)],
            cwd=tmp_path,
            env={
                **kept,
                "PATH": f"{commands}:{Path(sys.executable).parent}:{os.environ['PATH']}",
                "PYTHONPATH": str(ROOT),
                "AIRFLOW_HOME": str(tmp_path / "airflow"),
                "AWS_ACCESS_KEY_ID": "testing",
                "AWS_SECRET_ACCESS_KEY": "testing",
                "AWS_ENDPOINT_URL": endpoint,
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=200,
            check=False,
        )
    assert done.returncode in (0, 1), done.stdout[-4000:]
    assert "store_uri = s3://example-xcom/sealed" in done.stdout
    assert " error " not in done.stdout.rpartition("store_uri")[2], done.stdout[-4000:]
