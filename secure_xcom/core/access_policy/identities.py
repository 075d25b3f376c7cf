"""Identities: which principals of Vault, AWS, Google and Azure workers and people have, and what each may do."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from secure_xcom.core.access_policy.field_types import (
    BundleName,
    DnsName,
    Duration,
    IdGlob,
    Name,
    PlaceNames,
    ServiceAccounts,
    Strict,
    a_list,
)

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
    """Where it may do it."""
    role: Annotated[As, Field(alias="as")]
    """``writer`` pushes, ``reader`` pulls, ``both`` does both, ``maintenance`` rewraps and collects garbage
    without reading, ``operator`` reads in an emergency and sees the settings of keys."""
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
    """How long a token lasts before it is renewed; an hour."""
    token_max_ttl: Duration | None = None
    """How long it can be renewed; a day."""
    bound_cidrs: Annotated[tuple[_Cidr, ...], a_list()] = ()
    """Networks that its tokens may be used from."""


class VaultAppRole(_Vault):
    """A role of Vault's AppRole method."""

    auth: Literal["approle"]
    """Workers log in with a role id and a secret id."""
    secret_id_ttl: Duration | None = None
    """How long a secret id logs in; 90 days."""
    secret_id_num_uses: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    """How often a secret id logs in; 0 is without a limit."""


class VaultKubernetes(_Vault):
    """A role of Vault's Kubernetes method, bound to service accounts."""

    auth: Literal["kubernetes"]
    """Pods log in with their service account's token."""
    service_accounts: Annotated[tuple[DnsName, ...], a_list(min_length=1)]
    """The accounts that may log in. No globs."""
    namespaces: Annotated[tuple[DnsName, ...], a_list(min_length=1)]
    """The namespaces that these are of. No globs."""
    audience: _ClaimText | None = None
    """What the token must have been made for."""


class VaultJwt(_Vault):
    """A role of Vault's JWT method, bound to an audience and at least one more claim."""

    auth: Literal["jwt"]
    """Workers log in with a token of another issuer."""
    bound_audiences: Annotated[tuple[_ClaimText, ...], a_list(min_length=1)]
    """What the token must have been made for."""
    bound_subject: _ClaimText | None = None
    """Whose token it must be."""
    bound_claims: dict[_ClaimName, _ClaimText] = Field(default_factory=dict)
    """Claims that it must have, by name."""
    user_claim: _ClaimName = "sub"
    """The claim that names the user in Vault's log."""


class VaultOther(_Vault):
    """Any other auth method: the policy is compiled, the role that carries it is somebody else's."""

    auth: Literal["other"]
    """Somebody else's role carries the policy."""


class Aws(Strict):
    """An IAM principal."""

    principal: Annotated[
        str,
        Field(max_length=2048, pattern=r"^arn:aws[a-z-]{0,20}:iam::[0-9]{12}:(role|user)/[A-Za-z0-9+=,.@_/-]+$"),
    ]
    """ARN of a role or a user."""


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
    """As IAM bindings have it: ``serviceAccount:NAME@PROJECT.iam.gserviceaccount.com``."""


class Azure(Strict):
    """A principal of Microsoft Entra, by its object id."""

    principal_id: Annotated[str, Field(pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")]
    """Its object id."""
    principal_type: Literal["ServicePrincipal", "User", "Group"] = "ServicePrincipal"
    """What kind it is."""


class RunsOn(Strict):
    """The places of an identity. No other DAG than those of its compartments and of ``dags`` may name them."""

    queue: PlaceNames = ()
    """One queue or a list of them, of Celery or of another executor that has queues."""
    executor: PlaceNames = ()
    """One executor or a list of them: alias, class name or module path, as in ``[core] executor``."""
    service_account: ServiceAccounts = ()
    """One service account of Kubernetes or a list of them, of Airflow's own components as well."""
    run_as_user: PlaceNames = ()
    """One operating-system user or a list of them."""
    dags: Annotated[tuple[IdGlob, ...], a_list(min_length=1)] | None = None
    """DAGs whose tasks run here, such as the maintenance DAG. They are sent to the first place of each field."""
    bundles: Annotated[tuple[BundleName, ...], a_list(min_length=1)] | None = None
    """The DAG bundles that those DAGs must come from; from elsewhere they are refused."""
    teams: Annotated[tuple[BundleName, ...], a_list(min_length=1)] | None = None
    """The Airflow teams that those bundles must belong to."""

    @property
    def places(self) -> tuple[tuple[str, str], ...]:
        """Every place, as fields and values."""
        fields = ("queue", "executor", "service_account", "run_as_user")
        return tuple((field, value) for field in fields for value in getattr(self, field))


class Identity(Strict):
    """A principal, or the same worker's or person's principals at several services, and what it may do."""

    name: Name
    """Lower case letters, digits and ``-``; the Vault policy is named after it."""
    workers_of: Annotated[tuple[Name, ...], a_list()] = ()
    """It runs the tasks of these compartments: it may push and pull there, and pull what others let these read."""
    grants: Annotated[tuple[Grant, ...], a_list()] = ()
    """What it may do besides."""
    runs_on: RunsOn | None = None
    """Its places, beside those that ``tasks_run_on`` gives the compartments that it runs the tasks of."""
    vault: (
        Annotated[VaultAppRole | VaultKubernetes | VaultJwt | VaultOther, Field(discriminator="auth")] | None
    ) = None
    """Its role at an auth method of Vault or OpenBao."""
    aws: Aws | None = None
    """Its principal at AWS, or at a store that speaks S3."""
    google: Google | None = None
    """Its principal at Google Cloud."""
    azure: Azure | None = None
    """Its principal at Microsoft Entra."""
