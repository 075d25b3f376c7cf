"""Find what an access policy allows and probably does not intend: `secure-xcom policy lint`.

An invalid file is refused when it is loaded; here each fault is one more finding, so that one call shows all.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from secure_xcom.core.access_policy import loading, yaml_reader
from secure_xcom.core.access_policy.policy import AccessPolicy
from secure_xcom.core.access_policy.yaml_reader import Marks
from secure_xcom.core.findings import Finding
from secure_xcom.ops.service_policies.lint import (
    compiled,
    identities,
    keys,
    maintenance,
    places,
    readers,
    sinks,
    transport,
    viewers,
)
from secure_xcom.ops.service_policies.lint import (
    dags as lint_dags,
)
from secure_xcom.ops.service_policies.lint.lint_finding import position


def lint(
    raw: bytes,
    *,
    where: str,
    dags: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    beside: Sequence[Callable[[AccessPolicy], Iterable[Finding]]] = (),
) -> list[Finding]:
    """Return every finding about a policy file, in the order of the file.

    :param dags: the ids of existing DAGs, as for `secure-xcom policy compile --dag`.
    :param environment: may hold connections (``AIRFLOW_CONN_*``), which are searched for plain HTTP only, and the
        access log's sinks.
    :param beside: more rules, which need the services' URI parsers (`secure_xcom.ops.service_policies.lint.uris`)
        or the process's environment (`secure_xcom.ops.service_policies.lint.connections`).
    :raises PolicyInvalid: it is not valid YAML.
    """
    data, marks = yaml_reader.read_with_marks(raw, where=where)
    file, problems = loading.check(data)
    findings = list(problems)
    if file is not None and not problems:
        policy = AccessPolicy.of(file, digest=hashlib.sha256(raw).hexdigest())
        for rules in (lint_dags, places, readers, keys, identities, maintenance, viewers):
            findings.extend(rules.findings(policy))
        findings.extend(compiled.findings(policy, dags))
        findings.extend(transport.findings(policy, environment or {}))
        findings.extend(sinks.findings(policy, environment or {}))
        for more in beside:
            findings.extend(more(policy))
    return sorted(_placed(findings, marks, where), key=position)


def _placed(findings: Iterable[Finding], marks: Marks, where: str) -> Iterator[Finding]:
    for finding in findings:
        line, column = loading.place(marks, finding.path)
        yield replace(finding, subject=where, line=line, column=column)
