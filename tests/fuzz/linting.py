"""The lint of a policy document, and what holds for each of its findings, for two harnesses."""

from __future__ import annotations

from collections.abc import Callable

from secure_xcom.ops.service_policies.lint.documents import lint_documents
from tests.fuzz.scratch import file_of


def lint_of(name: str) -> Callable[[bytes], None]:
    """Return a reader that lints its input as a file of this name; every finding has a line and a column."""

    def lint(data: bytes) -> None:
        for finding in lint_documents(file_of(data, name)):
            assert (finding.line or 0) >= 1
            assert (finding.column or 0) >= 1

    return lint
