"""Who may see a value: the viewers of a compartment, and the service that shows it."""

from __future__ import annotations

import pytest

from secure_xcom.core.access_policy.policy import AccessPolicy
from secure_xcom.core.access_policy.viewers import judge_viewer
from secure_xcom.core.coordinate import Coordinate
from secure_xcom.core.errors import CompartmentUnknown
from secure_xcom.core.policy_errors import AccessRefused, PolicyInvalid

POLICY = """version: 1
compartments:
  - name: finance
    dags: ['finance_*']
    key_uris: ['vault://vault_default/transit/keys/finance']
    store_uri: 's3://aws_default@xcom/finance'
    viewers:
      - {group: finance-oncall, dags: [finance_daily], tasks: [extract]}
      - {group: Finance Leads}
  - name: marketing
    dags: ['marketing_*']
    key_uris: ['vault://vault_default/transit/keys/marketing']
    store_uri: 's3://aws_default@xcom/marketing'
    viewers: [{group: marketing-oncall}]
reveal:
  origin: https://reveal.example.com
  airflow_origin: https://airflow.example.com
  vault: {address: 'https://vault.example.com:8200'}
"""


def policy(old: str = "", new: str = "") -> AccessPolicy:
    """The policy, with one text replaced."""
    assert old in POLICY
    return AccessPolicy.parse(POLICY.replace(old, new, 1).encode(), where="policy.yaml")


def coordinate(dag_id: str, task_id: str = "extract") -> Coordinate:
    """An XCom of a task."""
    return Coordinate(dag_id, "run", task_id, -1, "return_value")


@pytest.mark.parametrize(
    ("dag_id", "task_id", "groups", "rule"),
    [
        ("finance_daily", "extract", {"finance-oncall"}, "viewers[0]"),
        ("finance_daily", "load", {"Finance Leads"}, "viewers[1]"),
        ("finance_daily", "load", {"finance-oncall", "Finance Leads"}, "viewers[1]"),
        ("marketing_daily", "extract", {"finance-oncall", "marketing-oncall"}, "viewers[0]"),
    ],
)
def test_a_viewer_may_see_what_its_entry_has(dag_id: str, task_id: str, groups: set[str], rule: str) -> None:
    """The first entry that fits one of the person's groups, the DAG and the task admits."""
    verdict = judge_viewer(policy(), coordinate(dag_id, task_id), groups)
    assert verdict.rule == rule
    assert verdict.enforce().name == dag_id.partition("_")[0]


@pytest.mark.parametrize(
    ("dag_id", "task_id", "groups", "rule"),
    [
        ("finance_daily", "load", {"finance-oncall"}, "viewers[0].tasks"),
        ("finance_weekly", "extract", {"finance-oncall"}, "viewers[0].dags"),
        ("finance_daily", "extract", {"marketing-oncall"}, "viewers"),
        ("finance_daily", "extract", {"Finance-Oncall", "finance-oncall ", "finance", "*"}, "viewers"),
        ("finance_daily", "extract", set(), "viewers"),
    ],
)
def test_anybody_else_is_refused(dag_id: str, task_id: str, groups: set[str], rule: str) -> None:
    """Another group, spelling, DAG or task is refused with the nearest rule."""
    verdict = judge_viewer(policy(), coordinate(dag_id, task_id), groups)
    assert verdict.rule == rule
    with pytest.raises(AccessRefused) as refused:
        verdict.enforce()
    assert str(coordinate(dag_id, task_id)) in refused.value.where
    # Who asks is not told which groups would be admitted.
    assert "oncall" not in str(refused.value)
    assert "Leads" not in str(refused.value)


def test_an_xcom_of_no_compartment_has_no_viewers() -> None:
    """It is refused as for a pull."""
    with pytest.raises(CompartmentUnknown):
        judge_viewer(policy(), coordinate("other"), {"finance-oncall"})


def test_a_compartment_without_viewers_shows_nobody_anything() -> None:
    """No viewers means none, not all."""
    without = policy("    viewers: [{group: marketing-oncall}]\n", "")
    assert judge_viewer(without, coordinate("marketing_daily"), {"marketing-oncall", ""}).refusal is not None


def test_where_people_log_in() -> None:
    """The section has its defaults, or a provider instead of Vault."""
    reveal = policy().reveal
    assert reveal is not None
    assert reveal.vault is not None
    assert (reveal.vault.mount, reveal.vault.token_ttl, reveal.vault.user_claim) == ("oidc", "10m", "email")
    reveal = policy(
        "vault: {address: 'https://vault.example.com:8200'}",
        "oidc: {issuer: 'https://login.example.com/realms/company', client_id: reveal}",
    ).reveal
    assert reveal is not None
    assert reveal.oidc is not None
    assert reveal.oidc.groups_claim == "groups"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("  vault: {address: 'https://vault.example.com:8200'}\n", "", "one of vault and oidc"),
        (
            "  vault: {",
            "  oidc: {issuer: 'https://a.example', client_id: b}\n  vault: {",
            "one of vault and oidc",
        ),
        ("//reveal.example.com", "//reveal.example.com/", "without a path"),
        ("//reveal.example.com", "//Reveal.example.com", "in lower case"),
        ("//reveal.example.com", "//user@reveal.example.com", "without a path"),
        ("//reveal.example.com", "//*.example.com", "without a path"),
        ("https://reveal.example.com", "'null'", "SCHEME://HOST"),
        ("https://airflow.example.com", "https://airflow.example.com/airflow", "without a path"),
        ("group: marketing-oncall", "group: 'a\"b'", "the name of a group"),
        ("group: marketing-oncall", "grp: marketing-oncall", "did you mean 'group'?"),
    ],
)
def test_what_is_no_origin_or_no_group_is_refused(old: str, new: str, said: str) -> None:
    """The service sends the origins in headers and compares them with a browser's, so they are exact."""
    with pytest.raises(PolicyInvalid) as refused:
        policy(old, new)
    assert said in refused.value.what


def test_an_issuer_has_a_host() -> None:
    """What stands in brackets is no IPv6 address: the policy is refused, and no later reader of the URL fails."""
    oidc = "oidc: {issuer: 'https://[', client_id: reveal}"
    with pytest.raises(PolicyInvalid, match="issuer"):
        policy("vault: {address: 'https://vault.example.com:8200'}", oidc)
