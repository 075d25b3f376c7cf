"""deploy/compose and deploy/docker: what can be known of them without a Docker."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from airflow.configuration import conf

from secure_xcom.core.access_policy.policy import AccessPolicy
from secure_xcom.core.config import Settings
from secure_xcom.ops.service_policies.lint.access_policy import lint
from tests.support import deployed
from tests.support.deployed import COMPOSE, DEPLOY, DIGEST
from tests.support.servers.containers import IMAGES

FILE = deployed.compose()
SERVICES: dict[str, dict[str, Any]] = FILE["services"]
WORKERS = sorted(name for name in SERVICES if name.startswith("worker-"))
POLICY = COMPOSE / "access_policy.yaml"
# Secrets of Airflow's own core, with which a worker could read the database, make tokens for any task, or ask for
# the log of any.
CORE_SECRETS = {"sql_alchemy_conn", "fernet_key", "jwt_secret", "postgres_password", "api_secret_key"}


SETUP = deployed.compose_setup()
LOG_TEMPLATE = "AIRFLOW__LOGGING__LOG_FILENAME_TEMPLATE"


def secrets_of(service: dict[str, Any]) -> dict[str, str]:
    """The secrets of a service: the file that it reads below /run/secrets -> the secret."""
    return {
        secret["target"] if isinstance(secret, dict) else secret: secret["source"]
        if isinstance(secret, dict)
        else secret
        for secret in service.get("secrets", ())
    }


def test_every_image_is_named_by_digest() -> None:
    """Nothing is pulled by a tag alone, and the variables of the file are those of images.env."""
    images = deployed.images_env()
    assert all(DIGEST.match(image) for image in images.values()), images
    text = (COMPOSE / "compose.yaml").read_text()
    assert set(re.findall(r"\$\{(\w+_IMAGE)", text)) == set(images)
    for name, service in SERVICES.items():
        own = service["image"].startswith("secure-xcom-airflow:")
        assert own == ("build" in service), name
        assert own or re.fullmatch(r"\$\{\w+_IMAGE:\?[^}]+\}", service["image"]), name
    dockerfile = (DEPLOY / "docker/Dockerfile").read_text()
    assert f"ARG AIRFLOW_IMAGE={images['AIRFLOW_IMAGE']}\n" in dockerfile
    assert set(re.findall(r"^FROM (\S+)", dockerfile, re.MULTILINE)) == {"${AIRFLOW_IMAGE}"}


def test_the_servers_of_the_tests_are_those_of_the_deployment() -> None:
    """What the suite runs against in containers is the release that is deployed."""
    deployed_tags = {image.split("@")[0] for image in deployed.images_env().values()}
    assert {IMAGES[server] for server in ("openbao", "s3", "postgres")} <= deployed_tags


def test_the_image_is_made_from_files_that_are_there() -> None:
    """What the Dockerfile copies exists, reaches the builder, and no secret does; it ends as Airflow's user."""
    dockerfile = (DEPLOY / "docker/Dockerfile").read_text()
    allowed = (DEPLOY / "docker/Dockerfile.dockerignore").read_text().splitlines()
    assert "**" in allowed
    for line in re.findall(r"^COPY --chown=airflow:0 (.*)$", dockerfile, re.MULTILINE):
        for source in line.split()[:-1]:
            assert (deployed.ROOT / source).exists(), source
            assert f"!{source}" in allowed, source
    copied = re.findall(r"^COPY --chown=airflow:0 (.*)$", dockerfile, re.MULTILINE)
    given = {source for line in copied for source in line.split()[:-1]}
    assert {line[1:] for line in allowed if line.startswith("!")} == given
    assert dockerfile.rstrip().endswith(f"USER {SETUP.AIRFLOW_UID}")


def test_the_image_fetches_nothing_but_by_hash() -> None:
    """Each pip of the Dockerfile asks an index for hashed files, or no index at all; the files name no address."""
    dockerfile = (DEPLOY / "docker/Dockerfile").read_text().replace("\\\n", " ")
    calls = re.findall(r"pip (?:install|wheel|download) [^&\n]*", dockerfile)
    assert len(calls) == 4
    for call in calls:
        assert ("--require-hashes --requirement" in call) != ("--no-index" in call), call
    assert not re.search(r"\b(curl|wget|apt-get|uv|easy_install)\b|ADD ", dockerfile)
    named = set(re.findall(r"requirements/([\w-]+\.txt)", dockerfile)) - {"requirements.txt"}
    assert named == {"build.txt", "image.txt", "image-dataframe.txt"}
    tested = _pins("dev.txt")
    for name in named:
        pins = _pins(name)
        assert set(pins) <= set(tested)
        assert all(tested[package] >= versions for package, versions in pins.items()), name
    # Nothing of Airflow's own: its image has that in the versions that it was released with.
    kept = ("apache-airflow", "boto", "cryptography", "hvac")
    assert not any(
        package.startswith(kept) for name in ("image.txt", "image-dataframe.txt") for package in _pins(name)
    )
    assert {"obstore", "zstandard"} <= set(_pins("image.txt"))


def _pins(name: str) -> dict[str, set[str]]:
    """Package -> its exact versions, of a file in which each has a hash and nothing else stands."""
    text = (deployed.ROOT / "requirements" / name).read_text()
    found: dict[str, set[str]] = {}
    for line in re.sub(r"#.*\n", "", text).replace("\\\n", " ").splitlines():
        match = re.fullmatch(
            r"([a-z0-9-]+)(?:\[[^]]*\])?==(\S+)(?: ; [^-]*?)?((?:\s+--hash=sha256:[0-9a-f]{64})+)", line
        )
        assert match, line
        found.setdefault(match[1], set()).add(match[2])
    return found


def test_every_service_that_stays_says_when_it_is_healthy() -> None:
    """A service without a check is one that ends, and nobody waits for the health of a service without one."""
    for name, service in SERVICES.items():
        assert ("healthcheck" in service) == (service["restart"] == "unless-stopped"), name
        for other, how in service.get("depends_on", {}).items():
            wanted = "service_healthy" if "healthcheck" in SERVICES[other] else "service_completed_successfully"
            assert how == {"condition": wanted}, (name, other)


def test_what_a_service_names_is_declared() -> None:
    """Secrets, volumes and networks of services are those at the end of the file, all of them, and files exist."""
    used: dict[str, set[str]] = {"secrets": set(), "volumes": set(), "networks": set()}
    for service in SERVICES.values():
        used["secrets"] |= set(secrets_of(service).values())
        used["networks"] |= set(service["networks"])
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            if source.startswith("."):
                assert (COMPOSE / source).exists(), source
            else:
                used["volumes"].add(source)
    assert used == {kind: set(FILE[kind]) for kind in used}
    for name, service in SERVICES.items():
        read = set(
            re.findall(r"/run/secrets/([\w.]+)", json.dumps({k: service[k] for k in service if k != "build"}))
        )
        if name != "vault":
            assert read <= set(secrets_of(service)), name
    assert "/run/secrets/vault_unseal_key" in (COMPOSE / "openbao.hcl").read_text()
    assert "aclfile /run/secrets/broker.acl\n" in (COMPOSE / "redis.conf").read_text()


def test_no_password_stands_in_a_file() -> None:
    """Every setting that holds a secret is read from a file, and the one port is open on loopback only."""
    secret = re.compile(r"PASSWORD|SECRET|TOKEN|FERNET|SQL_ALCHEMY|BROKER|RESULT_BACKEND")
    harmless = re.compile(r"_CMD$|_FILE$|SECRETS(__|_)BACKEND")
    for name, service in SERVICES.items():
        for variable, value in service.get("environment", {}).items():
            assert not secret.search(variable) or harmless.search(variable), (name, variable)
            assert "://" not in value or "@" not in value, (name, variable)
    assert [port for service in SERVICES.values() for port in service.get("ports", ())] == ["127.0.0.1:8080:8080"]
    assert (COMPOSE / ".gitignore").read_text().startswith("secrets/\n")


def test_every_setting_of_ours_exists() -> None:
    """Options in the environment are those of the code, with values that it takes."""
    for name, service in SERVICES.items():
        section = {
            variable.removeprefix("AIRFLOW__SECURE_XCOM__").lower(): value
            for variable, value in service.get("environment", {}).items()
            if variable.startswith("AIRFLOW__SECURE_XCOM__")
        }
        Settings.parse(section)
        assert not section or section["access_policy"] == "/opt/airflow/config/access_policy.yaml", name
        assert not section or f"./access_policy.yaml:{section['access_policy']}:ro" in service["volumes"], name


@pytest.mark.parametrize("worker", WORKERS)
def test_a_worker_has_its_own_identity_and_nothing_of_the_core(worker: str) -> None:
    """It consumes its compartment's queue and mounts one identity; it has no database and no key of Airflow's."""
    service = SERVICES[worker]
    team = worker.removeprefix("worker-")
    assert service["command"][:4] == ["celery", "worker", "--queues", team]
    mounted = [volume for volume in service["volumes"] if volume.startswith("identity-")]
    assert mounted == [f"identity-{team}:/run/identity:ro"]
    assert secrets_of(service) == {"broker_url": f"broker_{team}"}
    assert not any(secret in json.dumps(service) for secret in CORE_SECRETS)
    assert not any("SQL_ALCHEMY" in name or "FERNET" in name for name in service["environment"])
    kwargs = json.loads(service["environment"]["AIRFLOW__WORKERS__SECRETS_BACKEND_KWARGS"])
    assert kwargs == {"connections_file_path": "/run/identity/connections.json"}


@pytest.mark.parametrize("worker", WORKERS)
def test_a_worker_serves_no_logs_and_puts_them_into_the_bucket(worker: str) -> None:
    """What answers the API server would need its one key; a user for each queue writes into the queue's folder."""
    service = SERVICES[worker]
    assert "--skip-serve-logs" in service["command"]
    environment = service["environment"]
    assert environment["AIRFLOW__LOGGING__REMOTE_BASE_LOG_FOLDER"] == f"s3://{SETUP.LOGS_BUCKET}"
    assert environment["AIRFLOW__LOGGING__REMOTE_LOG_CONN_ID"] == "s3_task_logs"
    assert {SERVICES[name]["environment"].get("AIRFLOW__LOGGING__REMOTE_BASE_LOG_FOLDER") for name in WORKERS} == {
        SERVICES["api-server"]["environment"]["AIRFLOW__LOGGING__REMOTE_BASE_LOG_FOLDER"]
    }
    # Every task may ask the API server for the connections that it has.
    assert SERVICES["api-server"]["environment"]["AIRFLOW__LOGGING__REMOTE_LOG_CONN_ID"] == ""
    assert not any("SECRETS__BACKEND" in name for name in SERVICES["api-server"]["environment"])


def test_the_folder_of_a_task_log_is_its_queues() -> None:
    """Airflow's own template below the queue; who names a log and who reads it says the same."""
    default = conf.get_default_value("logging", "log_filename_template").replace("%%", "%")
    names = {service["environment"].get(LOG_TEMPLATE) for service in SERVICES.values() if "build" in service}
    assert names - {None} == {"queue={{ ti.queue }}/" + default}
    for name in ("api-server", "scheduler", "dag-processor", "triggerer", "migrate"):
        assert LOG_TEMPLATE in SERVICES[name]["environment"]
    for user, statements in SETUP.log_rights().items():
        resources = {resource for statement in statements for resource in statement["Resource"]}
        queue = user.removesuffix("-task-logs")
        folder = "*" if user == SETUP.LOG_READER else f"queue={queue}/*"
        assert resources == {f"arn:aws:s3:::{SETUP.LOGS_BUCKET}", f"arn:aws:s3:::{SETUP.LOGS_BUCKET}/{folder}"}
    assert {f"worker-{queue}" for queue in SETUP.QUEUES.values()} == set(WORKERS)
    assert not {"s3:PutObject", "s3:*"} & {a for s in SETUP.log_rights()[SETUP.LOG_READER] for a in s["Action"]}


def test_no_component_but_workers_has_an_identity() -> None:
    """The core sees no identity, the caretaker that of maintenance alone, and setup all of them.

    The API server has a user that reads task logs and nothing else.
    """
    for name, service in SERVICES.items():
        mounted = {v.split(":")[0] for v in service.get("volumes", ()) if v.startswith(("identity-", "operator"))}
        expected = {
            "setup": {
                "operator",
                f"identity-{SETUP.LOG_READER_VOLUME}",
                *(f"identity-{volume}" for volume in SETUP.IDENTITIES.values()),
            },
            "api-server": {f"identity-{SETUP.LOG_READER_VOLUME}"},
            "caretaker": {"identity-maintenance"},
        }
        if name not in WORKERS:
            assert mounted == expected.get(name, set()), name


def test_the_access_policy_is_that_of_the_deployment() -> None:
    """Clean by lint; its queues have workers, and its identities are those that setup makes."""
    said = list(lint(POLICY.read_bytes(), where=POLICY.name))
    # What one caretaker for two compartments means is to be known, and no finding.
    assert [(one.rule, one.status) for one in said] == [("shared-maintenance", "ok")]
    policy = AccessPolicy.load(str(POLICY))
    queues = {own["tasks_run_on"]["queue"] for own in yaml.safe_load(POLICY.read_text())["compartments"]}
    assert {f"worker-{queue}" for queue in queues} == set(WORKERS)
    assert {identity.name for identity in policy.identities} == set(SETUP.IDENTITIES)
    for identity in policy.identities:
        assert identity.aws
        assert identity.aws.principal == f"arn:aws:iam::000000000000:user/{identity.name}"
    stores = {uri for own in policy.compartments for uri in own.all_store_uris}
    assert {uri.split("@")[1].split("/")[0] for uri in stores} == {SETUP.BUCKET}


def test_every_command_exists() -> None:
    """Calls of secure-xcom in the files are commands and options of ours."""
    found = [
        words
        for path in (COMPOSE / "setup.py", DEPLOY / "docker/Dockerfile", COMPOSE / "compose.yaml")
        for words in deployed.commands(path.read_text())
    ]
    assert ["policy", "apply", "--to", "vault", "--to", "iam"] in found
    assert [deployed.refused(words) for words in found if deployed.refused(words)] == []
    assert deployed.refused(SERVICES["caretaker"]["command"]) is None
    assert deployed.refused(["policy", "nothing"])
    assert deployed.refused(["check", "--nothing"])


def test_the_form_is_that_of_the_compose_specification() -> None:
    """Fields are those of the specification; with its schema at hand, the whole file is held against that."""
    fields = {"build", "image", "command", "entrypoint", "environment", "user", "profiles"}
    fields |= {"networks", "ports", "volumes", "secrets", "cap_add", "cap_drop", "security_opt"}
    fields |= {"depends_on", "healthcheck", "restart", "stop_grace_period"}
    top = {name for name in FILE if not name.startswith("x-")}
    assert top == {"name", "services", "networks", "volumes", "secrets"}
    for service in SERVICES.values():
        assert set(service) <= fields
    schema = os.environ.get("SECURE_XCOM_TEST_COMPOSE_SCHEMA")
    if schema:
        jsonschema.Draft7Validator(json.loads(Path(schema).read_text())).validate(FILE)
