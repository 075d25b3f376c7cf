"""What `policy lint` says of viewers and the reveal service: each rule where it should fire, and nowhere else."""

from __future__ import annotations

import pytest

from secure_xcom.ops.service_policies.lint.access_policy import lint

SOUND = """\
version: 1
compartments:
  - name: finance
    dags: ["finance_*"]
    key_uris: ["vault://vault_default/transit/keys/finance"]
    store_uri: s3://xcom/sealed
    viewers:
      - {group: finance-oncall, dags: [finance_daily]}
      - {group: finance-leads}
    tasks_run_on: {queue: finance}
reveal:
  origin: https://reveal.example.com
  airflow_origin: https://airflow.example.com
  vault: {address: "https://vault.example.com:8200"}
identities:
  - name: finance-workers
    workers_of: [finance]
    vault: {auth: approle}
  - name: reveal-service
    grants: [{compartment: finance, as: fetcher}]
    aws: {principal: "arn:aws:iam::111122223333:role/reveal"}
    runs_on: {service_account: reveal}
"""
OIDC = 'oidc: {issuer: "https://login.example.com", client_id: reveal}'
VAULT = 'vault: {address: "https://vault.example.com:8200"}'


def rules(*changes: tuple[str, str], dags: tuple[str, ...] = ()) -> dict[str, str]:
    """The rules that fire for the policy with texts replaced, each with where and how seriously."""
    text = SOUND
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    found = lint(text.encode(), where="policy.yaml", dags=dags)
    prefixes = ("viewer", "reveal", "glob", "invalid")
    return {each.rule: f"{each.status} {each.line}" for each in found if each.rule.startswith(prefixes)}


def test_a_sound_policy_is_silent() -> None:
    """Nothing is said of what is meant."""
    assert rules() == {}
    assert rules((VAULT, OIDC), ("as: fetcher", "as: revealer")) == {}
    loopback = ("https://reveal.example.com", "http://127.0.0.1:8000")
    assert rules(loopback, ("https://airflow.example.com", "http://127.0.0.1:8080")) == {}


@pytest.mark.parametrize(
    ("old", "new", "rule", "where"),
    [
        (SOUND[SOUND.index("reveal:\n") : SOUND.index("identities")], "", "viewers-without-reveal", "warning 8"),
        ("dags: [finance_daily]", "dags: [marketing_daily]", "viewer-never", "error 8"),
        ("group: finance-leads", "group: Finance-OnCall", "viewer-case", "error 9"),
        (
            "{group: finance-leads}",
            "{group: finance-oncall, dags: [finance_daily]}",
            "viewer-repeated",
            "warning 9",
        ),
        ("    viewers:", "    exclusive: ['*']\n    viewers:", "viewers-of-exclusive", "warning 9"),
        ("vault://vault_default/transit/keys/finance", "aws-kms://a/alias/f", "viewer-key-elsewhere", "warning 5"),
        ("as: fetcher", "as: operator", "reveal-without-rights", "warning 8"),
        ("as: fetcher", "as: revealer", "reveal-holds-key", "error 20"),
        ("https://reveal.example", "http://reveal.example", "reveal-plain-http", "error 12"),
        ("https://vault.example", "http://vault.example", "reveal-plain-http", "error 14"),
        ("https://reveal.example.com", "https://airflow.example.com", "reveal-same-origin", "error 13"),
        ("https://reveal.example.com", "https://vault.example.com:8200", "reveal-same-origin", "error 14"),
        ("https://reveal.example.com", "https://airflow.example.com:444", "reveal-same-host", "warning 12"),
        ("dags: [finance_daily]", "dags: ['finance_d*']", "glob-whole", "warning 8"),
        ("dags: [finance_daily]", "dags: [finance_daily], tasks: ['e*']", "glob-tasks", "warning 8"),
        ("group: finance-leads", "group: finance-leads, tasks: [extract]", "glob-whole", "warning 9"),
        ("as: fetcher}", "as: fetcher}, {compartment: finance, as: reader}", "invalid", "error 20"),
    ],
)
def test_each_rule_fires_where_it_should(old: str, new: str, rule: str, where: str) -> None:
    """The finding stands at the line to change."""
    assert rules((old, new))[rule] == where


def test_a_service_without_viewers() -> None:
    """The other way round, nobody is shown anything either."""
    start, end = SOUND.index("    viewers:"), SOUND.index("    tasks_run_on")
    assert rules((SOUND[start:end], "")) == {"reveal-without-viewers": "warning 9"}


def test_a_glob_with_known_ids_is_told() -> None:
    """The ids that a glob is compiled to are listed, since a new DAG needs another compile."""
    assert rules(("[finance_daily]", "['finance_d*']"), dags=("finance_daily",)) == {"glob-known": "ok 8"}
