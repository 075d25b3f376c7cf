"""Key URIs of settings: their options, and which keys may be asked for a reference's wraps."""

from __future__ import annotations

import pytest

from secure_xcom.core.errors import UriInvalid
from secure_xcom.keys import KeyUri, key_service, openers
from secure_xcom.keys.aws_kms_format import KmsWrap

OLD = "arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
NEW = "arn:aws:kms:eu-west-1:111122223333:key/0987dcba-09fe-87dc-65ba-ab0987654321"
MULTI = "arn:aws:kms:{}:111122223333:key/mrk-1234abcd12ab34cd56ef1234567890ab"


def wrap(arn: str) -> str:
    """A wrap as the key of this ARN would make it."""
    return str(KmsWrap(arn, b"sealed"))


@pytest.mark.parametrize(
    ("text", "name", "service", "role"),
    [
        ("local:///k.json", "local:///k.json", "local:///k.json", "required"),
        ("local:///k.json?wrap=never", "local:///k.json", "local:///k.json", "never"),
        ("aws-kms://a/alias/b?wrap=optional", "aws-kms://a/alias/b", "aws-kms://a/alias/b", "optional"),
        ("vault://c/t/keys/k?grant=scoped", "vault://c/t/keys/k", "vault://c/t/keys/k?grant=scoped", "required"),
        (
            "vault://c/t/keys/k?wrap=optional&grant=scoped",
            "vault://c/t/keys/k",
            "vault://c/t/keys/k?grant=scoped",
            "optional",
        ),
        (
            "vault://c/t/keys/k?grant=scoped&wrap=required",
            "vault://c/t/keys/k",
            "vault://c/t/keys/k?grant=scoped",
            "required",
        ),
    ],
)
def test_options_are_told_from_the_name(text: str, name: str, service: str, role: str) -> None:
    """What is before the question mark names the key; `wrap` is everybody's option, the others the service's."""
    key = KeyUri.parse(text)
    assert (key.name, key.service, key.wrap) == (name, service, role)


@pytest.mark.parametrize(
    "query", ["wrap=", "wrap=maybe", "wrap=Never", "wrap=never&wrap=never", "wrap=never&wrap="]
)
def test_another_value_of_wrap_is_refused(query: str) -> None:
    """`wrap` has three values and stands once."""
    with pytest.raises(UriInvalid, match="wrap is not one of"):
        KeyUri.parse(f"local:///k.json?{query}")


@pytest.mark.parametrize(
    "text", ["local:///k.json?", "local:///k.json?x=1", "local:///k.json?wrap=never&", "://", ""]
)
def test_what_no_service_knows_is_refused(text: str) -> None:
    """An option that is neither everybody's nor the service's is refused by the service."""
    with pytest.raises(UriInvalid):
        key_service(text)


def test_listed_keys_are_asked_in_their_order() -> None:
    """The order is the settings', whatever the order of the reference; names that are not listed are not asked."""
    wraps = [("b://2", "B"), ("evil://3", "E"), ("a://1", "A")]
    assert openers(["a://1", "b://2?wrap=optional"], wraps) == (("a://1", "A"), ("b://2?wrap=optional", "B"))
    assert openers(["c://4"], wraps) == ()


def test_a_key_that_lost_its_alias_still_opens() -> None:
    """A key that is listed by its ARN is asked for what it wrapped while an alias named it, for nothing else."""
    retired, alias = f"aws-kms://c/{OLD}?wrap=never", "aws-kms://c/alias/xcom"
    assert openers([retired, alias], [(alias, wrap(OLD))]) == ((retired, wrap(OLD)), (alias, wrap(OLD)))
    assert openers([retired, alias], [(alias, wrap(NEW))]) == ((alias, wrap(NEW)),)


def test_a_replica_opens_what_its_sibling_wrapped() -> None:
    """A multi-Region key of another region is asked for a sibling's wrap, unless the reference has its own."""
    here, there = (f"aws-kms://c/{MULTI.format(region)}" for region in ("eu-west-1", "us-east-1"))
    one, other = wrap(MULTI.format("eu-west-1")), wrap(MULTI.format("us-east-1"))
    assert openers([there], [(here, one)]) == ((there, one),)
    assert openers([there, here], [(here, one), (there, other)]) == ((there, other), (here, one))


def test_a_connection_may_get_another_id() -> None:
    """A key that is listed by its ARN or id under another connection opens what it wrapped under the old one."""
    named = f"aws-kms://old/{OLD}"
    for listed in (f"aws-kms://new/{OLD}", f"aws-kms://new/key/{OLD.rsplit('/', 1)[1]}"):
        assert openers([listed], [(named, wrap(OLD))]) == ((listed, wrap(OLD)),)


def test_text_that_is_no_wrap_is_no_candidate() -> None:
    """An unreadable wrap under another name is nobody's."""
    assert openers([f"aws-kms://c/{OLD}"], [("aws-kms://c/alias/x", "aws-kms:nonsense")]) == ()
