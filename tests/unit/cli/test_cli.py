"""The commands init, check and inspect, and what is the same for every command."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from secure_xcom.cli import app, main
from secure_xcom.core.access_policy.policy import AccessPolicy
from secure_xcom.core.config import RELEASE, Settings
from secure_xcom.core.coordinate import Coordinate
from secure_xcom.core.store_errors import StoreDenied
from secure_xcom.ops.checks.probe import probe_coordinate, probe_key, probe_store
from secure_xcom.stores import StoredObject
from tests.support.doubles import MemoryKeyService, MemoryStore
from tests.support.world import World
from tests.support.xcom_table import XComTable

# `secure-xcom init` compares the clock with the time of a file that it writes.
pytestmark = pytest.mark.file_times

ROW = Coordinate("orders", "manual__2026-01-01T00:00:00+00:00", "extract", 3, "return_value")


@pytest.fixture(autouse=True)
def no_airflow_of_the_caller(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Commands see no settings but those that a test gives them."""
    for name in list(os.environ):
        if name.startswith(("AIRFLOW", "SECURE_XCOM")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path / "airflow-home"))


def run(*arguments: str, stdin: str | None = None) -> Result:
    """Run a command in this process, on a wide terminal without color."""
    return CliRunner().invoke(app, list(arguments), input=stdin, env={"COLUMNS": "200"})


def run_json(*arguments: str, stdin: str | None = None) -> tuple[int, Any]:
    """Run a command with --json; gives its exit code and what it printed."""
    result = run(*arguments, "--json", stdin=stdin)
    return result.exit_code, json.loads(result.stdout)


@pytest.fixture
def place(tmp_path: Path) -> tuple[str, str]:
    """A key URI and a store URI of which nothing exists yet."""
    return f"local://{tmp_path}/keys/keyring.json", f"file://{tmp_path}/sealed"


@pytest.fixture
def config(tmp_path: Path, place: tuple[str, str]) -> Path:
    """What init printed for airflow.cfg, in a file; the access log lies beside it."""
    code, printed = run_json("init", "--key", place[0], "--store", place[1])
    assert code == 0
    file = tmp_path / "airflow.cfg"
    file.write_text(f"{printed['airflow_cfg']}\n\n[logging]\nbase_log_folder = {tmp_path}/logs\n")
    return file


def statuses(printed: dict[str, Any]) -> dict[str, str]:
    """The findings that are not ok, by subject, but for the one that an old Airflow has in any case."""
    return {finding["subject"]: finding["text"] for finding in printed["findings"] if finding["status"] != "ok"}


# --- every command ------------------------------------------------------------------------------------------


def commands(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command with the words that call it."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name), command


def test_every_command_has_json_and_a_help_text() -> None:
    """Each command takes --json, and its help says what it does."""
    found = list(commands(typer.main.get_command(app)))
    assert {path[0] for path, _ in found} >= {"demo", "init", "check", "inspect"}
    for path, command in found:
        assert "--json" in {option for parameter in command.params for option in parameter.opts}, path
        result = run(*path, "--help")
        assert result.exit_code == 0
        # A line may end behind a hyphen.
        assert "".join(command.help.split()) in "".join(result.stdout.split())


def test_the_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    """--version prints the release and ends with 0."""
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert (ended.value.code, capsys.readouterr().out) == (0, f"secure-xcom {RELEASE}\n")


def test_the_help_has_the_name_that_the_command_was_called_by(capsys: pytest.CaptureFixture[str]) -> None:
    """Reached through Airflow's command, the help says so."""
    with pytest.raises(SystemExit) as ended:
        main(["check", "--help"], name="airflow secure-xcom")
    assert ended.value.code == 0
    assert capsys.readouterr().out.strip().startswith("Usage: airflow secure-xcom check")


@pytest.mark.parametrize("arguments", [("unknown",), ("init",), ("check", "--unknown"), ("inspect",)])
def test_wrong_arguments_end_with_2(arguments: tuple[str, ...]) -> None:
    """A command that is not known or not complete could not run."""
    assert run(*arguments).exit_code == 2


def test_an_error_is_json_where_json_was_asked_for() -> None:
    """A command that could not run says so on stdout as JSON, with what, where and remedy."""
    code, printed = run_json("inspect", "neither-this-nor-that")
    assert code == 2
    assert set(printed) == {"error", "what", "where", "remedy"}
    assert (printed["error"], printed["where"]) == ("CommandError", "neither-this-nor-that")


def test_an_error_for_people_goes_to_stderr() -> None:
    """Without --json stdout stays empty, so that nothing takes an error for a result."""
    result = run("inspect", "neither-this-nor-that")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "what to do: " in result.stderr


# --- init ---------------------------------------------------------------------------------------------------


def test_init_makes_what_only_its_user_can_use(tmp_path: Path, place: tuple[str, str]) -> None:
    """The keyring has mode 0600, the store's folder 0700, and the probe leaves nothing in it."""
    result = run("init", "--key", place[0], "--store", place[1])
    assert result.exit_code == 0, result.output
    assert stat.S_IMODE((tmp_path / "keys/keyring.json").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "sealed").stat().st_mode) == 0o700
    assert list((tmp_path / "sealed").iterdir()) == []


def test_init_prints_settings_that_work(config: Path) -> None:
    """The lines for airflow.cfg are all that check needs to find everything in order."""
    code, printed = run_json("check", "--config", str(config))
    assert (code, statuses(printed)) == (0, {})


def test_init_prints_the_same_settings_for_the_environment(
    place: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The environment variables parse to the same settings as the lines of airflow.cfg."""
    _, printed = run_json("init", "--key", place[0], "--store", place[1])
    prefix = "AIRFLOW__SECURE_XCOM__"
    section = {
        name.removeprefix(prefix).lower(): value
        for name, value in printed["environment"].items()
        if name.startswith(prefix)
    }
    assert Settings.parse(section) == Settings(key_uris=(place[0],), store_uri=place[1])
    assert printed["environment"]["AIRFLOW__CORE__XCOM_BACKEND"] == "secure_xcom.SecureXComBackend"
    for name, value in printed["environment"].items():
        assert f"export {name}={value}" in run("init", "--key", place[0], "--store", place[1]).stdout


def test_init_writes_a_percent_so_that_airflow_reads_it(tmp_path: Path, place: tuple[str, str]) -> None:
    """A store URI with an escape comes back the same out of airflow.cfg, which doubles each percent sign."""
    code, printed = run_json("init", "--key", place[0], "--store", f"file://{tmp_path}/a%20b")
    file = tmp_path / "airflow.cfg"
    file.write_text(f"{printed['airflow_cfg']}\n[logging]\nbase_log_folder = {tmp_path}\n")
    assert (code, (tmp_path / "a b").is_dir()) == (0, True)
    assert run_json("check", "--config", str(file))[0] == 0


def test_init_again_keeps_everything(tmp_path: Path, place: tuple[str, str]) -> None:
    """An existing keyring is not touched, and init says that it was kept."""
    run("init", "--key", place[0], "--store", place[1])
    before = (tmp_path / "keys/keyring.json").read_bytes()
    code, printed = run_json("init", "--key", place[0], "--store", place[1])
    assert (code, (tmp_path / "keys/keyring.json").read_bytes()) == (0, before)
    texts = {finding["subject"]: finding["text"] for finding in printed["findings"]}
    assert texts[f"keyring {tmp_path}/keys/keyring.json"] == "exists and is kept"
    assert texts[f"folder {tmp_path}/sealed"] == "exists and is kept"


def test_init_takes_several_keys(tmp_path: Path, place: tuple[str, str]) -> None:
    """Each --key is made, tried and printed."""
    other = f"local://{tmp_path}/other/keyring.json"
    code, printed = run_json("init", "--key", place[0], "--key", other, "--store", place[1])
    assert (code, (tmp_path / "other/keyring.json").exists()) == (0, True)
    assert printed["environment"]["AIRFLOW__SECURE_XCOM__KEY_URIS"] == f"{place[0]},{other}"


@pytest.mark.parametrize(
    ("key", "store", "error"),
    [
        ("locl:///x/keyring.json", "file://{tmp}/sealed", "UriInvalid"),
        ("local://relative/keyring.json", "file://{tmp}/sealed", "UriInvalid"),
        ("local://{tmp}/keys/keyring.json", "fil://{tmp}/sealed", "UriInvalid"),
        ("local://{tmp}/keys/keyring.json", "file:///", "UriInvalid"),
        ("local://{tmp}/keys/keyring.json", "file://{tmp}/with a space", "SettingInvalid"),
    ],
)
def test_init_refuses_a_typo_before_it_makes_anything(tmp_path: Path, key: str, store: str, error: str) -> None:
    """A URI that is not understood is an error that names it, and nothing was made."""
    code, printed = run_json(
        "init", "--key", key.replace("{tmp}", str(tmp_path)), "--store", store.replace("{tmp}", str(tmp_path))
    )
    assert (code, printed["error"]) == (2, error)
    assert list(tmp_path.iterdir()) == []


def test_a_keyring_lies_in_no_store(tmp_path: Path, config: Path, place: tuple[str, str]) -> None:
    """A keyring in the folder of a store, which a copy of the store would take along, is refused and found."""
    folder = place[1].removeprefix("file://")
    result = run("init", "--key", f"local://{folder}/keyring.json", "--store", place[1])
    assert result.exit_code == 2
    assert "a copy of the store contains the keys" in result.stderr
    assert not Path(folder, "keyring.json").exists()
    config.write_text(f"[secure_xcom]\nkey_uris = {place[0]}\nstore_uri = file://{tmp_path}\n")
    result = run("check", "--config", str(config))
    assert result.exit_code == 1
    assert "a copy of the store contains the keys" in result.stdout


def test_init_refuses_a_keyring_that_others_can_read(tmp_path: Path, place: tuple[str, str]) -> None:
    """An exposed keyring is no key to start with, and init says what to do."""
    run("init", "--key", place[0], "--store", place[1])
    (tmp_path / "keys/keyring.json").chmod(0o644)
    code, printed = run_json("init", "--key", place[0], "--store", place[1])
    assert code == 2
    assert "0644" in printed["what"]
    assert "chmod 600" in printed["remedy"]


def test_init_warns_of_a_folder_that_others_can_list(tmp_path: Path, place: tuple[str, str]) -> None:
    """A folder that is open to others is kept, and exit code 1 says that something was found."""
    (tmp_path / "sealed").mkdir()
    (tmp_path / "sealed").chmod(0o755)
    code, printed = run_json("init", "--key", place[0], "--store", place[1])
    assert (code, printed["status"]) == (1, "warning")
    assert "0755" in statuses(printed)[f"folder {tmp_path}/sealed"]


def test_init_says_where_a_folder_cannot_be_made(tmp_path: Path, place: tuple[str, str]) -> None:
    """A store below a file is an error of our tree with the store's URI."""
    (tmp_path / "file").touch()
    code, printed = run_json("init", "--key", place[0], "--store", f"file://{tmp_path}/file/sealed")
    assert (code, printed["error"]) == (2, "StoreUnavailable")


# --- check --------------------------------------------------------------------------------------------------


def test_check_leaves_no_trace(tmp_path: Path, config: Path) -> None:
    """The store is as empty as before, and the access log has no event that nobody caused."""
    assert run("check", "--config", str(config)).exit_code == 0
    assert list((tmp_path / "sealed").iterdir()) == []
    assert (tmp_path / "logs/secure_xcom/access-log.jsonl").read_bytes() == b""


def test_check_prints_a_line_for_each_finding(config: Path) -> None:
    """Each line has a status glyph and its subject."""
    result = run("check", "--config", str(config))
    assert {line[0] for line in result.stdout.splitlines()} == {"✓"}
    for subject in ("versions", "[core] xcom_backend", "settings", "access policy", "wrap and unwrap", "clock"):
        assert f"✓ {subject}" in result.stdout


def test_check_of_nothing_says_which_lines_to_write(tmp_path: Path) -> None:
    """Without any setting, check finds that Airflow is not set up and names the two lines."""
    file = tmp_path / "airflow.cfg"
    file.write_text("[core]\n")
    code, printed = run_json("check", "--config", str(file))
    assert (code, printed["status"]) == (1, "error")
    assert "plaintext" in statuses(printed)["[core] xcom_backend"]
    settings = next(finding for finding in printed["findings"] if finding["subject"] == "settings")
    assert "key_uris = local:///path/keyring.json" in settings["remedy"]


def test_check_reads_airflows_own_configuration(
    config: Path, place: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without --config, what Airflow itself would use is checked."""
    monkeypatch.setenv("AIRFLOW__SECURE_XCOM__KEY_URIS", place[0])
    monkeypatch.setenv("AIRFLOW__SECURE_XCOM__STORE_URI", place[1])
    monkeypatch.setenv("AIRFLOW__CORE__XCOM_BACKEND", "secure_xcom.SecureXComBackend")
    monkeypatch.setenv("AIRFLOW__SECURE_XCOM__AUDIT_SINKS", f"file://{config.parent}/log.jsonl")
    code, printed = run_json("check")
    assert (code, statuses(printed)) == (0, {})
    assert {"subject": "settings", "status": "ok", "text": "read from Airflow's configuration", "remedy": ""} in (
        printed["findings"]
    )


def test_the_environment_is_stronger_than_the_file(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As with Airflow, AIRFLOW__SECURE_XCOM__* wins over the file."""
    monkeypatch.setenv("AIRFLOW__SECURE_XCOM__STORE_URI", f"file://{config.parent}/elsewhere")
    code, printed = run_json("check", "--config", str(config))
    assert code == 1
    assert list(statuses(printed)) == [f"put, get and delete in file://{config.parent}/elsewhere"]


def test_check_finds_what_this_airflow_does_not_tell(
    config: Path, place: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A policy that asks for teams, where Airflow has none, is found before a task meets it."""
    policy = config.parent / "policy.yaml"
    policy.write_text(
        f"version: 1\ncompartments:\n  - name: one\n    dags: ['*']\n    teams: [finance]\n"
        f"    key_uris: ['{place[0]}']\n    store_uri: '{place[1]}'\n"
    )
    monkeypatch.setenv("AIRFLOW__SECURE_XCOM__ACCESS_POLICY", str(policy))
    monkeypatch.setenv("AIRFLOW__CORE__XCOM_BACKEND", "secure_xcom.SecureXComBackend")
    monkeypatch.setenv("AIRFLOW__SECURE_XCOM__AUDIT_SINKS", f"file://{config.parent}/log.jsonl")
    code, printed = run_json("check")
    assert code == 1
    assert "'one' has teams, and this Airflow does not report them" in statuses(printed)["access policy"]


@pytest.mark.parametrize(
    ("line", "subject", "text"),
    [
        ("place_tasks = False", "[secure_xcom] place_tasks", "with whose identity"),
        ("on_plaintext = alow", "settings", "not one of refuse"),
        ("key_uri = local:///x", "settings", "unknown option 'key_uri'"),
        ("access_policy = /nowhere/policy.yaml", "settings", "cannot be read"),
        ("audit_sinks = syslog://x", "access log syslog://x", "no sink has the scheme"),
        ("hide_return_values = False", "[secure_xcom] hide_return_values", "is off"),
    ],
)
def test_check_finds_what_is_wrong_with_a_setting(config: Path, line: str, subject: str, text: str) -> None:
    """A setting that cannot be used, or that opens a leak, is a finding."""
    config.write_text(config.read_text().replace("[secure_xcom]\n", f"[secure_xcom]\n{line}\n"))
    code, printed = run_json("check", "--config", str(config))
    assert code == 1
    assert text in statuses(printed)[subject]


def test_check_finds_a_missing_keyring_and_a_missing_store(tmp_path: Path, config: Path) -> None:
    """What is gone is found, once for the key and once for the store, each with what to do."""
    (tmp_path / "keys/keyring.json").unlink()
    (tmp_path / "sealed").rmdir()
    code, printed = run_json("check", "--config", str(config))
    errors = [finding for finding in printed["findings"] if finding["status"] == "error"]
    assert (code, printed["status"]) == (1, "error")
    assert {error["subject"].split(" ")[0] for error in errors} == {"key", "wrap", "put,"}
    assert all("secure-xcom init" in error["remedy"] for error in errors)


def test_check_finds_an_access_log_that_cannot_be_written(tmp_path: Path, config: Path) -> None:
    """A sink below a file is found without pushing anything."""
    (tmp_path / "logs").touch()
    code, printed = run_json("check", "--config", str(config))
    assert code == 1
    assert (
        "cannot be written" in statuses(printed)[f"access log file://{tmp_path}/logs/secure_xcom/access-log.jsonl"]
    )


def test_check_looks_at_every_sink_and_at_the_key_of_ids(tmp_path: Path, config: Path) -> None:
    """An optional sink that fails is a warning, a required one an error, and no password of a URI is shown."""
    (tmp_path / "ids.key").touch(0o600)
    (tmp_path / "ids.key").write_bytes(b"k" * 31)
    sinks = f"file://{tmp_path}/log.jsonl, syslog+tls://127.0.0.1:1?optional=true, db+sqlite://me:canary@/none.db"
    options = f"audit_sinks = {sinks}\naudit_hash_key = {tmp_path}/ids.key\naudit_hash_ids = run_id\n"
    config.write_text(config.read_text().replace("[secure_xcom]\n", f"[secure_xcom]\n{options}"))
    code, printed = run_json("check", "--config", str(config))
    found = {finding["subject"]: finding["status"] for finding in printed["findings"]}
    assert code == 1
    assert found[f"access log file://{tmp_path}/log.jsonl"] == "ok"
    assert found["access log syslog+tls://127.0.0.1:1"] == "warning"
    assert found["access log db+sqlite://...@/none.db"] == "error"
    assert found["hashed ids"] == "error"
    assert "canary" not in json.dumps(printed)
    (tmp_path / "ids.key").write_bytes(b"k" * 32)
    findings = run_json("check", "--config", str(config))[1]["findings"]
    assert [one["text"] for one in findings if one["subject"] == "hashed ids"] == [
        "the access log stores object, run_id as keyed hashes"
    ]


def test_check_looks_at_the_table_of_claims(tmp_path: Path, config: Path) -> None:
    """A database of claims without its table is found before an exclusive XCom meets it, with what to run."""
    uri = f"db+sqlite:///{tmp_path}/claims.db"
    config.write_text(config.read_text().replace("[secure_xcom]\n", f"[secure_xcom]\nclaims_uri = {uri}\n"))
    code, printed = run_json("check", "--config", str(config))
    [found] = [one for one in printed["findings"] if one["subject"].startswith("claims")]
    assert (code, found["status"], "claims migrate" in found["remedy"]) == (1, "error", True)
    assert run("claims", "migrate", "--config", str(config)).exit_code == 0
    code, printed = run_json("check", "--config", str(config))
    assert (code, f"claims in {uri}" in {one["subject"] for one in printed["findings"]}) == (0, True)


def test_check_finds_that_no_sink_is_required(tmp_path: Path, config: Path) -> None:
    """Sinks that are all optional are an error, because the backend refuses to start with them."""
    option = f"audit_sinks = file://{tmp_path}/log.jsonl?optional=true\n"
    config.write_text(config.read_text().replace("[secure_xcom]\n", f"[secure_xcom]\n{option}"))
    code, printed = run_json("check", "--config", str(config))
    assert code == 1
    assert "optional" in statuses(printed)["access log"]


def test_check_looks_at_every_compartment(tmp_path: Path, config: Path) -> None:
    """With an access policy, each compartment's key and store is tried."""
    for name in ("finance", "sales"):
        run("init", "--key", f"local://{tmp_path}/{name}.json", "--store", f"file://{tmp_path}/{name}")
    policy = tmp_path / "policy.yaml"
    policy.write_text(
        json.dumps(
            {
                "version": 1,
                "compartments": [
                    {
                        "name": name,
                        "dags": [f"{name}_*"],
                        "key_uris": [f"local://{tmp_path}/{name}.json"],
                        "store_uri": f"file://{tmp_path}/{name}",
                    }
                    for name in ("finance", "sales")
                ],
            }
        )
    )
    config.write_text(config.read_text().replace("[secure_xcom]\n", f"[secure_xcom]\naccess_policy = {policy}\n"))
    assert run_json("check", "--config", str(config))[0] == 0
    (tmp_path / "sales.json").unlink()
    code, printed = run_json("check", "--config", str(config))
    assert code == 1
    assert set(statuses(printed)) == {
        f"key local://{tmp_path}/sales.json",
        f"wrap and unwrap local://{tmp_path}/sales.json",
    }
    # A worker of the other compartment has all that it needs.
    assert run_json("check", "--config", str(config), "--dag", "finance_daily")[0] == 0
    assert run_json("check", "--config", str(config), "--dag", "sales_daily")[0] == 1
    code, printed = run_json("check", "--config", str(config), "--dag", "nobodys")
    assert code == 1
    assert "the DAG 'nobodys' belongs to no compartment" in statuses(printed)["settings"]


def test_check_takes_no_dag_id_that_cannot_be_one(config: Path) -> None:
    """The DAG that probes pretend to be has to be one that Airflow could have."""
    code, printed = run_json("check", "--config", str(config), "--dag", "x" * 300)
    assert code == 1
    assert "300 characters" in statuses(printed)["settings"]


def test_check_finds_an_access_log_among_payloads(config: Path, place: tuple[str, str]) -> None:
    """Nothing is pushed or pulled so: the error says where both lie, and commands that open the log end."""
    sink = f"{place[1]}/default/access-log.jsonl"
    text = config.read_text().replace("[secure_xcom]", f"[secure_xcom]\naudit_sinks = {sink}")
    config.write_text(text)
    code, printed = run_json("check", "--config", str(config))
    assert code == 1
    assert "of compartment 'default' overlap" in statuses(printed)["access log"]
    code, printed = run_json("rewrap", "--config", str(config))
    assert (code, printed["error"]) == (2, "SettingInvalid")


def test_check_could_not_run_without_its_file(tmp_path: Path) -> None:
    """A --config that cannot be read is exit code 2."""
    code, printed = run_json("check", "--config", str(tmp_path / "nowhere.cfg"))
    assert (code, printed["error"]) == (2, "CommandError")


def test_check_repeats_nothing_of_a_broken_file(tmp_path: Path) -> None:
    """What stands in a file that is no airflow.cfg may be a secret, so the error does not show it."""
    file = tmp_path / "airflow.cfg"
    file.write_text("hunter2-canary\n")
    result = run("check", "--config", str(file), "--json")
    assert result.exit_code == 2
    assert "hunter2" not in result.output


# --- probes -------------------------------------------------------------------------------------------------

COMPARTMENT = AccessPolicy.single(["memory-key://one"], "memory://probe").compartments[0]


class ShiftedStore(MemoryStore):
    """A store whose clock is an hour ahead, or which may not be listed."""

    listable = True

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """See `Store.list`."""
        if not self.listable:
            raise StoreDenied("no listing", where=self.uri)
        for entry in super().list(prefix):
            yield replace(entry, modified=entry.modified + timedelta(hours=1))


def test_a_key_service_that_refuses_is_a_finding() -> None:
    """The probe of a key gives the service's own error, and what to do."""
    service = MemoryKeyService("memory-key://one")
    assert probe_key(service, COMPARTMENT, probe_coordinate()).status == "ok"
    service.denied = True
    finding = probe_key(service, COMPARTMENT, probe_coordinate())
    assert (finding.status, bool(finding.remedy)) == ("error", True)


def test_a_probe_of_a_key_is_bound_to_the_dag() -> None:
    """The probe's encryption context has the compartment and the DAG, as a task's has."""
    service = MemoryKeyService("memory-key://one")
    probe_key(service, COMPARTMENT, probe_coordinate("orders"))
    assert service.requests == {"wrap": 1, "unwrap_many": 1}


def test_a_clock_that_is_off_is_a_finding() -> None:
    """A store an hour ahead is found, with by how much."""
    findings = probe_store(ShiftedStore(), COMPARTMENT, probe_coordinate())
    assert [finding.status for finding in findings] == ["ok", "warning"]
    assert "-3600 s off" in findings[1].text


def test_a_store_that_may_not_be_listed_is_fine() -> None:
    """Workers need no listing, so a refusal of it is nothing that was found."""
    store = ShiftedStore()
    store.listable = False
    assert [finding.status for finding in probe_store(store, COMPARTMENT, probe_coordinate())] == ["ok", "ok"]


def test_a_probe_takes_its_object_away() -> None:
    """After the probe the store is empty, even if reading failed."""
    store = MemoryStore()
    assert probe_store(store, COMPARTMENT, probe_coordinate())[0].status == "ok"
    assert list(store.list()) == []


# --- inspect ------------------------------------------------------------------------------------------------


@pytest.fixture
def reference() -> dict[str, Any]:
    """A reference with a preview."""
    world = World()
    return world.push({"user": "someone", "password": "zz-canary-zz"}, ROW)


@pytest.fixture
def database(tmp_path: Path, reference: dict[str, Any]) -> str:
    """A metadata database with three rows: the reference's own, a copy of it elsewhere, and a plain value."""
    table = XComTable(f"sqlite:///{tmp_path}/airflow.db")
    table.put_many(
        (replace(ROW, task_id=task_id, map_index=map_index), value)
        for task_id, map_index, value in (("extract", 3, reference), ("other", -1, reference), ("plain", -1, "zz"))
    )
    table.close()
    return table.url


def test_a_mistyped_database_is_told_and_not_made(tmp_path: Path) -> None:
    """`inspect` of a row in a file that is not there ends with 2, and leaves no empty database behind."""
    url = f"sqlite:///{tmp_path}/mistyped.db"
    result = CliRunner().invoke(app, ["inspect", "d/r/t:k", "--db", url])
    assert result.exit_code == 2
    assert "database file does not exist" in result.output
    assert list(tmp_path.iterdir()) == []


def test_inspect_reads_every_form(tmp_path: Path, reference: dict[str, Any], database: str) -> None:
    """An argument, a file, standard input, a quoted text and a row all give the same."""
    text = json.dumps(reference)
    file = tmp_path / "reference.json"
    file.write_text(text)
    given = [
        run_json("inspect", text),
        run_json("inspect", str(file)),
        run_json("inspect", "-", stdin=text),
        run_json("inspect", "-", stdin=json.dumps(text)),
    ]
    code, from_row = run_json("inspect", f"{ROW.dag_id}/{ROW.run_id}/extract[3]:return_value", "--db", database)
    assert [code for code, _ in given] == [0, 0, 0, 0]
    assert all(printed == given[0][1] for _, printed in given)
    assert code == 0
    assert from_row.items() >= given[0][1].items()
    assert from_row["belongs_to_this_row"] is True


def test_inspect_says_what_a_reference_says(reference: dict[str, Any]) -> None:
    """Head, keys, sizes and preview are shown, and that none of it was verified."""
    code, printed = run_json("inspect", json.dumps(reference))
    assert (code, printed["verified"], printed["coordinate"]) == (0, False, str(ROW))
    assert printed["head"] == reference["head"]
    assert printed["preview_for_people"] == reference["preview"]
    assert printed["sealed_bytes"] == reference["seal"]["size"]
    shown = run("inspect", json.dumps(reference)).stdout
    assert "not authenticated" in shown
    assert "preview, for people" in shown


def test_inspect_prints_no_wrapped_key(reference: dict[str, Any]) -> None:
    """Of a wrapped data key only its beginning and its length are shown."""
    wrapped = reference["keys"][0]["wrapped"]
    for result in (run("inspect", json.dumps(reference)), run("inspect", json.dumps(reference), "--json")):
        assert wrapped[13:40] not in result.output
        assert f"({len(wrapped)} characters)" in result.output


def test_inspect_finds_a_reference_of_another_row(database: str) -> None:
    """A reference that was copied to another row is shown, with exit code 1."""
    coordinate = f"{ROW.dag_id}/{ROW.run_id}/other"
    code, printed = run_json("inspect", coordinate, "--db", database)
    assert (code, printed["belongs_to_this_row"], printed["coordinate"]) == (1, False, str(ROW))
    assert "CoordinateMismatch" in run("inspect", coordinate, "--db", database).stdout


def test_inspect_finds_plaintext_and_does_not_show_it(database: str) -> None:
    """A row without a reference is exit code 1, and its value stays unsaid."""
    code, printed = run_json("inspect", f"{ROW.dag_id}/{ROW.run_id}/plain", "--db", database)
    assert (code, printed["error"]) == (1, "PlaintextRefused")
    assert run("inspect", "-", stdin='"zz-canary"').exit_code == 1
    assert "canary" not in run("inspect", "-", stdin='{"password": "zz-canary"}').output


def test_inspect_says_that_there_is_no_such_row(database: str) -> None:
    """A coordinate that the database does not know could not be looked at."""
    code, printed = run_json("inspect", f"{ROW.dag_id}/{ROW.run_id}/nobody", "--db", database)
    assert (code, printed["what"]) == (2, "there is no such XCom")


@pytest.mark.parametrize(
    ("change", "error", "where"),
    [
        ({"secure_xcom": 2}, "ReferenceVersionUnknown", "secure_xcom"),
        ({"seal": {}}, "ReferenceMalformed", "seal"),
        ({"more": 1}, "ReferenceMalformed", "the record"),
        ({"keys": []}, "ReferenceMalformed", "keys"),
    ],
)
def test_inspect_shows_what_is_wrong_with_a_reference(
    reference: dict[str, Any], change: dict[str, Any], error: str, where: str
) -> None:
    """The strict parse names the field, with exit code 1."""
    code, printed = run_json("inspect", json.dumps({**reference, **change}))
    assert (code, printed["error"], printed["where"]) == (1, error, where)


@pytest.mark.parametrize("text", ["{", '{"a": 1, "a": 2}', "[" * 100_000, ""])
def test_inspect_refuses_what_is_no_json(text: str) -> None:
    """Broken, ambiguous and bottomless texts are errors of our tree."""
    code, printed = run_json("inspect", "-", stdin=text)
    assert (code, printed["error"]) == (2, "CommandError")


def test_inspect_does_not_let_a_reference_move_the_cursor(reference: dict[str, Any]) -> None:
    """Escape sequences in ids and previews are shown, not sent to the terminal."""
    reference["preview"] = {"x": "\x1b[2Jgone"}
    reference["head"]["key"] = "a\x1b[31mb"
    output = run("inspect", json.dumps(reference)).output
    assert "\x1b" not in output
    assert "a\\x1b[31mb" in output


def test_inspect_tells_nobody_the_databases_password() -> None:
    """A database that cannot be reached is an error without the URL, which may hold a password."""
    result = run("inspect", "a/b/c", "--db", "mysql+nodriver://user:zz-canary@127.0.0.1:1/airflow")
    assert result.exit_code == 2
    assert "canary" not in result.output


def test_a_coordinate_may_have_a_key_with_slashes(database: str) -> None:
    """Whatever stands behind the task's colon is the key."""
    _, printed = run_json("inspect", f"{ROW.dag_id}/{ROW.run_id}/extract[3]:a/b:c", "--db", database)
    assert printed["where"] == f"{ROW.dag_id}/{ROW.run_id}/extract[3]:a/b:c"
