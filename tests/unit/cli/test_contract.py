"""One contract for all commands: exit codes, what acts and what reports, summaries, examples, former names."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from secure_xcom.claims.claimant import Claimant
from secure_xcom.claims.exclusive import exclusive
from secure_xcom.cli import app
from secure_xcom.cli.declare import contract_of
from secure_xcom.core.coordinate import Asked, TaskTry
from secure_xcom.core.pipeline.push_and_pull import Row
from secure_xcom.ops.keyring import rotate_keyring
from tests.support import documented
from tests.support.access_logs import chain, write
from tests.support.upkeep_world import Upkeep, long_ago, unique_of
from tests.support.world import coordinate
from tests.unit.ops.jobs.test_expire import age

pytestmark = pytest.mark.file_times


def tree(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command with the words that call it, hidden ones included."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from tree(command, (*path, name))
        else:
            yield (*path, name), command


COMMANDS = dict(tree(typer.main.get_command(app)))
SHOWN = {path: command for path, command in COMMANDS.items() if not command.hidden}
# Verbs with which a summary may begin: imperatives, in the words of the documentation.
VERBS = {
    "Anchor", "Apply", "Check", "Compare", "Count", "Create", "Delete", "Diagnose", "Evaluate", "Explain", "Find",
    "Migrate", "Open", "Print", "Rewrap", "Run", "Show", "Shred", "Try", "Write",
}  # fmt: skip
# Exit codes that need a server or minutes, and the test that shows them.
ELSEWHERE = {
    ("demo",): ({0, 1}, "tests/e2e/test_demo.py"),
    ("policy", "apply"): ({0, 1}, "tests/real/test_policies_apply.py"),
    ("policy", "credentials"): ({0, 1}, "tests/real/test_two_teams.py"),
    ("policy", "verify"): ({0, 1}, "tests/real/test_policies_verify.py"),
    ("audit", "alarms"): ({1}, "tests/unit/sinks/alarms/test_alarms.py"),
    ("reveal",): ({0}, "tests/real/test_reveal_opens.py"),
}


# --- exit codes -------------------------------------------------------------------------------------------


class Site:
    """A deployment in a folder, whose settings every command is given."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.upkeep = Upkeep(folder / "deployment")
        for name in ("sealed", "elsewhere"):
            (folder / name).mkdir()
        self.log = folder / "log.jsonl"
        self.config = folder / "airflow.cfg"
        self.config.write_text(
            "[core]\nxcom_backend = secure_xcom.SecureXComBackend\n"
            f"[secure_xcom]\naccess_policy = {self.upkeep.policy_file}\naudit_sinks = file://{self.log}\n"
            f"sealed_log = file://{folder}/sealed\nsealing_key = file://{folder}/sealing.pem\n"
            f"claims_uri = db+sqlite:///{folder}/claims.db\n"
        )

    def run(self, line: str) -> Result:
        """Run a command line, with FOLDER for the site's folder."""
        words = [word.replace("FOLDER", str(self.folder)) for word in line.split()]
        command = SHOWN[tuple(words[:2])] if tuple(words[:2]) in SHOWN else SHOWN[tuple(words[:1])]
        takes = {option for parameter in command.params for option in parameter.opts}
        config = [] if "--config" not in takes or "--config" in words else ["--config", str(self.config)]
        return CliRunner().invoke(app, [*words, *config], env={"COLUMNS": "200"})

    def anchorable(self) -> None:
        """Events of a month ago, and the key that anchors them."""
        write(self.log, chain(3, 300, start=datetime.now(timezone.utc) - timedelta(days=30)))
        assert self.run("audit key --create").exit_code == 0

    def anchored(self) -> None:
        """The same, anchored."""
        self.anchorable()
        assert self.run("audit anchor --checkpoint FOLDER/elsewhere/checkpoint").exit_code == 0

    def policy(self) -> None:
        """A policy of two compartments, of which lint says nothing, and one of which it warns."""
        (self.folder / "fine.yaml").write_text(
            "version: 1\ncompartments:\n"
            "  - {name: pay, dags: ['pay_*'], key_uris: ['local:///keys/pay.json'], store_uri: 'file:///sealed'}\n"
        )
        (self.folder / "odd.yaml").write_text(
            "version: 1\ncompartments:\n"
            "  - {name: pay, dags: ['pay_*'], key_uris: ['local:///keys/pay.json'], store_uri: 'file:///sealed'}\n"
            "  - {name: too, dags: ['pay_a'], key_uris: ['local:///keys/pay.json'], store_uri: 'file:///sealed'}\n"
        )

    def orphaned(self) -> None:
        """An old payload that no row names."""
        path = f"pay/orders/run/extract/-1/{unique_of(long_ago(days=2))}"
        self.upkeep.store().put(path, [b"x"])
        os.utime(self.upkeep.folder / "store" / path, (time.time() - 180_000,) * 2)

    def expired(self) -> None:
        """An XCom whose retention is over."""
        self.upkeep.write_policy("    retention: 1h\n")
        age(self.upkeep, self.upkeep.push("old"), 3)

    def rotated(self) -> None:
        """An XCom that an older version of the key wrapped."""
        self.upkeep.push(1)
        rotate_keyring(self.upkeep.keyring)

    def plaintext(self) -> None:
        """An XCom from before."""
        self.upkeep.table.put(coordinate(), "plain")

    def sealed(self) -> None:
        """A sealed XCom, and a value in plaintext beside it."""
        self.upkeep.push({"a": 1}, coordinate())
        self.upkeep.table.put(coordinate(key="plain"), "plain")

    def claimed(self) -> None:
        """An exclusive XCom whose reader has succeeded."""
        config = self.config.read_text()
        self.config.write_text("".join(line for line in config.splitlines(True) if "claims_uri" not in line))
        at = self.upkeep.push(exclusive("opensesame"), coordinate())
        self.upkeep.pipeline().pull(
            [Row(self.upkeep.table.value(at), Asked(at.dag_id, at.task_id, at.key, at.run_id, at.map_index))],
            consumer=TaskTry(at.dag_id, at.run_id, "reader", -1, 1),
            claimant=Claimant(at.dag_id, at.run_id, "reader", -1),
        )
        self.upkeep.table.set_state(replace(at, task_id="reader"), "success")

    def tampered(self) -> None:
        """An anchored log, and an event that was changed after."""
        self.anchored()
        self.log.write_bytes(self.log.read_bytes().replace(b'"task_id":"load"', b'"task_id":"ship"', 1))

    def trail(self) -> None:
        """CloudTrail's records without a use of a key, and with one that no event records."""
        (self.folder / "quiet.json").write_text(json.dumps({"Records": []}))
        names = ("compartment", "dag_id", "map_index", "run_id", "task_id")
        record = {
            "eventTime": "2026-11-22T10:00:00Z",
            "eventSource": "kms.amazonaws.com",
            "eventName": "Decrypt",
            "requestParameters": {"encryptionContext": dict.fromkeys(names, "1")},
            "resources": [{"ARN": "arn:aws:kms:eu-central-1:111122223333:key/1"}],
        }
        (self.folder / "used.json").write_text(json.dumps({"Records": [record]}))


def _without_claims(site: Site) -> None:
    """Add settings without a claims table: of a deployment that is well, and of one whose log others can read."""
    text = "".join(line for line in site.config.read_text().splitlines(True) if "claims_uri" not in line)
    (site.folder / "well.cfg").write_text(text)
    exposed = site.folder / "exposed.jsonl"
    exposed.write_text("")
    exposed.chmod(0o644)
    (site.folder / "exposed.cfg").write_text(text.replace("log.jsonl", exposed.name))


COORDINATE = str(coordinate()).replace(" ", "")
# What to prepare, then command lines one after the other with their exit codes.
LINES: dict[tuple[str, ...], tuple[Callable[[Site], None] | None, list[tuple[str, int]]]] = {
    ("demo",): (None, [("demo --shout", 2)]),
    ("reveal",): (None, [("reveal", 2), ("reveal --here --opens", 2)]),
    ("explain",): (
        None,
        [("explain", 0), ("explain HeadTampered", 0), ("explain sxc-headtampered", 0), ("explain HeadTemper", 2)],
    ),
    ("completion",): (None, [("completion zsh", 0), ("completion tcsh", 2)]),
    ("init",): (
        None,
        [
            ("init --key local://FOLDER/k/keyring.json --store file://FOLDER/store --dry-run", 1),
            ("init --key local://FOLDER/k/keyring.json --store file://FOLDER/store", 0),
            ("init --key local://FOLDER/k/keyring.json --store file://FOLDER/store --dry-run", 0),
            ("init --key local:relative --store file://FOLDER/store --dry-run", 2),
        ],
    ),
    # Without claims it is well; the claims table is missing in the second.
    ("check",): (
        _without_claims,
        [("check --config FOLDER/well.cfg", 0), ("check", 1), ("check --config FOLDER/nowhere", 2)],
    ),
    ("doctor",): (
        _without_claims,
        [
            ("doctor --config FOLDER/nowhere", 2),
            ("doctor --no-payloads --config FOLDER/well.cfg", 0),
            ("doctor --no-payloads --config FOLDER/exposed.cfg", 1),
            ("doctor --no-payloads --config FOLDER/exposed.cfg --dry-run", 1),
            ("doctor --no-payloads --config FOLDER/exposed.cfg --fix", 0),
        ],
    ),
    ("inspect",): (
        Site.sealed,
        [(f"inspect {COORDINATE}", 0), (f"inspect {COORDINATE[:-12]}plain", 1), ("inspect x", 2)],
    ),
    ("open",): (
        Site.sealed,
        [
            (f"open {COORDINATE} --reason why", 0),
            (f"open {COORDINATE[:-12]}plain --reason why", 1),
            (f"open {COORDINATE}x --reason why", 2),
        ],
    ),
    ("gc",): (
        Site.orphaned,
        [("gc --older-than 1h", 2), ("gc", 1), ("gc --dry-run", 1), ("gc --apply", 0), ("gc", 0)],
    ),
    ("expire",): (
        Site.expired,
        [
            ("expire --grace x", 2),
            ("expire", 1),
            ("expire --apply", 0),
            ("expire", 0),
        ],
    ),
    ("rewrap",): (
        Site.rotated,
        [("rewrap --compartment pya", 2), ("rewrap", 1), ("rewrap --apply", 0), ("rewrap", 0)],
    ),
    ("migrate",): (
        Site.plaintext,
        [("migrate --config FOLDER/nowhere", 2), ("migrate", 1), ("migrate --apply", 0), ("migrate", 0)],
    ),
    ("migrate-back",): (
        Site.rotated,
        [
            ("migrate-back", 2),
            ("migrate-back --reason leave", 1),
            ("migrate-back --reason leave --apply", 0),
            ("migrate-back --reason leave", 0),
        ],
    ),
    ("policy", "show"): (
        Site.policy,
        [
            ("policy show FOLDER/fine.yaml --dag pay_a", 0),
            ("policy show FOLDER/fine.yaml --dag other", 1),
            ("policy show FOLDER/nowhere", 2),
        ],
    ),
    ("policy", "lint"): (
        Site.policy,
        [
            ("policy lint FOLDER/odd.yaml", 1),
            ("policy lint FOLDER/fine.yaml --allow no-identities --allow local-key", 2),
            ("policy lint FOLDER/fine.yaml", 0),
        ],
    ),
    ("policy", "compile"): (
        Site.policy,
        [
            ("policy compile FOLDER/fine.yaml --out FOLDER/out --dry-run", 1),
            ("policy compile FOLDER/fine.yaml --out FOLDER/out", 0),
            ("policy compile FOLDER/fine.yaml --out FOLDER/out --dry-run", 0),
            ("policy compile FOLDER/fine.yaml --out FOLDER", 2),
        ],
    ),
    ("policy", "apply"): (None, [("policy apply FOLDER/nowhere", 2)]),
    ("policy", "credentials"): (None, [("policy credentials FOLDER/nowhere --out FOLDER/handout", 2)]),
    ("policy", "verify"): (None, [("policy verify FOLDER/nowhere", 2)]),
    ("audit", "search"): (Site.anchorable, [("audit search", 0), ("audit search --action pulled", 2)]),
    ("audit", "tail"): (Site.anchorable, [("audit tail", 0), ("audit tail --outcome fine", 2)]),
    ("audit", "export"): (
        Site.anchorable,
        [("audit export --out FOLDER/x.csv", 0), ("audit export --out FOLDER/x.doc", 2)],
    ),
    ("audit", "index"): (
        Site.anchorable,
        [
            ("audit index --config FOLDER/nowhere", 2),
            ("audit index --dry-run", 1),
            ("audit index", 0),
            ("audit index --dry-run", 0),
            ("audit search", 0),
        ],
    ),
    ("audit", "key"): (
        None,
        [
            ("audit key", 2),
            ("audit key --create --dry-run", 1),
            ("audit key --create", 0),
            ("audit key --create --dry-run", 0),
            ("audit key", 0),
        ],
    ),
    ("audit", "anchor"): (
        Site.anchorable,
        [
            ("audit anchor --key file://FOLDER/nowhere.pem", 2),
            ("audit anchor --dry-run", 1),
            ("audit anchor", 0),
            ("audit anchor --dry-run", 0),
        ],
    ),
    ("audit", "verify"): (
        Site.tampered,
        [
            ("audit verify --trusted FOLDER/nowhere", 2),
            ("audit verify", 1),
            ("audit verify --sink file://FOLDER/empty.jsonl --chains-only", 0),
        ],
    ),
    ("audit", "prove"): (
        Site.anchored,
        [("audit prove --index 7 --out FOLDER/proof", 0), ("audit prove --index 999", 2)],
    ),
    ("audit", "prune"): (
        Site.anchored,
        [
            ("audit prune --keep-days 0", 2),
            ("audit prune --keep-days 10", 1),
            ("audit prune --keep-days 10 --dry-run", 1),
            ("audit prune --keep-days 10 --apply", 0),
            ("audit prune --keep-days 10", 0),
        ],
    ),
    ("audit", "reconcile"): (
        Site.trail,
        [
            ("audit reconcile", 2),
            ("audit reconcile --cloudtrail FOLDER/quiet.json", 0),
            ("audit reconcile --cloudtrail FOLDER/used.json", 1),
        ],
    ),
    ("audit", "alarms"): (
        Site.anchorable,
        [("audit alarms --dry-run", 0), ("audit alarms --config FOLDER/nowhere", 2)],
    ),
    ("ui", "migrate"): (
        None,
        [("ui migrate --dry-run", 1), ("ui migrate", 0), ("ui migrate --dry-run", 0), ("ui migrate --shout", 2)],
    ),
    ("ui", "count"): (None, [("ui count", 2), ("ui migrate", 0), ("ui count --dry-run", 0), ("ui count", 0)]),
    ("claims", "migrate"): (
        None,
        [
            ("claims migrate --dry-run", 1),
            ("claims migrate", 0),
            ("claims migrate --dry-run", 0),
            ("claims migrate --config FOLDER/nowhere", 2),
        ],
    ),
    ("claims", "shred"): (
        Site.claimed,
        [
            ("claims shred --config FOLDER/nowhere", 2),
            ("claims shred", 1),
            ("claims shred --apply", 0),
            ("claims shred", 0),
        ],
    ),
}


@pytest.mark.parametrize("path", SHOWN, ids=" ".join)
def test_exit_codes(path: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """0 is nothing to do or all done, 1 what the command declares, 2 that it could not run."""
    for name in [name for name in os.environ if name.startswith(("AIRFLOW", "SECURE_XCOM", "VAULT", "AWS"))]:
        monkeypatch.delenv(name)
    prepare, lines = LINES[path]
    site = Site(tmp_path)
    monkeypatch.setenv("SECURE_XCOM_DB", site.upkeep.table.url)
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("AIRFLOW__CORE__FERNET_KEY", "any")
    monkeypatch.setenv("SHELL", "/bin/bash")
    if prepare:
        prepare(site)
    for line, expected in lines:
        result = site.run(line)
        assert result.exit_code == expected, f"{line}\n{result.output}\n{result.exception!r}"
        assert result.exception is None or isinstance(result.exception, SystemExit)
    site.upkeep.close()
    seen = {code for line, code in lines if tuple(line.split()[: len(path)]) == path}
    elsewhere, test = ELSEWHERE.get(path, (set(), "tests"))
    assert Path(test).exists()
    assert seen | elsewhere == ({0, 1, 2} if contract_of(SHOWN[path]).found else {0, 2})


def test_what_nobody_expected_could_not_run(tmp_path: Path) -> None:
    """An error that is none of ours ends with 2 and its traceback, since 1 means that something was found."""
    code = (
        "from secure_xcom.cli import main\nfrom secure_xcom.cli.policy import show\n"
        "def broken(*_): raise ZeroDivisionError('by accident')\n"
        "from secure_xcom.core.access_policy.policy import AccessPolicy\nAccessPolicy.load = broken\n"
        "main(['policy', 'show', 'x'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert (done.returncode, "by accident" in done.stderr) == (2, True)


def test_a_reader_that_closes_the_pipe_is_no_fault(tmp_path: Path) -> None:
    """`... | head` ends the command as a shell expects, without a traceback."""
    write(tmp_path / "log.jsonl", chain(1, 3000))
    command = Path(sys.executable).with_name("secure-xcom")
    line = f"{command} audit tail --lines 100000 --sink file://{tmp_path}/log.jsonl | head -1"
    script = f"{line}; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "141"
    assert done.stderr == ""


# --- options ----------------------------------------------------------------------------------------------


def test_every_command_that_changes_something_can_be_tried_first() -> None:
    """What deletes or rewrites takes --apply and --dry-run; what sets something up takes --dry-run."""
    for path, command in SHOWN.items():
        flags = {flag for option in command.params for flag in (*option.opts, *option.secondary_opts)}
        kind = contract_of(command).kind
        wanted = {"changes": {"--apply", "--dry-run"}, "sets up": {"--dry-run"}, "repairs": {"--fix", "--dry-run"}}
        assert flags & {"--apply", "--dry-run", "--fix"} == wanted.get(kind, set()), path
        hidden = {flag for option in command.params if option.hidden for flag in option.opts}
        assert hidden == ({"--delete"} if path in (("gc",), ("expire",), ("claims", "shred")) else set()), path


def test_the_former_flag_acts_and_cannot_be_taken_back_silently(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--delete` is `--apply`; together with `--dry-run` it is refused and nothing is deleted."""
    site = Site(tmp_path)
    monkeypatch.setenv("SECURE_XCOM_DB", site.upkeep.table.url)
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path / "home"))
    site.orphaned()
    for line in ("gc --delete --dry-run", "gc --dry-run --delete"):
        refused = site.run(line)
        assert (refused.exit_code, "exclude each other" in refused.output) == (2, True)
    assert len(site.upkeep.objects()) == 1
    assert site.run("gc --delete").exit_code == 0
    assert site.upkeep.objects() == []
    site.upkeep.close()


def test_former_names_are_the_same_commands() -> None:
    """A former name takes the same options, and no list shows it."""
    former = {path for path, command in COMMANDS.items() if command.hidden}
    assert former == {("seal-existing",), ("unseal-all",), ("audit", "seal")}
    now = {"seal-existing": ("migrate",), "unseal-all": ("migrate-back",), "seal": ("audit", "anchor")}
    for path in former:
        old, new = COMMANDS[path], COMMANDS[now[path[-1]]]
        assert [option.opts for option in old.params] == [option.opts for option in new.params]
        assert contract_of(old) is contract_of(new)
    for group in ((), ("audit",)):
        listed = CliRunner().invoke(app, [*group, "--help"], env={"COLUMNS": "80"}).stdout
        assert re.search(r"^ +(seal\S*|unseal\S*) ", listed, re.MULTILINE) is None


# --- texts ------------------------------------------------------------------------------------------------


def test_summaries_are_whole_imperative_sentences() -> None:
    """Each line of a command list is one sentence that begins with a verb, whole at 80 columns."""
    for group in ((), ("policy",), ("audit",), ("claims",), ("ui",)):
        text = CliRunner().invoke(app, [*group, "--help"], env={"COLUMNS": "80"}).stdout
        joined = " ".join(text.split())
        for path, command in SHOWN.items():
            if path[:-1] == group:
                summary = command.short_help
                assert summary.endswith("."), path
                assert summary.split()[0] in VERBS, path
                assert f" {path[-1]} {summary}" in joined, path
        assert "..." not in text.replace("[ARGS]...", "")


def test_commands_stand_under_headings() -> None:
    """The list of the top is in groups, and so is that of `audit`."""
    top = CliRunner().invoke(app, ["--help"]).stdout
    headings = ["Start:", "Set up and check:", "Look into XComs and the access log:", "Maintain:", "Migrate:"]
    assert [line for line in top.splitlines() if line in headings] == headings
    assert "Anchor and prove:" in CliRunner().invoke(app, ["audit", "--help"]).stdout


def test_no_command_seals_anything_but_payloads() -> None:
    """No help text says "seal" of rows or of the access log; settings keep their names."""
    for path in [(), *SHOWN]:
        text = CliRunner().invoke(app, [*path, "--help"], env={"COLUMNS": "400"}).stdout
        text = re.sub(r"\[secure_xcom\] \w+|sealing\.pem|sealing_key|/sealed\b", "", text)
        assert re.search(r"sealed log|seal (the|finished|existing|rows)|unseal", text, re.IGNORECASE) is None, path


@pytest.mark.parametrize("path", SHOWN, ids=" ".join)
def test_every_help_has_examples_that_parse(path: tuple[str, ...]) -> None:
    """--help says what each exit code means and shows command lines, which the parser takes."""
    import shlex

    contract = contract_of(SHOWN[path])
    text = CliRunner().invoke(app, [*path, "--help"], env={"COLUMNS": "80"}).stdout
    assert "Exit codes: 0 nothing to do or all done" in text
    assert "Examples:" in text
    for example in contract.examples:
        assert f"    {example}\n" in f"{text}\n", "an example stands on one line, to be copied"
        words = shlex.split(example.removeprefix('eval "$(').removesuffix(')"'))
        assert words[: 1 + len(path)] == ["secure-xcom", *path]
        assert documented.refusal(words[1:]) is None, example
