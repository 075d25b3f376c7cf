"""The releases of Airflow that this release was tested with."""

from __future__ import annotations

import re
from importlib import metadata
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from secure_xcom.ops.checks.tested_releases import TESTED, examine_release, examine_revision, untested

ROOT = Path(__file__).parents[4]


@pytest.mark.parametrize("airflow", [*(tested.airflow for tested in TESTED), "3.1.5", "3.2.1", "3.3.1"])
def test_a_tested_release_is_a_note(airflow: str) -> None:
    """A tested release, and a patch between two tested ones, give no warning."""
    (finding,) = examine_release(airflow)
    assert finding.status == "ok"
    assert airflow in finding.text


@pytest.mark.parametrize(
    "airflow", ["3.5.0", "3.3.99", "3.4.0rc1", "4.0.0", "3.0.6", "2.11.0", "3.3.2+corp.1", "our build"]
)
def test_any_other_release_is_a_warning(airflow: str) -> None:
    """A newer patch, another series, a later pre-release and a custom build are named, with the tested range."""
    (finding,) = examine_release(airflow)
    assert finding.status == "warning"
    assert finding.rule == "untested-airflow"
    assert airflow in finding.text
    assert TESTED[-1].airflow in finding.text


def test_the_revision_of_a_tested_release_is_a_note() -> None:
    """Each tested release's revision is known."""
    for tested in TESTED:
        (finding,) = examine_revision(tested.revision)
        assert finding.status == "ok"


def test_another_revision_is_a_warning() -> None:
    """An unknown revision is named; a login that may not read it is told which right it lacks."""
    (finding,) = examine_revision("abcdef012345")
    assert (finding.status, finding.rule) == ("warning", "untested-revision")
    assert "abcdef012345" in finding.text
    (finding,) = examine_revision(None)
    assert finding.status == "ok"
    assert "alembic_version" in finding.remedy


def test_doctor_is_told_of_what_is_untested_alone() -> None:
    """The installed Airflow and a known revision give doctor no finding; an unknown revision gives one."""
    assert list(untested(TESTED[-1].revision)) == []
    assert list(untested(None)) == []
    assert [finding.rule for finding in untested("abcdef012345")] == ["untested-revision"]


def test_each_environment_has_its_release() -> None:
    """Each requirements file pins the Airflow that the list says, and each is allowed by pyproject.toml."""
    allowed = next(
        SpecifierSet(line.partition("apache-airflow")[2])
        for line in metadata.requires("secure-xcom") or ()
        if re.match(r"apache-airflow[<>=]", line)
    )
    for tested in TESTED:
        pins = (ROOT / "requirements" / f"{tested.requirements}.txt").read_text(encoding="utf-8")
        assert f"\napache-airflow-core=={tested.airflow} " in pins
        assert allowed.contains(tested.airflow, prereleases=True)
    versions = [Version(tested.airflow) for tested in TESTED]
    assert versions == sorted(versions)


def test_the_revisions_are_airflows_own() -> None:
    """The installed Airflow names the same revision for each release that it knows."""
    heads = pytest.importorskip("airflow.utils.db")._REVISION_HEADS_MAP
    known = {Version(name): revision for name, revision in heads.items()}
    installed = Version(metadata.version("apache-airflow-core"))
    for tested in TESTED:
        version = Version(Version(tested.airflow).base_version)
        if version <= Version(installed.base_version):
            newest = max(name for name in known if name <= version)
            assert known[newest] == tested.revision
