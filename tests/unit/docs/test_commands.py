"""Every command that a page shows is run: here where it needs no server, else by the test that is named here."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

import pytest
from packaging.version import Version
from typer.testing import CliRunner

from secure_xcom.cli import app
from tests.support import documented
from tests.support.access_logs import chain, write
from tests.support.documented import PAGES, ROOT, Shown, name_of
from tests.support.upkeep_world import Upkeep
from tests.support.world import coordinate

SHOWN = [command for page in PAGES for command in documented.shown(page)]
# Page -> beginning of a command -> the test that runs it, with servers and files of its own.
RUN_BY = {
    "README.md": {"make demo": "tests/e2e/test_demo.py", "make test": ".ci/run"},
    "CONTRIBUTING.md": {"make test": ".ci/run"},
    "docs/reference/commands.md": {
        "secure-xcom completion": "tests/unit/cli/test_completion.py",
        "secure-xcom explain SXC": "tests/unit/cli/test_explain.py",
        "secure-xcom": "tests/unit/docs/test_reference_pages.py",
    },
    "docs/how-to/add-a-team.md": {"secure-xcom policy": "tests/unit/docs/test_policies.py"},
    "docs/reference/lint-rules.md": {"secure-xcom policy lint": "tests/unit/docs/test_policies.py"},
    "docs/reference/service-policies.md": {
        "secure-xcom policy compile": "tests/unit/docs/test_policies.py",
        "secure-xcom policy apply": "tests/real/test_policies_apply.py",
        "secure-xcom policy verify": "tests/real/test_policies_verify.py",
    },
    "docs/how-to/apply-the-access-policy.md": {
        "secure-xcom policy apply access_policy.yaml": "tests/real/test_policies_apply.py",
        "secure-xcom policy verify": "tests/real/test_policies_verify.py",
        "export SECURE_XCOM_VERIFY": "tests/real/test_policies_verify.py",
    },
    "docs/how-to/audit-a-question.md": {
        # Below, because it has no end.
        "secure-xcom audit tail --follow": "tests/unit/docs/test_commands.py",
    },
    "docs/how-to/reconcile.md": {"secure-xcom audit reconcile --vault-log": "tests/real/test_audit_reconcile.py"},
    "docs/how-to/deploy-with-compose.md": {"./make-secrets": "tests/unit/deploy/test_compose.py"},
    "docs/how-to/deploy-on-kubernetes.md": {
        "kubectl patch --local": "tests/real/test_kubernetes_quickstart.py",
    },
    "docs/evidence/approval/incidents.md": {"": "tests/real/test_incidents.py"},
    "docs/evidence/approval/metadata-and-erasure.md": {"": "tests/unit/docs/test_approval.py"},
    "docs/how-to/for-dag-authors.md": {"": "tests/e2e/test_for_dag_authors.py"},
    "docs/how-to/install.md": {
        "make dist": "tests/unit/scripts/test_build_dist.py",
        "cd dist && sha256sum": "tests/unit/scripts/test_build_dist.py",
    },
    "docs/how-to/recover.md": dict.fromkeys(
        ("mkdir", "pg_", "aws s3 sync", "vault operator raft snapshot", "rm -rf"), "tests/real/test_drill.py"
    ),
    "docs/how-to/revoke.md": {"vault": "tests/real/test_incidents.py"},
    "docs/reference/ui.md": {
        "make demo-ui": "tests/e2e/test_demo.py",
        "secure-xcom ui migrate": "tests/unit/airflow/plugin/ui/test_count.py",
    },
    "docs/quickstart/demo.md": {"make demo": "tests/e2e/test_demo.py"},
    "docs/quickstart/aws-kms-and-s3.md": dict.fromkeys(
        ("export", "secure-xcom", "aws", "KEY_ID="), "tests/real/test_aws_quickstart.py"
    ),
    "docs/quickstart/two-teams.md": dict.fromkeys(
        ("export", "secure-xcom", "aws s3 mb"), "tests/real/test_two_teams.py"
    ),
    "docs/quickstart/kubernetes.md": dict.fromkeys(
        ("export", "secure-xcom", "vault", "kubectl patch --local"), "tests/real/test_kubernetes_quickstart.py"
    ),
    "docs/how-to/reveal-a-value.md": {"secure-xcom reveal": "tests/real/test_reveal.py"},
    "docs/how-to/reveal-on-your-own-machine.md": {"secure-xcom reveal": "tests/real/test_reveal.py"},
    "docs/how-to/reveal-with-a-service-that-opens.md": {
        "secure-xcom reveal": "tests/real/test_reveal.py",
        "secure-xcom policy apply": "tests/real/test_reveal_opens.py",
    },
    "docs/quickstart/vault-and-s3.md": {"": "tests/real/test_vault_docs.py"},
    "docs/reference/vault.md": {"": "tests/real/test_vault_docs.py"},
}
# Page -> beginning of a command -> why no test runs it.
NOT_RUN = {
    "README.md": {
        "pip install": "the tests run on the package as the checkout installs it; extras are held below"
    },
    "docs/reference/aws-kms.md": {
        "aws kms": "there is no AWS here; what keys are used for is in tests/real/test_kms.py"
    },
    "docs/how-to/deploy-with-compose.md": {
        "docker": "no image registry is asked; docs/evidence/deployments.md says what is held",
        "cd deploy/compose": "a change of the folder; tests/unit/deploy/test_compose.py runs there",
    },
    "docs/how-to/deploy-on-kubernetes.md": {
        "docker": "no image registry is asked; docs/evidence/deployments.md says what is held",
        "kubectl": "there is no cluster; manifests are held by tests/unit/deploy/test_kubernetes.py",
        "helm": "there is no cluster; values are held by tests/unit/deploy/test_kubernetes.py",
        "vault": "Vault's Kubernetes method needs a cluster",
        "secure-xcom policy apply": "it needs a cluster; tests/real/test_policies_apply.py has others",
    },
    "docs/how-to/apply-the-access-policy.md": {
        "terraform": "its providers are not fetched; held by tests/unit/deploy/test_terraform.py",
        "aws cloudformation": "there is no AWS here; held by tests/unit/deploy/test_terraform.py",
        "secure-xcom policy apply access_policy_irsa.yaml": "it needs AWS; test_policies_apply.py has others",
    },
    "docs/how-to/upgrade.md": {
        "pip": "it would replace the package under test; docs/evidence/upgrades.md has the run by hand"
    },
    "docs/evidence/models/README.md": {
        "make models": "Spin is not installed for the tests; docs/evidence/test-environment.md has the last run",
        ".venv/bin/python": "the same",
    },
    "docs/evidence/fuzzing.md": {
        "make fuzz-coverage": "it takes an hour; tests/fuzz/test_parsers.py runs the harnesses on stored inputs"
    },
    "docs/evidence/mutation.md": {
        "make mutation": "it takes hours; tests/unit/support/test_mutation.py checks its configuration"
    },
    "docs/how-to/release.md": {
        "git clone": "tests/unit/scripts/test_build_dist.py builds twice and compares",
        "python3 -m venv": "signing needs a person's login and a public log",
        "cd dist": "the same",
        "/tmp/signing": "the same",
        "sha256sum": "tests/unit/scripts/test_build_dist.py compares the checksums",
    },
    "docs/how-to/install.md": {
        "pip install": "a wheel by its path; the tests run on the package as the checkout installs it"
    },
    "docs/quickstart/kubernetes.md": {
        "kubectl": "there is no cluster; manifests are held by tests/unit/deploy/test_kubernetes.py",
        "helm": "there is no cluster; values are held by tests/unit/deploy/test_kubernetes.py",
    },
    "docs/quickstart/aws-kms-and-s3.md": {
        "pip install": "the tests run on the package as the checkout installs it",
    },
    "docs/quickstart/two-teams.md": {
        "airflow celery worker": "it needs a broker; such workers run in tests/e2e/test_distributed.py"
    },
    "docs/how-to/reveal-a-value.md": {
        "pip install": "the tests run on the package as the checkout installs it",
        "export SECURE_XCOM_DB": "a variable, set in tests/real/test_reveal.py",
    },
    "docs/reference/metrics.md": {
        "export OTEL": "variables of OpenTelemetry, set in tests/real/test_open_telemetry.py"
    },
}


def _listed(command: Shown, table: dict[str, dict[str, str]]) -> str | None:
    found = [
        where for start, where in table.get(command.page, {}).items() if " ".join(command.words).startswith(start)
    ]
    return found[0] if found else None


# --- what can be run here -----------------------------------------------------------------------------------


@dataclass
class Place:
    """A throwaway folder as the working folder of a page's commands, and the page's paths in it."""

    folder: Path
    paths: dict[str, str] = field(default_factory=dict)
    config: str = ""
    environment: dict[str, str] = field(default_factory=dict)
    codes: tuple[int, ...] = (0,)

    def run(self, command: Shown) -> str | None:
        """Run it; what went wrong, or None."""
        if command.program in ("cd", "export"):
            return None
        named = re.compile("|".join(map(re.escape, sorted(self.paths, reverse=True))) or "$^")
        arguments = [named.sub(lambda found: self.paths[found[0]], word) for word in command.arguments]
        if self.config and "--config" not in arguments:
            arguments += ["--config", self.config]
        done = CliRunner().invoke(app, arguments, env={"COLUMNS": "200", **self.environment})
        # What a command raises ends with 1 here, too.
        raised = done.exception is not None and not isinstance(done.exception, SystemExit)
        return (
            f"{command}\n{done.output}\n{done.exception!r}" if raised or done.exit_code not in self.codes else None
        )


def _maintained(folder: Path) -> Place:
    upkeep = Upkeep(folder / "one")
    upkeep.push({"a": 1}, coordinate())
    upkeep.close()
    config = upkeep.folder / "airflow.cfg"
    config.write_text(
        f"[secure_xcom]\naccess_policy = {upkeep.policy_file}\naudit_sinks = file://{upkeep.folder}/log.jsonl\n"
    )
    environment = {"SECURE_XCOM_DB": upkeep.table.url, "AIRFLOW_HOME": str(upkeep.folder / "home")}
    # Maintenance ends with 1 where it found something.
    return Place(folder, {"/etc/airflow/airflow.cfg": str(config)}, str(config), environment, (0, 1))


def _audited(folder: Path) -> Place:
    events = chain(1)
    write(folder / "access-log.jsonl", events)
    for name in ("secure", "elsewhere", "sealed", "AWSLogs"):
        (folder / name).mkdir()
    (folder / "AWSLogs" / "one.json").write_text(json.dumps({"Records": []}))
    config = folder / "airflow.cfg"
    config.write_text(
        f"[secure_xcom]\naudit_sinks = file://{folder}/access-log.jsonl\nsealed_log = file://{folder}/sealed\n"
        f"sealing_key = file://{folder}/secure/sealing.pem\n"
    )
    paths = {
        "/secure/": f"{folder}/secure/",
        "/elsewhere/": f"{folder}/elsewhere/",
        "/data/AWSLogs": f"{folder}/AWSLogs",
        "019ab9a0-0000-7000-8000-000000000001": json.loads(events[0])["id"],
    }
    return Place(folder, paths, str(config), {"AIRFLOW_HOME": str(folder / "home")})


def _set_up(folder: Path) -> Place:
    return Place(folder, {"/opt/airflow": f"{folder}/airflow"}, environment={"AIRFLOW_HOME": str(folder / "home")})


def _deployed(folder: Path) -> Place:
    helm = ROOT / "deploy" / "helm"
    paths = {path.name: str(path) for path in helm.glob("access_policy*.yaml")}
    return Place(folder, {"access_policy.yaml": str(helm / "access_policy_irsa.yaml"), **paths})


MAINTAINED = tuple(
    f"docs/how-to/{name}.md"
    for name in (
        "break-glass",
        "collect-garbage",
        "diagnose",
        "maintain",
        "migrate",
        "recover",
        "retention-and-legal-hold",
        "rotate",
    )
)
PLACES = {
    "README.md": _set_up,
    "docs/how-to/anchor-and-verify.md": _audited,
    "docs/how-to/audit-a-question.md": _audited,
    "docs/how-to/reconcile.md": _audited,
    "docs/how-to/deploy-on-kubernetes.md": _deployed,
    "docs/how-to/apply-the-access-policy.md": _deployed,
    **dict.fromkeys(MAINTAINED, _maintained),
}
# Here each command finds the folder as the first one did: one takes away what another is shown with.
ANEW = MAINTAINED


@pytest.mark.file_times
@pytest.mark.parametrize("page", PLACES)
def test_the_commands_of_a_page_run(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They run as they are written, and none of them could not run."""
    for name in [name for name in os.environ if name.startswith(("AIRFLOW", "SECURE_XCOM", "VAULT"))]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    places = PLACES[page]
    mine = [
        command
        for command in SHOWN
        if command.page == page and not _listed(command, RUN_BY) and not _listed(command, NOT_RUN)
    ]
    assert mine, "the page shows nothing that is run here"
    made = [places(tmp_path)]
    wrong = []
    for number, command in enumerate(mine):
        if page in ANEW:
            made.append(places(tmp_path / str(number)))
        wrong.append(made[-1].run(command))
    assert [said for said in wrong if said] == []


def test_the_command_that_follows_shows_what_comes(tmp_path: Path) -> None:
    """`audit tail --follow` of audit-a-question.md prints an event at once that is written while it waits."""
    (line,) = [one for one in SHOWN if one.page == "docs/how-to/audit-a-question.md" and "--follow" in one.words]
    events = [event for event in chain(2) if b'"action":"pull"' in event]
    place = _audited(tmp_path)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
    process = subprocess.Popen(
        [str(Path(sys.executable).with_name("secure-xcom")), *line.arguments, "--json", "--config", place.config],
        env={**kept, **place.environment},
        stdout=subprocess.PIPE,
    )
    try:
        assert process.stdout
        # What was there before is shown first, and then it listens.
        for _ in range(len([event for event in chain(1) if b'"action":"pull"' in event])):
            json.loads(process.stdout.readline())
        with (tmp_path / "access-log.jsonl").open("ab") as log:
            log.write(events[0] + b"\n")
        assert json.loads(process.stdout.readline())["id"] == json.loads(events[0])["id"]
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=20) == 130


# --- all of them --------------------------------------------------------------------------------------------


def test_every_command_is_run_somewhere() -> None:
    """A command of a page is run above, by the test that is named, or is listed with why it is not."""
    lost = [
        str(command)
        for command in SHOWN
        if not _listed(command, RUN_BY)
        and not _listed(command, NOT_RUN)
        and not (command.page in PLACES and command.program in ("secure-xcom", "cd", "export"))
    ]
    assert lost == []
    assert len(SHOWN) > 60


def test_the_lists_name_what_is_there() -> None:
    """Each entry is about a command that a page still shows, and names a test that is there."""
    for table in (RUN_BY, NOT_RUN):
        for page, listed in table.items():
            for start, where in listed.items():
                assert [one for one in SHOWN if _listed(one, {page: {start: where}})], f"{page}: {start}"
                for file in re.findall(r"(?:tests|docs)/[\w/.-]+\w|^\.ci/run", where):
                    assert (ROOT / file).exists(), file
    tests = [where for listed in RUN_BY.values() for where in listed.values()]
    assert [where for where in tests if not re.fullmatch(r"tests/[\w/]+\.py|\.ci/run", where)] == []


def test_every_block_says_what_it_is() -> None:
    """A fenced block has commands, or a language that is known to have none."""
    known = {*documented.SHELL, *documented.OTHERS}
    wrong = [
        f"{name_of(page)}:{line} {language}"
        for page in PAGES
        for line, language in documented.languages(page)
        if language not in known
    ]
    assert wrong == []


def test_our_own_commands_are_understood() -> None:
    """The real parser takes each `secure-xcom` command of a block, and each that a sentence names."""
    blocks = {
        str(one): why
        for one in SHOWN
        if one.program == "secure-xcom" and (why := documented.refusal(one.arguments))
    }
    sentences = {
        f"{name_of(page)}: secure-xcom {' '.join(words)}": why
        for page in PAGES
        for words in documented.named(page, "secure-xcom")
        if (why := documented.refusal([word for word in words if word != "..."], whole=False))
    }
    assert blocks | sentences == {}


def test_make_targets_are_there() -> None:
    """Each `make` target that a page names is one of the Makefile."""
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {words[0] for page in PAGES for words in documented.named(page, "make") if words}
    named |= {one.arguments[0] for one in SHOWN if one.program == "make"}
    assert {"demo", "docs", "test"} <= named <= targets


def test_extras_are_there() -> None:
    """Each extra of ours that a page installs is one of the package."""
    text = "".join(page.read_text() for page in PAGES)
    found = re.findall(r"pip install '?secure-xcom\[([a-z,]+)\]", text)
    named = {extra for extras in found for extra in extras.split(",")}
    assert {"vault", "aws"} <= named <= set(metadata.metadata("secure-xcom").get_all("Provides-Extra") or ())


def test_airflows_commands_are_understood(tmp_path: Path) -> None:
    """Airflow's own parser takes each `airflow` command that a page names."""
    named = [words for page in PAGES for words in documented.named(page, "airflow") if words]
    named += [one.arguments for one in SHOWN if one.program == "airflow"]
    # Before 3.2 Airflow does not ask providers for commands.
    ours = Version(metadata.version("apache-airflow")) >= Version("3.2")
    left_out: set[str] = set() if ours else {"secure-xcom"}
    if importlib.util.find_spec("airflow.providers.celery") is None:
        left_out.add("celery")
    calls = [[word for word in words if word != "..."] for words in named if words[0] not in left_out]
    if not ours:
        # Airflow 3.1 has no teams.
        calls = [words for words in calls if "--team-name" not in words]
    code = (
        "import contextlib, io, json, sys\n"
        "from airflow.cli import cli_parser\n"
        "refused = {}\n"
        "for call in json.loads(sys.argv[1]):\n"
        "    said = io.StringIO()\n"
        "    try:\n"
        "        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):\n"
        "            cli_parser.get_parser().parse_args(call)\n"
        "    except SystemExit:\n"
        "        refused[' '.join(call)] = said.getvalue()[-300:]\n"
        "print(json.dumps(refused))"
    )
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps([*calls, ["config", "lists"]])],
        env={**kept, "AIRFLOW_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    refused = json.loads(done.stdout.splitlines()[-1])
    # A sentence names a command and leaves its required arguments out.
    wrong = [call for call, said in refused.items() if "arguments are required" not in said]
    assert wrong == ["config lists"]
    assert len(calls) >= 3


def test_what_is_wrong_would_be_noticed() -> None:
    """A command or option that is not there, one of another command, and a missing argument are found."""
    for words in ("shout COORD --loud", "gc --aply", "gc --rate fast", "inspect --nothing", "audit"):
        assert documented.refusal(words.split()), words
    for words in ("gc --apply", "--help", "audit verify --help", "policy show FILE"):
        assert documented.refusal(words.split()) is None, words
    assert documented.refusal(["policy", "apply"], whole=False) is None
    assert documented.refusal(["policy", "apply"]) is not None
