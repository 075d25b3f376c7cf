"""`secure-xcom explain` says what an error means, without settings."""

from __future__ import annotations

import json

from typer.testing import CliRunner

from secure_xcom.cli import app
from secure_xcom.ops.explain_error import explain, explanations
from tests.support.documented import ROOT


def test_the_documented_example_is_what_the_command_prints() -> None:
    """docs/reference/commands.md shows the real output."""
    done = CliRunner().invoke(app, ["explain", "SXC-HeadTampered"], env={"COLUMNS": "40"})
    assert done.exit_code == 0
    page = (ROOT / "docs/reference/commands.md").read_text(encoding="utf-8")
    assert f"```\n$ secure-xcom explain SXC-HeadTampered\n{done.stdout}```" in page


def test_the_list_has_each_error_on_a_line() -> None:
    """Id and sentence, in the order of the tree."""
    lines = CliRunner().invoke(app, ["explain"], env={"COLUMNS": "40"}).stdout.splitlines()
    assert [line.split(maxsplit=1) for line in lines] == [[one.id, one.what] for one in explanations()]


def test_json_has_the_same_for_one_and_for_all() -> None:
    """An object for one error, a list of such objects for all."""
    one = json.loads(CliRunner().invoke(app, ["explain", "storefull", "--json"]).stdout)
    every = json.loads(CliRunner().invoke(app, ["explain", "--json"]).stdout)
    assert one in every
    assert len(every) == len(list(explanations()))
    found = explain("StoreFull")
    assert one == {**found.record(), "kinds": list(found.kinds), "pages": list(found.pages)}


def test_an_unknown_error_ends_with_2_and_names_its_own_id() -> None:
    """As every command that cannot run: the text goes to standard error."""
    done = CliRunner().invoke(app, ["explain", "HeadTemper"])
    assert (done.exit_code, done.stdout) == (2, "")
    assert "what to do: did you mean 'HeadTampered'?" in done.stderr
    assert "more: secure-xcom explain SXC-CommandError" in done.stderr
