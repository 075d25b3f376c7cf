"""``airflow secure-xcom ...``: the same command, reached from Airflow's own.

Airflow (3.2 and later) imports this module for every ``airflow`` command, so the command itself is imported
only when it is called.
"""

from __future__ import annotations

import argparse

from airflow.cli.cli_config import ActionCommand, Arg, CLICommand


class _Rest(Arg):
    """Everything after ``secure-xcom``, unread: ``--help`` and ``--json`` are the command's own."""

    def add_to_parser(self, parser: argparse.ArgumentParser) -> None:
        # argparse gives a remainder only what follows the first argument that is no option. Where nothing
        # looks like an option, it gives all.
        parser.prefix_chars = ""
        super().add_to_parser(parser)


def get_secure_xcom_cli_commands() -> list[CLICommand]:
    """What Airflow adds to its commands: one, which hands on its arguments."""
    rest = _Rest(  # type: ignore[no-untyped-call]  # Airflow's constructor has no types
        flags=("arguments",), nargs=argparse.REMAINDER, help="those of secure-xcom"
    )
    return [
        ActionCommand(
            name="secure-xcom",
            help="Sealed XComs: check, inspect, open, doctor, policy, audit, rewrap and more",
            func=_run,
            args=(rest,),
        )
    ]


def _run(args: argparse.Namespace) -> None:
    from secure_xcom.cli import main, output

    output.logs_to_stderr()
    main(args.arguments, name="airflow secure-xcom")
