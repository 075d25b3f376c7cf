"""What names, globs and URIs of the access policy may look like.

Everything that is compiled into Vault's, AWS's or another service's policies passes one of these patterns first,
so none of it can hold a quote, a backslash, a brace, a dollar sign or a control character. A glob has ``*`` (any
characters) and ``?`` (one character) and nothing else.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

T = TypeVar("T")

Name = Annotated[str, Field(max_length=63, pattern=r"^[a-z0-9][a-z0-9-]*$")]
"""Of a compartment or an identity; it is a part of paths, policy names and contexts."""

# Airflow's own ids: `^[\w.-]+$` (airflow/sdk/definitions/_internal/node.py, KEY_REGEX), 250 characters.
IdGlob = Annotated[str, Field(min_length=1, max_length=250, pattern=r"^[\w.*?-]+$")]
"""A DAG id or a task id, or a glob of them."""

# XCom keys are free text; those that a policy has to name are not.
KeyGlob = Annotated[str, Field(min_length=1, max_length=250, pattern=r"^[\w .,:;/@+=~#%()*?-]+$")]
"""A glob of XCom keys."""

Uri = Annotated[str, Field(max_length=512, pattern=r"^[a-z0-9-]+://[\w.,:;/@+=~#%&'()!?\[\]-]*$")]
"""A key URI or a store URI; the service that it names reads it strictly when it is used."""

BundleName = Annotated[str, Field(min_length=1, max_length=250, pattern=r"^[\w.-]+$")]
"""Of a DAG bundle or a team, as in ``[dag_processor] dag_bundle_config_list``."""

Queue = Annotated[str, Field(min_length=1, max_length=256, pattern=r"^[\w.:/@+-]+$")]
Pool = Annotated[str, Field(min_length=1, max_length=256, pattern=r"^[\w .:/@+-]+$")]
Executor = Annotated[str, Field(min_length=1, max_length=250, pattern=r"^[\w.:-]+$")]

# One spelling for Airflow, kombu and every broker. The three above stay as wide as they were, so that older files
# load; lint reports what is outside.
PlaceName = Annotated[str, Field(min_length=1, max_length=250, pattern=r"^[A-Za-z0-9_.-]+$")]
"""A queue, an executor or an operating-system user."""
PLAIN_NAME = re.compile(r"[A-Za-z0-9_.-]+")
"""The only characters that a task may use in a name that carries an identity."""

# RFC 1123 subdomain, as Kubernetes has them.
DnsName = Annotated[str, Field(max_length=253, pattern=r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$")]

Duration = Annotated[str, Field(pattern=r"^[1-9][0-9]{0,4}[mhdw]$")]
"""Minutes, hours, days or weeks: ``30d``."""

# A person at a terminal may write seconds, and a longer number than the file takes.
_DURATION = re.compile(r"([0-9]{1,6})([smhdw])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
WILDCARDS = re.compile(r"[*?]")


class Strict(BaseModel):
    """What every part of the file is: closed, frozen, of exact types."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True)


def a_list(*, min_length: int = 0, max_length: int = 10_000) -> Any:
    """A YAML list, kept as a tuple."""
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
    """A duration such as ``24h``, in seconds.

    :raises ValueError: it is no number with s, m, h, d or w. A `Duration` of the file always is.
    """
    form = _DURATION.fullmatch(duration)
    if form is None:
        raise ValueError("not a duration")
    return int(form[1]) * _SECONDS[form[2]]


def is_glob(text: str) -> bool:
    """Whether a glob stands for more than itself."""
    return WILDCARDS.search(text) is not None
