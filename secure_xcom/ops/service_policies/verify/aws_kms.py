"""Try each identity's actual rights on the KMS keys with its own credentials. Nothing is left behind.

KMS authorizes a request by its encryption context before it reads the ciphertext. So one wrap of a key, made by
an identity that may push, is enough to try every context.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from secure_xcom.core.access_policy.compartment import Compartment
from secure_xcom.core.access_policy.identities import Identity
from secure_xcom.core.access_policy.policy import AccessPolicy
from secure_xcom.core.operator_errors import AwsTrouble
from secure_xcom.keys.aws_kms_format import KmsKey, kms_context
from secure_xcom.ops.service_policies.aws_account import AwsAccount
from secure_xcom.ops.service_policies.compile.aws_kms import kms_keys, usable_keys
from secure_xcom.ops.service_policies.rights import Act, Right
from secure_xcom.ops.service_policies.verify.matrix import INSIDE, Trial

_PLAIN = bytes(32)
_ACTS: dict[str, Act] = {"encrypt": "push", "decrypt": "pull", "rewrap": "rewrap"}
# No identity of an access policy has these rights; each only reads.
_NEVER = {"read the policy": "get_key_policy", "list grants": "list_grants", "list tags": "list_resource_tags"}
_LOOKS = {"look": "describe_key", "see the rotation": "get_key_rotation_status"}


class KmsVerifier:
    """Tries every act of every identity with credentials, on every key.

    :param accounts: identity -> its own account; :param rights: of all identities, by name.
    :ivar left: trials that were not possible.
    """

    def __init__(
        self, policy: AccessPolicy, accounts: Mapping[str, AwsAccount], rights: Mapping[str, Sequence[Right]]
    ) -> None:
        self._policy, self._accounts, self._rights = policy, accounts, rights
        self._probe = f"verify_{secrets.token_hex(4)}"
        self.left: list[str] = []

    def rows(self) -> Iterator[Trial]:
        """Yield the matrix.

        :raises AwsTrouble: KMS does not respond.
        """
        wrapped: list[_Wrapped] = []
        for compartment in self._policy.compartments:
            for key in kms_keys(compartment):
                wrap = self._wrap(compartment, key)
                if wrap is not None:
                    wrapped.append(_Wrapped(compartment, key, *wrap))
                else:
                    self.left.append(
                        f"{key.request_id}: no identity with credentials may wrap, so only wrapping was tried"
                    )
                for identity in self._policy.identities:
                    if identity.name in self._accounts:
                        yield from self._of_key(identity, compartment, key, wrap)
        for source in wrapped:
            for target in wrapped:
                yield from self._across(source, target)

    def _wrap(self, compartment: Compartment, key: KmsKey) -> tuple[bytes, str] | None:
        for name, aws in self._accounts.items():
            for right in self._rights[name]:
                if right.act == "push" and right.compartment is compartment:
                    context = self._context(compartment.name, *next(right.scope.pairs()))
                    try:
                        answer = aws.ask("kms", "encrypt", **_at(key), Plaintext=_PLAIN, EncryptionContext=context)
                    except AwsTrouble:
                        # The row that tries it reports it.
                        continue
                    answer = answer or {}
                    return answer["CiphertextBlob"], answer["KeyId"]
        return None

    def _of_key(
        self, identity: Identity, compartment: Compartment, key: KmsKey, wrapped: tuple[bytes, str] | None
    ) -> Iterator[Trial]:
        aws, name = self._accounts[identity.name], identity.name
        by_act = {
            right.act: right for right in self._rights[name] if right.compartment is compartment and right.keys
        }
        if "rewrap" in by_act and key not in usable_keys(by_act["rewrap"]):
            del by_act["rewrap"]
        # Some operations accept no alias, and a wrap tells the key's ARN.
        wrap, arn = wrapped or (None, key.request_id)
        for operation, act in _ACTS.items():
            if wrap is None and operation != "encrypt":
                continue
            for place, context, expected in self._contexts(compartment, by_act.get(act)):
                allowed = self._may(aws, operation, key, wrap, context)
                yield Trial(name, "kms", operation, compartment.name, place, allowed, expected)
        for place, context, _ in self._contexts(compartment, None):
            request = {**_at(key), "NumberOfBytes": 32, "EncryptionContext": context}
            allowed = aws.may("kms", "generate_data_key", **request)
            yield Trial(name, "kms", "make a data key", compartment.name, place, allowed, expected=False)
        if wrap is None:
            return
        for action, operation in _LOOKS.items():
            allowed = aws.may("kms", operation, region=key.region, KeyId=arn)
            yield Trial(name, "kms", action, compartment.name, "the key", allowed, "look" in by_act)
        for action, operation in _NEVER.items():
            more = {"PolicyName": "default"} if operation == "get_key_policy" else {}
            allowed = aws.may("kms", operation, region=key.region, KeyId=arn, **more)
            yield Trial(name, "kms", action, compartment.name, "the key", allowed, expected=False)

    def _across(self, source: _Wrapped, target: _Wrapped) -> Iterator[Trial]:
        """Try to rewrap from one key to another, or for another compartment, in the identity's own contexts."""
        if source is target or (source.own is target.own and source.arn == target.arn):
            return
        if source.arn.split(":")[3:5] != target.arn.split(":")[3:5]:
            # No request can name both keys.
            return
        for name, aws in self._accounts.items():
            ends = [self._end(name, wrapped) for wrapped in (source, target)]
            (right, of_source), (other, of_target) = ends
            expected = right is not None and right is other and len(right.maintained) == 1
            allowed = aws.may(
                "kms",
                "re_encrypt",
                region=source.key.region,
                CiphertextBlob=source.wrap,
                SourceKeyId=source.arn,
                DestinationKeyId=target.arn,
                SourceEncryptionContext=of_source,
                DestinationEncryptionContext=of_target,
            )
            place = f"with {target.key.request_id} of {target.own.name}"
            yield Trial(name, "kms", "rewrap to another key", source.own.name, place, allowed, expected)

    def _end(self, name: str, wrapped: _Wrapped) -> tuple[Right | None, dict[str, str]]:
        """Return the right to rewrap with a key, and a context that it covers."""
        of_here = (
            right for right in self._rights[name] if right.act == "rewrap" and right.compartment is wrapped.own
        )
        right = next(of_here, None)
        pair = next(right.scope.pairs()) if right is not None else (None, None)
        return right if right and wrapped.key in usable_keys(right) else None, self._context(
            wrapped.own.name, *pair
        )

    def _contexts(
        self, compartment: Compartment, right: Right | None
    ) -> Iterator[tuple[str, dict[str, str], bool]]:
        """Yield place, encryption context and expected result, for every limit of anybody's right here."""
        limits = {
            pair: None
            for rights in self._rights.values()
            for other_right in rights
            if other_right.compartment is compartment and other_right.act != "look"
            for pair in other_right.scope.pairs()
        }
        whole = right is not None and right.scope.whole
        pairs = set(right.scope.pairs()) if right is not None else set()
        yield (
            INSIDE if whole or right is None else "another DAG",
            self._context(compartment.name, None, None),
            whole,
        )
        for dag, task in limits:
            if dag is not None:
                place = f"DAG {dag}" + ("" if task is None else f", task {task}")
                covered = whole or bool({(dag, task), (dag, None)} & pairs)
                yield place, self._context(compartment.name, dag, task), covered
                if task is not None:
                    covered = whole or (dag, None) in pairs
                    yield f"another task of DAG {dag}", self._context(compartment.name, dag, None), covered
                    yield "another DAG", self._context(compartment.name, None, task), whole
        dag, task = next(iter(limits), (None, None))
        yield "another compartment", self._context(self._probe, dag, task), False
        yield "no context", {}, False

    def _context(self, compartment: str, dag: str | None, task: str | None) -> dict[str, str]:
        ids = {"dag_id": dag or self._probe, "task_id": task or self._probe}
        return kms_context({"compartment": compartment, **ids, "run_id": "verify", "map_index": "-1"})

    def _may(
        self, aws: AwsAccount, operation: str, key: KmsKey, wrap: bytes | None, context: dict[str, str]
    ) -> bool:
        if operation == "encrypt":
            return aws.may("kms", "encrypt", **_at(key), Plaintext=_PLAIN, EncryptionContext=context)
        if operation == "decrypt":
            return aws.may("kms", "decrypt", **_at(key), CiphertextBlob=wrap, EncryptionContext=context)
        return aws.may(
            "kms",
            "re_encrypt",
            region=key.region,
            CiphertextBlob=wrap,
            SourceKeyId=key.request_id,
            DestinationKeyId=key.request_id,
            SourceEncryptionContext=context,
            DestinationEncryptionContext=context,
        )


@dataclass(frozen=True)
class _Wrapped:
    """A key of a compartment with a wrap, which tells the key's ARN."""

    own: Compartment
    key: KmsKey
    wrap: bytes = field(repr=False)
    arn: str


def _at(key: KmsKey) -> dict[str, Any]:
    return {"region": key.region, "KeyId": key.request_id}
