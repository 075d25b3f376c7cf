"""`secure-xcom policy`: what the command prints, writes and ends with."""

from __future__ import annotations

import json
from pathlib import Path

from typer.testing import CliRunner

from secure_xcom.cli import app

EXAMPLE = Path(__file__).parents[2] / "ops" / "service_policies" / "compiled_policy.yaml"


def test_compile_writes_the_files_and_says_what_changed(tmp_path: Path) -> None:
    """The first run writes all files, the second one none; both end with 0."""
    call = ["policy", "compile", str(EXAMPLE), "--out", str(tmp_path / "out"), "--json"]
    first, second = CliRunner().invoke(app, call), CliRunner().invoke(app, call)
    assert (first.exit_code, second.exit_code) == (0, 0)
    record = json.loads(first.stdout)
    assert record["changed"] == record["files"]
    assert (tmp_path / "out/vault/policies/secure-xcom-finance-worker.hcl").exists()
    assert json.loads(second.stdout)["changed"] == []


def test_compile_ends_with_1_where_a_grant_had_to_be_widened(tmp_path: Path) -> None:
    """A glob that services cannot hold is said, until the ids that it stands for are named."""
    policy = tmp_path / "policy.yaml"
    policy.write_text(EXAMPLE.read_text().replace("of_dags: [fin_daily]", 'of_dags: ["fin_d*"]'))
    call = ["policy", "compile", str(policy), "--out", str(tmp_path / "out")]
    wide = CliRunner().invoke(app, call)
    assert wide.exit_code == 1
    assert "became the whole compartment" in wide.output
    assert CliRunner().invoke(app, [*call, "--dag", "fin_daily"]).exit_code == 0


def test_compile_refuses_a_policy_that_is_wrong(tmp_path: Path) -> None:
    """A file with a mistake writes nothing and ends with 2."""
    policy = tmp_path / "policy.yaml"
    policy.write_text("version: 2\n")
    result = CliRunner().invoke(app, ["policy", "compile", str(policy), "--out", str(tmp_path / "out")])
    assert result.exit_code == 2
    assert not (tmp_path / "out").exists()
