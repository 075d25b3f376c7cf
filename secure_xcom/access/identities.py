"""Identities: which principals of Vault, AWS, Google and Azure workers and people have, and what each may do."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from secure_xcom.access.names import DnsName, Duration, IdGlob, Name, Strict, a_list

As = Literal["writer", "reader", "both", "maintenance", "operator"]
"""writer pushes, reader pulls, both does both, maintenance rewraps and collects garbage without reading, operator
reads in an emergency and sees the settings of keys."""

_MountPath = Annotated[str, Field(max_length=128, pattern=r"^[A-Za-z0-9_-]+([./][A-Za-z0-9_-]+)*$")]
_RoleName = Annotated[str, Field(max_length=128, pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$")]
_Cidr = Annotated[str, Field(max_length=43, pattern=r"^[0-9A-Fa-f.:]+/[0-9]{1,3}$")]
_ClaimName = Annotated[str, Field(max_length=250, pattern=r"^/?[A-Za-z0-9_.:/-]+$")]
_ClaimText = Annotated[str, Field(min_length=1, max_length=512, pattern=r"^[\w.:/@+=~|,-]+$")]


class Grant(Strict):
    """What an identity may do in one compartment; narrowed to DAGs, or to tasks of DAGs, where these are given."""

    compartment: Name
    role: Annotated[As, Field(alias="as")]
    dags: Annotated[tuple[IdGlob, ...], a_list(min_length=1)] | None = None
    """DAG ids, or globs: services see digests and know no globs, so a glob is compiled to the ids known then."""
    tasks: Annotated[tuple[IdGlob, ...], a_list(min_length=1)] | None = None
    """Task ids of those DAGs."""


class _Vault(Strict):
    mount: _MountPath | None = None
    """Of the auth method; by default that of the same name."""
    role: _RoleName | None = None
    """The role at the auth method; by default the identity's name."""
    token_ttl: Duration | None = None
    token_max_ttl: Duration | None = None
    bound_cidrs: Annotated[tuple[_Cidr, ...], a_list()] = ()
    """Networks that its tokens may be used from."""


class VaultAppRole(_Vault):
    """A role of Vault's AppRole method."""

    auth: Literal["approle"]
    secret_id_ttl: Duration | None = None
    secret_id_num_uses: Annotated[int, Field(ge=0, le=1_000_000)] = 0


class VaultKubernetes(_Vault):
    """A role of Vault's Kubernetes method, bound to service accounts."""

    auth: Literal["kubernetes"]
    service_accounts: Annotated[tuple[DnsName, ...], a_list(min_length=1)]
    namespaces: Annotated[tuple[DnsName, ...], a_list(min_length=1)]
    audience: _ClaimText | None = None


class VaultJwt(_Vault):
    """A role of Vault's JWT method, bound to an audience and at least one more claim."""

    auth: Literal["jwt"]
    bound_audiences: Annotated[tuple[_ClaimText, ...], a_list(min_length=1)]
    bound_subject: _ClaimText | None = None
    bound_claims: dict[_ClaimName, _ClaimText] = Field(default_factory=dict)
    user_claim: _ClaimName = "sub"


class VaultOther(_Vault):
    """Any other auth method: the policy is compiled, the role that carries it is somebody else's."""

    auth: Literal["other"]


class Aws(Strict):
    """An IAM principal."""

    principal: Annotated[
        str,
        Field(max_length=2048, pattern=r"^arn:aws[a-z-]{0,20}:iam::[0-9]{12}:(role|user)/[A-Za-z0-9+=,.@_/-]+$"),
    ]


class Google(Strict):
    """A principal of Google Cloud's IAM."""

    member: Annotated[
        str,
        Field(
            max_length=512,
            pattern=r"^(serviceAccount:[a-z0-9.:@-]+|(user|group):[A-Za-z0-9._%+@-]+"
            r"|principal(Set)?://iam\.googleapis\.com/[A-Za-z0-9._:/@=%+-]+)$",
        ),
    ]


class Azure(Strict):
    """A principal of Microsoft Entra, by its object id."""

    principal_id: Annotated[str, Field(pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")]
    principal_type: Literal["ServicePrincipal", "User", "Group"] = "ServicePrincipal"


class Identity(Strict):
    """A principal, or the same worker's or person's principals at several services, and what it may do."""

    name: Name
    workers_of: Annotated[tuple[Name, ...], a_list()] = ()
    """It runs the tasks of these compartments: it may push and pull there, and pull what others let these read."""
    grants: Annotated[tuple[Grant, ...], a_list()] = ()
    """What it may do besides."""
    vault: (
        Annotated[VaultAppRole | VaultKubernetes | VaultJwt | VaultOther, Field(discriminator="auth")] | None
    ) = None
    aws: Aws | None = None
    google: Google | None = None
    azure: Azure | None = None
