"""`secure-xcom completion`: the scripts in real shells."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from secure_xcom.cli import app

# What each shell is told to complete, and how it tells the candidates.
ASK = {
    "bash": (
        'eval "$(secure-xcom completion bash)"\n'
        "COMP_WORDS=(secure-xcom {words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))\n"
        "_secure_xcom_completion secure-xcom; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    ),
    "zsh": (
        "compdef() {{ :; }}\n"
        'eval "$(secure-xcom completion zsh)"\n'
        "env _TYPER_COMPLETE_ARGS='secure-xcom {words}' _SECURE_XCOM_COMPLETE=complete_zsh secure-xcom"
    ),
    "fish": "secure-xcom completion fish | source\ncomplete -C 'secure-xcom {words}'",
}


@pytest.mark.parametrize("shell", ASK)
def test_a_shell_completes(shell: str, tmp_path: Path) -> None:
    """Commands, commands of a group, options and values are completed; former names are not."""
    found = shutil.which(shell)
    if found is None:
        pytest.skip(f"{shell} is not installed")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "_"))}
    environment = {**kept, "HOME": str(tmp_path), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}

    def ask(words: str) -> str:
        script = ASK[shell].format(words=words)
        done = subprocess.run(
            [found, "-c", script], env=environment, capture_output=True, text=True, timeout=60, check=True
        )
        assert done.stderr == ""
        return done.stdout

    top = ask("m")
    assert "migrate" in top
    assert "gc" not in top
    assert "unseal" not in ask("u")
    assert "anchor" in ask("audit a")
    options = ask("gc --")
    assert "--apply" in options
    assert "--delete" not in options


@pytest.mark.parametrize(("shell", "file"), [("bash", ".bashrc"), ("zsh", ".zshrc"), ("fish", "")])
def test_install_writes_where_the_shell_reads(
    shell: str, file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """--install says where the script is, and adds it to the shell's start file once."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for _ in range(2):
        done = CliRunner().invoke(app, ["completion", shell, "--install"])
        assert (done.exit_code, str(tmp_path) in done.stdout) == (0, True), done.output
    if shell == "bash":
        assert (tmp_path / file).read_text().count("secure-xcom") == 1
    else:
        assert not file or "zfunc" in (tmp_path / file).read_text()


def test_the_shell_is_that_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a name the script is for SHELL; an unknown one is refused with those that there are."""
    monkeypatch.setenv("SHELL", "/usr/bin/fish")
    assert "complete --command secure-xcom" in CliRunner().invoke(app, ["completion"]).stdout
    monkeypatch.setenv("SHELL", "/bin/csh")
    refused = CliRunner().invoke(app, ["completion"])
    assert (refused.exit_code, "bash, zsh, fish" in refused.output) == (2, True)
