"""What an error about the access policy file says: the form with an example, and the name that was meant."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import secure_xcom.core.access_policy as room
from secure_xcom.core.access_policy.fault_texts import FORMS
from secure_xcom.core.access_policy.policy import AccessPolicy
from secure_xcom.core.policy_errors import PolicyInvalid

TEXT = """version: 1
defaults: {retention: 30d}
compartments:
  - name: pay
    dags: ['pay_*']
    key_uris: ['local:///keys/pay.json']
    store_uri: 'file:///sealed'
    readers: [{dags: [report], of_tasks: [load]}]
    routes: [{keys: [card], store_uri: 'file:///cards'}]
    tasks_run_on: {queue: pay}
identities:
  - name: pay-workers
    workers_of: [pay]
    grants: [{compartment: pay, as: maintenance}]
    runs_on: {queue: maintenance}
    vault: {auth: approle}
    aws: {principal: 'arn:aws:iam::111122223333:role/pay'}
open_places: {queue: [free]}
alarms:
  - {name: refused, when: refusals, over: 1, within: 1h, notify: [{callback: 'a.b:c'}]}
legal_holds: [{name: case, runs: ['*']}]
"""


def said(old: str, new: str) -> str:
    """The text of the first fault."""
    assert old in TEXT
    with pytest.raises(PolicyInvalid) as error:
        AccessPolicy.parse(TEXT.replace(old, new, 1).encode(), where="policy.yaml")
    return error.value.what


@pytest.mark.parametrize(
    ("old", "new", "meant"),
    [
        ("compartments:", "compartment:", "compartments"),
        ("defaults:", "default:", "defaults"),
        ("retention: 30d", "retntion: 30d", "retention"),
        ("    dags:", "    dag:", "dags"),
        ("key_uris:", "key_uri:", "key_uris"),
        ("    store_uri:", "    store-uri:", "store_uri"),
        ("of_tasks", "of_task", "of_tasks"),
        ("keys: [card]", "key: [card]", "keys"),
        ("{queue: pay}", "{que: pay}", "queue"),
        ("workers_of", "worker_of", "workers_of"),
        ("as: maint", "role: maint", "as"),
        ("{queue: maint", "{queues: maint", "queue"),
        ("auth: approle", "auth: approle, secret_id_tll: 3d", "secret_id_ttl"),
        ("principal:", "principle:", "principal"),
        ("{queue: [free]", "{queu: [free]", "queue"),
        ("callback", "calback", "callback"),
        ("within", "witin", "within"),
        ("runs: ['*']", "run: ['*']", "runs"),
    ],
)
def test_a_misspelled_field_of_every_level_is_told(old: str, new: str, meant: str) -> None:
    """The unknown field is named with the one that was meant, and its absence is not told as well."""
    assert re.fullmatch(rf"unknown field '[\w-]+': did you mean '{meant}'\?", said(old, new).split("] ")[-1])


@pytest.mark.parametrize(
    ("old", "new", "meant"),
    [
        ("as: maintenance", "as: maintainance", "maintenance"),
        ("auth: approle", "auth: app_role", "approle"),
        ("when: refusals", "when: refusal", "refusals"),
        ("workers_of: [pay]", "workers_of: [pya]", "pay"),
        ("compartment: pay", "compartment: pays", "pay"),
    ],
)
def test_a_misspelled_value_is_told(old: str, new: str, meant: str) -> None:
    """A choice or the name of a compartment that does not exist is answered with the one that was meant."""
    assert f"did you mean '{meant}'?" in said(old, new)


@pytest.mark.parametrize(
    ("old", "new", "example"),
    [
        ("local:///keys/pay.json", "/keys/pay.json", "vault://vault_xcom/transit/keys/pay"),
        ("file:///sealed", "s3 bucket", "s3://aws_xcom@bucket/prefix"),
        ("arn:aws:iam::111122223333:role/pay", "role/pay", "arn:aws:iam::111122223333:role/pay-workers"),
        ("30d", "30 days", "such as 30d"),
        ("name: pay\n", "name: Pay Team\n", "such as pay-eu"),
        ("a.b:c", "a.b.c", "company.alarms:page_us"),
    ],
)
def test_a_malformed_value_is_answered_with_its_form(old: str, new: str, example: str) -> None:
    """The form comes with an example, and no regular expression is shown."""
    text = said(old, new)
    assert example in text
    assert not re.search(r"\[a-z|\^|\$", text)


def patterns(part: Any) -> Iterator[str]:
    """Every pattern of the file's schema."""
    if isinstance(part, dict):
        if isinstance(part.get("pattern"), str):
            yield part["pattern"]
        part = list(part.values())
    if isinstance(part, list):
        for below in part:
            yield from patterns(below)


def test_every_form_is_described() -> None:
    """Each pattern of the schema has its form in words."""
    schema = json.loads(Path(room.__file__).with_name("access_policy.schema.json").read_text())
    assert {pattern for pattern in patterns(schema) if pattern not in FORMS} == set()
