"""deploy/helm and deploy/terraform by the tools that read them, for machines that have these and what they need.

``SECURE_XCOM_TEST_AIRFLOW_CHART`` is the official chart, as a folder or package (1.22.0 or later), with `helm` on
PATH. ``SECURE_XCOM_TEST_TERRAFORM_PLUGINS`` is a folder of Terraform's providers (`terraform providers mirror
FOLDER`), with `terraform` or `tofu` on PATH.
"""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
import subprocess
import sys
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
def render(variant: str | None, *more: Path) -> list[dict[str, Any]]:
    """What `helm template` makes of our values, which holds them against the chart's schema first."""
    files = [HELM / "values.yaml", *([HELM / f"values-{variant}.yaml"] if variant else []), *more]
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


def beyond_restricted(spec: dict[str, Any]) -> set[str]:
    """What the Pod Security Standard `restricted` has against a pod, of what a pod's security context says.

    Source: https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted
    """
    whole = spec.get("securityContext") or {}
    found = set()
    for one in [*spec.get("initContainers", ()), *spec["containers"]]:
        own = {**whole, **(one.get("securityContext") or {})}
        if own.get("runAsNonRoot") is not True:
            found.add("runAsNonRoot")
        if (own.get("seccompProfile") or {}).get("type") not in ("RuntimeDefault", "Localhost"):
            found.add("seccompProfile")
        if own.get("allowPrivilegeEscalation") is not False:
            found.add("allowPrivilegeEscalation")
        if "ALL" not in (own.get("capabilities") or {}).get("drop", ()):
            found.add("capabilities")
    return found


class TestChart:
    pytestmark = rendered

    def test_restricted_warns_of_the_charts_pods_as_the_page_says(
        self, variant: str | None, tmp_path: Path
    ) -> None:
        """Pods of tasks meet it; the chart's own lack two settings, which the values of the page give them."""
        objects = render(variant)
        assert beyond_restricted(yaml.safe_load(values(variant)["podTemplate"])["spec"]) == set()
        for name, spec in pods(objects).items():
            assert beyond_restricted(spec) == {"runAsNonRoot", "seccompProfile"}, name
        page = (DEPLOY.parent / "docs/how-to/deploy-on-kubernetes.md").read_text()
        [shown] = re.findall(r"^```yaml\n(securityContexts:.*?)^```$", page, re.MULTILINE | re.DOTALL)
        (tmp_path / "values.yaml").write_text(shown)
        mended = render(variant, tmp_path / "values.yaml")
        assert set(pods(mended)) == set(pods(objects))
        for name, spec in pods(mended).items():
            assert beyond_restricted(spec) == set(), name

    def test_only_the_scheduler_has_the_pod_template(self, variant: str | None) -> None:
        """It lies where the configuration names it, so that the executor and check read the same one."""
        objects = render(variant)
        (config,) = [one["data"] for one in objects if one["metadata"]["name"] == "airflow-config"]
        [named] = re.findall(r"^pod_template_file = (.*)$", config["airflow.cfg"], re.MULTILINE)
        having = set()
        for name, spec in pods(objects).items():
            for one in spec["containers"]:
                mounts = {mount["mountPath"]: mount.get("subPath") for mount in one["volumeMounts"]}
                if mounts.get(named) == "pod_template_file.yaml":
                    having.add(name)
        assert having == {"airflow-scheduler"}

    def test_check_finds_no_fault_in_the_schedulers_pod(self, variant: str | None, tmp_path: Path) -> None:
        """With the chart's own configuration and template, and the variables of its container, but no database."""
        objects = render(variant)
        (config,) = [one["data"] for one in objects if one["metadata"]["name"] == "airflow-config"]
        template = tmp_path / "pod_template_file.yaml"
        template.write_text(config["pod_template_file.yaml"])
        policy = HELM / f"access_policy_{VARIANTS[variant]}.yaml"
        text = re.sub(
            r"^pod_template_file = .*$", f"pod_template_file = {template}", config["airflow.cfg"], flags=re.M
        )
        text = re.sub(r"^access_policy = .*$", f"access_policy = {policy}", text, flags=re.M)
        # The image here has no provider with FAB's auth manager, which `check` does not ask.
        (tmp_path / "airflow.cfg").write_text(
            re.sub(r"^(remote_logging|auth_manager) = .*\n", "", text, flags=re.M)
        )
        (scheduler,) = [
            one for one in pods(objects)["airflow-scheduler"]["containers"] if one["name"] == "scheduler"
        ]
        environment = {one["name"]: one["value"] for one in scheduler["env"] if "value" in one}
        environment |= {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "AIRFLOW_HOME": str(tmp_path)}
        done = subprocess.run(
            [Path(sys.executable).with_name("secure-xcom"), "check", "--json"],
            env={**environment, "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(tmp_path / "logs")},
            capture_output=True,
            text=True,
            check=False,
        )
        findings = json.loads(done.stdout)["findings"]
        assert [one for one in findings if one["status"] == "error"] == [], done.stderr
        told = {one["subject"]: one["text"] for one in findings}
        assert "service account xcom-risk" in told["task pods"]
        if variant == "vault-kubernetes":
            assert "exists only in pods of tasks" in told["connection vault_xcom"]

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
