"""Searching, following and exporting the access log."""

from __future__ import annotations

import csv
import gzip
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet
from typer.testing import CliRunner

from secure_xcom.cli import app
from secure_xcom.core.errors import UriInvalid
from secure_xcom.core.event_chain import Chain
from secure_xcom.ops.audit_trail.read import source
from secure_xcom.ops.audit_trail.search.export import COLUMNS, export
from secure_xcom.ops.audit_trail.search.follow import Followed, FollowedFile
from secure_xcom.ops.audit_trail.search.query import Matcher, Query
from secure_xcom.ops.audit_trail.search.scan import Hit, Scan
from secure_xcom.sinks.hashed_ids import IdHasher
from tests.support.access_logs import START, chain, event, text, write

IDS = st.sampled_from(["orders", "refunds", "żluťý", 'quo"te', "a\\b", "load", "*", "\u2028"])
EVENTS = st.fixed_dictionaries(
    {
        "dag": IDS,
        "task": IDS,
        "key": IDS,
        "index": st.integers(-1, 3),
        "consumer": st.one_of(st.none(), IDS),
        "action": st.sampled_from(["push", "pull", "purge"]),
        "outcome": st.sampled_from(["ok", "refused"]),
        "second": st.integers(0, 5),
    }
)
QUERIES = st.builds(
    Query,
    dag=st.one_of(st.none(), IDS),
    task=st.one_of(st.none(), IDS),
    key=st.one_of(st.none(), IDS),
    map_index=st.one_of(st.none(), st.integers(-1, 3)),
    consumer=st.one_of(st.none(), IDS),
    action=st.one_of(st.none(), st.sampled_from(["push", "pull"])),
    outcome=st.one_of(st.none(), st.sampled_from(["ok", "refused"])),
    since=st.one_of(st.none(), st.integers(0, 5).map(lambda at: text(START + timedelta(seconds=at)))),
    until=st.one_of(st.none(), st.integers(0, 5).map(lambda at: text(START + timedelta(seconds=at)))),
)


def lines_of(events: Sequence[dict[str, Any]]) -> list[bytes]:
    """Events of one chain."""
    made, found = Chain(), []
    for one in events:
        producer = {
            "dag_id": one["dag"],
            "run_id": "r",
            "task_id": one["task"],
            "map_index": one["index"],
            "key": one["key"],
        }
        consumer = one["consumer"] and {
            "dag_id": one["consumer"],
            "run_id": "r",
            "task_id": "t",
            "map_index": -1,
            "try_number": 1,
        }
        moment = START + timedelta(seconds=one["second"])
        record = event(moment, one["action"], one["outcome"], producer=producer, consumer=consumer)
        found.append(made.add(record).data)
    return found


@given(events=st.lists(EVENTS, min_size=1, max_size=60), query=QUERIES, broken=st.booleans())
def test_columns_and_single_events_are_matched_the_same(
    tmp_path_factory: pytest.TempPathFactory, events: list[dict[str, Any]], query: Query, broken: bool
) -> None:
    """What is found in blocks is what is found event by event, with a half-written line among them too."""
    path = tmp_path_factory.mktemp("search") / "access-log.jsonl"
    lines = lines_of(events)
    given_lines = (
        [*lines[: len(lines) // 2], b'{"action":"pull","cach', *lines[len(lines) // 2 :]] if broken else lines
    )
    write(path, given_lines)
    matcher = Matcher(query)
    expected = [
        at for at, line in enumerate(given_lines, 1) if line.endswith(b"}") and matcher.matches(json.loads(line))
    ]
    scan = Scan([source(path.as_uri())], query)
    hits = list(scan.hits())
    assert [hit.line for hit in hits] == expected
    assert [hit.record for hit in hits] == [json.loads(given_lines[at - 1]) for at in expected]
    assert scan.lines == len(given_lines)


def test_rare_events_are_found_among_many(tmp_path: Path) -> None:
    """One event of a task among thousands of others, in a compressed rotated file, has its place and line."""
    common = {"dag": "orders", "task": "load", "key": "k", "index": -1, "consumer": None}
    events = [{**common, "action": "push", "outcome": "ok", "second": 0} for _ in range(3000)]
    events[1234] = {**events[1234], "dag": "refunds"}
    raw = b"".join(line + b"\n" for line in lines_of(events))
    (tmp_path / "access-log.jsonl.1.gz").write_bytes(gzip.compress(raw))
    write(tmp_path / "access-log.jsonl", chain(1))
    (hit,) = Scan([source((tmp_path / "access-log.jsonl").as_uri())], Query(dag="refunds")).hits()
    assert (hit.line, hit.place) == (1235, str(tmp_path / "access-log.jsonl.1.gz"))


def test_hashed_ids_are_found_with_the_key(tmp_path: Path) -> None:
    """With the key an id is found behind its hash and in clear; without it only where it is in clear."""
    path = tmp_path / "access-log.jsonl"
    hasher = IdHasher(b"k" * 32)
    made = Chain()
    hashed = made.add(hasher.fields(event(START))).data
    write(path, [hashed, made.add(event(START)).data])
    sources = [source(path.as_uri())]
    assert b'"dag_id":"orders"' not in hashed
    query = Query(dag="orders", task="extract", key="return_value", consumer="orders")
    assert [hit.line for hit in Scan(sources, query, hasher).hits()] == [1, 2]
    assert [hit.line for hit in Scan(sources, query).hits()] == [2]
    assert Matcher(query, hasher).matches(json.loads(hashed))


def test_following_goes_across_rotations(tmp_path: Path) -> None:
    """Lines before and after a rename, half-written ones once they are whole, and a file that comes later."""
    path = tmp_path / "access-log.jsonl"
    followed = FollowedFile(path, from_end=True)
    assert list(followed.lines()) == []
    path.write_bytes(b"one\ntw")
    assert list(followed.lines()) == [b"one"]
    with path.open("ab") as file:
        file.write(b"o\nthree\n")
    path.rename(tmp_path / "access-log.jsonl.1")
    assert list(followed.lines()) == [b"two", b"three"]
    path.write_bytes(b"four\n")
    assert list(followed.lines()) == [b"four"]
    followed.close()
    later = FollowedFile(path, from_end=True)
    assert list(later.lines()) == []


def test_a_folder_of_hosts_is_followed(tmp_path: Path) -> None:
    """Files of hosts that begin later are followed from their first line; other sinks cannot be followed."""
    (tmp_path / "one.jsonl").write_bytes(b"before\n")
    followed = Followed(f"file://{tmp_path}/")
    (tmp_path / "two.jsonl").write_bytes(b"new host\n")
    with (tmp_path / "one.jsonl").open("ab") as file:
        file.write(b"after\n")
    assert list(followed.lines()) == [b"after", b"new host"]
    followed.close()
    with pytest.raises(UriInvalid, match="only a file sink"):
        Followed("memory://x")


# --- commands ---------------------------------------------------------------------------------------------


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file with a chain of pulls and one refused pull of another DAG."""
    for name in [name for name in os.environ if name.startswith(("AIRFLOW", "SECURE_XCOM"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path / "airflow-home"))
    found = tmp_path / "access-log.jsonl"
    thief = {"dag_id": "curious", "run_id": "r", "task_id": "peek", "map_index": 2, "try_number": 1}
    refused = chain(
        2, 2, start=START + timedelta(minutes=1), consumer=thief, outcome="refused", error="AccessRefused"
    )
    write(found, [*chain(1, 5), *refused])
    return found


def run(path: Path, *arguments: str) -> Any:
    """An audit command on the file."""
    words = ["audit", *arguments, "--sink", path.as_uri()]
    return CliRunner().invoke(app, words, env={"COLUMNS": "200"})


@pytest.mark.parametrize(
    ("options", "lines"),
    [
        (("--dag", "orders", "--xcom-key", "return_value", "--action", "pull"), [1, 2, 3, 4, 6]),
        (("--consumer", "curious"), [6]),
        (("--consumer", "curious/peek"), [6]),
        (("--consumer", "curious/other"), []),
        (("--outcome", "refused"), [6]),
        (("--error", "AccessRefused", "--host", "worker-1"), [6]),
        (("--compartment", "finance", "--until", "2026-11-22T10:00:02"), [1, 2]),
        (("--since", "2026-11-22T10:01:00"), [6, 7]),
        (("--dag", "orders", "--map-index", "-1", "--run", "manual__1", "--task", "extract"), [1, 2, 3, 4, 6]),
        (("--action", "chain_end"), [5, 7]),
        (("--dag", "nobody"), []),
    ],
)
def test_search_answers_questions(path: Path, options: tuple[str, ...], lines: list[int]) -> None:
    """Who read this XCom, what did this task read, what was refused, when and where."""
    result = run(path, "search", *options, "--json")
    assert result.exit_code == 0, result.output
    assert [hit["line"] for hit in json.loads(result.stdout)["events"]] == lines


def test_search_shows_a_table(path: Path) -> None:
    """For people: time, what, which XCom, by whom; and that there is more than was asked for."""
    shown = run(path, "search", "--consumer", "curious").stdout
    assert "refused (AccessRefused)" in shown
    assert "orders/manual__1/extract:return_value" in shown
    assert "curious/r/peek[2] try 1" in shown
    assert "1 events; 7 lines searched" in shown
    assert "2 events, and more" in run(path, "search", "--limit", "2").stdout


def test_a_mistyped_sink_is_no_silent_answer(path: Path, tmp_path: Path) -> None:
    """Where nothing was ever written, a search and an export say so beside their count of none."""
    path = tmp_path / "mistyped.jsonl"
    for words in (("search",), ("export", "--out", str(tmp_path / "none.jsonl"))):
        result = run(path, *words)
        assert result.exit_code == 0
        assert f"nothing has been written to {path.as_uri()}" in result.stderr
    assert json.loads(run(path, "search", "--json").stdout)["empty"] == [path.as_uri()]
    path.write_bytes(b"no event\n")
    assert "nothing has been written" not in run(path, "search").stderr


def test_exports_hold_every_event(path: Path, tmp_path: Path) -> None:
    """CSV, Parquet and JSON Lines have the same events; a file that is there is not overwritten."""
    for name in ("out.csv", "out.parquet", "out.jsonl"):
        result = run(path, "export", "--out", str(tmp_path / name))
        assert result.exit_code == 0, result.output
        assert "7 events of 7 lines" in result.stdout
    events = [json.loads(line) for line in (tmp_path / "out.jsonl").read_bytes().splitlines()]
    assert events == [json.loads(line) for line in path.read_bytes().splitlines()]
    with (tmp_path / "out.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    columns = parquet.read_table(tmp_path / "out.parquet").to_pylist()
    assert list(columns[0]) == list(rows[0]) == list(COLUMNS)
    for one, in_csv, in_parquet in zip(events, rows, columns, strict=True):
        assert in_csv["id"] == in_parquet["id"] == one["id"]
        assert in_csv["sequence"] == str(in_parquet["sequence"]) == str(one["sequence"])
        known = one.get("consumer", {}).get("task_id")
        assert (in_csv["consumer_task_id"] or None) == in_parquet["consumer_task_id"] == known
        assert json.loads(in_parquet["keys"] or "null") == one.get("keys")
    assert run(path, "export", "--out", str(tmp_path / "out.csv")).exit_code == 2
    assert run(path, "export", "--out", str(tmp_path / "out.xlsx")).exit_code == 2


FORMULAS = ("=1+1", "+1", "-1+1", "@SUM(1)", "\t=1", "\r=1", "\n=1", " =1", "\uff1d1", "'=1", "'", "-")
HARMLESS = ("", "orders", "a=b", "a;=1+1", "1-1", 'say "=1"', " x")


@pytest.mark.parametrize("name", [*FORMULAS, *HARMLESS])
def test_no_spreadsheet_runs_a_cell(tmp_path: Path, name: str) -> None:
    """A text that a spreadsheet would run has a quote before it, every text is quoted, and all comes back."""
    record = {"action": "push", "sequence": 7, "producer": {"dag_id": name, "map_index": -1}, "reason": name}
    export([Hit(record, "log", 1)], "csv", tmp_path / "out.csv")
    raw = (tmp_path / "out.csv").read_bytes().decode()
    with (tmp_path / "out.csv").open(newline="") as file:
        head, cells = csv.reader(file)
    found = dict(zip(head, cells, strict=True))
    assert head == list(COLUMNS)
    assert found["producer_dag_id"] == found["reason"] == (f"'{name}" if name in FORMULAS else name)
    assert found["producer_dag_id"].removeprefix("'") == (name if name in FORMULAS else name.removeprefix("'"))
    assert (found["producer_map_index"], found["sequence"]) == ("-1", "7")
    # A spreadsheet that separates at semicolons begins no cell within a quoted text.
    assert f'"{found["reason"].replace(chr(34), chr(34) * 2)}"' in raw


def test_tail_shows_the_newest_of_all_hosts(tmp_path: Path) -> None:
    """Of a folder with a file for each host the newest events are shown, whichever file began last."""
    write(tmp_path / "a.jsonl", [*chain(1, 3), *chain(2, 3, start=START + timedelta(hours=2))])
    write(tmp_path / "b.jsonl", chain(3, 4, start=START + timedelta(hours=1)))
    words = ["audit", "tail", "-n", "2", "--json", "--sink", f"{tmp_path.as_uri()}/"]
    shown = [json.loads(line) for line in CliRunner().invoke(app, words).stdout.splitlines()]
    assert shown == [json.loads(line) for line in chain(2, 3, start=START + timedelta(hours=2))[1:]]


def test_bytes_that_are_no_text_are_found_nowhere(path: Path) -> None:
    """An id that a terminal gave in another encoding is in no event, and is no error."""
    result = run(path, "search", "--dag", "caf\udce9", "--json")
    assert (result.exit_code, json.loads(result.stdout)["events"]) == (0, [])


def test_tail_follows(path: Path) -> None:
    """A following tail gives new events as they come, before and after a rotation, and each once."""
    options = ["tail", "-f", "-n", "1", "--json", "--sink", path.as_uri()]
    words = [sys.executable, "-c", "from secure_xcom.cli import main; main()", "audit", *options]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            assert json.loads(process.stdout.readline())["action"] == "chain_end"
            new = chain(3, 3, start=START + timedelta(hours=1))
            with path.open("ab") as file:
                file.write(new[0] + b"\n")
            assert json.loads(process.stdout.readline()) == json.loads(new[0])
            path.rename(path.with_name("access-log.jsonl.1"))
            write(path, new[1:])
            assert [json.loads(process.stdout.readline()) for _ in (1, 2)] == [json.loads(one) for one in new[1:]]
        finally:
            process.terminate()
