"""The forms of names, globs and URIs in the access policy.

Everything that is compiled into the policies of Vault, AWS or another service matches one of these patterns first,
so none of it can contain a quote, a backslash, a brace, a dollar sign or a control character. A glob has only the
wildcards ``*`` (any characters) and ``?`` (one character).
"""

from __future__ import annotations

import re
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from secure_xcom.core.reference import URI_MAX_CHARACTERS

T = TypeVar("T")

Name = Annotated[str, Field(max_length=63, pattern=r"^[a-z0-9][a-z0-9-]*$")]
"""The name of a compartment or an identity. It is part of paths, policy names and contexts."""

# Airflow's own ids: `^[\w.-]+$` (airflow/sdk/definitions/_internal/node.py, KEY_REGEX), 250 characters.
IdGlob = Annotated[str, Field(min_length=1, max_length=250, pattern=r"^[\w.*?-]+$")]
"""A DAG id or a task id, or a glob of them."""

# XCom keys are free text, except those that a policy names.
KeyGlob = Annotated[str, Field(min_length=1, max_length=250, pattern=r"^[\w .,:;/@+=~#%()*?-]+$")]
"""A glob of XCom keys."""

Uri = Annotated[str, Field(max_length=URI_MAX_CHARACTERS, pattern=r"^[a-z0-9-]+://[\w.,:;/@+=~#%&'()!?\[\]-]*$")]
"""A key URI or a store URI. Its service parses it strictly when it is used."""

BundleName = Annotated[str, Field(min_length=1, max_length=250, pattern=r"^[\w.-]+$")]
"""The name of a DAG bundle or a team, as in ``[dag_processor] dag_bundle_config_list``."""

# The groups claim of a provider holds names, paths (Keycloak), object ids (Entra) or mail addresses.
GroupName = Annotated[str, Field(max_length=250, pattern=r"^[\w./@:+-]([\w ./@:+-]*[\w./@:+-])?$")]
"""A group of people at an identity provider."""

ClaimName = Annotated[str, Field(max_length=250, pattern=r"^/?[A-Za-z0-9_.:/-]+$")]
"""A claim of a token, or a JSON pointer to it."""
MountPath = Annotated[str, Field(max_length=128, pattern=r"^[A-Za-z0-9_-]+([./][A-Za-z0-9_-]+)*$")]
"""The mount of an auth method of Vault, without ``auth/``."""

Queue = Annotated[str, Field(min_length=1, max_length=256, pattern=r"^[\w.:/@+-]+$")]
Pool = Annotated[str, Field(min_length=1, max_length=256, pattern=r"^[\w .:/@+-]+$")]
Executor = Annotated[str, Field(min_length=1, max_length=250, pattern=r"^[\w.:-]+$")]

# These characters mean the same to Airflow, kombu and every broker. The three patterns above are wider, so that
# older files load; lint reports names outside of this one.
PlaceName = Annotated[str, Field(min_length=1, max_length=250, pattern=r"^[A-Za-z0-9_.-]+$")]
"""A queue, an executor or an operating-system user."""
PLAIN_NAME = re.compile(r"[A-Za-z0-9_.-]+")
"""The only characters that a task may use in a name that carries an identity."""

# RFC 1123 subdomain, as Kubernetes has them.
DnsName = Annotated[str, Field(max_length=253, pattern=r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$")]

Duration = Annotated[str, Field(pattern=r"^[1-9][0-9]{0,4}[mhdw]$")]
"""Minutes, hours, days or weeks: ``30d``."""

# The command line accepts seconds as well, and longer numbers than the file.
_DURATION = re.compile(r"([0-9]{1,6})([smhdw])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
WILDCARDS = re.compile(r"[*?]")


class Strict(BaseModel):
    """The base of every model of the file: no unknown fields, frozen, strict types."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True)


def a_list(*, min_length: int = 0, max_length: int = 10_000) -> Any:
    """Return the field of a YAML list that is kept as a tuple."""
    return Field(strict=False, min_length=min_length, max_length=max_length)


def _as_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


PlaceNames = Annotated[
    tuple[PlaceName, ...],
    a_list(min_length=1),
    BeforeValidator(_as_list, json_schema_input_type=PlaceName | list[PlaceName]),
]
"""One place or a list of them."""
ServiceAccounts = Annotated[
    tuple[DnsName, ...],
    a_list(min_length=1),
    BeforeValidator(_as_list, json_schema_input_type=DnsName | list[DnsName]),
]
"""One service account or a list of them."""


def seconds(duration: str) -> int:
    """Return a duration such as ``24h`` in seconds.

    :raises ValueError: it is not a number with s, m, h, d or w. A `Duration` of the file always is.
    """
    form = _DURATION.fullmatch(duration)
    if form is None:
        raise ValueError("not a duration")
    return int(form[1]) * _SECONDS[form[2]]


def is_glob(text: str) -> bool:
    """Check whether a text has a wildcard."""
    return WILDCARDS.search(text) is not None
