"""identity-boundary.md: each way has somebody who refuses it and a test that is there, or is open."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[
    next(up for up, one in enumerate(Path(__file__).parents) if one.name == "tests") + 1
]
FOLDER = REPOSITORY / "docs" / "concepts"
PAGE = "".join(
    (FOLDER / name).read_text(encoding="utf-8") for name in ("identity-boundary.md", "airflow-processes.md")
)
REFUSERS = {
    "scheduler", "Airflow", "broker", "Kubernetes", "Vault", "KMS", "bucket", "our process", "policy file",
    "deployment",
}  # fmt: skip
OPEN = "**nobody (open)**"
NAMED = re.compile(r"`(test_\w+\.py)::(\w+)`")


def _rows() -> Iterator[dict[str, str]]:
    """Each row of the tables that say who refuses something, by its columns' names."""
    columns: list[str] = []
    for line in PAGE.splitlines():
        if not line.startswith("|"):
            columns = []
            continue
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not columns:
            columns = cells
        elif "refused by" in columns and set(line) - set("|- "):
            yield dict(zip(columns, cells, strict=True))


ROWS = list(_rows())


@cache
def _tests_of(file: str) -> frozenset[str]:
    """The tests in all files of this name below tests/, wherever they lie."""
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in (REPOSITORY / "tests").rglob(file)]
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return frozenset(
        node.name
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, kinds) and node.name.startswith("test_")
    )


@pytest.mark.parametrize("row", ROWS, ids=lambda row: next(iter(row.values()))[:50])
def test_a_row_names_who_refuses_or_says_that_it_is_open(row: dict[str, str]) -> None:
    """Refusers are of a closed list; what one of them refuses is tested, or is Airflow's own default."""
    refusers = row["refused by"]
    if refusers == OPEN:
        return
    assert set(refusers.split(", ")) <= REFUSERS
    assert NAMED.search(row["test"]) or refusers == "Airflow"


def test_every_test_that_is_named_is_there() -> None:
    """By its file's name and its own; nothing else looks like a test's name."""
    named = NAMED.findall(PAGE)
    assert [f"{file}::{name}" for file, name in named if name not in _tests_of(file)] == []
    assert len(named) == PAGE.count("`test_")
    assert len(named) > 60


def test_the_names_of_refusers_are_explained() -> None:
    """The first table lists those that the others use, and no other."""
    table = PAGE.split("| name | what it is |")[1].split("\n\n")[0]
    said = {name for cell in re.findall(r"^\| ([^|]+) \|", table, re.MULTILINE) for name in cell.split(", ")}
    assert said == REFUSERS
    used = {name for row in ROWS if row["refused by"] != OPEN for name in row["refused by"].split(", ")}
    assert used == REFUSERS


def test_each_of_airflows_processes_has_a_row() -> None:
    """Those that run or hold what is of every team, with what they have."""
    processes = {row["process"].partition(",")[0] for row in ROWS if "process" in row}
    assert processes >= {"DAG processor", "triggerer", "API server", "scheduler", "worker of a team"}
    assert all(row["has"] for row in ROWS if "process" in row)
