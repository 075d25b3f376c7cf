"""The product's own files for Kubernetes, as the tests put them into a cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

HELM = Path(__file__).parents[3] / "deploy" / "helm"


def shipped(name: str) -> list[dict[str, Any]]:
    """Return the documents of ``deploy/helm/manifests/NAME.yaml``."""
    return list(yaml.safe_load_all((HELM / "manifests" / f"{name}.yaml").read_text()))


def pod_template(values: str) -> dict[str, Any]:
    """Return the pod template of ``deploy/helm/VALUES.yaml``."""
    text = yaml.safe_load((HELM / f"{values}.yaml").read_text())["podTemplate"]
    template: dict[str, Any] = yaml.safe_load(text)
    return template


def config_map(namespace: str, name: str, **files: str) -> dict[str, Any]:
    """Return a ConfigMap with files."""
    named = {"name": name, "namespace": namespace}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": named, "data": files}
