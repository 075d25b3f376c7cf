"""``secure-xcom policy``: the access policy file and the service policies compiled from it."""

from __future__ import annotations

from secure_xcom.cli import declare
from secure_xcom.cli.policy.apply import policy_apply
from secure_xcom.cli.policy.compile import policy_compile
from secure_xcom.cli.policy.credentials import policy_credentials
from secure_xcom.cli.policy.lint import policy_lint
from secure_xcom.cli.policy.show import policy_show
from secure_xcom.cli.policy.verify import policy_verify

app = declare.group("Show, check, compile, apply and verify the access policy.")

declare.add(
    app,
    "show",
    policy_show,
    "Show the resolved policy, or a DAG's compartment and why.",
    kind="reads",
    found="the DAG of --dag belongs to no compartment",
    examples=(
        "secure-xcom policy show access_policy.yaml",
        "secure-xcom policy show access_policy.yaml --dag orders",
    ),
)
declare.add(
    app,
    "lint",
    policy_lint,
    "Find risky or probably unintended settings, with line and column.",
    kind="reads",
    found="there are warnings or errors",
    examples=(
        "secure-xcom policy lint access_policy.yaml",
        "secure-xcom policy lint compiled/ --allow vault-batch",
    ),
)
declare.add(
    app,
    "compile",
    policy_compile,
    "Write the policies of Vault, AWS, Google and Azure.",
    kind="sets up",
    found="a grant is wider than the access policy says, or a key URI must be changed; with --dry-run also: files "
    "would change",
    examples=(
        "secure-xcom policy compile access_policy.yaml --out compiled",
        "secure-xcom policy compile access_policy.yaml --out compiled --dry-run",
    ),
)
declare.add(
    app,
    "apply",
    policy_apply,
    "Apply the policy to Vault and AWS.",
    kind="sets up",
    found="there are notes; with --dry-run also: the services differ from the policy",
    examples=(
        "secure-xcom policy apply access_policy.yaml --dry-run",
        "secure-xcom policy apply access_policy.yaml --to vault",
    ),
)
declare.add(
    app,
    "credentials",
    policy_credentials,
    "Create each identity's login and its workers' file.",
    kind="sets up",
    found="with --dry-run: a login or a file would be created, or old logins would be revoked",
    examples=(
        "secure-xcom policy credentials access_policy.yaml --out handout",
        "secure-xcom policy credentials access_policy.yaml --out handout --rotate --identity finance-workers",
        "secure-xcom policy credentials access_policy.yaml --out handout --end-old",
    ),
)
declare.add(
    app,
    "verify",
    policy_verify,
    "Try at the services what the policy allows and forbids.",
    kind="reads",
    found="a service allows or denies something contrary to the policy, or something could not be tested",
    examples=(
        "secure-xcom policy verify access_policy.yaml --on vault",
        "secure-xcom policy verify access_policy.yaml --on s3 --allow 'put without If-None-Match'",
    ),
)
