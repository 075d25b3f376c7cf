"""``secure-xcom explain``: what an error means, and what to do."""

from __future__ import annotations

from typing import Annotated

import typer

from secure_xcom.cli import options, output


def explain(
    error: Annotated[
        str | None,
        typer.Argument(
            metavar="ERROR",
            help="The error's id or name, in upper or lower case. Without it, all errors are listed.",
        ),
    ] = None,
    as_json: options.AsJson = False,
) -> None:
    """Explain an error: what happened, what to do, who sees it, and where it is documented.

    Each message ends with the id of its error, such as SXC-HeadTampered. The advice is general; the message
    itself may be more specific. Needs no settings, no key and no network.
    """
    from secure_xcom.ops import explain_error

    out = output.console()
    if error is None:
        every = list(explain_error.explanations())
        if as_json:
            output.show_json([entry.record() for entry in every])
            return
        width = max(len(entry.id) for entry in every)
        for entry in every:
            out.print(f"{entry.id:<{width}}  {entry.what}", soft_wrap=True)
        return
    explanation = explain_error.explain(error)
    if as_json:
        output.show_json(explanation.record())
        return
    out.print(explanation.id, style="bold")
    for label, text in (
        ("what happened", explanation.what),
        ("what to do", f"{explanation.remedy}."),
        ("who sees it", f"{explanation.met_by}."),
        ("also caught as", ", ".join(explanation.kinds)),
        ("documentation", explanation.documentation),
    ):
        if text:
            out.print(f"{label}: {text}", soft_wrap=True)
