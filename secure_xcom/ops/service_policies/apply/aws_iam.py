"""Apply identity policies to IAM: one policy with our name for each role or user of the access policy.

Roles are never created here, because an operator decides whom they trust; users, which trust nobody, on request. A
policy is written into the role or user itself where IAM has room for it, else it is a managed policy with our tag.
Sources: IAM User Guide, "IAM and AWS STS quotas" (characters without white space), "Managed policies and inline
policies".
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from secure_xcom.core.access_policy.identities import Identity
from secure_xcom.core.access_policy.policy import AccessPolicy
from secure_xcom.core.operator_errors import AwsRefused
from secure_xcom.ops.service_policies.apply.aws_documents import Document, difference, is_ours, same
from secure_xcom.ops.service_policies.apply.changes import Change, state_of
from secure_xcom.ops.service_policies.aws_account import AwsAccount
from secure_xcom.ops.service_policies.compile.all_services import Compiled

TAG = "secure-xcom"
_INLINE_MAX = {"role": 10_240, "user": 2_048}
_MANAGED_MAX = 6_144
_VERSIONS_MAX = 5
_ABSENT = ("NoSuchEntity",)


def plan(
    aws: AwsAccount, policy: AccessPolicy, compiled: Compiled, *, create_users: bool = False
) -> Iterator[Change]:
    """Yield the changes to make. Reads only.

    :param create_users: whether a user that does not exist is one of them.

    :raises AwsTrouble: the role or user does not exist, its policy with our name is not ours, or IAM does not
        respond.
    """
    for identity in policy.identities:
        text = compiled.files.get(f"aws/identities/{identity.name}.json")
        if identity.aws is None or text is None:
            continue
        holder = _Holder(aws, identity, identity.aws.principal, create_user=create_users)
        if holder.absent:
            yield Change(f"user {holder.principal}", "make", holder.create)
        document: Document = json.loads(text)
        small = json.dumps(document, separators=(",", ":"))
        if len(small) <= _INLINE_MAX[holder.kind]:
            yield holder.inline(document, small)
        elif len(small) <= _MANAGED_MAX:
            yield from holder.managed(document, small)
        else:
            raise AwsRefused(
                f"the policy of {identity.name} has {len(small)} characters, and IAM accepts {_MANAGED_MAX}",
                where=holder.principal,
                remedy="split the identity, or grant whole compartments instead of many DAGs",
            )


class _Holder:
    """A role or a user.

    :raises AwsRefused: it does not exist, or these credentials belong to another account.
    """

    def __init__(self, aws: AwsAccount, identity: Identity, principal: str, *, create_user: bool = False) -> None:
        self.principal = principal
        self.kind, _, path = principal.split(":", 5)[5].partition("/")
        self._path = path.rpartition("/")[0]
        self._aws = aws
        self._who = {f"{self.kind.title()}Name": path.rsplit("/", 1)[-1]}
        self._policy = f"secure-xcom-{identity.name}"
        answer = self._ask("get_{}", absent=_ABSENT)
        self.absent = answer is None and create_user and self.kind == "user"
        if self.absent:
            return
        if answer is None:
            raise AwsRefused(
                f"there is no {self.kind} of this name",
                where=principal,
                remedy=f"create the {self.kind} and run this again"
                + (", or with --create-users" if self.kind == "user" else ": an operator decides whom it trusts"),
            )
        arn = answer[self.kind.title()]["Arn"]
        if arn != principal:
            raise AwsRefused(
                f"these credentials lead to {arn!r:.120}, which the access policy does not name",
                where=principal,
                remedy="use credentials of that account, or correct the principal",
            )

    def create(self) -> None:
        """Create the user, without a login."""
        self._ask("create_{}", Path=f"/{self._path}/" if self._path else "/")

    def inline(self, document: Document, text: str) -> Change:
        """Return the change of the policy in the role or user itself."""
        answer = self._ask("get_{}_policy", PolicyName=self._policy, absent=_ABSENT)
        current = None if answer is None else _document(answer["PolicyDocument"])
        self._refuse_foreign(current)
        return Change(
            f"{self.kind} {self.principal}: policy {self._policy}",
            state_of(current, same=same(current, document)),
            lambda: self._ask("put_{}_policy", PolicyName=self._policy, PolicyDocument=text),
            () if current is None or same(current, document) else difference(current, document),
        )

    def managed(self, document: Document, text: str) -> Iterator[Change]:
        """Yield the changes of a managed policy and its attachment."""
        partition, account = self.principal.split(":")[1], self.principal.split(":")[4]
        arn = f"arn:{partition}:iam::{account}:policy/{self._policy}"
        existing = self._aws.ask("iam", "get_policy", PolicyArn=arn, absent=_ABSENT)
        current = None
        if existing is not None:
            version = existing["Policy"]["DefaultVersionId"]
            answer = self._aws.ask("iam", "get_policy_version", PolicyArn=arn, VersionId=version)
            current = _document(answer["PolicyVersion"]["Document"]) if answer else None
            self._refuse_foreign(current)

        def write() -> None:
            if current is None:
                tags = [{"Key": TAG, "Value": self._policy}]
                self._aws.ask("iam", "create_policy", PolicyName=self._policy, PolicyDocument=text, Tags=tags)
                return
            self._make_room(arn)
            self._aws.ask("iam", "create_policy_version", PolicyArn=arn, PolicyDocument=text, SetAsDefault=True)

        equal = same(current, document)
        diff = () if current is None or equal else difference(current, document)
        yield Change(f"managed policy {arn}", state_of(current, same=equal), write, diff)
        listed = self._ask("list_attached_{}_policies", absent=_ABSENT) or {}
        attached = any(attachment["PolicyArn"] == arn for attachment in listed.get("AttachedPolicies", ()))
        yield Change(
            f"{self.kind} {self.principal}: has the policy {self._policy}",
            "there" if attached else "make",
            lambda: self._ask("attach_{}_policy", PolicyArn=arn),
        )

    def _make_room(self, arn: str) -> None:
        """Delete the oldest version that is not the default, because IAM keeps only five."""
        listed = self._aws.ask("iam", "list_policy_versions", PolicyArn=arn) or {}
        versions = listed.get("Versions", [])
        if len(versions) >= _VERSIONS_MAX:
            oldest = min(
                (version for version in versions if not version["IsDefaultVersion"]),
                key=lambda version: version["CreateDate"],
            )
            self._aws.ask("iam", "delete_policy_version", PolicyArn=arn, VersionId=oldest["VersionId"])

    def _refuse_foreign(self, current: Document | None) -> None:
        if current is None:
            return
        statements = current["Statement"] if isinstance(current["Statement"], list) else [current["Statement"]]
        if not all(is_ours(statement) for statement in statements):
            raise AwsRefused(
                f"the policy {self._policy!r} has statements that secure_xcom did not make",
                where=self.principal,
                remedy="rename the identity, or move those statements into another policy",
            )

    def _ask(self, operation: str, *, absent: tuple[str, ...] = (), **request: Any) -> dict[str, Any] | None:
        name = operation.format(self.kind)
        return self._aws.ask("iam", name, absent=absent, **self._who, **request)


def _document(returned: Any) -> Document:
    # boto3 parses it; other clients of the same API return the text.
    document: Document = json.loads(returned) if isinstance(returned, str) else returned
    return document
