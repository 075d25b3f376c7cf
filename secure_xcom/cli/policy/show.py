"""``secure-xcom policy show``: show the resolved access policy, or the compartment of one DAG and why."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from secure_xcom.cli import options, output

if TYPE_CHECKING:
    from secure_xcom.core.access_policy.compartment import Compartment, Reader
    from secure_xcom.core.access_policy.identities import Grant
    from secure_xcom.core.access_policy.policy import AccessPolicy


def policy_show(
    file: options.PolicyFile,
    dag: Annotated[
        str | None, typer.Option(metavar="DAG_ID", help="Show this DAG's compartment, and why.")
    ] = None,
    as_json: options.AsJson = False,
) -> None:
    """Show the compartments with defaults filled in: which DAGs push, who may pull, and each identity's rights."""
    from secure_xcom.core.access_policy.policy import AccessPolicy

    policy = AccessPolicy.load(str(file))
    if dag is not None:
        _show_dag(policy, file, dag, as_json=as_json)
        return
    record = [
        _compartment(policy, compartment, identities) for compartment, identities in _with_identities(policy)
    ]
    if as_json:
        output.show_json(
            {
                "digest": policy.digest,
                "compartments": record,
                "identities": _identities(policy),
                "open_places": _open(policy),
            }
        )
        return
    from rich.table import Table

    table = Table(
        show_lines=True, title_justify="left", title=f"{output.clean(file)}, SHA-256 {policy.digest[:16]}"
    )
    for column in ("compartment", "DAGs that push", "who may pull", "identities", "keys", "stores"):
        table.add_column(column, overflow="fold")
    for entry in record:
        table.add_row(
            entry["name"] + ("\n(default)" if entry["default"] else ""),
            "\n".join(entry["dags"]) or "(none)",
            "\n".join(["its own", *entry["readers"]]),
            "\n".join(f"{name}: {', '.join(roles)}" for name, roles in entry["identities"].items()) or "(none)",
            "\n".join(entry["key_uris"]),
            "\n".join([entry["store_uri"], *entry["routes"]]),
        )
    output.table_console().print(table)


def _with_identities(policy: AccessPolicy) -> list[tuple[Compartment, dict[str, list[str]]]]:
    from secure_xcom.ops.service_policies.grants import grants_of

    by_compartment: dict[str, dict[str, list[str]]] = {compartment.name: {} for compartment in policy.compartments}
    for identity in policy.identities:
        for grant in grants_of(policy, identity):
            by_compartment[grant.compartment].setdefault(identity.name, []).append(_grant(grant))
    return [(compartment, by_compartment[compartment.name]) for compartment in policy.compartments]


def _grant(grant: Grant) -> str:
    tasks = f" tasks {' '.join(grant.tasks)}" if grant.tasks else ""
    return grant.role + (f" of {' '.join(grant.dags)}{tasks}" if grant.dags else "")


def _reader(reader: Reader) -> str:
    """Return a reader in one line, without the fields that match everything."""
    words = [f"compartment {reader.compartment}"] if reader.compartment else []
    fields = (
        ("dags", reader.dags),
        ("tasks", reader.tasks),
        ("of_dags", reader.of_dags),
        ("of_tasks", reader.of_tasks),
    )
    words += [f"{name} {' '.join(globs)}" for name, globs in fields if globs != ("*",)]
    return ", ".join(words) or "every DAG"


def _compartment(
    policy: AccessPolicy, compartment: Compartment, identities: dict[str, list[str]]
) -> dict[str, Any]:
    return {
        "name": compartment.name,
        "default": compartment is policy.default,
        "dags": list(compartment.dags),
        "readers": [_reader(reader) for reader in compartment.readers],
        "identities": identities,
        "key_uris": list(compartment.key_uris),
        "store_uri": compartment.store_uri,
        "former_store_uris": list(compartment.former_store_uris),
        "routes": [
            f"{' '.join(['sensitive'] * bool(route.sensitive) + list(route.keys or ()))} -> {route.store_uri}"
            for route in compartment.routes
        ],
        **compartment.model_dump(
            mode="json",
            include={"retention", "max_bytes", "mask_values", "hide_return_values", "exclusive", "tasks_run_on"},
            exclude_none=True,
        ),
    }


def _identities(policy: AccessPolicy) -> list[dict[str, Any]]:
    from secure_xcom.ops.service_policies.grants import grants_of

    return [
        {
            "name": identity.name,
            "workers_of": list(identity.workers_of),
            "grants": [grant.model_dump(mode="json", by_alias=True, exclude_none=True) for grant in grants],
            **identity.model_dump(
                mode="json", include={"vault", "aws", "google", "azure", "runs_on"}, exclude_none=True
            ),
        }
        for identity in policy.identities
        for grants in [grants_of(policy, identity)]
    ]


def _open(policy: AccessPolicy) -> dict[str, Any]:
    return policy.open_places.model_dump(mode="json")


def _show_dag(policy: AccessPolicy, file: Path, dag: str, *, as_json: bool) -> None:
    from secure_xcom.core.access_policy.policy import read_bytes
    from secure_xcom.ops.service_policies.explain_compartment import why

    reason = why(policy, read_bytes(str(file)), dag, where=str(file))
    compartment, runner = reason.compartment, policy.runner(dag)
    identities = (
        {}
        if compartment is None
        else next(names for listed, names in _with_identities(policy) if listed is compartment)
    )
    record = {
        "dag": dag,
        "compartment": None if compartment is None else compartment.name,
        "why": reason.text,
        "line": reason.line,
        "later": [f"{glob} of {name}" for name, glob in reason.later],
        **({} if compartment is None else {"is": _compartment(policy, compartment, identities)}),
    }
    if as_json:
        output.show_json(record)
    else:
        screen = output.console()
        name = "no compartment: it may neither push nor pull" if compartment is None else compartment.name
        screen.print(f"{output.clean(dag)}: {name}", style="bold", soft_wrap=True)
        screen.print(f"  because {reason.text}", soft_wrap=True)
        for later in record["later"] if isinstance(record["later"], list) else ():
            screen.print(f"  {later} also matches it, but comes later", soft_wrap=True)
        if compartment is not None:
            shown = _compartment(policy, compartment, identities)
            screen.print(f"  who may pull: {'; '.join(['its own DAGs', *shown['readers']])}", soft_wrap=True)
            for identity, roles in identities.items():
                screen.print(f"  identity {identity}: {', '.join(roles)}", soft_wrap=True)
            screen.print(f"  keys: {' '.join(compartment.key_uris)}", soft_wrap=True)
            screen.print(f"  store: {compartment.store_uri}", soft_wrap=True)
            if runner is None and compartment.tasks_run_on is not None:
                words = ", ".join(f"{field} {value}" for field, value in compartment.tasks_run_on.places)
                words += ", and are refused elsewhere" if compartment.tasks_run_on.refuse_elsewhere else ""
                screen.print(f"  its tasks run on: {words}", soft_wrap=True)
        if runner is not None and runner.runs_on is not None:
            words = ", ".join(f"{field} {value}" for field, value in runner.runs_on.places)
            screen.print(f"  its tasks run on: {words}, by runs_on of identity {runner.name}", soft_wrap=True)
    raise typer.Exit(output.FOUND_SOMETHING if compartment is None else output.FINE)
