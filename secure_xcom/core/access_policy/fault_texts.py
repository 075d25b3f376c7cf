"""The texts of faults in an access policy file: what is wrong, the form with an example, and what was meant.

Only a fault loads this module.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, get_args

from pydantic import BaseModel

from secure_xcom.core.access_policy.policy_file import IMPLEMENTATIONS, model_of
from secure_xcom.core.suggest import closest

_TEXTS = {
    "missing": "the field {field!r} is missing",
    "extra_forbidden": "unknown field {field!r:.60}",
    "string_type": "{field} must be a string: put it in quotes",
    "int_type": "{field} must be a whole number",
    "bool_type": "{field} must be true or false",
    "tuple_type": "{field} must be a list",
    "model_type": "{field} must be a mapping of fields",
    "model_attributes_type": "{field} must be a mapping of fields",
    "dict_type": "{field} must be a mapping of fields",
    "too_short": "{field} has too few entries",
    "string_too_long": "{field} is over {max_length} characters",
    "union_tag_not_found": "{field} must name its auth method: auth: approle, kubernetes, jwt or other",
}
_LETTERS = "letters, digits, _, . and -"
# The pattern of a field, or the field itself where several have one pattern -> its form, with an example.
FORMS = {
    "key_uris": "SCHEME://..., such as vault://vault_xcom/transit/keys/pay, aws-kms://aws_xcom/alias/pay or "
    "local:///opt/airflow/keys/keyring.json",
    "store_uri": "SCHEME://..., such as s3://aws_xcom@bucket/prefix, vault-kv://vault_xcom/secret/xcom or "
    "file:///opt/airflow/sealed",
    "former_store_uris": "SCHEME://..., such as s3://aws_xcom@bucket/prefix",
    r"^[a-z0-9-]+://[\w.,:;/@+=~#%&'()!?\[\]-]*$": "SCHEME://..., such as s3://aws_xcom@bucket/prefix",
    r"^[a-z0-9][a-z0-9-]*$": "lower-case letters, digits and -, such as pay-eu",
    r"^[1-9][0-9]{0,4}[mhdw]$": "a number and m, h, d or w for minutes, hours, days or weeks, such as 30d",
    r"^arn:aws[a-z-]{0,20}:iam::[0-9]{12}:(role|user)/[A-Za-z0-9+=,.@_/-]+$": "the ARN of a role or user, such as "
    "arn:aws:iam::111122223333:role/pay-workers",
    r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$": "an object id in lower-case hex, such as "
    "00000000-0000-0000-0000-000000000001",
    r"^[\w.*?-]+$": f"{_LETTERS}, and the wildcards * and ?, such as pay_*",
    r"^[\w.-]+$": f"{_LETTERS}, such as pay_dags",
    r"^[\w .,:;/@+=~#%()*?-]+$": "plain text with the wildcards * and ?, such as card_*",
    r"^(serviceAccount:[a-z0-9.:@-]+|(user|group):[A-Za-z0-9._%+@-]+"
    r"|principal(Set)?://iam\.googleapis\.com/[A-Za-z0-9._:/@=%+-]+)$": "a member as in IAM bindings, such as "
    "serviceAccount:pay-workers@project.iam.gserviceaccount.com",
    r"^[\w .,:;/@+=~#%()?!-]+$": "plain text without quotes, such as case 2026-12",
    r"^https?://[\w.:-]+(/[\w.,:;/@+=~%&?-]*)?$": "an http or https URL, such as https://hooks.example.com/xcom",
    r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*$": "MODULE:FUNCTION, such as company.alarms:page_us",
    "origin": "SCHEME://HOST or SCHEME://HOST:PORT in lower case and without a path, such as "
    "https://reveal.example.com",
    "airflow_origin": "SCHEME://HOST or SCHEME://HOST:PORT in lower case and without a path, such as "
    "https://airflow.example.com",
    r"^https?://([a-z0-9]([a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:]+\])(:[1-9][0-9]{0,4})?$": "SCHEME://HOST:PORT in "
    "lower case and without a path, such as https://vault.example.com:8200",
    r"^https?://[\w.:\[\]-]+(/[\w.:/@~%+-]*)?$": "the URL of an issuer, such as https://login.example.com",
    r"^[\w.:/+-]+$": "a scope, such as groups",
    r"^[\w.:/@+~-]+$": "the id of a client, such as secure-xcom-reveal",
    r"^[\w-]+(/[\w-]+)*$": "the path of a namespace, such as admin/data",
    r"^[\w./@:+-]([\w ./@:+-]*[\w./@:+-])?$": "the name of a group without quotes, such as finance-oncall",
    r"^[A-Za-z0-9_.-]+$": f"{_LETTERS}, such as pay",
    r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$": "a name of Kubernetes (lower-case letters, digits, . and -), such as "
    "pay-workers",
    r"^[\w.:/@+-]+$": "letters, digits and . : / @ + - _, such as pay",
    r"^[\w .:/@+-]+$": "letters, digits, blanks and . : / @ + - _, such as pay pool",
    r"^[\w.:-]+$": "an alias, class name or module path, such as CeleryExecutor",
    r"^[A-Za-z0-9_-]+([./][A-Za-z0-9_-]+)*$": "the path of the auth method without auth/, such as approle",
    r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$": f"{_LETTERS}, such as pay-workers",
    r"^[0-9A-Fa-f.:]+/[0-9]{1,3}$": "a network in CIDR form, such as 10.1.0.0/16",
    r"^[\w.:/@+=~|,-]+$": "the text of a claim without blanks, such as system:serviceaccount:airflow:pay",
    r"^/?[A-Za-z0-9_.:/-]+$": "the name of a claim, such as sub",
}


def kept(errors: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the faults without those that follow from another one.

    A list whose only entry is wrong is also reported as empty, and a misspelled field also as missing.
    """
    parents = {error["loc"][:length] for error in errors for length in range(len(error["loc"]))}
    misspelled = {
        (*error["loc"][:-1], _intended(error["loc"])) for error in errors if error["type"] == "extra_forbidden"
    }
    return [
        error
        for error in errors
        if not (error["type"] == "too_short" and error["loc"] in parents)
        and not (error["type"] == "missing" and error["loc"] in misspelled)
    ]


def text_of(error: Mapping[str, Any]) -> str:
    """Return the text of one fault that pydantic reports, with its input where the field is a choice."""
    names = [part for part in error["loc"] if isinstance(part, str)]
    field = names[-1] if names else "the file"
    kind, context = error["type"], error.get("ctx") or {}
    if kind == "string_pattern_mismatch":
        form = FORMS.get(field) or FORMS.get(context["pattern"], "see docs/reference/access-policy.md")
        return f"{field} has characters that are not allowed, or is not of its form: write {form}"
    if kind == "extra_forbidden":
        like = _intended(error["loc"])
        return f"unknown field {field!r:.60}" + (f": did you mean {like!r}?" if like else "")
    if kind == "literal_error":
        choices = [choice.strip("'\" ") for choice in context["expected"].replace(" or ", ",").split(",")]
        listed = ", ".join(choices)
        return f"{field} must be one of {listed}{_meant(str(error.get('input')), choices)}"
    if kind == "union_tag_invalid":
        methods = [method.strip("' ") for method in context["expected_tags"].split(",")]
        return f"auth must be one of {', '.join(methods)}{_meant(str(context['tag']), methods)}"
    text = _TEXTS.get(kind)
    return text.format(**{**context, "field": field}) if text else f"{field}: {error['msg']}"


def _meant(name: str, known: Any) -> str:
    like = closest(name, known)
    return f": did you mean {like!r}?" if like else ""


def _intended(path: tuple[Any, ...]) -> str | None:
    """Return the field that was probably meant where an unknown one stands."""
    name = str(path[-1])
    # The code's name of a field -> the file's.
    known = {
        attribute: field.alias or attribute
        for model in _models(path[:-1])
        for attribute, field in model.model_fields.items()
    }
    return known.get(name) or closest(name, known.values())


def _models(path: tuple[Any, ...]) -> list[type[BaseModel]]:
    """Return the models that a path of the file leads to; parts that pydantic adds are passed over."""
    models: list[type[BaseModel]] = [model_of(frozenset(IMPLEMENTATIONS))]
    for part in path:
        below = [
            field.annotation
            for model in models
            for name, field in model.model_fields.items()
            if part in (name, field.alias)
        ]
        if below:
            models = [model for annotation in below for model in _within(annotation)]
        elif isinstance(part, str):
            # The tag of a union, such as an auth method.
            models = [model for model in models if part in _tags(model)] or models
    return models


def _within(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _within(part)


def _tags(model: type[BaseModel]) -> tuple[Any, ...]:
    tag = model.model_fields.get("auth")
    return get_args(tag.annotation) if tag else ()
