"""Compiled AWS policies by evaluation, because no emulator enforces KMS's conditions; parliament lints them."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from secure_xcom.core.access_policy.policy import AccessPolicy
from secure_xcom.core.coordinate import Coordinate, encryption_context
from secure_xcom.keys.aws_kms_format import kms_context
from secure_xcom.ops.service_policies.compile.all_services import compile_policy
from tests.support.iam_evaluator import Request, evaluate
from tests.support.weaken_iam import narrowed, weakened

FILES = compile_policy(AccessPolicy.load(str(Path(__file__).parent / "compiled_policy.yaml"))).files
ARN = "arn:aws:iam::111122223333:role/"
WHO = {"finance-worker": ARN + "finance", "sales-worker": ARN + "sales", "caretaker": ARN + "care"}
OUTSIDER = ARN + "outsider"
ADMIN = ARN + "admin"
KEY = "arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
PLACES = (
    ("finance", "fin_daily", "publish"),
    ("finance", "fin_daily", "draft"),
    ("finance", "fin_other", "publish"),
    ("sales", "sales_a", "publish"),
    # The names that somebody may have, in a compartment that has another key.
    ("sales", "fin_daily", "publish"),
    None,
)
FINANCE = frozenset(PLACES[:3])
# What the administrator of the account may do with a key, as KMS's guide lists it; none of it opens or wraps.
ADMINISTERS = (
    "kms:CancelKeyDeletion", "kms:CreateAlias", "kms:DeleteAlias", "kms:DescribeKey", "kms:DisableKey",
    "kms:EnableKey", "kms:EnableKeyRotation", "kms:GetKeyPolicy", "kms:GetKeyRotationStatus",
    "kms:ListResourceTags", "kms:PutKeyPolicy", "kms:RotateKeyOnDemand", "kms:ScheduleKeyDeletion",
    "kms:TagResource", "kms:UntagResource", "kms:UpdateAlias", "kms:UpdateKeyDescription",
)  # fmt: skip
KMS: dict[str, dict[str, frozenset[Any]]] = {
    **{action: {} for action in ADMINISTERS},
    "kms:Encrypt": {"finance-worker": FINANCE},
    "kms:Decrypt": {"finance-worker": FINANCE, "sales-worker": frozenset(PLACES[:1])},
    "kms:ReEncryptFrom": {"caretaker": FINANCE},
    "kms:ReEncryptTo": {"caretaker": FINANCE},
    "kms:DescribeKey": {"caretaker": frozenset(PLACES)},
    "kms:GetKeyRotationStatus": {"caretaker": frozenset(PLACES)},
    "kms:CreateGrant": {},
    "kms:PutKeyPolicy": {},
    "kms:ScheduleKeyDeletion": {},
    "kms:GenerateDataKey": {},
}
_USES = ("kms:Encrypt", "kms:Decrypt", "kms:ReEncryptFrom", "kms:ReEncryptTo", "kms:GenerateDataKey")


# A ReEncrypt that stays on its key, or not. The caretaker maintains sales as well, so it stays.
STAYS = ("true", "false")
MOVES = ("kms:ReEncryptFrom", "kms:ReEncryptTo")


def on_same_key(action: str) -> tuple[str, ...]:
    """What KMS says of the pair of keys; of other actions nothing."""
    return STAYS if action in MOVES else ("",)


def context(
    place: tuple[str, str, str] | None, alias: str = "alias/xcom-finance", same: str = ""
) -> dict[str, str | list[str]]:
    """What KMS knows of a request for a wrap of this place."""
    found: dict[str, str | list[str]] = {"kms:ResourceAliases": [alias]}
    if same:
        found["kms:ReEncryptOnSameKey"] = same
    if place is not None:
        shown = kms_context(encryption_context(place[0], Coordinate(place[1], "run", place[2], -1, "key")))
        found.update({f"kms:EncryptionContext:{name}": value for name, value in shown.items()})
    return found


def kms_of_identity(name: str, document: dict[str, Any]) -> frozenset[Any]:
    """What an identity policy allows on the key, by any alias, on another key, and in another account."""
    return frozenset(
        (action, place, alias if key == KEY else "another account", same)
        for action in KMS
        for same in on_same_key(action)
        for place in PLACES
        for alias in ("alias/xcom-finance", "alias/other")
        for key in (KEY, KEY.replace("111122223333", "444455556666"))
        if evaluate(document, Request(WHO[name], action, key, context(place, alias, same))) == "allow"
    )


def kms_wanted(name: str) -> frozenset[Any]:
    """What the file says of it."""
    return frozenset(
        (action, place, "alias/xcom-finance", on_same_key(action)[0])
        for action, who in KMS.items()
        for place in who.get(name, ())
    )


def key_policy(document: dict[str, Any]) -> dict[Any, str]:
    """What a key policy says of every identity, a stranger and the account's administrator."""
    return {
        (who, action, place, same): evaluate(document, Request(who, action, KEY, context(place, same=same)))
        for who in (*WHO.values(), OUTSIDER, ADMIN)
        for action in KMS
        for same in on_same_key(action)
        for place in PLACES
    }


def key_wanted() -> dict[Any, str]:
    """What it is to say: uses outside the compartment are denied, whoever asks; the administrator uses nothing."""
    names = {arn: name for name, arn in WHO.items()}
    found = {}
    for who in (*WHO.values(), OUTSIDER, ADMIN):
        for action, allowed in KMS.items():
            for place in PLACES:
                outside = action in _USES and (place is None or place[0] != "finance")
                may = place in allowed.get(names.get(who, ""), ()) or (who == ADMIN and action in ADMINISTERS)
                for same in on_same_key(action):
                    denied = outside or same == "false"
                    found[who, action, place, same] = "deny" if denied else "allow" if may else "none"
    return found


S3_PLACES = ("finance/fin_daily", "finance/fin_other", "sales/sales_a", "finances/fin_daily")
S3: dict[str, dict[str, tuple[str, ...]]] = {
    "s3:GetObject": {"finance-worker": S3_PLACES[:2], "sales-worker": (S3_PLACES[0], S3_PLACES[2])},
    "s3:PutObject": {"finance-worker": S3_PLACES[:2], "sales-worker": S3_PLACES[2:3]},
    "s3:AbortMultipartUpload": {"finance-worker": S3_PLACES[:2], "sales-worker": S3_PLACES[2:3]},
    "s3:DeleteObject": {"caretaker": S3_PLACES[:3]},
    "s3:GetObjectVersion": {},
    "s3:DeleteObjectVersion": {},
}


def s3_of_identity(name: str, document: dict[str, Any]) -> frozenset[Any]:
    """What an identity policy allows in the bucket and in another one."""
    found = set()
    for bucket in ("pay", "other"):
        for action, places in itertools.product(S3, S3_PLACES):
            request = Request(WHO[name], action, f"arn:aws:s3:::{bucket}/xcom/{places}/run/task/-1/x")
            found |= {(bucket, action, places)} if evaluate(document, request) == "allow" else set()
        for action, prefix in itertools.product(("s3:ListBucket", "s3:ListBucketVersions"), S3_PREFIXES):
            request = Request(WHO[name], action, f"arn:aws:s3:::{bucket}", {"s3:prefix": prefix})
            found |= {(bucket, action, prefix)} if evaluate(document, request) == "allow" else set()
    return frozenset(found)


def s3_wanted(name: str) -> frozenset[Any]:
    """What the file says of it."""
    found = {("pay", action, place) for action, who in S3.items() for place in who.get(name, ())}
    if name == "caretaker":
        found |= {("pay", "s3:ListBucket", prefix) for prefix in S3_PREFIXES[:2]}
    return frozenset(found)


S3_PREFIXES = ("xcom/finance/", "xcom/sales/x", "xcom/", "xcom/other/", "")
PLAIN = {"aws:SecureTransport": "false", "s3:ObjectCreationOperation": "true", "s3:if-none-match": "*"}
CREATE = {**PLAIN, "aws:SecureTransport": "true"}
PART = {"aws:SecureTransport": "true", "s3:ObjectCreationOperation": "false"}
OVERWRITE = {"aws:SecureTransport": "true", "s3:ObjectCreationOperation": "true"}
WAYS = {"create": CREATE, "part": PART, "overwrite": OVERWRITE, "plain": PLAIN}


def bucket_policy(document: dict[str, Any]) -> dict[Any, str]:
    """What the bucket's policy says of everyone, everywhere, on every way."""
    found = {}
    for who in (*WHO.values(), OUTSIDER):
        for way, values in WAYS.items():
            given = {"aws:PrincipalArn": who, **values}
            for action in S3:
                for place in S3_PLACES:
                    resource = f"arn:aws:s3:::pay/xcom/{place}/run/task/-1/x"
                    found[who, way, action, place] = evaluate(document, Request(who, action, resource, given))
            for prefix in ("xcom/finance/", "xcom/sales/x", "xcom/", ""):
                for action in ("s3:ListBucket", "s3:ListBucketVersions"):
                    request = Request(who, action, "arn:aws:s3:::pay", {**given, "s3:prefix": prefix})
                    found[who, way, action, prefix] = evaluate(document, request)
    return found


def bucket_wanted() -> dict[Any, str]:
    """What it is to say."""
    found = {}
    names = {arn: name for name, arn in WHO.items()}
    for who in (*WHO.values(), OUTSIDER):
        for way in WAYS:
            for action, allowed in S3.items():
                for place in S3_PLACES:
                    ours = not place.startswith("finances")
                    may = place in allowed.get(names.get(who, ""), ())
                    denied = way == "plain" or (way == "overwrite" and action == "s3:PutObject" and ours)
                    # Whoever has nothing to do in a compartment is denied; in its other DAGs only not allowed.
                    near = S3[action.removesuffix("Version")].get(names.get(who, ""), ())
                    inside = any(one.split("/")[0] == place.split("/")[0] for one in near)
                    denied |= ours and not inside and action != "s3:AbortMultipartUpload"
                    found[who, way, action, place] = "deny" if denied else "allow" if may else "none"
            for prefix in ("xcom/finance/", "xcom/sales/x", "xcom/", ""):
                may = names.get(who) == "caretaker" and prefix in ("xcom/finance/", "xcom/sales/x")
                for action in ("s3:ListBucket", "s3:ListBucketVersions"):
                    yes = "allow" if may and action == "s3:ListBucket" else "none"
                    found[who, way, action, prefix] = "deny" if way == "plain" else yes
    return found


def document(path: str) -> dict[str, Any]:
    """A compiled document."""
    found: dict[str, Any] = json.loads(FILES[path])
    return found


KEY_FILE, BUCKET_FILE = "aws/keys/alias~xcom-finance.json", "aws/buckets/pay.policy.json"


@pytest.mark.parametrize("name", WHO)
def test_an_identity_policy_allows_what_the_file_says(name: str) -> None:
    """KMS is allowed in the right contexts, with the right key, and nowhere else."""
    assert kms_of_identity(name, document(f"aws/identities/{name}.json")) == kms_wanted(name)


def test_the_key_policy_says_the_same_on_its_own() -> None:
    """The key keeps everyone else out, also an administrator and a use without a compartment."""
    assert key_policy(document(KEY_FILE)) == key_wanted()
    assert key_is_right(document(KEY_FILE))


def test_the_bucket_policy_says_the_same_on_its_own() -> None:
    """The bucket wants TLS and creation, and denies whoever has nothing to do in a compartment."""
    assert bucket_policy(document(BUCKET_FILE)) == bucket_wanted()
    assert bucket_is_right(document(BUCKET_FILE))


def allowing(whole: dict[str, Any]) -> dict[str, Any]:
    """What a document allows where none of its denials is there: each half is to be right on its own."""
    return {**whole, "Statement": [one for one in whole["Statement"] if one["Effect"] == "Allow"]}


def allowed(matrix: dict[Any, str]) -> set[Any]:
    """The requests that come out as allowed."""
    return {request for request, outcome in matrix.items() if outcome == "allow"}


def key_is_right(whole: dict[str, Any]) -> bool:
    """Whether a key policy and its allowing half say what they are to."""
    return key_policy(whole) == key_wanted() and allowed(key_policy(allowing(whole))) == allowed(key_wanted())


def bucket_is_right(whole: dict[str, Any]) -> bool:
    """Whether a bucket policy does, and its allowing half gives nobody more than the way of creation has."""
    half = {request for request in allowed(bucket_policy(allowing(whole))) if request[1] == "create"}
    wanted = {request for request in allowed(bucket_wanted()) if request[1] == "create"}
    return bucket_policy(whole) == bucket_wanted() and half == wanted


@pytest.mark.timeout(600)
def test_every_weakened_statement_is_noticed() -> None:
    """Each action, resource, principal and condition of KMS and the bucket, changed alone, shows somewhere."""
    counts, missed = Counter[str](), []
    for name in WHO:
        whole = document(f"aws/identities/{name}.json")
        assert s3_of_identity(name, whole) == s3_wanted(name)
        for kind, ways in (("weakened", weakened), ("narrowed", narrowed)):
            for what, changed in ways(whole):
                counts[kind] += 1
                kms_same = kms_of_identity(name, changed) == kms_wanted(name)
                s3_same = s3_of_identity(name, changed) == s3_wanted(name)
                missed += [f"{name} {what}"] if kms_same and s3_same else []
    for path, is_right in ((KEY_FILE, key_is_right), (BUCKET_FILE, bucket_is_right)):
        for kind, ways in (("weakened", weakened), ("narrowed", narrowed)):
            for what, changed in ways(document(path)):
                if path == BUCKET_FILE and what.endswith("pay as *"):
                    # A bucket's policy is for that bucket, whatever else it names.
                    continue
                counts[kind] += 1
                missed += [f"{path} {what}"] if is_right(changed) else []
    print(f"{counts['weakened']} weakened and {counts['narrowed']} narrowed statements, not noticed: {missed}")
    assert missed == []
    # The page tells these numbers.
    page = (Path(__file__).parents[4] / "docs" / "evidence" / "access-policy.md").read_text()
    assert f"{counts['weakened']} weakened and {counts['narrowed']} narrowed, all noticed" in page


@pytest.mark.parametrize("path", [path for path in FILES if path.startswith("aws/identities/")])
def test_parliament_finds_nothing(path: str) -> None:
    """AWS's own names of actions, resources and conditions, as parliament knows them."""
    parliament = pytest.importorskip("parliament")
    findings = parliament.analyze_policy_string(FILES[path]).findings
    # parliament's table of KMS is of before kms:ResourceAliases (KMS Developer Guide, "AWS KMS condition keys").
    stale = "Unknown condition kms:ResourceAliases for action kms:"
    assert [text for text in map(str, findings) if stale not in text] == []
