"""The commands of `secure-xcom audit`: what they print, their exit codes, and the settings behind options."""

from __future__ import annotations

import json
import os
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from secure_xcom.cli import app
from tests.support import second_log_reader as second
from tests.support.access_logs import chain, mixed, write

# Chains of an hour ago: old enough to be sealed by the machine's own clock.
AGO = datetime.now(timezone.utc).replace(microsecond=0) - timedelta(hours=1)


@pytest.fixture(autouse=True)
def no_airflow_of_the_caller(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Commands see no settings but those that a test gives them."""
    for name in list(os.environ):
        if name.startswith(("AIRFLOW", "SECURE_XCOM")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path / "airflow-home"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A file sink with two chains, the second without an end; a key, and settings that name them."""
    write(tmp_path / "access-log.jsonl", mixed(chain(1, start=AGO), chain(2, start=AGO, ended=False)))
    (tmp_path / "sealed").mkdir()
    (tmp_path / "airflow.cfg").write_text(
        f"[secure_xcom]\naudit_sinks = file://{tmp_path}/access-log.jsonl\nsealed_log = file://{tmp_path}/sealed\n"
        f"sealing_key = file://{tmp_path}/keys/sealing.pem\nsealed_log_name = audit.example.com/airflow\n"
    )
    return tmp_path


def run(folder: Path, *arguments: str) -> Result:
    """Run an audit command with the settings of the folder."""
    config = ["--config", str(folder / "airflow.cfg")]
    return CliRunner().invoke(app, ["audit", *arguments, *config], env={"COLUMNS": "200"})


def run_json(folder: Path, *arguments: str) -> tuple[int, Any]:
    """The same with --json: the exit code and what was printed."""
    result = run(folder, *arguments, "--json")
    return result.exit_code, json.loads(result.stdout)


def key(folder: Path) -> str:
    """Make the key; the verifier key."""
    code, made = run_json(folder, "key", "--create")
    assert code == 0
    verifier: str = made["verifier"]
    return verifier


def test_anchor_verify_and_prove(folder: Path) -> None:
    """The way of the page: make a key, anchor, verify with the kept checkpoint, prove an event elsewhere."""
    verifier = key(folder)
    kept = folder / "kept-checkpoint"
    code, sealed = run_json(folder, "anchor", "--checkpoint", str(kept))
    assert (code, sealed["entries"], sealed["checkpoint"], sealed["unsealable"]) == (0, 12, 1, [])
    code, again = run_json(folder, "anchor")
    assert (code, again["entries"], again["size"]) == (0, 0, 12)
    code, found = run_json(folder, "verify", "--trusted", str(kept), "--verifier", verifier)
    assert (code, found["events"], found["sealed"]) == (0, 12, 12)
    assert [one["kind"] for one in found["found"]] == ["interrupted"]
    line = (folder / "access-log.jsonl").read_bytes().split(b"\n")[5]
    out = folder / "event.tlog-proof"
    assert run(folder, "prove", "--event", json.loads(line)["id"], "--out", str(out)).exit_code == 0
    proof = second.read_proof(out.read_bytes())
    head = second.head(proof.checkpoint, verifier)
    assert second.includes(head.root, head.size, proof.index, second.leaf(line), proof.hashes)
    result = run(folder, "prove", "--extends", str(kept))
    assert result.exit_code == 0
    assert second.read_extension(result.stdout.encode())[:2] == (12, ())


def test_verify_says_where_and_ends_with_one(folder: Path) -> None:
    """A changed event gives the exit code 1, its file and line, chain and number, for people and as JSON."""
    key(folder)
    run(folder, "anchor")
    path = folder / "access-log.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"task_id":"load"', b'"task_id":"ship"', 1))
    result = run(folder, "verify")
    assert result.exit_code == 1
    assert "edited: not the event that was anchored" in result.stdout
    assert f"{path}:1, chain " in result.stdout
    code, found = run_json(folder, "verify")
    assert code == 1
    first = found["found"][0]
    assert (first["kind"], first["line"], first["sequence"], first["tampering"]) == ("edited", 1, 0, True)
    assert run(folder, "verify", "--chains-only").exit_code == 1


def test_anchor_says_what_it_cannot_anchor(folder: Path) -> None:
    """An event that does not continue its chain gives the exit code 1."""
    key(folder)
    path = folder / "access-log.jsonl"
    lines = path.read_bytes().split(b"\n")[:-1]
    write(path, lines[:4] + lines[5:])
    result = run(folder, "anchor")
    assert result.exit_code == 1
    assert "does not continue its chain; not anchored" in result.stdout


def test_prune_first_says_what_would_go(folder: Path) -> None:
    """Without --apply nothing is deleted, and young entries stay."""
    old = AGO - timedelta(days=30)
    write(folder / "access-log.jsonl", [*chain(3, 300, start=old), *chain(4, start=AGO)])
    key(folder)
    run(folder, "anchor")
    for words in (("prune", "--keep-days", "10"), ("prune", "--keep-days", "10", "--dry-run")):
        code, would = run_json(folder, *words)
        assert (code, would["entries"]) == (1, 256)
        assert (folder / "sealed/tile/entries/000").exists()
    code, went = run_json(folder, "prune", "--keep-days", "10", "--apply")
    assert (code, went["entries"], went["below"]) == (0, 256, 256)
    assert not (folder / "sealed/tile/entries/000").exists()
    assert run(folder, "verify").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("verify",), "signing key cannot be opened"),
        (("verify", "--log", "nowhere://x"), "no store has the scheme"),
        (("verify", "--sink", "syslog://x:1", "--chains-only"), "cannot be read back"),
        (("anchor", "--key", "ftp://x"), "no signing key has the scheme"),
        (("key", "--key", "file:relative.pem"), "a signing key begins with one of"),
        (("key", "--create", "--name", "a b"), "not a valid name of a log"),
        (("verify", "--verifier", "nonsense"), "not a verifier key"),
        (("verify", "--trusted", "/nowhere/checkpoint"), "cannot be read"),
        (("prove",), "exactly one subject"),
    ],
)
def test_what_cannot_run_ends_with_two(folder: Path, arguments: tuple[str, ...], said: str) -> None:
    """Every command that lacks something says what, and ends with the exit code 2."""
    result = run(folder, *arguments)
    assert result.exit_code == 2, result.output
    assert said in result.output


def test_without_settings_the_missing_option_is_named(tmp_path: Path) -> None:
    """A deployment that has set nothing is told which option to set."""
    (tmp_path / "airflow.cfg").write_text("")
    assert "[secure_xcom] sealed_log" in run(tmp_path, "seal").output
    assert "[secure_xcom] sealing_key" in run(tmp_path, "key").output


def test_the_remedies_can_be_followed_as_they_stand(tmp_path: Path) -> None:
    """What the command says to do about a missing key or anchored log is a command line that works."""
    (tmp_path / "airflow.cfg").write_text(f"[secure_xcom]\naudit_sinks = file://{tmp_path}/access-log.jsonl\n")
    write(tmp_path / "access-log.jsonl", chain(1, start=AGO))
    assert "audit key --create --key file:///path/sealing.pem" in run(tmp_path, "key", "--create").output
    made = run(tmp_path, "key", "--create", "--key", f"file://{tmp_path}/sealing.pem")
    assert made.exit_code == 0, made.output
    assert "audit verify --chains-only" in run(tmp_path, "verify").output
    assert run(tmp_path, "verify", "--chains-only").exit_code == 0
