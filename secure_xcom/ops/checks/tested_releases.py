"""The Airflow releases and database revisions that this release was tested with, and findings outside of them.

The table in docs/evidence/pythons-and-airflows.md and the environments of ``make matrix`` are made from this list.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from itertools import chain

from packaging.version import InvalidVersion, Version

from secure_xcom.core.config import RELEASE
from secure_xcom.core.findings import Finding

_SUBJECT = "Airflow's release"


@dataclass(frozen=True, slots=True)
class TestedRelease:
    """A release of Airflow that the tests run on.

    :ivar airflow: the version of ``apache-airflow-core``.
    :ivar revision: the revision of the metadata database that its ``airflow db migrate`` ends at
        (``_REVISION_HEADS_MAP`` in ``airflow/utils/db.py``).
    :ivar requirements: the file in ``requirements/`` that its environment is made from.
    :ivar python: the lowest Python that this release of Airflow runs on.
    :ivar newest_python: the highest one.
    """

    airflow: str
    revision: str
    requirements: str
    python: str = "3.10"
    newest_python: str = "3.14"

    @property
    def series(self) -> tuple[int, ...]:
        """The major and minor number."""
        return Version(self.airflow).release[:2]


TESTED = (
    TestedRelease("3.1.0", "cc92b33c6709", "airflow31", newest_python="3.13"),
    TestedRelease("3.1.8", "509b94a1042d", "airflow318", newest_python="3.13"),
    TestedRelease("3.2.0", "1d6611b6ab7c", "airflow320"),
    TestedRelease("3.2.2", "1d6611b6ab7c", "airflow322"),
    TestedRelease("3.3.0", "d2f4e1b3c5a7", "airflow330"),
    TestedRelease("3.3.2", "d2f4e1b3c5a7", "dev"),
    TestedRelease("3.4.0b2", "9cffe90fa0c0", "airflow34", python="3.11"),
)
"""In ascending order: the oldest and the newest patch of each series, and the newest pre-release."""


def examine_release(airflow: str) -> Iterator[Finding]:
    """Compare the installed Airflow with those that this release was tested with.

    A patch between the oldest and the newest tested of its series counts as tested.

    :param airflow: the version of ``apache-airflow-core``.
    """
    try:
        version = Version(airflow)
    except InvalidVersion:
        # A custom build can have any name.
        yield _untested(f"Airflow {airflow!r:.60} is a custom build", "")
        return
    series = [tested for tested in TESTED if tested.series == version.release[:2]]
    if not series:
        yield _untested(f"Airflow {airflow}", "")
    elif version > Version(series[-1].airflow):
        yield _untested(f"Airflow {airflow}", f", only with {series[-1].airflow} of its series")
    elif version < Version(series[0].airflow):
        yield _untested(f"Airflow {airflow} is older than {series[0].airflow}, and it", "")
    else:
        span = f"{TESTED[0].airflow} to {TESTED[-1].airflow}"
        yield Finding(_SUBJECT, "ok", f"Airflow {airflow}; secure-xcom {RELEASE} was tested with {span}")


def examine_revision(revision: str | None) -> Iterator[Finding]:
    """Compare the metadata database's revision with those that this release was tested with.

    :param revision: that of the table ``alembic_version``; None where this login may not read it.
    """
    subject = "Airflow's metadata database"
    if revision is None:
        yield Finding(
            subject,
            "ok",
            "its revision is not known: this login may not read the table alembic_version",
            "grant SELECT on alembic_version, to be warned of an Airflow that this release was not tested with",
        )
        return
    airflow = [tested.airflow for tested in TESTED if tested.revision == revision]
    if airflow:
        yield Finding(subject, "ok", f"revision {revision}, that of Airflow {airflow[-1]}")
        return
    known = ", ".join(dict.fromkeys(f"{tested.revision} ({tested.airflow})" for tested in TESTED))
    yield Finding(
        subject,
        "warning",
        f"revision {revision!r:.60} is none of those that secure-xcom {RELEASE} was tested with: {known}",
        "run maintenance with --dry-run or without --apply first and compare its report with the rows; upgrade "
        "secure-xcom once a release names this revision",
        rule="untested-revision",
    )


def untested(revision: str | None) -> Iterator[Finding]:
    """Find an Airflow, or a revision of its database, that this release was not tested with, for ``doctor``.

    :param revision: as for `examine_revision`. Airflow itself need not be installed where doctor runs.
    """
    try:
        installed = [metadata.version("apache-airflow-core")]
    except metadata.PackageNotFoundError:
        installed = []
    findings = chain(*map(examine_release, installed), examine_revision(revision))
    yield from (finding for finding in findings if finding.status != "ok")


def _untested(subject: str, but: str) -> Finding:
    newest = TESTED[-1].airflow
    return Finding(
        _SUBJECT,
        "warning",
        f"{subject} was not tested with secure-xcom {RELEASE}{but} (tested: {TESTED[0].airflow} to {newest}, "
        "see docs/evidence/pythons-and-airflows.md)",
        "upgrade secure-xcom if a newer release names it; otherwise try your DAGs on a copy of this deployment",
        rule="untested-airflow",
    )
