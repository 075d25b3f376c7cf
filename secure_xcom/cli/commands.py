"""All commands of ``secure-xcom``, put together; and what is the same for each of them."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from secure_xcom.cli import audit as audit_commands
from secure_xcom.cli import check, inspect_reference, migrate, open_xcom, output
from secure_xcom.cli import claims as claims_commands
from secure_xcom.cli import demo as demo_command
from secure_xcom.cli import doctor as doctor_command
from secure_xcom.cli import expire as expire_command
from secure_xcom.cli import gc as gc_command
from secure_xcom.cli import init as init_command
from secure_xcom.cli import policy as policy_commands
from secure_xcom.cli import rewrap as rewrap_command
from secure_xcom.cli import ui as ui_commands
from secure_xcom.core.config import RELEASE
from secure_xcom.core.errors import SecureXComError

_JSON = "secure_xcom.json"


class Group(TyperGroup):
    """Ends a command that could not run with our exit code, and says why in the form that was asked for."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        # An error may come before the command has read its own options.
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
    """Sealed XComs for Apache Airflow: set up, check, look at.

    Exit codes: 0 fine, 1 found something, 2 could not run.
    """


app.command("demo", short_help="The whole way of a value, on a throwaway Airflow.")(demo_command.demo)
app.command("init", short_help="Make a keyring and a folder, try both, print the settings.")(init_command.init)
app.command("check", short_help="Check the deployment, as seen from this machine.")(check.check)
app.command("inspect")(inspect_reference.inspect)
app.command("open", short_help="Open one XCom in an emergency, with a reason.")(open_xcom.open_xcom)
app.command("gc", short_help="Payloads without a row, and rows without a payload.")(gc_command.gc)
app.command("seal-existing", short_help="Seal what is there in plaintext.")(migrate.seal_existing)
app.command("unseal-all", short_help="The way back, for leaving the product.")(migrate.unseal_all)
app.command("doctor", short_help="What is ill, and what to do about it.")(doctor_command.doctor)
app.command("expire", short_help="XComs whose time is over.")(expire_command.expire)
app.command("rewrap", short_help="Wraps to the newest version of their key, or to another key.")(
    rewrap_command.rewrap
)
app.add_typer(claims_commands.app, name="claims")
app.add_typer(policy_commands.app, name="policy")
app.add_typer(audit_commands.app, name="audit")
app.add_typer(ui_commands.app, name="ui")
