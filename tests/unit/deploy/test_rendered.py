"""deploy/helm and deploy/terraform by the tools that read them, for machines that have these and what they need.

``SECURE_XCOM_TEST_AIRFLOW_CHART`` is the official chart, as a folder or package (1.22.0 or later), with `helm` on
PATH. ``SECURE_XCOM_TEST_TERRAFORM_PLUGINS`` is a folder of Terraform's providers (`terraform providers mirror
FOLDER`), with `terraform` or `tofu` on PATH.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes.client import models

from tests.support.deployed import DEPLOY, DIGEST, HELM, values
from tests.unit.deploy.test_kubernetes import VARIANTS, faults

CHART = os.environ.get("SECURE_XCOM_TEST_AIRFLOW_CHART")
PLUGINS = os.environ.get("SECURE_XCOM_TEST_TERRAFORM_PLUGINS")
TERRAFORM = shutil.which("tofu") or shutil.which("terraform")
# What makes pods, and where in it their template is.
WORKLOADS = {"Deployment", "StatefulSet", "Job", "CronJob"}

rendered = [
    pytest.mark.on_request,
    pytest.mark.skipif(not CHART, reason="SECURE_XCOM_TEST_AIRFLOW_CHART names no chart"),
    pytest.mark.skipif(not shutil.which("helm"), reason="no helm on PATH"),
    pytest.mark.parametrize("variant", VARIANTS),
]


@functools.cache
def render(variant: str | None) -> list[dict[str, Any]]:
    """What `helm template` makes of our values, which holds them against the chart's schema first."""
    files = [HELM / "values.yaml", *([HELM / f"values-{variant}.yaml"] if variant else [])]
    command = ["helm", "template", "airflow", str(CHART), "--namespace", "airflow"]
    done = subprocess.run(
        [*command, *(f"--values={file}" for file in files)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    return [one for one in yaml.safe_load_all(done.stdout) if one]


def pods(objects: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Name -> spec of each pod that is made."""
    found = {}
    for one in objects:
        if one["kind"] in WORKLOADS:
            spec = one["spec"]["jobTemplate"]["spec"] if one["kind"] == "CronJob" else one["spec"]
            found[one["metadata"]["name"]] = spec["template"]["spec"]
    return found


class TestChart:
    pytestmark = rendered

    def test_every_object_is_one_of_kubernetes(self, variant: str | None) -> None:
        """All that is rendered has known fields of known types, and the task's pod is the one that we wrote."""
        objects = render(variant)
        for one in objects:
            assert hasattr(models, f"V1{one['kind']}"), one["kind"]
            assert faults(one, f"V1{one['kind']}", one["metadata"]["name"]) == []
        (config,) = [one["data"] for one in objects if one["metadata"]["name"] == "airflow-config"]
        assert yaml.safe_load(config["pod_template_file.yaml"]) == yaml.safe_load(values(variant)["podTemplate"])

    def test_every_component_has_what_it_was_promised(self, variant: str | None) -> None:
        """An account of its own, the access policy, an image by digest, and secrets by name alone."""
        objects = render(variant)
        found = pods(objects)
        components = {f"airflow-{one}" for one in ("scheduler", "api-server", "dag-processor", "triggerer")}
        assert components < set(found)
        for name, spec in found.items():
            assert name not in components or spec["serviceAccountName"] == name
            for one in [*spec.get("initContainers", ()), *spec["containers"]]:
                assert DIGEST.match(one["image"]), one["image"]
                assert "/opt/airflow/config/access_policy" in [mount["mountPath"] for mount in one["volumeMounts"]]
                for variable in one["env"]:
                    secret = any(part in variable["name"] for part in ("SECRET", "FERNET", "SQL_ALCHEMY"))
                    assert not secret or "secretKeyRef" in variable["valueFrom"], variable["name"]
        (config,) = [one["data"] for one in objects if one["metadata"]["name"] == "airflow-config"]
        assert "worker_container_tag = \n" in config["airflow.cfg"]

    def test_the_chart_lets_nobody_start_pods(self, variant: str | None) -> None:
        """Its roles allow nothing but to read; ours, for the scheduler, is a manifest beside it."""
        objects = render(variant)
        verbs = {
            verb
            for one in objects
            if one["kind"] in ("Role", "ClusterRole")
            for rule in one["rules"]
            for verb in rule["verbs"]
        }
        assert verbs <= {"get", "list", "watch"}
        made = {one["metadata"]["name"] for one in objects if one["kind"] == "ServiceAccount"}
        assert {"airflow-scheduler", "airflow-no-compartment"} <= made


@pytest.mark.on_request
@pytest.mark.skipif(not PLUGINS, reason="SECURE_XCOM_TEST_TERRAFORM_PLUGINS names no folder of providers")
@pytest.mark.skipif(TERRAFORM is None, reason="neither tofu nor terraform on PATH")
@pytest.mark.parametrize("module", ["modules/vault", "modules/aws", "example"])
def test_terraform_validates(module: str, tmp_path: Path) -> None:
    """The providers themselves know every block and attribute. A missing provider skips its modules."""
    shutil.copytree(DEPLOY / "terraform", tmp_path / "terraform")
    folder = tmp_path / "terraform" / module
    wanted = {name for name in ("vault", "aws") if f"hashicorp/{name}" in (folder / "main.tf").read_text()}
    there = {path.name for path in Path(str(PLUGINS)).glob("*/hashicorp/*")}
    if wanted - there:
        pytest.skip(f"no provider {sorted(wanted - there)}")
    env = {**os.environ, "CHECKPOINT_DISABLE": "1", "TF_IN_AUTOMATION": "1"}
    for words in (["init", "-input=false", f"-plugin-dir={PLUGINS}"], ["validate"]):
        done = subprocess.run(
            [str(TERRAFORM), *words, "-no-color"], cwd=folder, env=env, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
