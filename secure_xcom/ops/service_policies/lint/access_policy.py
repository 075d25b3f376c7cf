"""What is allowed in an access policy and hardly meant: `secure-xcom policy lint`.

What a file may not hold at all is said when it is loaded; here it is one more remark, so that one call shows all.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from secure_xcom.core.access_policy import loading, yaml_reader
from secure_xcom.core.access_policy.policy import AccessPolicy
from secure_xcom.core.access_policy.yaml_reader import Marks
from secure_xcom.ops.service_policies.lint import (
    compiled,
    identities,
    keys,
    maintenance,
    places,
    readers,
    sinks,
    transport,
)
from secure_xcom.ops.service_policies.lint import (
    dags as lint_dags,
)
from secure_xcom.ops.service_policies.lint.lint_finding import Remark


def lint(
    raw: bytes,
    *,
    where: str,
    dags: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    beside: Sequence[Callable[[AccessPolicy], Iterable[Remark]]] = (),
) -> list[Remark]:
    """Everything to be said about a policy file, in the order of the file.

    :param dags: DAG ids that are there, as `secure-xcom policy compile --dag` is given them.
    :param environment: where connections may be (``AIRFLOW_CONN_*``), which are looked at for http alone, and
        the access log's sinks.
    :param beside: more rules, of who knows services (`secure_xcom.ops.service_policies.lint.uris`) or whose
        environment this is (`secure_xcom.ops.service_policies.lint.connections`).
    :raises PolicyInvalid: it is not even YAML that we read.
    """
    marks: Marks = {}
    file, problems = loading.check(yaml_reader.read(raw, where=where, marks=marks))
    found: list[Remark] = [_problem(problem) for problem in problems]
    if file is not None and not problems:
        policy = AccessPolicy.of(file, digest=hashlib.sha256(raw).hexdigest())
        for rules in (lint_dags, places, readers, keys, identities, maintenance):
            found.extend(rules.remarks(policy))
        found.extend(compiled.remarks(policy, dags))
        found.extend(transport.remarks(policy, environment or {}))
        found.extend(sinks.remarks(policy, environment or {}))
        for more in beside:
            found.extend(more(policy))
    return sorted(_placed(found, marks), key=lambda one: (one.line, one.column, one.rule, one.text))


def _problem(problem: loading.Problem) -> Remark:
    if problem.rule == "nested-store":
        return Remark("nested-store", "error", problem.path, problem.text)
    return Remark("invalid", "error", problem.path, problem.text)


def _placed(found: Iterable[Remark], marks: Marks) -> Iterable[Remark]:
    for remark in found:
        line, column = loading.place(marks, remark.path)
        yield replace(remark, line=line, column=column)
