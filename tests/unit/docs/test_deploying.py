"""The pages about deploying: their services and files are there, and they name every variant."""

from __future__ import annotations

import re

from tests.support import deployed
from tests.support.deployed import COMPOSE, HELM, ROOT

PAGES = (
    "how-to/deploy-with-compose.md",
    "how-to/separate-queues.md",
    "how-to/deploy-on-kubernetes.md",
    "how-to/apply-the-access-policy.md",
    "evidence/deployments.md",
)
TEXT = "".join((ROOT / "docs" / page).read_text() for page in PAGES)


def test_every_service_that_the_page_calls_is_in_the_compose_file() -> None:
    """`docker compose exec` and `run` name services, and what they are given is understood."""
    services = deployed.compose()["services"]
    calls = re.findall(r"docker compose --env-file images\.env (?:exec|run --rm) ([\w-]+) ?([^`]*)`", TEXT)
    assert {name for name, _ in calls} == {"worker-finance", "caretaker", "setup"}
    for name, rest in calls:
        assert name in services
        if name == "caretaker":
            assert deployed.refused(rest.split()) is None
        if name == "setup":
            assert f'"{rest}"' in (COMPOSE / "setup.py").read_text()


def test_every_file_that_the_page_names_is_there() -> None:
    """Paths below deploy/, and the chart's files by their names."""
    for path in re.findall(r"`?(?<![\w/])(deploy/[\w./-]+)`?", TEXT):
        assert (ROOT / path.rstrip(".")).exists(), path
    for name in re.findall(r"`((?:values|access_policy)[\w-]*\.yaml)`", TEXT):
        assert (HELM / name).exists(), name
    for name in re.findall(r"`((?:service-accounts|vault)[\w-]*\.yaml)`|manifests/([\w-]+\.yaml)", TEXT):
        assert (HELM / "manifests" / (name[0] or name[1])).exists(), name


def test_every_variant_is_on_the_page() -> None:
    """Whoever looks for a file of the chart's folder finds what it is for."""
    for path in (*HELM.glob("*.yaml"), *(HELM / "manifests").glob("*.yaml")):
        assert path.name in TEXT, path.name
