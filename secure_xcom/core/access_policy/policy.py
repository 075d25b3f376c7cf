"""The access policy: which compartment an XCom belongs to, and who may pull it.

These decisions hold as long as the worker runs our code: they are defense in depth and give clear errors. Against
a hostile worker, the policies of the key service and the bucket hold.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from secure_xcom.core.access_policy.compartment import Compartment
from secure_xcom.core.access_policy.globs import FirstMatch, any_matches
from secure_xcom.core.access_policy.readers import judge
from secure_xcom.core.access_policy.single import DEFAULT_COMPARTMENT, other_compartment
from secure_xcom.core.access_policy.verdict import Verdict
from secure_xcom.core.coordinate import Coordinate, TaskTry
from secure_xcom.core.errors import CompartmentUnknown, SettingInvalid
from secure_xcom.core.policy_errors import AccessRefused, PolicyInvalid, WriteRefused

if TYPE_CHECKING:
    from secure_xcom.core.access_policy.alarms import Alarm
    from secure_xcom.core.access_policy.identities import Identity
    from secure_xcom.core.access_policy.policy_file import LegalHold, OpenPlaces, PolicyFile
    from secure_xcom.core.access_policy.reveal_section import Reveal

# A task's process sees the ids of few DAGs; a DAG processor sees thousands, one after the other.
_CACHED_DAGS = 4096
_INHERITED = ("retention", "max_bytes", "mask_values", "hide_return_values")


class AccessPolicy:
    """The compartments, in order and with the file's defaults filled in, and the identities.

    A DAG belongs to the first compartment with a glob that matches its id, otherwise to the default compartment. A
    DAG of no compartment is refused.

    :param default: the name of the default compartment.
    :param consumers_known: False if every consumer may pull: there is one compartment for all DAGs.
    """

    def __init__(
        self,
        compartments: Sequence[Compartment],
        *,
        digest: str,
        consumers_known: bool,
        default: str | None = None,
        identities: Sequence[Identity] = (),
        legal_holds: Sequence[LegalHold] = (),
        alarms: Sequence[Alarm] = (),
        open_places: OpenPlaces | None = None,
        reveal: Reveal | None = None,
    ) -> None:
        self.compartments = tuple(compartments)
        self.identities = tuple(identities)
        self.legal_holds = tuple(legal_holds)
        self.alarms = tuple(alarms)
        self.alarms_at_once = tuple(alarm for alarm in self.alarms if alarm.at_once)
        self._open_places = open_places
        self.reveal = reveal
        self.digest = digest
        # With one compartment for all DAGs, a consumer that Airflow does not name (a callback after the task, a
        # trigger) may pull. With a file it may not.
        self._consumers_known = consumers_known
        self._by_name = {compartment.name: compartment for compartment in self.compartments}
        self.default = None if default is None else self._by_name[default]
        self._first = FirstMatch(
            (glob, index) for index, compartment in enumerate(self.compartments) for glob in compartment.dags
        )
        self._resolved: dict[str, Compartment | None] = {}
        self._runners = FirstMatch(
            (glob, index)
            for index, identity in enumerate(self.identities)
            for glob in (identity.runs_on and identity.runs_on.dags) or ()
        )

    @classmethod
    def single(cls, key_uris: Sequence[str], store_uri: str) -> AccessPolicy:
        """Return a policy of one compartment named ``default``, for every DAG.

        :raises SettingInvalid: a URI is invalid, or there are no key URIs or too many.
        """
        try:
            compartment = Compartment(
                name=DEFAULT_COMPARTMENT, dags=("*",), key_uris=tuple(key_uris), store_uri=store_uri
            )
        except ValidationError as error:
            from secure_xcom.core.access_policy.loading import first_fault

            raise SettingInvalid(first_fault(error), where="[secure_xcom] key_uris, store_uri") from None
        # Without the fields that came later, none of which is set: the digest is that of earlier releases.
        fields = compartment.model_dump_json(exclude={"archived_retention", "viewers"})
        digest = hashlib.sha256(fields.encode()).hexdigest()
        return cls((compartment,), digest=digest, consumers_known=False)

    @classmethod
    def load(cls, path: str) -> AccessPolicy:
        """Read the access policy file.

        :raises PolicyInvalid: with the fault's line and column.
        """
        return cls.parse(read_bytes(path), where=path)

    @classmethod
    def parse(cls, raw: bytes, *, where: str) -> AccessPolicy:
        """Return the access policy of a file's bytes.

        :param where: the file's name, for errors.
        :raises PolicyInvalid: with the fault's line and column.
        """
        from secure_xcom.core.access_policy import loading

        return cls.of(loading.load(raw, where=where), digest=hashlib.sha256(raw).hexdigest())

    @classmethod
    def of(cls, file: PolicyFile, *, digest: str) -> AccessPolicy:
        """Return the access policy of a parsed file, with its defaults filled in."""
        inherited = {name: getattr(file.defaults, name) for name in _INHERITED}
        inherited = {name: value for name, value in inherited.items() if value is not None}
        return cls(
            [_with_defaults(compartment, inherited) for compartment in file.compartments],
            digest=digest,
            consumers_known=True,
            default=file.defaults.compartment,
            identities=file.identities,
            legal_holds=file.legal_holds,
            alarms=file.alarms,
            open_places=file.open_places,
            reveal=file.reveal,
        )

    @property
    def open_places(self) -> OpenPlaces:
        """The places that every DAG may name."""
        if self._open_places is None:
            from secure_xcom.core.access_policy.policy_file import OpenPlaces

            self._open_places = OpenPlaces()
        return self._open_places

    def compartment(self, name: str) -> Compartment:
        """Return the compartment of this name.

        :raises CompartmentUnknown: there is none.
        """
        compartment = self._by_name.get(name)
        if compartment is None:
            raise CompartmentUnknown(f"there is no compartment {name!r:.70}")
        return compartment

    def resolve_dag(self, dag_id: str) -> Compartment | None:
        """Return the compartment that a DAG belongs to, or None."""
        if dag_id not in self._resolved:
            if len(self._resolved) >= _CACHED_DAGS:
                self._resolved.clear()
            index = self._first.find(dag_id)
            self._resolved[dag_id] = self.default if index is None else self.compartments[index]
        return self._resolved[dag_id]

    def runner(self, dag_id: str) -> Identity | None:
        """Return the first identity whose ``runs_on`` names a DAG, or None."""
        index = self._runners.find(dag_id)
        return None if index is None else self.identities[index]

    def resolve(self, coordinate: Coordinate) -> Compartment:
        """Return the compartment that an XCom belongs to.

        :raises CompartmentUnknown: its DAG belongs to none.
        """
        compartment = self.resolve_dag(coordinate.dag_id)
        if compartment is None:
            raise CompartmentUnknown(
                f"the DAG {coordinate.dag_id!r:.80} belongs to no compartment", where=str(coordinate)
            )
        return compartment

    def held(self, dag_id: str, run_id: str) -> LegalHold | None:
        """Return the first legal hold on a DAG's run, or None. A held XCom is neither deleted nor shredded."""
        for hold in self.legal_holds:
            if any_matches(hold.dags, dag_id) and any_matches(hold.runs, run_id):
                return hold
        return None

    def decide_write(
        self, coordinate: Coordinate, producer: TaskTry | None, *, maintenance: bool = False
    ) -> Verdict:
        """Decide whether this producer may push or purge at a coordinate: within its own compartment only.

        The coordinate may be another task's or another DAG's, because the compartment is the boundary. But the
        bundle and team of another DAG are unknown here, so it must be the task's own DAG if the compartment
        requires them.

        :param maintenance: a maintenance job of ours calls, which works on existing rows and for no task.
        :raises CompartmentUnknown: the XCom's DAG belongs to no compartment.
        """
        compartment = self.resolve(coordinate)
        if not self._consumers_known:
            return Verdict(compartment, "single")
        if maintenance:
            return Verdict(compartment, "maintenance")
        if producer is None:
            what = "Airflow does not report here which task instance this is for, so it cannot be allowed"
            remedy = "push and delete XComs in a task; docs/concepts/compartments.md lists who else may"
            return Verdict(compartment, "producer", WriteRefused(what, where=str(coordinate), remedy=remedy))
        producer_compartment = self.resolve_dag(producer.dag_id)
        if producer_compartment is not compartment:
            whose = (
                "no compartment" if producer_compartment is None else f"compartment {producer_compartment.name!r}"
            )
            what = (
                f"the DAG {producer.dag_id!r:.80} belongs to {whose}, and the XCom to compartment "
                f"{compartment.name!r}"
            )
            return Verdict(compartment, "producer.compartment", WriteRefused(what, where=str(coordinate)))
        if compartment.bundles is not None or compartment.teams is not None:
            from secure_xcom.core.access_policy.dag_origin import Origin, mismatch

            origin = Origin.of(producer, coordinate.dag_id)
            wrong = mismatch(compartment, coordinate.dag_id, origin, where=str(coordinate))
            if wrong is not None:
                return Verdict(compartment, f"producer.{wrong.field}", wrong.refusal)
        return Verdict(compartment, "own")

    def decide(self, coordinate: Coordinate, compartment: str, consumer: TaskTry | None) -> Verdict:
        """Decide whether this consumer may pull, before any key is asked for.

        Nothing is authenticated yet: the head is authenticated when the payload is opened, and the consumer is
        what the process says. An edited head opens nothing, whatever this decides.

        :param compartment: the compartment that the reference's head names.
        :raises CompartmentUnknown: the XCom's DAG belongs to no compartment.
        """
        owner = self.resolve(coordinate)
        if owner.name != compartment:
            return Verdict(owner, "compartment", other_compartment(coordinate, compartment, owner.name))
        if not self._consumers_known:
            return Verdict(owner, "single")
        if consumer is None:
            what = "the consumer is not known here, so it cannot be allowed"
            return Verdict(owner, "consumer", AccessRefused(what, where=str(coordinate)))
        consumer_compartment = self.resolve_dag(consumer.dag_id)
        if consumer_compartment is not None and (
            consumer_compartment.bundles is not None or consumer_compartment.teams is not None
        ):
            from secure_xcom.core.access_policy.dag_origin import Origin, mismatch

            # No rule admits a DAG that only has the id of one of the compartment's DAGs.
            origin = Origin.of(consumer, consumer.dag_id)
            wrong = mismatch(consumer_compartment, consumer.dag_id, origin, where=str(coordinate))
            if wrong is not None:
                return Verdict(owner, f"consumer.{wrong.field}", wrong.refusal)
        if consumer_compartment is owner:
            return Verdict(owner, "own")
        return judge(
            owner, coordinate, consumer, None if consumer_compartment is None else consumer_compartment.name
        )


def read_bytes(path: str) -> bytes:
    """Return the bytes of a policy file.

    :raises PolicyInvalid: it cannot be read.
    """
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise PolicyInvalid(
            f"the file cannot be read ({type(error).__name__})",
            where=path,
            remedy="name a file that exists and is readable",
        ) from None


def _with_defaults(compartment: Compartment, inherited: dict[str, object]) -> Compartment:
    update = {name: value for name, value in inherited.items() if getattr(compartment, name) is None}
    return compartment.model_copy(update=update) if update else compartment
