"""Identities: the principals of workers and people at Vault, AWS, Google and Azure, and their grants."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from secure_xcom.core.access_policy.field_types import (
    BundleName,
    ClaimName,
    DnsName,
    Duration,
    IdGlob,
    MountPath,
    Name,
    PlaceNames,
    ServiceAccounts,
    Strict,
    a_list,
)
from secure_xcom.core.access_policy.loading import fault, unknown_compartment
from secure_xcom.core.findings import Finding

As = Literal["writer", "reader", "both", "maintenance", "operator", "fetcher", "revealer"]
"""writer pushes, reader pulls, both does both, maintenance rewraps and collects garbage without reading, operator
reads in an emergency and sees the settings of keys, fetcher reads sealed payloads and has no key, revealer reads
and opens them for viewers."""

_RoleName = Annotated[str, Field(max_length=128, pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$")]
_Cidr = Annotated[str, Field(max_length=43, pattern=r"^[0-9A-Fa-f.:]+/[0-9]{1,3}$")]
_ClaimText = Annotated[str, Field(min_length=1, max_length=512, pattern=r"^[\w.:/@+=~|,-]+$")]


class Grant(Strict):
    """The rights of an identity in one compartment, limited to DAGs, or to tasks of DAGs, if these are given."""

    compartment: Name
    """The compartment."""
    role: Annotated[As, Field(alias="as")]
    """``writer`` pushes, ``reader`` pulls, ``both`` does both, ``maintenance`` rewraps and collects garbage
    without reading, ``operator`` reads in an emergency and sees the settings of keys, ``fetcher`` reads sealed
    payloads and has no key, ``revealer`` reads and opens them for viewers (``secure-xcom reveal --opens``)."""
    dags: Annotated[tuple[IdGlob, ...], a_list(min_length=1)] | None = None
    """DAG ids or globs. Services see digests and have no globs, so a glob is compiled to the ids known then."""
    tasks: Annotated[tuple[IdGlob, ...], a_list(min_length=1)] | None = None
    """Task ids of those DAGs."""


class _Vault(Strict):
    mount: MountPath | None = None
    """The mount of the auth method; by default the method's name."""
    role: _RoleName | None = None
    """The role at the auth method; by default the identity's name."""
    token_ttl: Duration | None = None
    """How long a token lasts before it is renewed; by default an hour."""
    token_max_ttl: Duration | None = None
    """How long it can be renewed; by default a day."""
    bound_cidrs: Annotated[tuple[_Cidr, ...], a_list()] = ()
    """The networks that its tokens may be used from."""


class VaultAppRole(_Vault):
    """A role of Vault's AppRole method."""

    auth: Literal["approle"]
    """Workers log in with a role id and a secret id."""
    secret_id_ttl: Duration | None = None
    """How long a secret id can be used; by default 90 days."""
    secret_id_num_uses: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    """How often a secret id can be used; 0 for no limit."""


class VaultKubernetes(_Vault):
    """A role of Vault's Kubernetes method, bound to service accounts."""

    auth: Literal["kubernetes"]
    """Pods log in with their service account's token."""
    service_accounts: Annotated[tuple[DnsName, ...], a_list(min_length=1)]
    """The accounts that may log in. No globs."""
    namespaces: Annotated[tuple[DnsName, ...], a_list(min_length=1)]
    """The namespaces of these accounts. No globs."""
    audience: _ClaimText | None = None
    """The audience of the token."""


class VaultJwt(_Vault):
    """A role of Vault's JWT method, bound to an audience and at least one more claim."""

    auth: Literal["jwt"]
    """Workers log in with a token of another issuer."""
    bound_audiences: Annotated[tuple[_ClaimText, ...], a_list(min_length=1)]
    """The audience of the token."""
    bound_subject: _ClaimText | None = None
    """The subject of the token."""
    bound_claims: dict[ClaimName, _ClaimText] = Field(default_factory=dict)
    """The claims that the token must have, by name."""
    user_claim: ClaimName = "sub"
    """The claim that names the user in Vault's log."""


class VaultOther(_Vault):
    """Any other auth method: the policy is compiled, and the role that carries it is managed elsewhere."""

    auth: Literal["other"]
    """A role that is managed elsewhere carries the policy."""


class Aws(Strict):
    """An IAM principal."""

    principal: Annotated[
        str,
        Field(max_length=2048, pattern=r"^arn:aws[a-z-]{0,20}:iam::[0-9]{12}:(role|user)/[A-Za-z0-9+=,.@_/-]+$"),
    ]
    """The ARN of a role or a user."""


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
    """The member in the form of IAM bindings: ``serviceAccount:NAME@PROJECT.iam.gserviceaccount.com``."""


class Azure(Strict):
    """A principal of Microsoft Entra, by its object id."""

    principal_id: Annotated[str, Field(pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")]
    """Its object id."""
    principal_type: Literal["ServicePrincipal", "User", "Group"] = "ServicePrincipal"
    """The kind of principal."""


class RunsOn(Strict):
    """The places of an identity. Only the DAGs of its compartments and those in ``dags`` may name them."""

    queue: PlaceNames = ()
    """One queue or a list of queues, of Celery or of another executor with queues."""
    executor: PlaceNames = ()
    """One executor or a list: alias, class name or module path, as in ``[core] executor``."""
    service_account: ServiceAccounts = ()
    """One Kubernetes service account or a list, including those of Airflow's own components."""
    run_as_user: PlaceNames = ()
    """One operating-system user or a list."""
    dags: Annotated[tuple[IdGlob, ...], a_list(min_length=1)] | None = None
    """DAGs whose tasks run here, such as the maintenance DAG. They are sent to the first place of each field."""
    bundles: Annotated[tuple[BundleName, ...], a_list(min_length=1)] | None = None
    """The DAG bundles that those DAGs must come from. DAGs from other bundles are refused."""
    teams: Annotated[tuple[BundleName, ...], a_list(min_length=1)] | None = None
    """The Airflow teams that those bundles must belong to."""

    @property
    def places(self) -> tuple[tuple[str, str], ...]:
        """All places, as fields and values."""
        fields = ("queue", "executor", "service_account", "run_as_user")
        return tuple((field, value) for field in fields for value in getattr(self, field))


class Identity(Strict):
    """A worker's or person's principals at one or more services, and its rights."""

    name: Name
    """Lower case letters, digits and ``-``. It is part of the name of the Vault policy."""
    workers_of: Annotated[tuple[Name, ...], a_list()] = ()
    """It runs the tasks of these compartments: it may push and pull there, and pull what their tasks may."""
    grants: Annotated[tuple[Grant, ...], a_list()] = ()
    """Its other rights."""
    runs_on: RunsOn | None = None
    """Its places, in addition to ``tasks_run_on`` of the compartments whose tasks it runs."""
    vault: (
        Annotated[VaultAppRole | VaultKubernetes | VaultJwt | VaultOther, Field(discriminator="auth")] | None
    ) = None
    """Its role at an auth method of Vault or OpenBao."""
    aws: Aws | None = None
    """Its principal at AWS, or at another S3-compatible store."""
    google: Google | None = None
    """Its principal at Google Cloud."""
    azure: Azure | None = None
    """Its principal at Microsoft Entra."""


class Identities(Strict):
    """The section ``identities`` of an access policy file."""

    model_config = ConfigDict(defer_build=True)

    identities: Annotated[tuple[Identity, ...], a_list(max_length=100_000)] = ()
    """The principals of workers and people. Service policies are compiled for them."""

    def faults(self, names: AbstractSet[str]) -> Iterator[Finding]:
        """Yield names of no compartment, and rights that contradict each other.

        :param names: the compartments.
        """
        for index, identity in enumerate(self.identities):
            here = ("identities", index)
            for number, name in enumerate(identity.workers_of):
                if name not in names:
                    yield unknown_compartment((*here, "workers_of", number), name, names)
            roles = {grant.role for grant in identity.grants}
            if roles & {"fetcher", "revealer"} and (len(roles) > 1 or identity.workers_of):
                text = (
                    "a fetcher or revealer is the reveal service, which has an identity of its own: no other roles"
                )
                yield fault((*here, "grants"), text)
            for number, grant in enumerate(identity.grants):
                path = (*here, "grants", number)
                if grant.compartment not in names:
                    yield unknown_compartment((*path, "compartment"), grant.compartment, names)
                if grant.tasks is not None and grant.dags is None:
                    yield fault((*path, "tasks"), "tasks needs dags: a task id is unique only within its DAG")
