"""The matrix of `secure-xcom policy verify` as a table of docs/evidence/access-policy.md."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parents[2] / "docs" / "evidence" / "access-policy.md"
BEGIN, END = "<!-- matrix: written by tests/real/test_proof.py -->", "<!-- end of the matrix -->"
SERVICES = {"vault": "Vault", "s3": "bucket"}


def table(rows: Sequence[dict[str, Any]], identities: Sequence[str]) -> str:
    """What somebody is allowed, a line each; what nobody is allowed, a line for each place."""
    cells: dict[tuple[str, str, str, str], dict[str, str]] = {}
    for row in rows:
        word = "yes" if row["allowed"] else "no"
        at = (SERVICES[row["service"]], row["compartment"], row["place"], row["action"])
        cells.setdefault(at, {})[row["identity"]] = f"**{word}, unexpected**" if row["surprise"] else word
    lines = [f"| where | what | {' | '.join(identities)} |", "|---|---|" + "---|" * len(identities)]
    denied: dict[str, list[str]] = {}
    for (service, compartment, place, action), found in sorted(cells.items()):
        where = f"{service}, {compartment}, {place}".replace(", -,", ",")
        if set(found.values()) == {"no"}:
            denied.setdefault(where, []).append(action)
        else:
            lines.append(f"| {where} | {action} | {' | '.join(found.get(one, '') for one in identities)} |")
    lines += ["", "Denied to everyone who was asked:", "", "| where | what |", "|---|---|"]
    lines += [f"| {where} | {', '.join(actions)} |" for where, actions in denied.items()]
    allowed, surprises = sum(row["allowed"] for row in rows), sum(row["surprise"] for row in rows)
    lines += [
        "",
        f"{len(rows)} requests: {allowed} allowed, {len(rows) - allowed} denied, {surprises} unexpected.",
    ]
    return "\n".join(lines)


def of_the_page() -> str:
    """The table that stands in the page."""
    return PAGE.read_text().partition(BEGIN)[2].partition(END)[0].strip()


def write(text: str) -> None:
    """Put another one there."""
    before, _, rest = PAGE.read_text().partition(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}\n{text}\n{END}{rest.partition(END)[2]}")
