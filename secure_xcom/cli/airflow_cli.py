"""``airflow secure-xcom ...``: the same command, reached from Airflow's own.

Airflow (3.2 and later) imports this module for every ``airflow`` command, so the command itself is imported
only when it is called.
"""

from __future__ import annotations

import argparse

from airflow.cli.cli_config import ActionCommand, Arg, CLICommand


class _Rest(Arg):
    """Takes all arguments after ``secure-xcom`` unparsed: ``--help`` and ``--json`` belong to the command."""

    def add_to_parser(self, parser: argparse.ArgumentParser) -> None:
        # argparse starts a remainder at the first argument that is not an option. If nothing looks like an option,
        # the remainder is everything.
        parser.prefix_chars = ""
        super().add_to_parser(parser)


def get_secure_xcom_cli_commands() -> list[CLICommand]:
    """Return the command that Airflow adds to its own: it passes its arguments on."""
    rest = _Rest(  # type: ignore[no-untyped-call]  # Airflow's constructor has no types
        flags=("arguments",), nargs=argparse.REMAINDER, help="the arguments of secure-xcom"
    )
    return [
        ActionCommand(
            name="secure-xcom",
            help="Operate sealed XComs: check, inspect, open, doctor, policy, audit, rewrap and more",
            func=_run,
            args=(rest,),
        )
    ]


def _run(args: argparse.Namespace) -> None:
    from secure_xcom.cli import main, output

    output.logs_to_stderr()
    main(args.arguments, name="airflow secure-xcom")
