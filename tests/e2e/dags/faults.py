"""Whatever a push or a pull needs is broken, in one task each: nothing may be given then.

Each task breaks its own process's surroundings before the first value passes: settings by the environment, the
disk by the limit of a file's size.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, chain, task

from tests.e2e.dags.kit import said, secret, task_instance


def _set(**settings: str | None) -> None:
    for name, text in settings.items():
        variable = f"AIRFLOW__SECURE_XCOM__{name.upper()}"
        if text is None:
            os.environ.pop(variable, None)
        else:
            os.environ[variable] = text


def _root() -> Path:
    return Path(os.environ["SECURE_XCOM_E2E_ROOT"])


def _keyring(name: str, *, mode: int = 0o600, text: str | None = None) -> None:
    """Use a keyring file of one's own: a copy of the deployment's, unless there is a text for it."""
    file = _root() / "keys" / f"{name}.json"
    file.write_text((_root() / "keys" / "keyring.json").read_text() if text is None else text)
    file.chmod(mode)
    _set(key_uris=f"local://{file}")


@contextmanager
def _own_keyring() -> Iterator[Path]:
    """The keyring that the pulls of this DAG need, put in order again afterwards."""
    file = _root() / "keys" / "faults.json"
    text = file.read_text()
    try:
        yield file
    finally:
        file.write_text(text)
        file.chmod(0o600)


def _replace(file: Path) -> None:
    from secure_xcom.ops.keyring import create_keyring

    file.unlink()
    create_keyring(str(file))


def _full_disk() -> None:
    # The kernel's own way to say that there is no more room for this process's files; an access log of its own
    # has room enough.
    _set(audit_sinks=f"file://{_root()}/audit/full-disk.jsonl")
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))


def _policy(name: str, text: str) -> None:
    """Use an access policy of one's own: the tasks that push run side by side."""
    file = _root() / f"policy-{name}.yaml"
    file.write_text(text)
    _set(access_policy=str(file))


def _object_gone() -> None:
    for file in (_root() / "store" / "default" / "faults").rglob("*"):
        if file.is_file() and "/give/" in str(file):
            file.unlink()


_POLICY = """
version: 1
compartments:
  - name: elsewhere
    dags: ["another_dag"]
    key_uris: ["local:///nowhere/keyring.json"]
    store_uri: "file:///nowhere"
"""


@dataclass(frozen=True)
class Fault:
    """What is broken, and the class of the error that tells it."""

    breaks: Callable[[], Any]
    error: str


PUSHES: dict[str, Fault] = {
    "no settings": Fault(lambda: _set(key_uris=None, store_uri=None), "SettingMissing"),
    "no store": Fault(lambda: _set(store_uri=None), "SettingMissing"),
    "an option with a typo": Fault(lambda: _set(key_uri="local:///a"), "SettingInvalid"),
    "an option with a wrong value": Fault(lambda: _set(on_plaintext="maybe"), "SettingInvalid"),
    "a key URI with a typo": Fault(lambda: _set(key_uris="locol:///keyring.json"), "UriInvalid"),
    "a store URI with a typo": Fault(lambda: _set(store_uri="flie:///store"), "UriInvalid"),
    "a sink URI with a typo": Fault(lambda: _set(audit_sinks="fiel:///log"), "UriInvalid"),
    "no keyring": Fault(lambda: _set(key_uris=f"local://{_root()}/keys/none.json"), "KeyringMissing"),
    "a keyring that others can read": Fault(lambda: _keyring("exposed", mode=0o644), "KeyringExposed"),
    "a keyring that is broken": Fault(lambda: _keyring("broken", text='{"keyring": '), "KeyringBroken"),
    "no folder for the store": Fault(lambda: _set(store_uri=f"file://{_root()}/none"), "StoreUnavailable"),
    "a full disk": Fault(_full_disk, "StoreFull"),
    "an access log on a full disk": Fault(lambda: _set(audit_sinks="file:///dev/full"), "AuditError"),
    "an access log that cannot be": Fault(
        lambda: _set(audit_sinks=f"file://{_root()}/airflow.cfg/log.jsonl"), "AuditError"
    ),
    "no access policy file": Fault(lambda: _set(access_policy="/nowhere/policy.yaml"), "PolicyInvalid"),
    "an access policy that is broken": Fault(lambda: _policy("broken", "version: [1"), "PolicyInvalid"),
    "an access policy without this DAG": Fault(lambda: _policy("elsewhere", _POLICY), "CompartmentUnknown"),
    "a value that is too large": Fault(lambda: _set(max_bytes="1000"), "ValueTooLarge"),
}
PULLS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no settings": (lambda _: _set(key_uris=None, store_uri=None), "SettingMissing"),
    "no keyring": (Path.unlink, "KeyringMissing"),
    "a keyring that others can read": (lambda file: file.chmod(0o640), "KeyringExposed"),
    "a keyring that is broken": (lambda file: file.write_text("{}"), "KeyringBroken"),
    "another keyring": (_replace, "UnwrapRefused"),
    "an access log on a full disk": (lambda _: _set(audit_sinks="file:///dev/full"), "AuditError"),
    "a value that is too large": (lambda _: _set(max_bytes="1000"), "ValueTooLarge"),
    # The last one, because what it breaks stays broken.
    "no object": (lambda _: _object_gone(), "ObjectMissing"),
}

# Set whenever Airflow parses this file, in each of its tasks' own processes too, but not when a test imports it.
if "SECURE_XCOM_E2E_ROOT" in os.environ:
    _set(key_uris=f"local://{_root()}/keys/faults.json")

with DAG("faults", schedule=None) as faults:

    @task(trigger_rule="all_done")
    def give() -> list[str]:
        """What the pulls are about."""
        return [secret("a pull that fails"), os.urandom(20_000).hex()]

    def _pushing(number: int, name: str, fault: Fault) -> Any:
        @task(task_id=f"push_{number}")
        def push() -> list[str]:
            fault.breaks()
            return [secret(f"push with {name}"), os.urandom(20_000).hex()]

        return push()

    def _pulling(number: int, name: str, breaks: Callable[[Path], Any]) -> Any:
        @task(task_id=f"pull_{number}", trigger_rule="all_done")
        def pull() -> None:
            with _own_keyring() as file:
                breaks(file)
                value = task_instance().xcom_pull("give")
            # Noted if it ever comes to this, whatever the value is.
            said(f"pull with {name}", type(value).__name__)

        return pull()

    pushing = [_pushing(number, name, fault) for number, (name, fault) in enumerate(PUSHES.items())]
    pulling = [_pulling(number, name, breaks) for number, (name, (breaks, _)) in enumerate(PULLS.items())]
    # One after the other, because they all break the same keyring.
    chain(pushing, give(), *pulling)
