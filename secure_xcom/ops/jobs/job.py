"""A maintenance job: declared once in `registry`, run by its command and by its step of the maintenance DAG."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from secure_xcom.ops.jobs.progress import Progress, silent

if TYPE_CHECKING:
    from secure_xcom.core.errors import SecureXComError
    from secure_xcom.deployment import Deployment
    from secure_xcom.ops.xcom_table import Database
    from secure_xcom.sinks.access_log import AccessLog

log = logging.getLogger(__name__)

_OPTION = "option"
APPLY = "--apply/--dry-run"
"""The flags of every job that deletes or rewrites something."""


@dataclass(frozen=True, slots=True)
class DagParam:
    """A Param of the maintenance DAG. Jobs that share one give it the same name.

    :ivar schema: its JSON schema, which Airflow checks and makes a form of.
    """

    name: str
    title: str
    description: str
    schema: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Option:
    """One option of a job.

    :ivar help: the text of the command's help; empty where the command has no such option.
    :ivar flags: the command's spelling; by default the field's name.
    :ivar former: spellings of the command that keep working and are not shown.
    :ivar param: the DAG's Param; None where the DAG runs the job with the default.
    """

    help: str
    flags: tuple[str, ...] = ()
    metavar: str | None = None
    minimum: float | None = None
    maximum: float | None = None
    former: tuple[str, ...] = ()
    param: DagParam | None = None


def option(
    default: Any,
    help: str = "",  # noqa: A002  # as typer calls it
    *flags: str,
    metavar: str | None = None,
    minimum: float | None = None,
    maximum: float | None = None,
    former: tuple[str, ...] = (),
    param: DagParam | None = None,
) -> Any:
    """Declare a field of a job's options. See `Option`; without a default (``...``) the option is required."""
    return shared(Option(help, flags, metavar, minimum, maximum, former, param), default)


def shared(declared: Option, default: Any) -> Any:
    """Return a field of a job's options for an option that is declared elsewhere."""
    metadata = {_OPTION: declared}
    return field(metadata=metadata) if default is ... else field(default=default, metadata=metadata)


def acting(help: str, *, former: tuple[str, ...] = (), param: DagParam | None = None) -> Any:  # noqa: A002  # as above
    """Declare the field that lets a job act: without it the job reports and changes nothing.

    :param help: what ``--apply`` does, without a full stop.
    :param former: the command's former spellings of ``--apply``.
    """
    return option(False, f"{help}, or only report.", APPLY, former=former, param=param)


class Report:
    """What a job reports: a base class for dataclasses."""

    @property
    def found(self) -> bool:
        """Return whether anything is left that needs attention."""
        raise NotImplementedError

    @property
    def errors(self) -> Sequence[SecureXComError]:
        """Return what failed beside the job's own work, such as sending an alarm: the step fails, the command
        ends with 2."""
        return ()

    def record(self) -> dict[str, Any]:
        """Return the report as JSON, for the command."""
        return asdict(self)  # type: ignore[call-overload,no-any-return]  # each report is a dataclass

    def step_record(self) -> dict[str, Any]:
        """Return the report as JSON, for the XCom of the DAG's step."""
        return {**self.record(), "found": self.found}

    def lines(self) -> list[str]:
        """Return the report as lines of text, for people."""
        raise NotImplementedError


@dataclass(frozen=True)
class JobContext:
    """What a job works with.

    :ivar operator: who runs it, for the access log.
    :ivar state: gives the state file of a job.
    :ivar database_url: gives the SQLAlchemy URL of Airflow's metadata database.
    """

    deployment: Deployment
    operator: str
    state: Callable[[str], Path]
    database_url: Callable[[], str]
    progress: Progress = silent

    @contextmanager
    def database(self) -> Iterator[Database]:
        """Open the metadata database.

        :raises DatabaseUnknown: this process does not know it; :raises DatabaseFailed: it cannot be opened.
        """
        from secure_xcom.ops.xcom_table import Database

        database = Database(self.database_url())
        try:
            yield database
        finally:
            database.close()

    @contextmanager
    def access_log(self) -> Iterator[AccessLog]:
        """Open the access log. Its chain is ended only where the job did not fail.

        :raises ConfigurationError: the settings cannot be used.
        """
        access_log = self.deployment.access_log
        yield access_log
        access_log.close()


Options = TypeVar("Options")


@dataclass(frozen=True)
class Job(Generic[Options]):
    """One job.

    :ivar name: the name of its step.
    :ivar summary: what it does, in one imperative sentence.
    :ivar details: the rest of the command's help.
    :ivar options: a frozen dataclass of `option` fields.
    :ivar keeps_state: whether it has a state file.
    :ivar command: the name of its command, by default that of its step; :ivar former: earlier names, which work.
    :ivar found: what exit code 1 of its command means; :ivar examples: command lines.
    :ivar idle: gives the report of the step where the deployment has nothing for it to do, else None. The command
        refuses such a deployment.
    """

    name: str
    summary: str
    details: str
    options: type[Options]
    run: Callable[[JobContext, Options], Report]
    keeps_state: bool = True
    command: str = ""
    former: tuple[str, ...] = ()
    found: str = ""
    examples: tuple[str, ...] = ()
    idle: Callable[[JobContext, Options], dict[str, Any] | None] | None = None

    def declared_options(self) -> dict[str, Option]:
        """Return the options by the name of their field."""
        return {declaration.name: declaration.metadata[_OPTION] for declaration in fields(self.options)}  # type: ignore[arg-type]  # a dataclass

    def declared_params(self) -> list[tuple[Any, DagParam]]:
        """Return the DAG's Params of this job, each with its default."""
        return [
            (declaration.default, declared.param)
            for declaration in fields(self.options)  # type: ignore[arg-type]  # a dataclass
            if (declared := declaration.metadata[_OPTION]).param is not None
        ]

    def run_step(self, context: JobContext, params: Mapping[str, Any]) -> dict[str, Any]:
        """Run the job with the DAG's Params, and return its report as JSON.

        :raises SecureXComError: the job cannot do its work, or the first error of its report.
        """
        given = {
            name: params[declared.param.name]
            for name, declared in self.declared_options().items()
            if declared.param is not None and declared.param.name in params
        }
        options = self.options(**given)
        if self.idle is not None and (record := self.idle(context, options)) is not None:
            return {**record, "found": False}
        report = self.run(context, options)
        for error in report.errors:
            log.error("%s", error)
        if report.errors:
            raise report.errors[0]
        return report.step_record()
