"""The policy of a deployment without a file decides as the model of the file would."""

from __future__ import annotations

import subprocess
import sys

import pytest

from secure_xcom.core.access_policy.interface import Rules
from secure_xcom.core.access_policy.policy import AccessPolicy
from secure_xcom.core.access_policy.single import SinglePolicy, single_policy
from secure_xcom.core.coordinate import Coordinate
from secure_xcom.core.errors import CompartmentUnknown, SettingInvalid

KEYS = ("vault://vault_xcom/transit/keys/x?wrap=optional", "local:///keys/keyring.json")
STORE = "s3://s3_xcom@bucket/sealed?region=eu-central-1"
XCOM = Coordinate("dag", "run", "task", -1, "return_value")
RULES = [name for name in vars(Rules) if not name.startswith("_")]


def test_its_digest_is_that_of_earlier_releases() -> None:
    """Fields that came later and are not set change nothing."""
    digest = "b33f5292acda8528f9c7e68c225b715a5ee2ef1a4194e70e21407e505bd3d2cb"
    assert AccessPolicy.single(["local:///k"], "file:///s").digest == digest


def test_its_digest_is_that_of_the_model() -> None:
    """Whoever adds or removes a file sees one policy change in the access log, and an upgrade shows none."""
    light = single_policy(KEYS, STORE)
    assert isinstance(light, SinglePolicy)
    assert light.digest == AccessPolicy.single(KEYS, STORE).digest


def test_its_compartment_has_the_rules_of_the_model() -> None:
    """Every rule that the data path asks for is the same."""
    light, model = (
        policy.compartments[0] for policy in (single_policy(KEYS, STORE), AccessPolicy.single(KEYS, STORE))
    )
    for name in RULES:
        rule, other = getattr(light, name), getattr(model, name)
        assert (rule("key") if callable(rule) else rule) == (other("key") if callable(other) else other), name


@pytest.mark.parametrize("compartment", ["default", "other"])
def test_its_verdicts_are_those_of_the_model(compartment: str) -> None:
    """Anybody may push and pull, and a head that names another compartment is refused."""
    light, model = single_policy(KEYS, STORE), AccessPolicy.single(KEYS, STORE)
    for verdict, other in (
        (light.decide(XCOM, compartment, None), model.decide(XCOM, compartment, None)),
        (light.decide_write(XCOM, None), model.decide_write(XCOM, None)),
    ):
        assert verdict.rule == other.rule
        assert str(verdict.refusal) == str(other.refusal)
    if compartment == "other":
        with pytest.raises(CompartmentUnknown):
            light.decide(XCOM, compartment, None).enforce()
    assert light.held("dag", "run") is model.held("dag", "run") is None


@pytest.mark.parametrize(
    ("keys", "store"),
    [
        (["no uri"], STORE),
        ([], STORE),
        (["local:///k"] * 9, STORE),
        (["local:///k"], 'file:///"'),
        (["local:///" + "x" * 3000], STORE),
    ],
)
def test_settings_that_the_model_refuses_are_refused(keys: list[str], store: str) -> None:
    """The shorter way in has no weaker check."""
    with pytest.raises(SettingInvalid):
        single_policy(keys, store)


def test_an_unusual_uri_is_left_to_the_model() -> None:
    """A letter outside of ASCII may be valid; the model says so."""
    assert isinstance(single_policy(["local:///schlüssel"], STORE), AccessPolicy)


def test_it_loads_no_model() -> None:
    """A task without a policy file does not build the model of one."""
    code = (
        "import sys\n"
        "from secure_xcom.core.access_policy.single import single_policy\n"
        f"single_policy({list(KEYS)!r}, {STORE!r})\n"
        "print([name for name in sys.modules if name.startswith('secure_xcom.core.access_policy.')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str([f"secure_xcom.core.access_policy.{name}" for name in ("verdict", "single")])
