"""The text formats of KMS: key URIs, wraps and the encryption context.

Nothing here calls AWS, so that service policies and the choice among several keys need no AWS library.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import quote

from secure_xcom.core.errors import KeyServiceError, UriInvalid
from secure_xcom.core.reference import URI_MAX_CHARACTERS
from secure_xcom.keys import WRAPPED_MAX_CHARACTERS

CONTEXT_NAMES = ("compartment", "dag_id", "task_id", "run_id", "map_index")

CONTEXT_VALUE_MAX_CHARACTERS = 384
"""The longest value in the constraint of a grant (KMS API, GrantConstraints). Five such values are far below the
8,192 characters that KMS accepts for a whole encryption context."""

_CUT_TO_CHARACTERS = 300
# Run ids contain many colons and plus signs. None of these characters has a meaning in IAM policies.
_KEPT = ":+@=/"

# docs.aws.amazon.com/kms/latest/developerguide/concepts.html, "Key identifiers (KeyId)".
_PLACE = r"arn:aws[a-z0-9-]{0,20}:kms:[a-z0-9-]{1,40}:[0-9]{12}"
_ID = r"[A-Za-z0-9-]{1,64}"
# AWS's own keys (alias/aws/...) accept no requests from such identities.
_ALIAS = r"alias/(?!aws/)[A-Za-z0-9/_-]{1,250}"
_URI = re.compile(
    rf"aws-kms://(?P<conn>[A-Za-z0-9_.-]{{1,200}})/"
    rf"(?:(?P<key_arn>{_PLACE}:key/{_ID})|(?P<alias_arn>{_PLACE}:{_ALIAS})|(?P<alias>{_ALIAS})|key/(?P<id>{_ID}))"
)
_KEY_ARN = re.compile(rf"{_PLACE}:key/{_ID}")
_WRAPPED = re.compile(rf"aws-kms:(?P<arn>{_PLACE}:key/{_ID}):(?P<blob>[A-Za-z0-9+/]{{4,}}={{0,2}})")
_MULTI_REGION = "key/mrk-"
_REGION = 3


@dataclass(frozen=True, slots=True)
class KmsKey:
    """A wrapping key that a key URI names.

    :ivar request_id: the KeyId of requests: an alias, an alias ARN, a key ARN or a key id.
    :ivar region: the region of the ARN, if the URI has one.
    :ivar alias: True if the URI names an alias, so that only KMS knows the current key.
    """

    uri: str
    conn_id: str
    request_id: str
    region: str | None
    alias: bool

    @classmethod
    def parse(cls, uri: str) -> KmsKey:
        """Parse a key URI.

        :raises UriInvalid: the URI is invalid.
        """
        form = _URI.fullmatch(uri)
        if form is None or len(uri) > URI_MAX_CHARACTERS:
            raise UriInvalid(
                "not a KMS key URI",
                where=f"key URI {uri!r:.200}",
                remedy="write aws-kms://CONN_ID/alias/NAME, such as aws-kms://aws_xcom/alias/xcom-pay, "
                "aws-kms://CONN_ID/KEY_OR_ALIAS_ARN or aws-kms://CONN_ID/key/ID; AWS's own keys (alias/aws/...) "
                "cannot be used",
            )
        arn = form["key_arn"] or form["alias_arn"]
        return cls(
            uri,
            form["conn"],
            arn or form["alias"] or form["id"],
            arn.split(":")[_REGION] if arn else None,
            not (form["key_arn"] or form["id"]),
        )

    def is_key(self, arn: str) -> bool:
        """Check whether a key ARN can be this key's. An alias can be any key's, so True does not prove it."""
        if self.alias:
            return True
        if self.region:
            return same_key(self.request_id, arn)
        return arn.endswith(f":key/{self.request_id}")


def is_key_arn(text: str) -> bool:
    """Check whether a text is the ARN of a KMS key."""
    return _KEY_ARN.fullmatch(text) is not None


def same_key(left_arn: str, right_arn: str) -> bool:
    """Check whether two key ARNs name the same key, or replicas of one multi-Region key.

    Replicas have the same id and the same key material, so each opens what the other wrapped (AWS KMS Developer
    Guide, "Multi-Region keys in AWS KMS").
    """
    if left_arn == right_arn:
        return True
    left, right = left_arn.split(":"), right_arn.split(":")
    left[_REGION] = right[_REGION] = ""
    return left == right and left[-1].startswith(_MULTI_REGION)


@dataclass(frozen=True, slots=True)
class KmsWrap:
    """A wrapped data key: the ARN of the key that made it, and KMS's ciphertext.

    The ARN is not authenticated. It only helps to choose among allowed keys, and to name the missing one.
    """

    arn: str
    blob: bytes = field(repr=False)

    @classmethod
    def parse(cls, text: str) -> KmsWrap | None:
        """Parse ``aws-kms:KEY_ARN:BASE64``. Return None for any other form."""
        form = _WRAPPED.fullmatch(text) if len(text) <= WRAPPED_MAX_CHARACTERS else None
        if form is None or len(form["blob"]) % 4:
            return None
        blob = base64.b64decode(form["blob"])
        # Encoding it again refuses the other spellings of the last character (RFC 4648, section 3.5).
        return cls(form["arn"], blob) if base64.b64encode(blob).decode() == form["blob"] else None

    def __str__(self) -> str:
        return f"aws-kms:{self.arn}:{base64.b64encode(self.blob).decode()}"


def made_by(listed: str, wrapped: str) -> bool:
    """Check whether a key that is listed by its ARN or id made a wrap that a reference has under another URI.

    So if an operator lists a key by its ARN, its wraps still open after its alias was moved to another key, its
    connection id was changed, or, for a multi-Region key, its region failed.
    """
    key, wrap = KmsKey.parse(listed), KmsWrap.parse(wrapped)
    return wrap is not None and not key.alias and key.is_key(wrap.arn)


def kms_context(context: Mapping[str, str]) -> dict[str, str]:
    """Return the EncryptionContext that a wrap is bound to.

    :param context: from `secure_xcom.core.coordinate.encryption_context`.
    :raises KeyServiceError: it does not have exactly those five names, or a value is not valid text.
    """
    if set(context) != set(CONTEXT_NAMES):
        raise KeyServiceError(f"an encryption context must have the names {', '.join(CONTEXT_NAMES)}")
    return {name: kms_context_value(context[name]) for name in CONTEXT_NAMES}


def kms_context_value(text: str) -> str:
    """Return the form of an id for KMS. It is injective. Conditions of policies must name ids in this form.

    KMS itself accepts any Unicode text, but a policy does not, and there ``*``, ``?`` and ``$`` are not plain
    characters (AWS KMS Developer Guide, "Encryption context" and "Key policies"). So all characters except
    ``A-Z a-z 0-9 _ - . : + @ = /`` are percent-encoded. A value over 384 characters is cut and ends in ``~`` and a
    SHA-256. A cut value never equals a whole one, because ``~`` is encoded everywhere else.

    :raises KeyServiceError: the id has a lone surrogate, which is not valid text.
    """
    try:
        encoded = quote(text, safe=_KEPT).replace("~", "%7E")
    except UnicodeEncodeError:
        raise KeyServiceError("the encryption context is not UTF-8 text") from None
    if len(encoded) <= CONTEXT_VALUE_MAX_CHARACTERS:
        return encoded
    # A truncated escape would not decode, so the cut is made before it.
    head = re.sub(r"%[0-9A-F]?$", "", encoded[:_CUT_TO_CHARACTERS])
    return f"{head}~{hashlib.sha256(text.encode()).hexdigest()}"
