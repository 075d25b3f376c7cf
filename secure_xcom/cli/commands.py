"""The commands of ``secure-xcom``, and the error handling that they share."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from secure_xcom.cli import audit as audit_commands
from secure_xcom.cli import check, doctor, inspect_reference, open_xcom, output
from secure_xcom.cli import claims as claims_commands
from secure_xcom.cli import demo as demo_command
from secure_xcom.cli import init as init_command
from secure_xcom.cli import policy as policy_commands
from secure_xcom.cli import ui as ui_commands
from secure_xcom.cli.job_command import add_job
from secure_xcom.core.config import RELEASE
from secure_xcom.core.errors import SecureXComError
from secure_xcom.ops.jobs import migrate_jobs, registry

_JSON = "secure_xcom.json"


class Group(TyperGroup):
    """Ends a command that could not run with exit code 2, and prints the error as text or as JSON."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        # An error may be raised before the command has read its own options.
        ctx.meta.setdefault(_JSON, "--json" in args)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except SecureXComError as error:
            output.show_error(error, as_json=ctx.meta[_JSON])
            raise typer.Exit(output.COULD_NOT_RUN) from None
        except KeyboardInterrupt:
            # 128 + SIGINT, as a shell reports it.
            raise typer.Exit(130) from None


def _version(asked: bool) -> None:
    if asked:
        print(f"secure-xcom {RELEASE}")
        raise typer.Exit


app = typer.Typer(
    cls=Group,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def secure_xcom(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Set up, check and operate sealed XComs for Apache Airflow.

    Exit codes: 0 no problems, 1 problems found, 2 the command could not run.
    """


app.command("demo", short_help="Run a demonstration on a temporary Airflow.")(demo_command.demo)
app.command("init", short_help="Create a keyring and a store, test both, and print the settings.")(
    init_command.init
)
app.command("check", short_help="Check the deployment from this machine.")(check.check)
app.command("inspect")(inspect_reference.inspect)
app.command("open", short_help="Open one XCom in an emergency, with a reason.")(open_xcom.open_xcom)
add_job(app, registry.GC)
add_job(app, migrate_jobs.SEAL_EXISTING)
add_job(app, migrate_jobs.UNSEAL_ALL)
add_job(app, registry.DOCTOR, doctor.show)
add_job(app, registry.EXPIRE)
add_job(app, registry.REWRAP)
app.add_typer(claims_commands.app, name="claims")
app.add_typer(policy_commands.app, name="policy")
app.add_typer(audit_commands.app, name="audit")
app.add_typer(ui_commands.app, name="ui")
