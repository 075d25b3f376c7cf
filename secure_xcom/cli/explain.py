"""``secure-xcom explain``: what an error means, and what to do."""

from __future__ import annotations

from typing import Annotated

import typer

from secure_xcom.cli import options, output


def explain(
    error: Annotated[
        str | None,
        typer.Argument(metavar="ERROR", help="Its id or its name, in any case; by default all are listed."),
    ] = None,
    as_json: options.AsJson = False,
) -> None:
    """Explain an error: what happened, what to do, who meets it, and where it is written up.

    Each message ends with the id of its error, such as SXC-HeadTampered. What to do is what the error advises in
    general; the message itself may name something closer. Needs no settings, no key and no network.
    """
    from secure_xcom.ops import explain_error

    out = output.console()
    if error is None:
        every = list(explain_error.explanations())
        if as_json:
            output.show_json([one.record() for one in every])
            return
        width = max(len(one.id) for one in every)
        for one in every:
            out.print(f"{one.id:<{width}}  {one.what}", soft_wrap=True)
        return
    found = explain_error.explain(error)
    if as_json:
        output.show_json(found.record())
        return
    out.print(found.id, style="bold")
    for label, text in (
        ("what happened", found.what),
        ("what to do", f"{found.remedy}."),
        ("who meets it", f"{found.met_by}."),
        ("also caught as", ", ".join(found.kinds)),
        ("written up in", ", ".join(found.pages)),
    ):
        if text:
            out.print(f"{label}: {text}", soft_wrap=True)
