"""The parts of the demo that can fail to see something: its search, its claims, its Airflow."""

from __future__ import annotations

import base64
import json
import os
import secrets
import subprocess
import sys
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil
import pytest

from secure_xcom.core.coordinate import Coordinate
from secure_xcom.core.errors import ObjectMissing, UnwrapRefused
from secure_xcom.core.operator_errors import CommandError
from secure_xcom.demo import attackers, checks
from secure_xcom.demo.evidence import Attack, Evidence, Searched, Theft, XCom
from secure_xcom.demo.local_airflow import LocalAirflow
from secure_xcom.demo.random_values import ACCOUNTS, RandomValues
from tests.support.world import World

PASSWORD = "zz'canary\"ä-0123"


@pytest.mark.parametrize(
    "hide",
    [
        lambda text: text.encode(),
        lambda text: f"x{text}y".encode("utf-16-le"),
        lambda text: json.dumps({"a": text}).encode(),
        lambda text: repr([text]).encode(),
        lambda text: text.encode().hex().encode(),
        lambda text: quote(f"?p={text}", safe="").encode(),
        lambda text: base64.b64encode(f"user:{text}".encode()),
        lambda text: base64.b64encode(f"user1:{text} and more".encode()),
        lambda text: base64.urlsafe_b64encode(f"user12:{text}".encode()),
    ],
)
def test_a_thief_would_find_a_value(tmp_path: Path, hide: Callable[[str], bytes]) -> None:
    """The search finds a value in each form in which it may lie somewhere, in the midst of other bytes."""
    (tmp_path / "file").write_bytes(secrets.token_bytes(50) + hide(PASSWORD) + secrets.token_bytes(50))
    finds, size = attackers.search({"password": PASSWORD}, [tmp_path / "file"])
    assert finds
    assert size > 100
    assert attackers.search({"password": "zz'another\"ö"}, [tmp_path / "file"])[0] == []


def test_entropy_tells_text_from_random_bytes() -> None:
    """Sealed bytes have nearly eight bits per byte and do not compress; text has less and does."""
    text = json.dumps({"some": "text"} | {str(number): number for number in range(10_000)}).encode()
    assert attackers.entropy(text) < 5
    assert attackers.compressible(text)
    noise = secrets.token_bytes(1 << 20)
    assert attackers.entropy(noise) > 7.99
    assert not attackers.compressible(noise)
    # Compressed plaintext looks random too, which is why the bytes are searched as well.
    assert attackers.entropy(zlib.compress(secrets.token_hex(200_000).encode())) > 7.9


def test_a_payload_alone_does_not_open() -> None:
    """Without the wrapped data key a payload is refused, whatever key is guessed."""
    world = World()
    row = world.push({"password": PASSWORD})
    payload = b"".join(world.store.get(row["head"]["object"].removeprefix(f"{world.store.uri}/")))
    assert attackers.open_without_reference(payload).stopped_by == "HeadTampered"


def test_a_thief_with_everything_reads_it() -> None:
    """The attempt is a real one: with reference, payload and key it gives the value."""
    world = World()
    row = world.push({"password": PASSWORD})
    attempt = attackers.read(
        row, "memory-key://one", world.store.uri, world.service("memory-key://one"), world.store
    )
    assert (attempt.value, attempt.stopped_by) == ({"password": PASSWORD}, "")
    stopped = attackers.read(
        row, "memory-key://one", world.store.uri, world.service("memory-key://another"), world.store
    )
    assert (stopped.value, stopped.stopped_by) == (None, "UnwrapRefused")


@pytest.fixture
def evidence(tmp_path: Path) -> Evidence:
    """What a demo sees in which everything holds, with fewer readings than a demo has."""
    source = replace(RandomValues.generate(), readings=2_000)
    world = World()
    found = Evidence(source, run_state="success")
    places = [("get_login", -1), ("list_accounts", -1), ("get_readings", -1)]
    places += [("read_balance", index) for index in range(ACCOUNTS)]
    for task_id, index in places:
        row = world.push(
            source.pushed(task_id, index), Coordinate("secure_xcom_demo", "run", task_id, index, "return_value")
        )
        file = tmp_path / f"{task_id}{index}"
        file.write_bytes(b"".join(world.store.get(row["head"]["object"].removeprefix(f"{world.store.uri}/"))))
        found.xcoms.append(XCom(task_id, index, json.dumps(row), file))
    found.received = source.expected()
    found.printed = "logging in to *** with *** and ***"
    found.searched = [Searched("the stolen database", (), 1000)]
    found.entropy, found.compressible = 7.999, False
    found.thefts = [
        Theft("the database", "a pull", "UnwrapRefused", attackers.Attempt(error=UnwrapRefused("no"))),
        Theft("everything", "a pull", "", attackers.Attempt(source.login)),
    ]
    found.attacks = [
        Attack("untouched", "nothing", "", "success", "", ""),
        Attack("replayed", "a row copied", "CoordinateMismatch", "failed", "CoordinateMismatch", ""),
        Attack("edited_head", "a head edited", "HeadTampered", "failed", "HeadTampered", ""),
        Attack("edited_object", "a bit flipped", "PayloadTampered", "failed", "PayloadTampered", ""),
    ]
    found.access_log = [_event("push", xcom.task_id, xcom.map_index, "") for xcom in found.xcoms]
    found.access_log += [
        _event("pull", "get_login", -1, "log_in"),
        _event("pull", "get_login", -1, "untouched"),
        _event("pull", "list_accounts", -1, "read_balance"),
        _event("pull", "get_readings", -1, "average_readings"),
        *(_event("pull", "read_balance", index, "sum_balances") for index in range(ACCOUNTS)),
        *(
            {**_event("pull", "get_login", -1, attack.name), "outcome": "refused", "error": attack.error}
            for attack in found.attacks[1:]
        ),
    ]
    return found


def _event(action: str, task_id: str, map_index: int, consumer: str) -> dict[str, Any]:
    return {
        "action": action,
        "outcome": "ok",
        "producer": {"task_id": task_id, "map_index": map_index},
        "consumer": {"task_id": consumer, "map_index": -1},
    }


def test_every_claim_holds_where_all_is_well(evidence: Evidence) -> None:
    """Nothing is said not to hold without a reason."""
    checked = checks.check(evidence)
    assert [claim for claim in checked if not claim.held] == []
    assert len(checked) >= 20


def _plain_row(evidence: Evidence) -> None:
    evidence.xcoms[0] = XCom("get_login", -1, '{"password": "plain"}', None)


def _row_missing(evidence: Evidence) -> None:
    del evidence.xcoms[0]


def _other_value(evidence: Evidence) -> None:
    evidence.received["login"] = {**evidence.source.login, "port": 5432.0}


def _nothing_received(evidence: Evidence) -> None:
    evidence.received.clear()


def _unmasked(evidence: Evidence) -> None:
    evidence.printed = f"logging in to *** with {evidence.source.login['password']} and ***"


def _found(evidence: Evidence) -> None:
    evidence.searched = [Searched("the stolen database", ("password (utf-8) in airflow.db",), 1000)]


def _nothing_searched(evidence: Evidence) -> None:
    evidence.searched = [Searched("the stolen database", (), 0)]


def _no_noise(evidence: Evidence) -> None:
    evidence.entropy = 7.5


def _thief_read_it(evidence: Evidence) -> None:
    evidence.thefts[0] = Theft("the database", "a pull", "UnwrapRefused", attackers.Attempt(evidence.source.login))


def _another_wall(evidence: Evidence) -> None:
    evidence.thefts[0] = Theft("it", "a pull", "UnwrapRefused", attackers.Attempt(error=ObjectMissing("no")))


def _control_failed(evidence: Evidence) -> None:
    evidence.thefts[1] = Theft("everything", "a pull", "", attackers.Attempt(error=UnwrapRefused("no")))


def _attack_opened(evidence: Evidence) -> None:
    evidence.attacks[1] = Attack("replayed", "a row copied", "CoordinateMismatch", "success", "", "")


def _attack_failed_otherwise(evidence: Evidence) -> None:
    evidence.attacks[2] = Attack("edited_head", "edited", "HeadTampered", "failed", "KeyError", "")


def _attack_missing(evidence: Evidence) -> None:
    del evidence.attacks[3]


def _push_not_logged(evidence: Evidence) -> None:
    del evidence.access_log[0]


def _pull_not_logged(evidence: Evidence) -> None:
    evidence.access_log = [event for event in evidence.access_log if event["consumer"]["task_id"] != "log_in"]


def _refusal_not_logged(evidence: Evidence) -> None:
    del evidence.access_log[-1]


@pytest.mark.parametrize(
    "spoil",
    [
        _plain_row, _row_missing, _other_value, _nothing_received, _unmasked, _found, _nothing_searched, _no_noise,
        _thief_read_it, _another_wall, _control_failed, _attack_opened, _attack_failed_otherwise, _attack_missing,
        _push_not_logged, _pull_not_logged, _refusal_not_logged,
    ],
)  # fmt: skip
def test_a_claim_that_does_not_hold_is_found(evidence: Evidence, spoil: Callable[[Evidence], None]) -> None:
    """Whatever goes wrong in a demo, at least one claim says so."""
    spoil(evidence)
    assert [claim for claim in checks.check(evidence) if not claim.held] != []


def test_a_pipeline_that_failed_is_the_claim_that_failed(evidence: Evidence) -> None:
    """Of a failed run nothing else is claimed, and its error is shown."""
    evidence.run_state, evidence.failures = "failed", ["get_login: KeyringMissing: there is no keyring"]
    checked = checks.check(evidence)
    assert [claim.held for claim in checked] == [False]
    assert "KeyringMissing" in checked[0].detail


# --- the throwaway Airflow ----------------------------------------------------------------------------------


def test_a_throwaway_airflow_knows_nothing_of_the_callers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The caller's AIRFLOW variables do not reach the components; settings are given as section.option."""
    monkeypatch.setenv("AIRFLOW__CORE__FERNET_KEY", "of the caller")
    monkeypatch.setenv("AIRFLOW_CONN_VAULT", "of the caller")
    airflow = LocalAirflow(tmp_path, {"secure_xcom.preview": "none", "core.parallelism": "7"})
    assert "of the caller" not in airflow.environment.values()
    assert airflow.environment["AIRFLOW_HOME"] == str(tmp_path)
    assert airflow.environment["AIRFLOW__SECURE_XCOM__PREVIEW"] == "none"
    assert airflow.environment["AIRFLOW__CORE__PARALLELISM"] == "7"
    assert airflow.environment["PATH"] == os.environ["PATH"]


def test_a_throwaway_airflow_listens_on_loopback_only(tmp_path: Path) -> None:
    """Every setting with a host says 127.0.0.1."""
    settings = LocalAirflow(tmp_path).settings
    hosts = {name: value for name, value in settings.items() if name.endswith("host")}
    assert hosts
    assert set(hosts.values()) == {"127.0.0.1"}
    assert settings["core.execution_api_server_url"].startswith("http://127.0.0.1:")


def test_a_command_of_a_throwaway_airflow_ends_in_time(tmp_path: Path) -> None:
    """A command that takes too long is an error of our tree."""
    with LocalAirflow(tmp_path) as airflow, pytest.raises(CommandError, match="not ended"):
        airflow.airflow("version", timeout=0.01)


def test_a_process_that_nobody_noted_is_ended(tmp_path: Path) -> None:
    """What was started in the throwaway's environment at the moment of a signal does not outlive it."""
    with LocalAirflow(tmp_path) as airflow:
        command = (sys.executable, "-c", "import time; print(flush=True); time.sleep(60)")
        stray = subprocess.Popen(command, env=airflow.environment, stdout=subprocess.PIPE)
        with stray:
            assert stray.stdout is not None
            # By now it runs with its own environment, and not with this process's.
            stray.stdout.readline()
            airflow.stop()
            assert not psutil.pid_exists(stray.pid)
