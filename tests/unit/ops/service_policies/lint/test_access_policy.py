"""What `policy lint` says of an access policy: each rule fires where it should, and a sound policy is silent."""

from __future__ import annotations

import ast
import time
from functools import partial
from pathlib import Path

import pytest

from secure_xcom.core.access_policy.policy import AccessPolicy
from secure_xcom.core.findings import Finding
from secure_xcom.core.policy_errors import PolicyInvalid
from secure_xcom.ops.service_policies.lint import access_policy_rules, origin, rows, uris
from secure_xcom.ops.service_policies.lint.access_policy import lint

SOUND = """\
version: 1
defaults:
  compartment: shared
compartments:
  - name: finance
    dags: ["finance_*"]
    key_uris: ["vault://vault_default/transit/keys/finance?grant=scoped"]
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
    runs_on: {queue: keeper}
"""
FINANCE = '    dags: ["finance_*"]\n'
AUDIT = "    dags: [audit_monthly, audit_yearly]\n"
READER = "      - compartment: audit\n        of_dags: [finance_daily]\n"
KEEPER = "      - {compartment: finance, as: maintenance}\n"
KEEPS = "    runs_on: {queue: keeper}\n"
LOCAL = (
    "  - name: other\n    runs_on: {queue: other,\n"
    "              executor: airflow.executors.local_executor.LocalExecutor}"
)
SWALLOWED = "      - {compartment: finance, as: reader, dags: [finance_a]}\n"
SECOND = "  - name: second\n    workers_of: [audit]\n    vault: {auth: approle, role: finance-workers}\n"


def remarks(text: str) -> list[str]:
    """Each remark as ``status rule line:column``."""
    found = lint(text.encode(), where="p.yaml", dags=["finance_known", "audit_known"])
    return [f"{one.status} {one.rule} {one.line}:{one.column}" for one in found]


def test_a_sound_policy_is_silent() -> None:
    """Nothing is said of a policy that is as it should be, an exception before its rule included."""
    assert remarks(SOUND) == []
    exception = SOUND.replace('["shared_*"]', '["finance*", shared]').replace(
        "compartment: shared\n", "retention: 1d\n", 1
    )
    assert remarks(exception) == []


CASES: list[tuple[str, str, str]] = [
    # --- which DAGs belong where
    (AUDIT, '    dags: [finance_audit]\n', "error unreachable 19:12"),
    (AUDIT, '    dags: ["finance_audit_*"]\n', "error unreachable 19:12"),
    (FINANCE, '    dags: ["*"]\n', "error unreachable 19:12"),
    (FINANCE, '    dags: ["*"]\n', "warning unreachable-default 6:12"),
    (FINANCE, '    dags: ["finance_*", finance_a]\n', "warning repeated 6:25"),
    ('["shared_*"]', '["*_shared"]', "warning overlap 24:12"),
    (AUDIT, '    dags: [audit_monthly, "**"]\n', "warning unreachable-default 19:27"),
    # --- where tasks run
    ("    tasks_run_on: {queue: audit, executor: CeleryExecutor}\n", "", "warning no-place 18:5"),
    ("{queue: audit, executor: CeleryExecutor}", "{pool: audit}", "warning no-place 22:19"),
    ("{queue: audit,", "{queue: finance,", "warning shared-place 22:27"),
    ("{service_account: shared}", "{service_account: other}", "error other-service-account 37:49"),
    (FINANCE, FINANCE + "    hide_return_values: false\n", "warning returned-values-logged 7:25"),
    (KEEPS, "", "warning no-owner 38:5"),
    ("service_accounts: [shared]", "service_accounts: [shared, admin]", "warning no-owner 37:49"),
    ("{queue: keeper}", "{queue: finance}", "warning shared-place 42:22"),
    ("{queue: keeper}", "{queue: FINANCE}", "warning shared-place 42:22"),
    ("{queue: keeper}", "{queue: [keeper, audit]}", "warning shared-place 42:22"),
    ("{queue: keeper}", "{service_account: shared}", "warning shared-place 42:32"),
    ("{queue: keeper}", "{queue: keeper, executor: LocalExecutor}\n" + LOCAL, "warning shared-place 45:25"),
    ("{queue: audit,", "{queue: 'a:b',", "warning place-characters 22:27"),
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
    ('finance?grant=scoped"]', 'finance?wrap=never"]', "error no-key-wraps 7:15"),
    ("vault://vault_default/transit/keys/audit", "local:///k.json", "warning local-key 20:15"),
    (FINANCE, FINANCE + '    former_store_uris: ["s3://xcom/sealed/audit"]\n', "error nested-store 7:25"),
    (FINANCE, FINANCE + '    former_store_uris: ["s3://xcom/sealed"]\n', "warning former-is-current 7:25"),
    ("      - sensitive: true\n", '      - keys: ["my_token"]\n', "error unreachable-route 15:9"),
    (FINANCE, FINANCE + '    retention_of: [{keys: ["a*"], retention: 1d}, {keys: [ab], retention: 2d}]\n',
        "error unreachable-retention 7:51"),
    # --- identities
    ("    workers_of: [audit]", "    workers_of: [audit, shared]", "warning shared-worker 33:17"),
    (KEEPER, KEEPER + "      - {compartment: finance, as: reader}\n", "warning reads-and-administers 38:5"),
    (KEEPER, KEEPER + "      - {compartment: finance, as: operator}\n", "warning reads-and-administers 38:5"),
    ("    workers_of: [finance]\n", "    workers_of: [finance]\n    grants:\n" + KEEPER,
        "warning reads-and-administers 29:5"),
    (KEEPER, "      - {compartment: finance, as: reader, dags: [audit_yearly]}\n", "error grant-never 40:51"),
    (KEEPER, '      - {compartment: finance, as: reader, dags: ["finance_a*"]}\n', "warning glob-whole 40:51"),
    (KEEPER, "      - {compartment: finance, as: reader, dags: [finance_a], tasks: [\"l*\"]}\n",
        "warning glob-tasks 40:71"),
    (READER, READER + '        of_tasks: ["load_*"]\n', "warning glob-tasks 12:20"),
    (READER, READER.replace("finance_daily", '"finance_d*"'), "warning glob-whole 11:19"),
    (READER, READER.replace("finance_daily", '"finance_k*"'), "ok glob-known 11:19"),
    ("finance?grant=scoped", "finance", "warning batch-in-limited-key 7:16"),
    # --- how services are reached
    ("sealed\n    readers", "sealed?endpoint=http://s3.example\n    readers", "warning plain-http 8:16"),
    ("sealed\n    readers", "sealed?endpoint=http://127.0.0.1:9\n    readers", "ok plain-http 8:16"),
    ("    workers_of: [finance]\n", "    workers_of: [finance]\n    grants:\n" + SWALLOWED,
        "warning grant-swallowed 32:9"),
    ("  - name: audit-workers\n", SECOND + "  - name: audit-workers\n", "warning shared-principal 34:12"),
    ("    aws: {principal: \"arn:aws:iam::111122223333:role/keeper\"}\n", "", "warning no-principal 38:5"),
    ("    grants:\n" + KEEPER, "", "warning no-grants 38:5"),
    ("    workers_of: [shared]", "    workers_of: [audit]", "warning no-workers 23:5"),
    # --- what the file may not hold at all
    ("    workers_of: [audit]", "    workers_of: [nobody]", "error invalid 33:18"),
    ("version: 1", "version: 2", "error invalid 1:10"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "expected"), CASES)
def test_each_rule_fires_where_it_should(old: str, new: str, expected: str) -> None:
    """A policy with one thing wrong gets that remark, at its line and column."""
    assert SOUND.count(old) == 1
    assert expected in remarks(SOUND.replace(old, new))


def test_one_key_for_all_with_one_identity_is_a_warning() -> None:
    """Compartments that share a key and all its users are kept apart by the context alone, and lint says so."""
    text = SOUND.replace("keys/audit", "keys/finance").partition("identities:")[0]
    assert "warning shared-key 20:16" in remarks(text)


def test_tasks_of_no_named_dag_become_the_whole_compartment() -> None:
    """A task is known to services within its DAG only, and lint says what it is compiled to."""
    text = SOUND.replace(READER, "      - {compartment: audit, of_tasks: [load]}\n")
    assert [remark.rule for remark in lint(text.encode(), where="p", dags=["audit_known"])] == ["glob-whole"]
    assert lint(text.encode(), where="p", dags=["finance_known"]) == []


def test_a_reader_of_no_compartment_is_said() -> None:
    """A DAG that no compartment takes has no workers, so it is no reader."""
    text = SOUND.replace("defaults:\n  compartment: shared\n", "").replace(READER, "      - dags: [elsewhere]\n")
    assert "warning reader-unknown 8:16" in remarks(text)


def test_a_compartment_for_the_rest_is_written_as_the_default() -> None:
    """A glob of stars takes new and mistyped DAGs, which only a default should."""
    text = SOUND.replace("defaults:\n  compartment: shared\n", "").replace('["shared_*"]', '["*"]')
    assert remarks(text) == ["warning wildcard-dags 22:12"]


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        ("AIRFLOW_CONN_VAULT_DEFAULT", "vault://:x@vault.example:8200", True),
        ("AIRFLOW_CONN_VAULT_DEFAULT", "vault://:x@vault.example:8200?use_tls=true", False),
        ("AIRFLOW_CONN_VAULT_DEFAULT", "vaults://:x@vault.example", False),
        ("AIRFLOW_CONN_VAULT_DEFAULT", '{"conn_type": "vault", "host": "v.example", "password": "x"}', True),
        ("AIRFLOW_CONN_VAULT_DEFAULT", '{"conn_type": "vault", "host": "v", "extra": {"use_tls": true}}', False),
        (
            "AIRFLOW_CONN_VAULT_DEFAULT",
            '{"conn_type": "vault", "host": "v", "extra": "{\\"use_tls\\": false}"}',
            True,
        ),
        ("AIRFLOW_CONN_VAULT_DEFAULT", "{broken", False),
        ("AWS_ENDPOINT_URL", "http://s3.example", True),
        ("AWS_ENDPOINT_URL_S3", "https://s3.example", False),
        ("VAULT_ADDR", "http://nobody.asks", False),
    ],
)
def test_connections_of_the_environment_are_looked_at_for_http(variable: str, value: str, expected: bool) -> None:
    """A connection that leads to http is a remark, as Airflow's own hooks read it; nothing of it is repeated."""
    found = lint(SOUND.encode(), where="p", environment={variable: value})
    assert {remark.rule for remark in found} == ({"plain-http"} if expected else set())
    assert all("x@" not in remark.text and variable in remark.text for remark in found)


def test_aws_connections_lead_to_http_by_their_extra() -> None:
    """The endpoint of an AWS connection, for all or for one service, is looked at."""
    text = SOUND.replace("s3://xcom", "s3://team.s3@xcom")
    for extra in (
        '{"endpoint_url": "http://s3.example"}',
        '{"service_config": {"s3": {"endpoint_url": "http://e"}}}',
    ):
        value = '{"conn_type": "aws", "extra": %s}' % extra  # noqa: UP031 - braces are JSON's here
        assert any(
            "AIRFLOW_CONN_TEAM.S3" in one.text
            for one in lint(text.encode(), where="p", environment={"AIRFLOW_CONN_TEAM.S3": value})
        )


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


URIS = (
    ("vault://vault_default/transit/keys/audit", "vault://vault_default/transit/keys/+", "key_uris"),
    ("vault://vault_default/transit/keys/audit", "vault://vault_default/transit/audit", "key_uris"),
    (
        "vault://vault_default/transit/keys/audit",
        "vault://vault_default/transit/keys/audit?wrap=maybe",
        "key_uris",
    ),
    ("vault://vault_default/transit/keys/audit", "aws-kms://default/alias/x'y", "key_uris"),
    ("vault://vault_default/transit/keys/audit", "kms://default/alias/audit", "key_uris"),
    ("s3://xcom/sealed\n    tasks_run_on: {queue: audit", "s3://x/sealed", "store_uri"),
    ("s3://xcom/sealed\n    tasks_run_on: {queue: audit", "s3://xcom/it's", "store_uri"),
    ("s3://xcom/sealed\n    tasks_run_on: {queue: audit", "s4://xcom/sealed", "store_uri"),
    ("s3://xcom/sealed\n    tasks_run_on: {queue: audit", "file://relative/x", "store_uri"),
    ("s3://xcom/sealed\n    tasks_run_on: {queue: audit", "memory://ci/x", "store_uri"),
    ("vault-kv://vault_default/kv/xcom\n      - sensitive", "vault-kv://vault_default/+/xcom", "routes"),
)


@pytest.mark.parametrize(("old", "new", "field"), URIS, ids=[new for _, new, _ in URIS])
def test_uris_that_no_service_reads(old: str, new: str, field: str) -> None:
    """A typo in a URI is said by lint with its line, and not by the first task that pushes."""
    behind = old.partition("\n")[1] + old.partition("\n")[2]
    text = SOUND.replace(old, new + behind, 1)
    (found,) = [one for one in lint_all(text) if one.rule == "unreadable-uri"]
    assert (found.status, found.path[2]) == ("error", field)
    assert new in text.splitlines()[(found.line or 0) - 1]
    assert [one for one in lint_all(SOUND) if one.rule == "unreadable-uri"] == []


def test_a_store_in_memory_has_any_name() -> None:
    """What a store opens, lint reads: a name in memory is shorter than that of a bucket may be."""
    text = SOUND.replace(
        "s3://xcom/sealed\n    tasks_run_on: {queue: audit", "memory://ci\n    tasks_run_on: {queue: audit"
    )
    assert text != SOUND
    assert [one for one in lint_all(text) if one.rule == "unreadable-uri"] == []


def lint_all(text: str) -> list[Finding]:
    """What `policy lint` says, with the rules that know services."""
    return lint(text.encode(), where="policy.yaml", beside=(uris.findings,))


@pytest.mark.parametrize(
    ("multi_team", "teams", "told"),
    [
        (False, {}, ["'finance' and 'audit'", "'finance' and 'shared'"]),
        (
            False,
            {"finance": "f", "audit": "a", "shared": "s"},
            ["'finance' and 'audit'", "'finance' and 'shared'"],
        ),
        (True, {}, ["'finance' and 'audit'", "'finance' and 'shared'"]),
        (True, {"finance": "f"}, ["'audit' and 'shared'"]),
        (True, {"finance": "f", "audit": "f, a"}, ["'finance' and 'audit'"]),
        (True, {"finance": "f", "audit": "a"}, []),
        (True, {"finance": "f", "audit": "a", "shared": "s"}, []),
    ],
)
def test_whose_rows_are_anybodys(multi_team: bool, teams: dict[str, str], told: list[str]) -> None:
    """Two compartments write each other's rows unless Airflow keeps their teams apart; each is told once."""
    text = SOUND
    for name, some in teams.items():
        text = text.replace(f"  - name: {name}\n    dags", f"  - name: {name}\n    teams: [{some}]\n    dags")
    beside = (partial(rows.findings, multi_team=multi_team),)
    found = lint(text.encode(), where="p.yaml", beside=beside)
    assert {(one.rule, one.status) for one in found} <= {("rows-of-all", "ok")}
    assert [" ".join(one.text.split()[1:4]) for one in found] == told
    assert all(("multi_team is off" in one.text) != multi_team for one in found)


PLACES = """\
version: 1
compartments:
  - name: finance
    dags: ["finance_*"]
    key_uris: ["vault://vault_xcom/transit/keys/finance"]
    store_uri: s3://s3_xcom@bucket/xcom
    tasks_run_on: {queue: finance}
  - name: audit
    dags: ["audit_*"]
    key_uris: ["vault://vault_xcom/transit/keys/audit"]
    store_uri: s3://s3_xcom@bucket/xcom
    tasks_run_on: {pool: audit}
identities:
  - name: caretaker
    vault: {auth: approle}
    runs_on: {queue: night, dags: [upkeep]}
"""


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("", "", ["'finance'", "'caretaker'"]),
        (
            "    tasks_run_on: {queue: finance}",
            "    bundles: [f]\n    tasks_run_on: {queue: finance}",
            ["'caretaker'"],
        ),
        ("dags: [upkeep]}", "dags: [upkeep], bundles: [core]}", ["'finance'"]),
        ("dags: [upkeep]}", "}", ["'finance'"]),
        ("tasks_run_on: {queue: finance}", "tasks_run_on: {pool: finance}", ["'caretaker'"]),
    ],
)
def test_places_that_an_id_alone_opens(old: str, new: str, told: list[str]) -> None:
    """Whoever may choose a DAG's id has the identity of its places, unless the bundle counts as well."""
    found = lint(PLACES.replace(old, new).encode(), where="p.yaml", beside=(origin.findings,))
    said = [one for one in found if one.rule == "id-alone"]
    assert [one.text.split()[7] for one in said] == told
    assert all(one.status == "ok" and one.remedy for one in said)


def test_one_compartment_has_all_the_rows() -> None:
    """With one compartment there is nobody else whose task could write a row."""
    text = SOUND[: SOUND.index("  - name: audit")].replace("  compartment: shared\n", "  retention: 1d\n")
    policy = AccessPolicy.parse(text.replace("- compartment: audit", "- dags: [x]").encode(), where="p.yaml")
    assert list(rows.findings(policy, multi_team=False)) == []


def test_every_rule_is_listed_and_tried() -> None:
    """Each rule has its line in the list, and a policy of these tests that it fires for."""
    said = {"invalid", "nested-store"}  # Found when the file is loaded.
    services = ("aws", "documents", "vault")  # These look at what is compiled, and have a list of their own.
    for path in Path(access_policy_rules.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())) if path.stem not in services else ():
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "lint_finding":
                assert isinstance(node.args[0], ast.Constant)
                said.add(str(node.args[0].value))
    assert said == set(access_policy_rules.RULES)
    tried = {expected.split()[1] for _, _, expected in CASES} | {
        # tests/unit/core/access_policy/test_folders.py
        "access-log-in-store",
        # tests/unit/ops/service_policies/lint/test_maintenance.py
        "shared-maintenance",
        "rewrap-shared-key",
        "rewrap-changes-context",
        # tests/unit/ops/service_policies/lint/test_viewers.py
        "viewers-without-reveal",
        "reveal-without-viewers",
        "viewer-never",
        "viewer-repeated",
        "viewer-case",
        "viewers-of-exclusive",
        "viewer-key-elsewhere",
        "reveal-without-rights",
        "reveal-plain-http",
        "reveal-same-origin",
        "reveal-same-host",
        "reveal-holds-key",
        # tests/unit/ops/checks/test_stored_connections.py
        "server-connection",
        "shared-backend",
        "connection-not-seen",
        # tests/unit/connections/test_default_id.py
        "default-connection",
        "wildcard-dags",
        "reader-unknown",
        "unreadable-uri",
        "rows-of-all",
        "id-alone",
    }
    assert tried == said
