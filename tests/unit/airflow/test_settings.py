"""The ``[secure_xcom]`` section as Airflow reads it."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from packaging.version import Version

from secure_xcom import SecureXComBackend
from secure_xcom.airflow.plugin import placement_settings
from secure_xcom.core.config import Settings
from secure_xcom.core.errors import SettingInvalid
from secure_xcom.deployment import Deployment, airflow_config, dag_origins
from tests.support.airflow_here import airflow_here

__all__ = ["airflow_here"]
pytestmark = pytest.mark.usefixtures("airflow_here")


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """No option stands in the environment."""
    for name in ("KEY_URIS", "STORE_URI", "MASK_MAX_VALUES", "HIDE_RETURN_VALUES"):
        monkeypatch.delenv(f"AIRFLOW__SECURE_XCOM__{name}", raising=False)


def test_nothing_set_gives_the_defaults() -> None:
    """A section of which nothing is written is the default settings."""
    assert airflow_config.load() == Settings()


def test_options_are_taken_from_the_environment_as_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A section that stands in the environment only is read, and a text that looks like a number stays a text."""
    monkeypatch.setenv("AIRFLOW__SECURE_XCOM__KEY_URIS", "local:///a/b.json, local:///c/d.json")
    monkeypatch.setenv("AIRFLOW__SECURE_XCOM__SENSITIVE_NAMES", "007")
    monkeypatch.setenv("AIRFLOW__SECURE_XCOM__HIDE_RETURN_VALUES", "off")
    monkeypatch.setenv("AIRFLOW__SECURE_XCOM__MASK_MAX_VALUES", "12")
    settings = airflow_config.load()
    assert settings.key_uris == ("local:///a/b.json", "local:///c/d.json")
    assert settings.sensitive_names == ("007",)
    assert settings.hide_return_values is False
    assert settings.mask_max_values == 12


def test_a_misspelt_option_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """An option that does not exist is an error that names it, not a default that nobody wanted."""
    monkeypatch.setenv("AIRFLOW__SECURE_XCOM__STORE_URL", "file:///a")
    with pytest.raises(SettingInvalid, match="STORE_URL"):
        airflow_config.load()


@pytest.mark.parametrize("way", ["CMD", "SECRET"])
def test_what_airflow_would_not_look_up_is_refused(monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    """A command or a secret's path for an option that Airflow does not call sensitive is no silent default."""
    monkeypatch.setenv(f"AIRFLOW__SECURE_XCOM__SENSITIVE_NAMES_{way}", "echo iban")
    with pytest.raises(SettingInvalid, match=f"SENSITIVE_NAMES_{way}"):
        airflow_config.load()


def test_a_uri_with_a_password_comes_from_a_command_and_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Options whose URI may hold a password are sensitive to Airflow: it hides them, and takes a command."""
    for name in ("AUDIT_SINKS", "CLAIMS_URI"):
        monkeypatch.setenv(f"AIRFLOW__SECURE_XCOM__{name}_CMD", "echo db+postgresql://u:swordfish@h/x")
    settings = airflow_config.load()
    assert settings.audit_sinks == (settings.claims_uri,) == ("db+postgresql://u:swordfish@h/x",)
    from airflow.configuration import conf

    assert "swordfish" not in str(conf.as_dict(display_sensitive=False)["secure_xcom"])


def test_a_file_is_read_and_its_mistakes_are_ours(tmp_path: Path) -> None:
    """airflow.cfg counts; a % that Airflow cannot read is our error, with what to do, and no value in it."""
    (tmp_path / "airflow.cfg").write_text(
        "[secure_xcom]\nstore_uri = file:///from/the/file\nkey_uris = local:///a%zz/b.json\n"
    )
    code = (
        "from secure_xcom.deployment import airflow_config as settings\n"
        "from secure_xcom.core.errors import SettingInvalid\n"
        "try: settings.load()\n"
        "except SettingInvalid as error: print('REFUSED', error.where, error)\n"
        "import os; os.environ['AIRFLOW__SECURE_XCOM__KEY_URIS'] = 'local:///c/d.json'\n"
        "print('READ', settings.load().store_uri)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"AIRFLOW_HOME": str(tmp_path), "PYTHONPATH": str(Path(__file__).parents[3]), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    refused, read = (line for line in done.stdout.splitlines() if line.startswith(("REFUSED", "READ")))
    assert refused.startswith("REFUSED [secure_xcom] key_uris")
    assert "%%" in refused
    assert "zz" not in refused
    assert read == "READ file:///from/the/file"


@pytest.mark.parametrize(
    ("path", "ours"),
    [
        ("secure_xcom.SecureXComBackend", True),
        ("secure_xcom.airflow.backend.SecureXComBackend", True),
        ("tests.unit.airflow.test_settings.Made", True),
        ("airflow.sdk.bases.xcom.BaseXCom", False),
        ("no.such.Backend", False),
        ("secure_xcom_of_somebody.Backend", False),
        ("secure_xcom.SecureXcomBackend", False),
        ("secure_xcom.core.errors.SecureXComError", False),
    ],
)
def test_whose_backend_it_is(monkeypatch: pytest.MonkeyPatch, path: str, ours: bool) -> None:
    """Ours and classes made from ours are ours; another's, or one that cannot be imported, is not."""
    monkeypatch.setenv("AIRFLOW__CORE__XCOM_BACKEND", path)
    assert airflow_config.backend_is_ours() is ours


@pytest.mark.parametrize(("text", "on"), [("True", True), ("False", False), ("nonsense", True)])
def test_a_switch_that_cannot_be_read_is_on(monkeypatch: pytest.MonkeyPatch, text: str, on: bool) -> None:
    """What stops a leak is not switched off by a typing mistake."""
    monkeypatch.setenv("AIRFLOW__SECURE_XCOM__HIDE_RETURN_VALUES", text)
    assert airflow_config.switched_on("hide_return_values") is on


def test_the_access_log_lies_beside_airflows_logs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The default sink is below Airflow's log folder, as a URI."""
    monkeypatch.setenv("AIRFLOW__LOGGING__BASE_LOG_FOLDER", "/var/log/air flow")
    assert Deployment.of_airflow().sinks == ("file:///var/log/air%20flow/secure_xcom/access-log.jsonl",)


class Made(SecureXComBackend):
    """A backend that somebody made from ours."""


# --- where DAGs come from -----------------------------------------------------------------------------------


def _bundles(monkeypatch: pytest.MonkeyPatch, *entries: object) -> None:
    monkeypatch.setenv("AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST", json.dumps(entries))


def _local(name: str, path: Path | None, **more: object) -> dict[str, object]:
    kwargs = {} if path is None else {"path": str(path)}
    classpath = "airflow.dag_processing.bundles.local.LocalDagBundle"
    return {"name": name, "classpath": classpath, "kwargs": kwargs, **more}


def test_the_bundle_of_a_file_is_told_by_where_it_lies(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A file's bundle is the deepest one that it lies in, local or in Airflow's storage, links and all."""
    for folder in ("all/team", "storage/from-git/tracking_repo", "dags"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "linked").symlink_to(tmp_path / "all" / "team")
    monkeypatch.setenv("AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_STORAGE_PATH", str(tmp_path / "storage"))
    monkeypatch.setenv("AIRFLOW__CORE__DAGS_FOLDER", str(tmp_path / "dags"))
    git = {"name": "from-git", "classpath": "airflow.providers.git.bundles.git.GitDagBundle", "kwargs": {}}
    _bundles(
        monkeypatch, _local("all", tmp_path / "all"), _local("team", tmp_path / "linked"), git, _local("d", None)
    )
    found = {
        name: placement_settings.bundle_of(str(tmp_path / name))
        for name in (
            "all/a.py",
            "all/team/a.py",
            "linked/a.py",
            "storage/from-git/tracking_repo/a.py",
            "dags/a.py",
        )
    }
    assert list(found.values()) == ["all", "team", "team", "from-git", "d"]
    assert placement_settings.bundle_of(str(tmp_path / "elsewhere" / "a.py")) is None


def test_what_the_configuration_does_not_tell_is_not_guessed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Two bundles in one folder, and a list of another form than Airflow's, tell no bundle."""
    _bundles(monkeypatch, _local("one", tmp_path), _local("other", tmp_path))
    assert placement_settings.bundle_of(str(tmp_path / "a.py")) is None
    for text in ("no json", "{}", '["text"]', '[{"name": 1, "kwargs": []}]'):
        monkeypatch.setenv("AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST", text)
        assert placement_settings.bundle_of(str(tmp_path / "a.py")) is None
        assert placement_settings.team_of("one") is None


def test_teams_are_those_of_bundles(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A bundle's team is the configuration's, and there is none while [core] multi_team is off."""
    _bundles(monkeypatch, _local("one", tmp_path, team_name="finance"), _local("other", tmp_path, team_name=None))
    assert placement_settings.team_of("one") is None
    assert "teams" not in dag_origins.origins_told()
    monkeypatch.setenv("AIRFLOW__CORE__MULTI_TEAM", "True")
    assert [placement_settings.team_of(name) for name in ("one", "other", "third", None)] == [
        "finance",
        None,
        None,
        None,
    ]
    newest = Version(metadata.version("apache-airflow-core")) >= Version("3.3")
    assert dag_origins.origins_told() == ({"bundles", "teams", "placed bundles"} if newest else {"bundles"})


def test_metrics_and_traces_are_on_where_airflow_sends_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of Airflow's own switches counts, in the words that Airflow takes; without any, nothing is on."""
    switches = {"METRICS": ("STATSD_ON", "STATSD_DATADOG_ENABLED", "OTEL_ON"), "TRACES": ("OTEL_ON",)}
    for section, names in switches.items():
        for name in names:
            monkeypatch.delenv(f"AIRFLOW__{section}__{name}", raising=False)
    assert not airflow_config.metrics_on()
    assert not airflow_config.traces_on()
    for word, on in (("True", True), ("t", True), ("1", True), ("False", False), ("0", False), ("", False)):
        for name in switches["METRICS"]:
            with monkeypatch.context() as patched:
                patched.setenv(f"AIRFLOW__METRICS__{name}", word)
                assert airflow_config.metrics_on() is on
                assert not airflow_config.traces_on()
        with monkeypatch.context() as patched:
            patched.setenv("AIRFLOW__TRACES__OTEL_ON", word)
            assert airflow_config.traces_on() is on
            assert not airflow_config.metrics_on()
