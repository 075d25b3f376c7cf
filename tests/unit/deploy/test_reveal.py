"""The reveal service in deploy/: by Compose and in Kubernetes, held against the command and the other files."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from secure_xcom.reveal import serving
from tests.support import deployed
from tests.support.deployed import COMPOSE, HELM

MANIFEST = (HELM / "manifests" / "reveal.yaml").read_text()
OVERRIDE = (COMPOSE / "reveal.yaml").read_text()
OBJECTS: list[dict[str, Any]] = list(yaml.safe_load_all(MANIFEST))
SERVICE: dict[str, Any] = yaml.safe_load(OVERRIDE)["services"]["reveal"]


def deployment() -> dict[str, Any]:
    """The Deployment of the manifest."""
    (found,) = [each for each in OBJECTS if each["kind"] == "Deployment"]
    return found


def container() -> dict[str, Any]:
    """Its only container."""
    (found,) = deployment()["spec"]["template"]["spec"]["containers"]
    return dict(found)


@pytest.mark.parametrize("text", [MANIFEST, OVERRIDE], ids=["kubernetes", "compose"])
def test_the_command_and_the_settings_exist(text: str) -> None:
    """Every option of the command and every setting is one that the code has."""
    (words,) = [words for words in deployed.commands(re.sub(r"\n\s+", " ", text)) if words[0] == "reveal"]
    assert "--tls-certificate" in words
    assert deployed.refused(words) is None
    assert deployed.unknown_settings(text) == set()
    assert {"access_policy", "audit_sinks"} <= deployed.named_settings(text)


def test_it_is_given_no_key_service_and_no_secret_of_airflows() -> None:
    """No token of Vault, no fernet key and no JWT secret is in its environment or its volumes."""
    for text in (MANIFEST, OVERRIDE):
        assert not re.search(r"VAULT_TOKEN|jwt|fernet|vault_xcom|sql_alchemy", text, re.IGNORECASE)


def test_the_pod_has_no_privileges() -> None:
    """Not root, a read-only file system, no capabilities, no token of the cluster, a namespace of its own."""
    spec = deployment()["spec"]["template"]["spec"]
    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    security = container()["securityContext"]
    assert security["readOnlyRootFilesystem"] is True
    assert security["allowPrivilegeEscalation"] is False
    assert security["capabilities"] == {"drop": ["ALL"]}
    assert {each["metadata"].get("namespace") for each in OBJECTS} == {None, "xcom-reveal"}
    assert (SERVICE["read_only"], SERVICE["cap_drop"]) == (True, ["ALL"])


def test_every_mount_is_a_volume() -> None:
    """Each mount is one of the pod's volumes, and each volume is mounted."""
    spec = deployment()["spec"]["template"]["spec"]
    assert {mount["name"] for mount in container()["volumeMounts"]} == {
        volume["name"] for volume in spec["volumes"]
    }


def test_there_is_one_of_it() -> None:
    """Logins that wait are in its memory, so there is one, and never two at once."""
    assert deployment()["spec"]["replicas"] == 1
    assert deployment()["spec"]["strategy"] == {"type": "Recreate"}


def test_it_has_the_time_to_stop() -> None:
    """Both wait longer for its end than it does for its requests."""
    spec = deployment()["spec"]["template"]["spec"]
    assert spec["terminationGracePeriodSeconds"] > serving.STOP_SECONDS
    assert int(SERVICE["stop_grace_period"].removesuffix("s")) > serving.STOP_SECONDS


def test_the_image_is_that_of_the_others() -> None:
    """One image serves all."""
    image = deployed.values()["images"]["airflow"]
    assert container()["image"] == f"{image['repository']}@{image['digest']}"
    assert SERVICE["image"] == deployed.compose()["x-airflow"]["image"]


def test_what_the_override_names_is_there() -> None:
    """Secrets and volumes of the service are declared, and its networks are those of the other file."""
    override, base = yaml.safe_load(OVERRIDE), deployed.compose()
    assert set(SERVICE["secrets"]) == set(override["secrets"])
    assert {volume.partition(":")[0] for volume in SERVICE["volumes"]} - {"./access_policy.yaml"} == set(
        override["volumes"]
    )
    assert set(SERVICE["networks"]) <= set(base["networks"])
    assert set(SERVICE["depends_on"]) <= set(base["services"])
