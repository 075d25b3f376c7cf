"""Vault policies in HCL, as `secure-xcom policy lint` reads them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from secure_xcom.core.policy_errors import PolicyInvalid
from tests.fuzz.harness import Harness
from tests.fuzz.linting import lint_of

_COMPILED = Path(__file__).parents[2] / "unit/ops/service_policies/compiled/vault/policies"
_ODD = b"""\
path "transit/decrypt/+" { capabilities = ["update", "sudo"]
  allowed_parameters = { "context" = ["AAAA*"], "batch_input" = [] }
  min_wrapping_ttl = 5 }
# comment
path "a/*" { policy = "write" denied_parameters { "x" = [true, -1] } }
/* another */ // and one
"""


def _seeds() -> Iterator[bytes]:
    yield _ODD
    for path in sorted(_COMPILED.glob("*.hcl")):
        yield path.read_bytes()


HARNESS = Harness(
    (lint_of("policy.hcl"),),
    (PolicyInvalid,),
    _seeds,
    words=(
        "path",
        "capabilities",
        "allowed_parameters",
        "required_parameters",
        "policy",
        "/*",
        "*/",
        "//",
        "\\u0000",
    ),
)
