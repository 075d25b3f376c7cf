"""Who had an XCom: the access log read from its end, in files of every form and in a database's table."""

from __future__ import annotations

import gzip
import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from secure_xcom.core.coordinate import Coordinate
from secure_xcom.core.event import Line
from secure_xcom.core.operator_errors import AccessLogUnreadable, RequestInvalid
from secure_xcom.sinks.database import DDL, DatabaseSink
from secure_xcom.sinks.sink_uri import SinkUri
from tests.support.access_logs import START, event
from tests.support.airflow_here import airflow_here

__all__ = ["airflow_here"]
pytestmark = pytest.mark.usefixtures("airflow_here")
AT = Coordinate("orders", "manual__1", "extract", -1, "return_value")
SINCE = START - timedelta(hours=2)


def line(number: int, moment: datetime, **fields: Any) -> bytes:
    """An event's line, as the access log writes it."""
    record = event(
        moment, chain=f"{number:08x}-0000-7000-8000-000000000000", sequence=0, previous="0" * 64, **fields
    )
    record["id"] = f"{number:08x}-0000-7000-8000-00000000000a"
    return json.dumps(record, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def lines(count: int, *, every: int = 10) -> list[bytes]:
    """Events of many XComs, of which one in ten is about the one that is asked for."""
    other = {
        "dag_id": "orders",
        "run_id": "manual__2",
        "task_id": "extract",
        "map_index": -1,
        "key": "return_value",
    }
    return [
        line(number, START + timedelta(seconds=number), **({} if number % every == 0 else {"producer": other}))
        for number in range(count)
    ]


def written(path: Path, found: list[bytes]) -> Path:
    """A log file."""
    data = b"\n".join(found) + b"\n" if found else b""
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def search(uri: str, *, limit: int = 50, after: str | None = None, since: datetime = SINCE) -> Any:
    """One answer."""
    from secure_xcom.airflow.plugin.ui import log_file, log_table
    from secure_xcom.airflow.plugin.ui.log_events import Search

    module = log_file if uri.startswith("file:") else log_table
    return module.search(uri, Search.of(AT, since), after=after, limit=limit)


def pages(uri: str, limit: int) -> list[str]:
    """The times of all events, page by page."""
    found: list[str] = []
    after = None
    for _ in range(1000):
        page = search(uri, limit=limit, after=after)
        assert len(page.events) <= limit
        found += [str(one["time"]) for one in page.events]
        after = page.next
        if after is None:
            return found
    raise AssertionError("the pages do not end")


def wanted(count: int) -> list[str]:
    """The times that are asked for, newest first."""
    times = [START + timedelta(seconds=number) for number in range(0, count, 10)]
    return [time.strftime("%Y-%m-%dT%H:%M:%S.%fZ") for time in reversed(times)]


@pytest.fixture(params=["one file", "rotated", "compressed", "small blocks", "table"])
def uri(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A thousand events in each form that an access log has."""
    from secure_xcom.airflow.plugin.ui import log_file

    every, path = lines(1000), tmp_path / "log.jsonl"
    if request.param == "table":
        return _table(tmp_path, every)
    if request.param == "one file":
        written(path, every)
    elif request.param == "rotated":
        written(tmp_path / "log.jsonl.2", every[:300])
        written(tmp_path / "log.jsonl.1", every[300:700])
        written(path, every[700:])
    elif request.param == "compressed":
        written(tmp_path / "log.jsonl-20261121.gz", every[:600])
        written(path, every[600:])
    else:
        monkeypatch.setattr(log_file, "BLOCK_BYTES", 700)
        written(path, every)
    return path.as_uri()


def _table(folder: Path, every: list[bytes]) -> str:
    url = f"sqlite:///{folder}/audit.db"
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.execute(sa.text(DDL))
    sink = DatabaseSink(SinkUri.parse(f"db+{url}"))
    sink.write([Line(json.loads(data), data) for data in every])
    engine.dispose()
    return f"db+{url}"


@pytest.mark.parametrize("limit", [1, 7, 200])
def test_every_event_is_found_once(uri: str, limit: int) -> None:
    """All events of an XCom come newest first, however small the pages are and in whatever files they lie."""
    assert pages(uri, limit) == wanted(1000)


def test_what_is_older_than_the_push_is_left_out(uri: str) -> None:
    """Events from before the push are of another value, and end the search."""
    found = search(uri, limit=200, since=START + timedelta(seconds=895))
    assert [one["time"] for one in found.events] == wanted(1000)[:10]
    assert found.next is None


def test_a_position_of_another_kind_is_refused(uri: str) -> None:
    """A position that no answer gave is refused."""
    with pytest.raises(RequestInvalid):
        search(uri, after="x")


def test_lines_that_are_none_hide_nothing(tmp_path: Path) -> None:
    """Half-written, damaged and foreign lines are passed over, and so is one that only names the ids."""
    good = line(1, START)
    odd = [
        b"{",
        b'{"run_id":"manual__1","key":"return_value"',
        b"\xff\xfe",
        b'"manual__1" "return_value"',
        b"[]",
        good[:-9],
    ]
    path = written(tmp_path / "log.jsonl", [*odd, good, *odd])
    with path.open("ab") as file:
        file.write(good[:40])
    assert [one["id"] for one in search(path.as_uri()).events] == [json.loads(good)["id"]]


def test_a_pull_that_met_plaintext_is_found(tmp_path: Path) -> None:
    """Such an event knows only what was asked for."""
    asked = {
        "dag_id": "orders",
        "run_id": "manual__1",
        "task_id": "extract",
        "map_index": -1,
        "key": "return_value",
    }
    refused = line(1, START, action="plaintext_seen", outcome="refused", producer=None, asked=asked)
    path = written(tmp_path / "log.jsonl", [refused])
    assert [one["action"] for one in search(path.as_uri()).events] == ["plaintext_seen"]


def test_a_long_log_is_read_to_a_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer reads so many bytes and says how far back it looked; the next one goes on there."""
    from secure_xcom.airflow.plugin.ui import log_file

    monkeypatch.setattr(log_file, "BLOCK_BYTES", 2000)
    monkeypatch.setattr(log_file, "BYTES_MAX", 4000)
    path = written(tmp_path / "log.jsonl", lines(300, every=300))
    first = search(path.as_uri())
    assert first.events == []
    assert first.next is not None
    assert first.back_to is not None
    found, after = [], first.next
    while after is not None:
        page = search(path.as_uri(), after=after)
        found += page.events
        after = page.next
    assert len(found) == 1


def test_a_log_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    """A folder that is not there, and a table without the right or of another form, are errors with a remedy."""
    with pytest.raises(AccessLogUnreadable):
        search(f"file://{tmp_path}/none/log.jsonl")
    sa.create_engine(f"sqlite:///{tmp_path}/empty.db").connect().close()
    with pytest.raises(AccessLogUnreadable) as caught:
        search(f"db+sqlite:///{tmp_path}/empty.db")
    assert "SELECT" in caught.value.remedy


def test_what_the_backend_writes_is_found(tmp_path: Path) -> None:
    """A push and a pull by the pipeline, with the real file sink, are found by the ids of the XCom."""
    from secure_xcom.airflow.plugin.ui import log_file
    from secure_xcom.airflow.plugin.ui.log_events import Search
    from secure_xcom.core.codecs import Codecs
    from secure_xcom.core.config import Settings
    from secure_xcom.core.masking.sensitive_names import SensitiveNames
    from secure_xcom.core.pipeline.push_and_pull import Pipeline, Push, Row
    from secure_xcom.sinks.access_log import AccessLog
    from tests.support.world import World, coordinate

    world, uri = World(), (tmp_path / "log.jsonl").as_uri()
    assert world.policy is not None
    pipeline = Pipeline(
        Settings(), world.policy, AccessLog.open([uri], version="test", policy="0" * 64),
        SensitiveNames(set()), Codecs(lambda value: value, lambda structure: structure),
        register=lambda _: None, services=world.service,
    )  # fmt: skip
    at, other = coordinate(run_id='ünï "quoted" \\ back'), coordinate(key="another")
    reference = json.loads(json.dumps(pipeline.push([Push(at, 1)])[0]))
    pipeline.push([Push(other, 2)])
    assert pipeline.pull([Row(reference)]) == [1]
    found = log_file.search(uri, Search.of(at, SINCE - timedelta(days=365)), after=None, limit=10)
    assert [one["action"] for one in found.events] == ["pull", "push"]


# --- where the log is -----------------------------------------------------------------------------------------


@pytest.fixture
def logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Airflow's logs, with the default file of the access log in them."""
    monkeypatch.setenv("AIRFLOW__LOGGING__BASE_LOG_FOLDER", str(tmp_path))
    (tmp_path / "secure_xcom").mkdir()
    (tmp_path / "secure_xcom" / "access-log.jsonl").write_bytes(b"")
    return tmp_path


def place() -> Any:
    """Where the log is read."""
    from secure_xcom.airflow.plugin.ui.log_place import log_place

    return log_place()


def test_the_default_file_is_read(logs: Path) -> None:
    """Without a setting the default file on this machine is read; where there is none, nothing is."""
    assert place().state == "file"
    (logs / "secure_xcom" / "access-log.jsonl").unlink()
    assert place().state == "unknown"


@pytest.mark.parametrize("name", ["AUDIT_SINKS", "AUDIT_SINKS_CMD", "AUDIT_SINKS_SECRET"])
def test_other_sinks_are_not_read(logs: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """With sinks of its own a deployment says where its log may be read; their setting is not opened for it."""
    monkeypatch.setenv(f"AIRFLOW__SECURE_XCOM__{name}", f"touch {logs}/opened")
    assert place().state == "unknown"
    assert not (logs / "opened").exists()


@pytest.mark.parametrize(
    ("url", "state"),
    [
        ("file:///var/log/x.jsonl", "file"),
        ("db://audit_reader", "database"),
        ("db+postgresql://reader:canary@db/audit", "database"),
        ("s3://conn@bucket/log", "unknown"),
        ("nonsense", "unknown"),
    ],
)
def test_a_setting_names_the_log(logs: Path, monkeypatch: pytest.MonkeyPatch, url: str, state: str) -> None:
    """A file or a database can be named; no answer shows the URL, which may hold a password."""
    monkeypatch.setenv("AIRFLOW__SECURE_XCOM__UI_AUDIT_URL", url)
    found = place()
    assert found.state == state
    assert "canary" not in f"{found.text} {found!r}"


def test_hashed_ids_are_not_searched_for(logs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where ids are hashed, the API server has no key and says so."""
    monkeypatch.setenv("AIRFLOW__SECURE_XCOM__AUDIT_HASH_KEY", "/keys/ids.key")
    assert place().state == "unknown"
    assert "hashed" in place().text
