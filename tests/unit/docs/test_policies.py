"""The pages of the access policy: the file is one, commands do what is shown, tables are those of the code."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from secure_xcom.cli import app
from tests.support import policies_page, reference_pages
from tests.support.documented import ROOT

TEXT = "".join((ROOT / "docs" / name).read_text() for name in ("how-to/add-a-team.md", "reference/lint-rules.md"))
FILE = re.search(r"```yaml\n(.*?)```", TEXT, re.DOTALL)
# A line with the command, and what it prints, where the page shows it.
SHOWN = re.findall(r"```\n\$ (secure-xcom [^\n]*)\n(.*?)```", TEXT, re.DOTALL)


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the page's file, compiled, as the working folder."""
    assert FILE
    (tmp_path / "access_policy.yaml").write_text(FILE[1])
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("VAULT_ADDR", raising=False)
    return tmp_path


def test_the_tables_are_those_of_the_code() -> None:
    """Fields and rules are those of the code: `python -m tests.support.reference_pages` writes them."""
    for page, parts in (
        (policies_page.PAGE, {"fields"}),
        (policies_page.LINT_PAGE, {"file_rules", "document_rules"}),
    ):
        text = page.read_text()
        assert reference_pages.written(text) == text
        assert parts == set(re.findall(r"<!-- begin: (\w+)", text))


@pytest.mark.parametrize(("line", "output"), SHOWN, ids=[line for line, _ in SHOWN])
def test_a_command_of_the_page_prints_what_it_shows(page: Path, line: str, output: str) -> None:
    """The command runs in the folder of the page's file, and prints what stands below it."""
    if "compiled" in line and "compile " not in line:
        made = CliRunner().invoke(app, ["policy", "compile", "access_policy.yaml", "--out", "compiled"])
        assert made.exit_code == 0
    done = CliRunner().invoke(app, shlex.split(line)[1:])
    assert done.exit_code == 0, done.output
    assert not output or done.stdout == output


def test_show_of_the_page_is_a_table(page: Path) -> None:
    """The call that the page names in a sentence works as well, and a DAG of no compartment ends with 1."""
    assert "secure-xcom policy show access_policy.yaml" in TEXT
    assert CliRunner().invoke(app, ["policy", "show", "access_policy.yaml"]).exit_code == 0
    call = ["policy", "show", "access_policy.yaml", "--dag", "elsewhere"]
    assert CliRunner().invoke(app, call).exit_code == 1


def test_there_is_something_to_run() -> None:
    """The page shows commands, and each one that it shows with a dollar is run above."""
    assert len(SHOWN) == TEXT.count("\n$ secure-xcom ") >= 4
