"""The commands of the quickstart for Vault and of docs/reference/vault.md, in their order, on real servers."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from secure_xcom.connections.vault.client import forget_clients, vault_client
from secure_xcom.ops.service_policies.apply.vault_setup import Wanted, plan
from tests.support.servers.vault_found import binary_of
from tests.support.servers.vault_realm import own_flavours
from tests.support.servers.vault_server import dev_server

pytestmark = pytest.mark.usefixtures("fresh")

REPOSITORY = Path(__file__).parents[2]
PAGES = [REPOSITORY / "docs" / name for name in ("quickstart/vault-and-s3.md", "reference/vault.md")]
TEXT = "\n".join(page.read_text() for page in PAGES)


def blocks(language: str) -> list[str]:
    """The blocks of a language, in the order of the pages."""
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("flavour", own_flavours())
def test_the_page_leads_from_an_empty_vault_to_settings_that_work(
    flavour: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every command succeeds, and what was made by hand is what `init --vault` would make."""
    binary = binary_of(flavour)
    commands = tmp_path / "bin"
    commands.mkdir()
    for name, line in {
        "vault": f'exec "{binary}" "$@"',
        "python": f'exec "{sys.executable}" "$@"',
        "secure-xcom": f'exec "{sys.executable}" -c "from secure_xcom.cli import main; main()" "$@"',
    }.items():
        (commands / name).write_text(f"#!/bin/sh\n{line}\n")
        (commands / name).chmod(0o755)
    steps = blocks("sh")
    assert len(steps) >= 12
    # The page shows two ways: by one command, and then from nothing by hand. Both end with a check.
    assert [step.startswith("secure-xcom init --vault") for step in steps[:3]] == [True, True, False]
    check = next(step for step in steps if "__XCOM_BACKEND=" in step)
    # A dry run ends with 1 where there is something to make.
    steps[0] = f"{steps[0].rstrip()} || [ $? -eq 1 ]"
    for number, way in enumerate(([*steps[:3], check], steps[3:])):
        folder = tmp_path / str(number)
        folder.mkdir()
        with dev_server(binary, folder, flavour) as server:
            monkeypatch.setenv("VAULT_ADDR", server.address)
            monkeypatch.setenv("VAULT_TOKEN", server.token)
            done = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", "\n".join(way)],
                cwd=folder,
                env={
                    **os.environ,
                    "PATH": f"{commands}:{os.environ['PATH']}",
                    "PYTHONPATH": str(REPOSITORY),
                    "AIRFLOW_HOME": str(tmp_path / "airflow"),
                },
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=150,
                check=False,
            )
            assert done.returncode == 0, done.stdout[-4000:]
            forget_clients()
            wanted = Wanted(key="xcom-finance", approles=("worker",))
            assert {step.state for step in plan(vault_client("default"), wanted)} == {"there"}


def test_the_table_of_errors_is_complete() -> None:
    """Each error of the table is one of the package's, with what is said of sending again."""
    from secure_xcom import errors

    rows = re.findall(r"^\| `(\w+)` \| .* \| (yes|no) \|$", TEXT, re.MULTILINE)
    assert len(rows) == 11
    for name, again in rows:
        family = getattr(errors, name)
        assert issubclass(family, errors.KeyServiceError)
        assert issubclass(family, errors.KeyServiceUnavailable) == (again == "yes")
