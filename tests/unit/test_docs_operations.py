"""Every command that docs/operations.md shows is run."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from secure_xcom.cli import app
from tests.upkeep_world import Upkeep
from tests.world import coordinate

PAGE = Path(__file__).parents[2] / "docs" / "operations.md"
SHOWN = [
    line
    for block in re.findall(r"```\n(.*?)```", PAGE.read_text(), re.DOTALL)
    for line in block.splitlines()
    if line.startswith("secure-xcom ")
]


def test_the_page_shows_commands() -> None:
    """There is something to run."""
    assert len(SHOWN) >= 4


@pytest.mark.parametrize("line", dict.fromkeys(SHOWN))
def test_a_command_of_the_page_runs(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command runs as it is written and finds something or nothing; it never could not run."""
    upkeep = Upkeep(tmp_path / "one")
    upkeep.push({"a": 1}, coordinate())
    config = upkeep.folder / "airflow.cfg"
    config.write_text(
        f"[secure_xcom]\naccess_policy = {upkeep.policy_file}\naudit_sinks = file://{upkeep.folder}/log.jsonl\n"
    )
    monkeypatch.setenv("SECURE_XCOM_DB", upkeep.table.url)
    monkeypatch.setenv("AIRFLOW_HOME", str(upkeep.folder / "home"))
    monkeypatch.chdir(tmp_path)
    words = [word.replace("/etc/airflow/airflow.cfg", str(config)) for word in shlex.split(line)[1:]]
    done = CliRunner().invoke(app, [*words, *([] if "--config" in words else ["--config", str(config)])])
    assert done.exit_code in (0, 1), f"{done.output}\n{done.exception!r}"
    upkeep.close()
