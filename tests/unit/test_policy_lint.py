"""What `policy lint` says of an access policy: each rule fires where it should, and a sound policy is silent."""

from __future__ import annotations

import time

import pytest

from secure_xcom.access.lint import lint
from secure_xcom.errors import PolicyInvalid

SOUND = """\
version: 1
defaults:
  compartment: shared
compartments:
  - name: finance
    dags: ["finance_*"]
    key_uris: ["vault://vault_default/transit/keys/finance"]
    store_uri: s3://xcom/sealed
    readers:
      - compartment: audit
        of_dags: [finance_daily]
    routes:
      - keys: ["*_token"]
        store_uri: vault-kv://vault_default/kv/xcom
      - sensitive: true
        store_uri: vault-kv://vault_default/kv/xcom
    tasks_run_on: {queue: finance, executor: CeleryExecutor}
  - name: audit
    dags: [audit_monthly, audit_yearly]
    key_uris: ["vault://vault_default/transit/keys/audit"]
    store_uri: s3://xcom/sealed
    tasks_run_on: {queue: audit, executor: CeleryExecutor}
  - name: shared
    dags: ["shared_*"]
    key_uris: ["vault://vault_default/transit/keys/shared"]
    store_uri: s3://xcom/sealed
    tasks_run_on: {service_account: shared}
identities:
  - name: finance-workers
    workers_of: [finance]
    vault: {auth: approle}
  - name: audit-workers
    workers_of: [audit]
    vault: {auth: approle}
  - name: shared-workers
    workers_of: [shared]
    vault: {auth: kubernetes, service_accounts: [shared], namespaces: [airflow]}
  - name: keeper
    grants:
      - {compartment: finance, as: maintenance}
    aws: {principal: "arn:aws:iam::111122223333:role/keeper"}
"""
FINANCE = '    dags: ["finance_*"]\n'
AUDIT = "    dags: [audit_monthly, audit_yearly]\n"
READER = "      - compartment: audit\n        of_dags: [finance_daily]\n"
KEEPER = "      - {compartment: finance, as: maintenance}\n"
SWALLOWED = "      - {compartment: finance, as: reader, dags: [finance_a]}\n"
SECOND = "  - name: second\n    workers_of: [audit]\n    vault: {auth: approle, role: finance-workers}\n"


def remarks(text: str) -> list[str]:
    """Each remark as ``status rule line:column``."""
    return [f"{one.status} {one.rule} {one.line}:{one.column}" for one in lint(text.encode(), where="p.yaml")]


def test_a_sound_policy_is_silent() -> None:
    """Nothing is said of a policy that is as it should be, an exception before its rule included."""
    assert remarks(SOUND) == []
    catch_all = SOUND.replace('["shared_*"]', '["finance*", "*"]').replace(
        "compartment: shared\n", "retention: 1d\n", 1
    )
    assert remarks(catch_all) == []


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        # --- which DAGs belong where
        (AUDIT, '    dags: [finance_audit]\n', "error unreachable 19:12"),
        (AUDIT, '    dags: ["finance_audit_*"]\n', "error unreachable 19:12"),
        (FINANCE, '    dags: ["*"]\n', "error unreachable 19:12"),
        (FINANCE, '    dags: ["*"]\n', "warning unreachable-default 6:12"),
        (FINANCE, '    dags: ["finance_*", finance_a]\n', "warning repeated 6:25"),
        ('["shared_*"]', '["*_shared"]', "warning overlap 24:12"),
        # --- where tasks run
        ("    tasks_run_on: {queue: audit, executor: CeleryExecutor}\n", "", "warning no-place 18:5"),
        ("{queue: audit, executor: CeleryExecutor}", "{pool: audit}", "warning no-place 22:19"),
        ("{queue: audit,", "{queue: finance,", "warning shared-place 22:27"),
        ("{service_account: shared}", "{service_account: other}", "error other-service-account 37:49"),
        (FINANCE, FINANCE + "    hide_return_values: false\n", "warning returned-values-logged 7:25"),
        # --- readers
        (READER, READER.replace("audit", 'audit\n        dags: ["x_*"]'), "error reader-never 11:15"),
        (READER, READER.replace("audit", "audit\n        dags: [finance_a]"), "error reader-never 11:15"),
        (READER, READER.replace("audit", "audit\n        dags: [finance_a]"), "warning reader-of-itself 11:16"),
        (READER, READER.replace("finance_daily", "audit_monthly"), "error reader-never 11:19"),
        (READER, READER.replace("finance_daily", '"a*"'), "error reader-never 11:19"),
        (READER, READER * 2, "warning unreachable-reader 12:9"),
        (READER, '      - dags: ["*"]\n', "warning reader-everybody 10:16"),
        (READER, '      - dags: ["audit_*"]\n', "warning reader-wider 10:16"),
        (READER, "      - dags: [audit_monthly]\n", "ok reader-by-identity 10:9"),
        (READER, READER + "        tasks: [load]\n", "ok reader-by-identity 10:9"),
        ("    workers_of: [audit]", "    workers_of: [shared]", "warning reader-without-identity 10:9"),
        # --- keys, stores, routes
        ("transit/keys/audit", "transit/keys/finance", "error shared-key 20:16"),
        ("vault_default/transit/keys/audit", "other/transit/keys/finance", "error shared-key 20:16"),
        ('keys/finance"]', 'keys/finance?wrap=never"]', "error no-key-wraps 7:15"),
        ("vault://vault_default/transit/keys/audit", "local:///k.json", "warning local-key 20:15"),
        (FINANCE, FINANCE + '    former_store_uris: ["s3://xcom/sealed"]\n', "warning former-is-current 7:25"),
        ("      - sensitive: true\n", '      - keys: ["my_token"]\n', "error unreachable-route 15:9"),
        # --- identities
        ("    workers_of: [audit]", "    workers_of: [audit, shared]", "warning shared-worker 33:17"),
        (KEEPER, KEEPER + "      - {compartment: finance, as: reader}\n", "warning reads-and-administers 38:5"),
        (KEEPER, KEEPER + "      - {compartment: finance, as: operator}\n", "warning reads-and-administers 38:5"),
        ("    workers_of: [finance]\n", "    workers_of: [finance]\n    grants:\n" + KEEPER,
            "warning reads-and-administers 29:5"),
        (KEEPER, "      - {compartment: finance, as: reader, dags: [audit_yearly]}\n", "error grant-never 40:51"),
        (KEEPER, '      - {compartment: finance, as: reader, dags: ["finance_a*"]}\n', "warning grant-glob 38:5"),
        (READER, READER + '        of_tasks: ["load_*"]\n', "warning grant-glob 33:5"),
        ("    workers_of: [finance]\n", "    workers_of: [finance]\n    grants:\n" + SWALLOWED,
            "warning grant-swallowed 32:9"),
        ("  - name: audit-workers\n", SECOND + "  - name: audit-workers\n", "warning shared-principal 34:12"),
        ("    aws: {principal: \"arn:aws:iam::111122223333:role/keeper\"}\n", "", "warning no-principal 38:5"),
        ("    grants:\n" + KEEPER, "", "warning no-grants 38:5"),
        ("    workers_of: [shared]", "    workers_of: [audit]", "warning no-workers 23:5"),
        # --- what the file may not hold at all
        ("    workers_of: [audit]", "    workers_of: [nobody]", "error invalid 33:18"),
        ("version: 1", "version: 2", "error invalid 1:10"),
    ],
)  # fmt: skip
def test_each_rule_fires_where_it_should(old: str, new: str, expected: str) -> None:
    """A policy with one thing wrong gets that remark, at its line and column."""
    assert SOUND.count(old) == 1
    assert expected in remarks(SOUND.replace(old, new))


def test_one_key_for_all_with_one_identity_is_a_warning() -> None:
    """Compartments that share a key and all its users are kept apart by the context alone, and lint says so."""
    text = SOUND.replace("keys/audit", "keys/finance").partition("identities:")[0]
    assert "warning shared-key 20:16" in remarks(text)


def test_a_remark_says_what_to_do() -> None:
    """Each warning and error but those of an invalid file has a remedy, and no text is cut or empty."""
    text = SOUND.replace(FINANCE, '    dags: ["*"]\n').replace("[audit]", "[audit, shared]")
    found = lint(text.encode(), where="p.yaml")
    assert len(found) > 3
    assert all(remark.text and remark.remedy for remark in found)


def test_what_is_no_yaml_is_an_error() -> None:
    """Lint of something that is not YAML at all raises the reader's own error."""
    with pytest.raises(PolicyInvalid, match="tab"):
        lint(b"\tversion: 1", where="p.yaml")


@pytest.mark.parametrize(
    ("dags", "reader", "expected"),
    [
        ('["team{n}_*", "*_of_team{n}"]', "team{m}_load", "warning overlap"),
        ('["team{n}_*", other_{n}]', "team{m}_*", "ok reader-by-identity"),
    ],
)
def test_lint_of_many_compartments_ends_soon(dags: str, reader: str, expected: str) -> None:
    """2,000 compartments, be it with globs that all meet or with a reader each, are looked at in seconds."""
    entry = f"""\
  - name: team-{{n}}
    dags: {dags}
    key_uris: ["vault://vault_default/transit/keys/xcom-team-{{n}}"]
    store_uri: s3://xcom/sealed
    readers:
      - dags: ["{reader}"]
"""
    worker = "  - name: workers-{n}\n    workers_of: [team-{n}]\n    vault: {auth: approle}\n"

    def each(text: str) -> str:
        return "".join(text.replace("{n}", str(n)).replace("{m}", str((n + 1) % 2000)) for n in range(2000))

    begun = time.process_time()
    found = remarks(f"version: 1\ncompartments:\n{each(entry)}identities:\n{each(worker)}")
    assert expected in {one.rpartition(" ")[0] for one in found}
    assert time.process_time() - begun < 30
