"""Show the demo: what was pushed, where it is stored, who could read it."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich import box
from rich.table import Table
from rich.text import Text

from secure_xcom.demo.attackers import forms
from secure_xcom.demo.checks import Check
from secure_xcom.demo.evidence import Evidence, XCom
from secure_xcom.ops import terminal
from secure_xcom.ops.terminal import clean

if TYPE_CHECKING:
    from rich.console import Console

# Two columns of a hexdump fit side by side.
_WIDTH = 120
_DUMPED_BYTES = 128
_SECRET, _SEALED, _GOOD, _BAD = "bold red", "cyan", "green", "bold red"


def show(evidence: Evidence, checks: list[Check], seconds: float, *, plain: bool) -> None:
    """Print everything."""
    out = _console(plain)
    if evidence.xcoms and evidence.received:
        _one_value(out, evidence)
        _all_values(out, evidence)
        _thefts(out, evidence)
        _attacks(out, evidence)
        _access_log(out, evidence)
    _checks(out, checks, seconds)


def as_json(evidence: Evidence, checks: list[Check], seconds: float, folder: Path | None) -> dict[str, Any]:
    """Return everything as JSON."""
    return {
        "held": all(check.held for check in checks),
        "seconds": round(seconds, 1),
        "claims": [{"name": check.name, "held": check.held, "detail": check.detail} for check in checks],
        "xcoms": [
            {"task": xcom.name, "row_bytes": len(xcom.row_text), "object_bytes": len(xcom.payload())}
            for xcom in evidence.xcoms
        ],
        "thefts": [
            {"has": theft.has, "tries": theft.tries, "stopped_by": theft.attempt.stopped_by}
            for theft in evidence.thefts
        ],
        "attacks": [
            {"what": attack.what, "state": attack.state, "error": attack.error} for attack in evidence.attacks
        ],
        "folder": str(folder) if folder else None,
    }


def how_to_look(folder: Path, *, plain: bool) -> None:
    """Print how to examine the kept folder."""
    out = _console(plain)
    from secure_xcom.connections.sql.airflow_tables import Schema
    from secure_xcom.ops.xcom_table import Database

    database = folder / "airflow" / "airflow.db"
    query = "SELECT task_id, map_index, key, value FROM xcom"
    with closing(Database(f"sqlite:///{database}")) as opened:
        if opened.schema is not Schema.COORDINATES:
            query = (
                "SELECT task_id, region_index, key, value FROM xcom_v2 "
                "JOIN task_instance ON task_instance.id = task_instance_id"
            )
    for what, how in (
        (
            "the rows",
            f"python -c \"import sqlite3; print(*sqlite3.connect('{database}').execute('{query}'), sep=chr(10))\"",
        ),
        ("a reference", f"secure-xcom inspect DAG/RUN/TASK --db sqlite:///{database}"),
        ("the objects", f"find {folder}/store -type f -exec hexdump -C {{}} + | less"),
        ("the logs", f"{folder}/airflow/logs  {folder}/airflow/output"),
        ("the access log", f"{folder}/audit/access-log.jsonl"),
        ("remove all", f"rm -r {folder}"),
    ):
        out.print(f"{what + ':':<16} {how}", soft_wrap=True)


def _console(plain: bool) -> Console:
    out = terminal.console(plain=plain)
    return out if out.is_terminal else terminal.console(plain=True, width=_WIDTH)


def _table(out: Console, title: str, *columns: str, ratios: tuple[int, ...] = (), lines: bool = False) -> Table:
    utf8 = out.is_terminal and (out.encoding or "").lower().startswith("utf")
    table = Table(
        title=Text(title, style="bold"),
        title_justify="left",
        box=box.ROUNDED if utf8 and not out.no_color else box.ASCII2,
        expand=True,
        show_lines=lines,
    )
    for place, column in enumerate(columns):
        table.add_column(column, overflow="fold", ratio=ratios[place] if ratios else 1)
    return table


# --- scenes -------------------------------------------------------------------------------------------------


def _one_value(out: Console, evidence: Evidence) -> None:
    xcom = evidence.xcom("get_login")
    login, payload = evidence.source.login, xcom.payload()
    table = _table(out, "\nOne value: what get_login returned, and what became of it", lines=True)
    table.show_header = False
    table.add_row(
        _cell("1. The task pushed", _pretty(login, _SECRET)),
        _cell("2. The row in Airflow's database", Text(xcom.row_text, style=_SEALED), len(xcom.row_text)),
    )
    table.add_row(
        _cell("4. The consumer got", _received(evidence)),
        _cell("3. The bytes in the store", Text(_hexdump(payload), style=_SEALED), len(payload)),
    )
    out.print(table)


def _cell(title: str, body: Text, size: int | None = None) -> Text:
    bytes_ = "" if size is None else f"  ({size} bytes)"
    return Text.assemble((title, "bold"), (bytes_, "dim"), "\n", body, overflow="fold")


def _pretty(value: dict[str, Any], style: str) -> Text:
    text = Text("{\n")
    for name, part in value.items():
        text.append(f"  {name!r}: ")
        text.append(repr(part), style=style)
        text.append(",\n")
    return text.append("}")


def _received(evidence: Evidence) -> Text:
    text = _pretty(evidence.received["login"], _SECRET)
    text.append("\nand printed; its log has:\n")
    return text.append(clean(evidence.printed), style=_GOOD)


def _hexdump(payload: bytes) -> str:
    lines = []
    for start in range(0, min(len(payload), _DUMPED_BYTES), 8):
        part = payload[start : start + 8]
        letters = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in part)
        lines.append(f"{start:06x}  {part.hex(' '):<23}  {letters}")
    if len(payload) > _DUMPED_BYTES:
        lines.append(f"... {len(payload) - _DUMPED_BYTES} more")
    return "\n".join(lines)


def _all_values(out: Console, evidence: Evidence) -> None:
    table = _table(
        out,
        "\nAll values of the run",
        "task",
        "pushed",
        "preview, for people",
        "row",
        "in the store",
        ratios=(5, 5, 10, 4, 5),
    )
    for xcom in evidence.xcoms:
        size = len(json.dumps(evidence.source.pushed(xcom.task_id, xcom.map_index)))
        table.add_row(
            xcom.name,
            f"{size:,} bytes",
            _preview(xcom),
            f"{len(xcom.row_text):,} bytes",
            f"{len(xcom.payload()):,} bytes",
        )
    out.print(table)


def _preview(xcom: XCom) -> str:
    text = json.dumps(xcom.preview)
    return clean(text if len(text) < 90 else f"{text[:86]} ...")


def _thefts(out: Console, evidence: Evidence) -> None:
    table = _table(
        out, "\nThieves, with this very package", "stolen", "tried", "came to", ratios=(3, 3, 4), lines=True
    )
    for searched in evidence.searched[:2]:
        result = (
            Text("; ".join(searched.finds), style=_BAD) if searched.finds else Text("nothing found", style=_GOOD)
        )
        table.add_row(
            searched.name, f"to find a value in any of {searched.size:,} bytes, in {len(forms(''))} forms", result
        )
    for theft in evidence.thefts:
        attempt = theft.attempt
        if attempt.error is None:
            result = Text(f"opened: {attempt.value!r}", style="yellow" if not theft.expected else _BAD)
        else:
            result = Text.assemble((attempt.stopped_by, _GOOD), f": {clean(attempt.error.what)}")
        table.add_row(theft.has, theft.tries, result)
    out.print(table)


def _attacks(out: Console, evidence: Evidence) -> None:
    table = _table(
        out,
        "\nTampering, and the task of a real run that pulled it",
        "done",
        "the task",
        "its log says",
        ratios=(5, 2, 9),
        lines=True,
    )
    for attack in evidence.attacks:
        good = (attack.error == attack.expected) and attack.state == ("failed" if attack.expected else "success")
        says = Text.assemble((attack.error, _GOOD), f": {clean(attack.message)}") if attack.error else "opened"
        table.add_row(attack.what, Text(attack.state, style=_GOOD if good else _BAD), says)
    out.print(table)


def _access_log(out: Console, evidence: Evidence) -> None:
    table = _table(
        out, "\nThe access log", "time", "action", "outcome", "the XCom", "pulled by", ratios=(3, 2, 6, 4, 4)
    )
    # The events that close a chain are of use to `audit verify` only.
    events = [event for event in evidence.access_log if event["action"] != "chain_end"]
    for event in events:
        xcom = event.get("producer") or {}
        by = event.get("consumer") or {}
        outcome = event["outcome"] if event["outcome"] == "ok" else f"{event['outcome']}: {event.get('error')}"
        table.add_row(
            event["time"][11:23],
            event["action"],
            Text(outcome, style=_GOOD if event["outcome"] == "ok" else "yellow"),
            _instance(xcom),
            _instance(by),
        )
    out.print(table)
    if events:
        out.print("The last event, as written:", style="dim")
        out.print(clean(json.dumps(events[-1])), style="dim")


def _instance(of: dict[str, Any]) -> str:
    if not of:
        return ""
    mapped = f"[{of['map_index']}]" if of["map_index"] >= 0 else ""
    return clean(f"{of['task_id']}{mapped}")


def _checks(out: Console, checks: list[Check], seconds: float) -> None:
    from secure_xcom.core.findings import Finding

    out.print("\nChecks", style="bold")
    for check in checks:
        terminal.show_finding(out, Finding(check.name, "ok" if check.held else "error", check.detail))
    failed = sum(not check.held for check in checks)
    if failed:
        out.print(f"\n{failed} of {len(checks)} checks FAILED, in {seconds:.0f} s.", style=_BAD)
    else:
        out.print(f"\nAll {len(checks)} checks passed, in {seconds:.0f} s.", style=f"bold {_GOOD}")
        out.print("What no XCom backend can stop is listed in docs/concepts/what-bypasses-xcom.md.", style="dim")
