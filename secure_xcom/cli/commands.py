"""The commands of ``secure-xcom``, and the error handling that they share."""

from __future__ import annotations

import os
import sys
import traceback
from typing import Annotated, Any

import typer

from secure_xcom.cli import audit as audit_commands
from secure_xcom.cli import check, completion, declare, doctor, explain, inspect_reference, open_xcom, output
from secure_xcom.cli import claims as claims_commands
from secure_xcom.cli import demo as demo_command
from secure_xcom.cli import init as init_command
from secure_xcom.cli import policy as policy_commands
from secure_xcom.cli import reveal as reveal_command
from secure_xcom.cli import ui as ui_commands
from secure_xcom.cli.job_command import add_job
from secure_xcom.core.config import RELEASE
from secure_xcom.core.errors import SecureXComError
from secure_xcom.ops.jobs import job_registry, migrate_jobs

_JSON = "secure_xcom.json"
_COMPLETION_OPTIONS = ("install_completion", "show_completion")
# As a shell reports a process that a signal ended: 128 and the number of the signal.
_INTERRUPTED, _NOBODY_READS = 130, 141


class TopGroup(declare.Group):
    """Ends a command that could not run with exit code 2, and prints the error as text or as JSON."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the options, without typer's own for shell completion: `completion` replaces them."""
        return [option for option in super().get_params(ctx) if option.name not in _COMPLETION_OPTIONS]

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
            raise typer.Exit(_INTERRUPTED) from None
        except BrokenPipeError:
            # Python would try to flush standard output once more at its end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(_NOBODY_READS) from None
        except Exception as error:
            if declare.is_of_typer(error):
                raise
            # Python would end with 1, which means that something was found.
            traceback.print_exc()
            raise typer.Exit(output.COULD_NOT_RUN) from None


def _version(asked: bool) -> None:
    if asked:
        print(f"secure-xcom {RELEASE}")
        raise typer.Exit


app = typer.Typer(
    cls=TopGroup,
    no_args_is_help=True,
    # Registers what answers the shells; the options are taken away above.
    add_completion=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(
    epilog=f"{declare.EXIT_CODES}\n\n"
    "Commands that delete or rewrite rows or payloads only report by default, and act with --apply."
)
def secure_xcom(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Set up, check and operate sealed XComs for Apache Airflow."""


_START, _SET_UP, _LOOK, _MAINTAIN, _MIGRATE = (
    "Start",
    "Set up and check",
    "Look into XComs and the access log",
    "Maintain",
    "Migrate",
)

declare.add(
    app,
    "demo",
    demo_command.demo,
    "Run a demonstration on a temporary Airflow.",
    kind="reads",
    found="a check of the demonstration failed",
    examples=("secure-xcom demo", "secure-xcom demo --ui"),
    group=_START,
)
declare.add(
    app,
    "completion",
    completion.completion,
    "Print or install the completion script of a shell.",
    kind="reads",
    examples=('eval "$(secure-xcom completion bash)"', "secure-xcom completion zsh --install"),
    group=_START,
)
declare.add(
    app,
    "init",
    init_command.init,
    "Create a keyring and a store, test both, and print the settings.",
    kind="sets up",
    found="there are warnings; with --dry-run also: something would be created or changed",
    examples=(
        "secure-xcom init --key local:///opt/airflow/keys/keyring.json --store file:///opt/airflow/sealed",
        "secure-xcom init --vault --dry-run --key vault://vault_xcom/transit/keys/xcom --store file:///opt/sealed",
    ),
    group=_SET_UP,
)
declare.add(
    app,
    "check",
    check.check,
    "Check the deployment from this machine.",
    kind="reads",
    found="there are warnings or errors",
    examples=("secure-xcom check", "secure-xcom check --dag orders --json"),
    group=_SET_UP,
)
add_job(app, job_registry.DOCTOR, doctor.show, kind="repairs", group=_SET_UP)
app.add_typer(policy_commands.app, name="policy", rich_help_panel=_SET_UP)
declare.add(
    app,
    "explain",
    explain.explain,
    "Explain an error, or list all of them.",
    kind="reads",
    examples=("secure-xcom explain HeadTampered", "secure-xcom explain SXC-KeyServiceDenied --json"),
    group=_SET_UP,
)
declare.add(
    app,
    "inspect",
    inspect_reference.inspect,
    "Show the content of a reference without any key.",
    kind="reads",
    found="the value is not a reference, cannot be parsed, or belongs to another row",
    examples=(
        "secure-xcom inspect orders/manual__2026-01-01T00:00:00+00:00/extract:return_value",
        "secure-xcom inspect reference.json",
    ),
    group=_LOOK,
)
declare.add(
    app,
    "open",
    open_xcom.open_xcom,
    "Open one XCom in an emergency, with a reason.",
    kind="reads",
    found="the XCom exists but may not be opened, or fails to open",
    examples=(
        'secure-xcom open orders/manual__2026-01-01T00:00:00+00:00/extract --reason "incident 12" --out rows.json',
    ),
    group=_LOOK,
)
declare.add(
    app,
    "reveal",
    reveal_command.reveal,
    "Run the service that shows values to viewers.",
    kind="reads",
    examples=(
        "secure-xcom reveal",
        "secure-xcom reveal --host 0.0.0.0 --port 8443 --tls-certificate tls.crt --tls-key tls.key",
    ),
    group=_LOOK,
)
app.add_typer(audit_commands.app, name="audit", rich_help_panel=_LOOK)
app.add_typer(ui_commands.app, name="ui", rich_help_panel=_LOOK)
add_job(app, job_registry.GC, group=_MAINTAIN)
add_job(app, job_registry.EXPIRE, group=_MAINTAIN)
add_job(app, job_registry.REWRAP, group=_MAINTAIN)
app.add_typer(claims_commands.app, name="claims", rich_help_panel=_MAINTAIN)
add_job(app, migrate_jobs.MIGRATE, group=_MIGRATE)
add_job(app, migrate_jobs.MIGRATE_BACK, group=_MIGRATE)
