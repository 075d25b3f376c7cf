"""The access policy file: what is read, what is refused and where, and what can never get through."""

from __future__ import annotations

import contextlib
import json
import re
import time
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from secure_xcom.core.access_policy import schema as schema_file
from secure_xcom.core.access_policy import yaml_reader
from secure_xcom.core.access_policy.policy import AccessPolicy
from secure_xcom.core.errors import CompartmentUnknown, SettingInvalid
from secure_xcom.core.policy_errors import PolicyInvalid

GOOD = """\
version: 1
defaults:
  compartment: shared
compartments:
  - name: finance
    dags: ["finance_*", one_more]
    key_uris: ["vault://vault_default/transit/keys/xcom-finance?wrap=optional"]
    store_uri: s3://aws_default@xcom/sealed
    readers:
      - {dags: [report], tasks: [load]}
    tasks_run_on: {queue: finance, refuse_elsewhere: false}
  - name: shared
    key_uris: ["vault://vault_default/transit/keys/xcom-shared"]
    store_uri: s3://aws_default@xcom/sealed
identities:
  - name: finance-workers
    workers_of: [finance]
    grants:
      - {compartment: shared, as: reader, dags: [a, b], tasks: [t]}
    vault: {auth: approle}
    aws: {principal: "arn:aws:iam::111122223333:role/finance"}
    google: {member: "serviceAccount:finance@project.iam.gserviceaccount.com"}
    azure: {principal_id: 11111111-2222-3333-4444-555555555555}
"""


def parse(text: str | bytes) -> AccessPolicy:
    """The policy of a file's text."""
    return AccessPolicy.parse(text if isinstance(text, bytes) else text.encode(), where="policy.yaml")


def where(text: str | bytes) -> str:
    """The refusal's line and column and what it says."""
    with pytest.raises(PolicyInvalid) as caught:
        parse(text)
    return f"{caught.value.where.removeprefix('policy.yaml, ')}: {caught.value.what}"


def test_a_good_file() -> None:
    """What the file says is what the policy has, with defaults written in and the digest of the bytes."""
    policy = parse(GOOD)
    assert [compartment.name for compartment in policy.compartments] == ["finance", "shared"]
    assert policy.compartments[0].readers[0].of_tasks == ("*",)
    assert policy.identities[0].grants[0].role == "reader"
    assert policy.digest != parse(GOOD + "# a comment\n").digest
    assert parse(GOOD.replace("\n", "\r\n")).compartments == policy.compartments


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("    tasks_run_on", "    task_run_on", "line 11, column 5: unknown field 'task_run_on'"),
        ("elsewhere: false", "elsewhere: 1", "line 11, column 54: refuse_elsewhere must be true or false"),
        ("name: finance\n", "name: 5\n", "line 5, column 11: name must be a string: put it in quotes"),
        ("name: finance\n", "name: Finance\n", "line 5, column 11: name has characters that are not allowed"),
        ("    dags: [\"finance_*\", one_more]\n", "", "line 5, column 5: the compartment 'finance' has no DAGs"),
        ("version: 1", "version: 2", "line 1, column 10: version"),
        ("version: 1\n", "", "line 1, column 1: the field 'version' is missing"),
        ("  compartment: shared", "  compartment: share", "line 3, column 16: there is no compartment 'share'"),
        ("  - name: shared", "  - name: finance", "line 3, column 16: there is no compartment 'shared' (and 3"),
        ("identities:", "  - name: finance\n    dags: [x]\n    key_uris: [\"v://k\"]\n    store_uri: s3://b\nidentities:",
            "line 15, column 11: the name 'finance' is used twice"),
        ("workers_of: [finance]", "workers_of: [fin]", "line 17, column 18: there is no compartment 'fin'"),
        ("compartment: shared, as", "compartment: nix, as", "line 19, column 23: there is no compartment 'nix'"),
        ("dags: [a, b], tasks", "tasks", "line 19, column 50: tasks needs dags"),
        ("{dags: [report], tasks: [load]}", "{tasks: [load]}", "line 10, column 9: a reader must have"),
        ("{dags: [report],", "{compartment: nix,", "line 10, column 23: there is no compartment 'nix'"),
        ("{dags: [report],", "{compartment: finance,", "line 10, column 23: a compartment's own tasks may pull"),
        ("dags: [report]", "dags: report", "line 10, column 16: dags must be a list"),
        ("dags: [report]", "dags: []", "line 10, column 16: dags has too few entries"),
        ("dags: [report]", "dags: [\"a\\0\"]", "line 10, column 17: dags has characters that are not allowed"),
        ("dags: [report]", "dags: [\"re[a-z]\"]", "line 10, column 17: dags has characters that are not allowed"),
        ("  - name: shared", "  - &a name: shared", "line 12, column 5: anchors and aliases are not allowed"),
        ("[a, b]", "*x", "line 19, column 49: anchors and aliases are not allowed"),
        ("as: reader", "as: !!str reader", "line 19, column 35: tags are not allowed"),
        ("as: reader", "as: root", "line 19, column 35: as"),
        ("auth: approle", "auth: aprole", "line 20, column 12: auth must be one of"),
        ("{auth: approle}", "{role: x}", "line 20, column 12: vault must name its auth method"),
        ("{auth: approle}", "{auth: approle, ttl: 1h}", "line 20, column 28: unknown field 'ttl'"),
        ("    dags: [\"fin", "\tdags: [\"fin", "line 6, column 1: a tab is not allowed"),
        ("one_more", "one\u202emore", "line 6, column 28: the control character U+202E is not allowed"),
        ("one_more", "one\x07more", "line 6, column 28: the control character U+0007 is not allowed"),
        ("one_more", "yes", "line 6, column 25: 'yes' means different things to different YAML parsers"),
        ("one_more", "12", "line 6, column 25: dags must be a string: put it in quotes"),
        ("one_more", "2026-01-01", "line 6, column 25: '2026-01-01' means different things"),
        ("one_more", "~", "line 6, column 25: a value is missing"),
        ("one_more", "{a: b}", "line 6, column 25: dags must be a string: put it in quotes"),
        ("name: shared\n", "name:\n", "line 12, column 10: a value is missing"),
        ("    store_uri: s3", "    name: b\n    store_uri: s3", "line 8, column 5: the key 'name' occurs twice"),
        ("    store_uri: s3", "    1: b\n    store_uri: s3", "line 8, column 5: a key must be a string"),
        ("    store_uri: s3", "    <<: b\n    store_uri: s3", "line 8, column 5: '<<' means different things"),
        ("version: 1", "%YAML 1.1\n---\nversion: 1", "line 1, column 1: one document without directives"),
        ("version: 1", "version: 1\n---\nversion: 1", "line 2, column 1: one document without directives"),
        ("[a, b]", "[a, b", "line 19, column 66: not YAML"),
        ("    tasks_run_on", "    retention_of: [{keys: [a]}]\n    tasks_run_on", "line 11, column 20: the field"),
        ("version: 1", "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\nversion: 1", "line 1, column 4: anchors and"),
        ("version: 1", f"version: 1\nextra: {'[' * 14}1{']' * 14}", "line 2, column 19: nested deeper"),
        ("one_more", "\"one\tmore\"", "line 6, column 29: a tab is not allowed"),
        ("one_more", "\"a\u2028b\"", "line 6, column 27: the control character U+2028 is not allowed"),
        ("one_more", "\"a\\u202eb\"", "line 6, column 25: dags has characters that are not allowed"),
        ("    tasks_run_on", "    retention: 30\n    tasks_run_on", "line 11, column 16: retention must be"),
        ("    tasks_run_on", "    retention: 30 days\n    tasks_run_on", "line 11, column 16: retention has"),
        ("    tasks_run_on", "    max_bytes: 0\n    tasks_run_on", "line 11, column 16: max_bytes"),
        ("    tasks_run_on", "    routes: [{store_uri: \"s3://b\"}]\n    tasks_run_on",
            "line 11, column 14: a route must have keys"),
    ],
)  # fmt: skip
def test_what_is_refused_and_where(old: str, new: str, said: str) -> None:
    """Each mistake is refused with its own line and column."""
    assert GOOD.count(old) >= 1
    assert where(GOOD.replace(old, new, 1)).startswith(said)


def test_several_mistakes_are_counted() -> None:
    """The first mistake in the file is named, and how many more there are."""
    text = GOOD.replace("refuse_elsewhere: false", "refuse_elsewhere: 1").replace("as: reader", "as: root")
    assert where(text).endswith("refuse_elsewhere must be true or false (and 1 more)")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# nothing\n",
        "just text",
        "[]",
        "{}",
        b"\xff\xfe",
        b"version: 1\ncompartments: \xc3\x28",
        "[" * 5000,
        "- " * 5000 + "a",
        "a: " + "{a: " * 100,
        '"\\ud800": 1',
        "? {a: b}\n: c",
        "a: !!python/object/apply:os.system [x]",
        "a: &x [1]\nb: [*x, *x]",
    ],
    ids=str,
)
def test_what_is_no_policy_is_refused(text: str | bytes) -> None:
    """Whatever is no policy ends as PolicyInvalid, deep nesting and bombs included, and soon."""
    begun = time.monotonic()
    where(text)
    assert time.monotonic() - begun < 5


def test_a_file_that_is_too_large_is_refused() -> None:
    """The size is bounded before anything is parsed."""
    assert "bytes" in where(b"#" * (yaml_reader.MAX_BYTES + 1))


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    """A missing file, and a folder, are errors of ours that name the path."""
    for path in (tmp_path / "missing.yaml", tmp_path):
        with pytest.raises(PolicyInvalid, match="cannot be read"):
            AccessPolicy.load(str(path))


def test_settings_instead_of_a_file() -> None:
    """One compartment from settings is refused under the settings' names where a URI cannot be one."""
    with pytest.raises(SettingInvalid, match="key_uris"):
        AccessPolicy.single(["no uri"], "memory://x")
    with pytest.raises(SettingInvalid, match="store_uri"):
        AccessPolicy.single(["memory-key://x"], 'memory://"')


# --- what can never get through -----------------------------------------------------------------------------

_WORDS = re.findall(r"[A-Za-z0-9_.:/@-]+|[^\w\s]|\n *", GOOD)


@given(st.binary(max_size=200))
@example(b"\x00")
@example(b'"\\x')
def test_bytes_give_a_policy_or_our_error(raw: bytes) -> None:
    """No bytes make the reader raise anything but PolicyInvalid."""
    with contextlib.suppress(PolicyInvalid):
        parse(raw)


@settings(max_examples=300)
@given(st.data())
def test_mutated_policies_give_a_policy_or_our_error(data: st.DataObject) -> None:
    """Words of a policy exchanged, left out or replaced by YAML's own signs give PolicyInvalid or a policy."""
    words = list(_WORDS)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(words) - 1))
        words[at] = data.draw(
            st.sampled_from(
                [*_WORDS, "", "&a ", "*a", "!!set ", "|", ">", "\t", "- ", "? ", "{", "}", "[", "''", "é"]
            )
            | st.text(max_size=3)
        )
    text = " ".join(words).replace("\n ", "\n")
    try:
        parse(text.encode("utf-8", "surrogatepass"))
    except PolicyInvalid as error:
        # What it says can be printed anywhere.
        str(error).encode()


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(max_size=5), st.lists, max_leaves=5))
def test_any_data_in_a_field_is_refused_or_read(value: Any) -> None:
    """Any YAML in the place of a compartment's name or globs is refused, or is a string of the right form."""
    for field in ("name", "dags"):
        document = yaml.safe_load(GOOD)
        document["compartments"][0][field] = value
        try:
            policy = parse(yaml.safe_dump(document))
        except PolicyInvalid:
            continue
        assert isinstance(value, (str, list))
        assert all(re.fullmatch(r"[\w.*?-]+", glob) for glob in policy.compartments[0].dags)


DANGEROUS = ['"', "\\", "$", "{", "}", "`", "<", ">", "\n", "\r", "\t", "\x00", "\x7f", "\u2028"]


def _string_patterns() -> list[str]:
    """The pattern of every string that a policy file may hold."""
    patterns = []

    def walk(node: Any, at: str) -> None:
        if isinstance(node, dict):
            if node.get("type") == "string" and not {"enum", "const"} & set(node):
                assert "pattern" in node, f"{at}: a string without a pattern"
                patterns.append(node["pattern"])
            if node.get("type") == "object" and "additionalProperties" not in node:
                assert "patternProperties" in node, f"{at}: an open mapping"
                patterns.extend(node["patternProperties"])
            for name, child in node.items():
                walk(child, f"{at}/{name}")
        elif isinstance(node, list):
            for child in node:
                walk(child, at)

    walk(schema_file.schema(), "")
    return sorted(set(patterns))


@pytest.mark.parametrize("pattern", _string_patterns())
@settings(max_examples=30)
@given(data=st.data())
def test_no_string_of_a_policy_can_hold_what_policies_are_injected_with(pattern: str, data: st.DataObject) -> None:
    """Every string of the file has a pattern; nothing that matches holds a quote, brace, dollar or control."""
    text = data.draw(st.from_regex(pattern.removesuffix("$") + r"\Z"))
    assert not set(DANGEROUS) & set(text)
    at = data.draw(st.integers(0, len(text)))
    broken = text[:at] + data.draw(st.sampled_from(DANGEROUS)) + text[at:]
    assert re.fullmatch(pattern.removesuffix("$") + r"\Z", broken) is None


@given(st.text(min_size=1, max_size=8), st.sampled_from(DANGEROUS), st.text(max_size=8))
def test_no_name_or_glob_can_break_out(before: str, sign: str, after: str) -> None:
    """A sign that HCL or JSON knows is refused in a name, a glob, a URI, a queue and a role of a real file."""
    text = json.dumps(before + sign + after)
    for old in ("name: finance", "[report]", "{queue: finance", "xcom/sealed", "vault: {auth: approle"):
        head = {"[report]": "[", "xcom/sealed": "", "vault: {auth: approle": "vault: {auth: approle, role: "}.get(
            old, old.partition(":")[0] + ": "
        )
        tail = "]" if old == "[report]" else ""
        new = GOOD.replace(f"s3://aws_default@{old}" if "sealed" in old else old, f"{head}{text}{tail}", 1)
        assert new != GOOD
        with pytest.raises(PolicyInvalid):
            parse(new)


# --- the schema ---------------------------------------------------------------------------------------------


def test_the_stored_schema_is_that_of_the_models() -> None:
    """The shipped JSON Schema is what the models give (`python -m secure_xcom.core.access_policy.schema` writes it
    anew)."""
    assert schema_file.STORED.read_text() == schema_file.text()
    jsonschema.Draft202012Validator.check_schema(schema_file.schema())


def test_the_schema_takes_what_is_good_and_refuses_what_is_not() -> None:
    """An editor with the schema accepts a good file and marks unknown fields, wrong types and bad names."""
    validator = jsonschema.Draft202012Validator(schema_file.schema())
    validator.validate(yaml.safe_load(GOOD))
    for old, new in (
        ("tasks_run_on", "task_run_on"),
        ("name: finance\n", "name: Finance\n"),
        ("name: finance\n", "name: 5\n"),
        ("as: reader", "as: root"),
        ("version: 1", "version: 2"),
        ("auth: approle", "auth: aprole"),
    ):
        assert not validator.is_valid(yaml.safe_load(GOOD.replace(old, new, 1)))


# --- many ---------------------------------------------------------------------------------------------------


def many(count: int) -> str:
    """A policy of many compartments."""
    entries = "".join(
        f"""\
  - name: team-{index}
    dags: ["team{index}_*", "*_of_team{index}", other_{index}]
    key_uris: ["vault://vault_default/transit/keys/xcom-team-{index}"]
    store_uri: s3://aws_default@xcom/sealed
    readers: [{{dags: [report_{index}], tasks: [load]}}]
"""
        for index in range(count)
    )
    return f"version: 1\ncompartments:\n{entries}"


def test_many_compartments_load_and_resolve_quickly() -> None:
    """5,000 compartments load in a second, or in the time of PyYAML's C loader, and resolve at once."""
    text = many(5000)
    begun = time.process_time()
    policy = parse(text)
    loaded = time.process_time() - begun
    begun = time.process_time()
    yaml.load(text, Loader=yaml.CSafeLoader)
    plain = time.process_time() - begun
    # A second at the most on a machine of today; on any machine no more than the plain reading of the same file.
    assert loaded < max(1.0, plain)
    begun = time.process_time()
    for index in range(0, 5000, 50):
        for dag_id in (f"team{index}_x", f"x_of_team{index}", f"other_{index}"):
            found = policy.resolve_dag(dag_id)
            assert found is not None
            assert found.name == f"team-{index}"
    assert policy.resolve_dag("nothing") is None
    assert time.process_time() - begun < 2


def test_the_pure_python_reader_says_the_same() -> None:
    """Where PyYAML was built without libyaml, its own parser gives the same data."""
    events = yaml.parse(GOOD, Loader=yaml.SafeLoader)
    assert yaml_reader.build(events, where="x") == yaml_reader.read(GOOD.encode(), where="x")
    with pytest.raises(CompartmentUnknown):
        parse(GOOD).compartment("nothing")


def test_a_file_of_many_faults_is_refused_soon() -> None:
    """The first fault of thousands is named, with how many more there are, before anybody gives up waiting."""
    row = "  - {name: BAD, dags: [1], key_uris: [], store_uri: 3}\n"
    begun = time.process_time()
    with pytest.raises(PolicyInvalid, match=r"and 19999 more.*line 3, column 12"):
        AccessPolicy.parse(f"version: 1\ncompartments:\n{row * 5000}".encode(), where="policy.yaml")
    assert time.process_time() - begun < 10
