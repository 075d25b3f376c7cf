"""The configuration of mutation testing, and its figures; the mutants themselves are for `make mutation`."""

from __future__ import annotations

from pathlib import Path

from tests.mutation.run import justified, modules, row, sampled

ROOT = Path(__file__).parents[3]


def test_every_module_and_its_tests_exist() -> None:
    """A module or a file of tests that was renamed is noticed here and not in a run of hours."""
    named = [f"secure_xcom/{module}" for module in modules()]
    named += [test for tests in modules().values() for test in tests]
    assert [name for name in named if not (ROOT / name).is_file()] == []


def test_every_justified_mutant_is_of_a_line_that_exists() -> None:
    """A reason goes with the line that it was given for: once the line changes, the mutant is tried again."""
    lost = [
        (module, entry["before"])
        for module, entries in justified().items()
        for entry in entries
        if entry["before"] not in map(str.strip, (ROOT / "secure_xcom" / module).read_text().splitlines())
    ]
    assert lost == []
    assert all(entry["reason"] for entries in justified().values() for entry in entries)
    assert set(justified()) <= set(modules())


def test_a_sample_depends_on_seed_and_module_alone() -> None:
    """The same seed tries the same mutants of a module, whatever else is run, and no more than asked for."""
    mutants = [{"line": number} for number in range(100)]
    first = sampled("core/seal.py", mutants, 10, 22)
    assert len(first) == 10
    assert sampled("core/seal.py", mutants, 10, 22) == first
    assert sampled("core/seal.py", mutants, 10, 23) != first
    assert sampled("core/seal.py", mutants, 100, 22) == mutants


def test_what_no_test_noticed_counts_against_the_score() -> None:
    """Failed tests, time-outs and imports that fail are kills; a survivor is none."""
    outcomes = ["failed", "time-out", "error", "survived"]
    mutants = [{"before": "a", "after": str(number), "outcome": one} for number, one in enumerate(outcomes)]
    figures = row({"module": "core/seal.py", "all": 4, "mutants": mutants})
    assert (figures["killed"], figures["survived"], figures["score"]) == (3, 1, 75.0)
