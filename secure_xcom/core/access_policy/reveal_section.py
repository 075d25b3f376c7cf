"""The service that shows values to viewers: its origin, and where people log in.

A task needs none of it. ``viewers`` of a compartment say who may see what
(`secure_xcom.core.access_policy.viewers`).
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, ConfigDict, Field

from secure_xcom.core.access_policy.field_types import ClaimName, Duration, MountPath, Strict, a_list
from secure_xcom.core.access_policy.loading import fault
from secure_xcom.core.findings import Finding


def _with_host(url: str) -> str:
    """Return a URL, if what stands in brackets is an IPv6 address, which no pattern can tell."""
    urlsplit(url)
    return url


# RFC 6454: scheme, host and port as browsers serialize them, in lower case and without a slash at the end.
_Origin = Annotated[
    str,
    Field(
        max_length=255,
        pattern=r"^https?://([a-z0-9]([a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:]+\])(:[1-9][0-9]{0,4})?$",
    ),
    AfterValidator(_with_host),
]
_Issuer = Annotated[
    str,
    Field(max_length=1024, pattern=r"^https?://[\w.:\[\]-]+(/[\w.:/@~%+-]*)?$"),
    AfterValidator(_with_host),
]
_ClientId = Annotated[str, Field(min_length=1, max_length=255, pattern=r"^[\w.:/@+~-]+$")]
_Scope = Annotated[str, Field(max_length=255, pattern=r"^[\w.:/+-]+$")]
_Namespace = Annotated[str, Field(max_length=255, pattern=r"^[\w-]+(/[\w-]+)*$")]


class RevealVault(Strict):
    """People log in at Vault or OpenBao, and their browsers unwrap with their own tokens."""

    address: _Origin
    """The address of Vault, as browsers and the service reach it."""
    namespace: _Namespace | None = None
    """The namespace of the mounts."""
    mount: MountPath = "oidc"
    """The mount of the OIDC auth method. An operator configures its provider and client."""
    user_claim: ClaimName = "email"
    """The claim that names the person in both logs."""
    groups_claim: ClaimName = "groups"
    """The claim that lists the person's groups."""
    scopes: Annotated[tuple[_Scope, ...], a_list(min_length=1)] = ("email", "profile")
    """The scopes requested in addition to ``openid``. Many providers need ``groups`` to include the groups."""
    token_ttl: Duration = "10m"  # noqa: S105 - a duration
    """The lifetime of a person's token. It is never renewed."""


class RevealOidc(Strict):
    """People log in at the company's OpenID Connect provider, and the service unwraps (``--opens``)."""

    issuer: _Issuer
    """The issuer, below which ``/.well-known/openid-configuration`` is found."""
    client_id: _ClientId
    """The public client of the service, with PKCE. It is the audience of the tokens."""
    user_claim: ClaimName = "email"
    """The claim that names the person in the access log."""
    groups_claim: ClaimName = "groups"
    """The claim that lists the person's groups."""
    scopes: Annotated[tuple[_Scope, ...], a_list(min_length=1)] = ("email", "profile")
    """The scopes requested in addition to ``openid``. Many providers need ``groups`` to include the groups."""


class Reveal(Strict):
    """The service that shows values to viewers. Exactly one of ``vault`` and ``oidc`` is given."""

    origin: _Origin
    """The origin of the service itself, as browsers see it."""
    airflow_origin: _Origin
    """Airflow's origin, the only one whose pages may frame the service's page."""
    vault: RevealVault | None = None
    """People log in at Vault, and their browsers unwrap. The service has no key."""
    oidc: RevealOidc | None = None
    """People log in at the company's provider, and the service unwraps as an identity of its own."""


class RevealService(Strict):
    """The section ``reveal`` of an access policy file."""

    model_config = ConfigDict(defer_build=True)

    reveal: Reveal | None = None
    """The service that shows values to ``viewers``, and where they log in."""

    def faults(self, names: AbstractSet[str]) -> Iterator[Finding]:  # noqa: ARG002  # as of the other sections
        """Yield the fault of a service with no place to log in, or two."""
        if self.reveal is not None and (self.reveal.vault is None) == (self.reveal.oidc is None):
            yield fault(("reveal",), "reveal must have one of vault and oidc: people log in at one of them")
